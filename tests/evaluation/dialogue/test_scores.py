"""Figures against hand-computed ones, and what they must be held against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from genau.dialogue import Outcome, Prompt, Said, Turn
from genau.evaluation.dialogue import mmad_scores, visa_dr_scores
from genau.evaluation.dialogue.asking import Asked
from genau.evaluation.dialogue.estimates import Estimate, Pictures, mean_of
from genau.evaluation.dialogue.items import Item
from genau.evaluation.dialogue.marks import Mark, mark
from genau.evaluation.dialogue.mmad_scores import AVERAGE
from genau.evaluation.dialogue.visa_dr_scores import MEAN
from genau.metrics import rouge_l

YES_NO = {"A": "Yes.", "B": "No."}
FOUR = {"A": "a scratch", "B": "a dent", "C": "a hole", "D": "a stain"}
DETECTION, PLACE = "Anomaly Detection", "Defect Localization"


def asked(
    said: str | Outcome, expected: str, *, good: bool = False, task: str = DETECTION, dataset: str = "one", n: int = 0
) -> Asked:
    options = YES_NO if task == DETECTION else FOUR
    prompt = Prompt((Turn("user", ("?",)),), "?", options, task)
    item = Item(f"{dataset}/{good}/{n}/{task}", f"{dataset}/{good}/{n}", dataset, "part", task, good, expected, prompt)
    return Asked(item, Said(said) if not isinstance(said, Outcome) else Said.nothing(said, "why"))


def detection(
    good: Sequence[str | Outcome], bad: Sequence[str | Outcome], dataset: str = "one", start: int = 0
) -> list[Asked]:
    rows = [asked(said, "B", good=True, dataset=dataset, n=start + k) for k, said in enumerate(good)]
    return rows + [asked(said, "A", dataset=dataset, n=start + k) for k, said in enumerate(bad)]


def test_detection_is_balanced_and_unreadable_is_wrong() -> None:
    marks = mark(detection(["B"] * 6 + ["A", "maybe"], ["A", Outcome.UNREADABLE]))
    cell = mmad_scores.score(marks)["one"][DETECTION]
    assert cell.accuracy.value == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert (cell.questions, cell.unreadable, cell.unsupported) == (10, 2, 0)
    assert cell.of_answered == pytest.approx((6 / 7 + 1) / 2)
    assert (cell.chance, cell.constant) == (0.5, 0.5)
    assert cell.accuracy.low is not None
    assert cell.accuracy.high is not None
    assert cell.accuracy.low < 0.625 < cell.accuracy.high


def test_what_is_unsupported_is_counted_apart_and_never_right() -> None:
    marks = mark(
        [
            asked("A", "A", task=PLACE, n=0),
            asked(Outcome.UNSUPPORTED, "A", task=PLACE, n=1),
            asked(Outcome.FAILED, "A", task=PLACE, n=2),
            asked("B", "B", task=PLACE, n=3),
        ]
    )
    cell = mmad_scores.score(marks)[AVERAGE][PLACE]
    assert (cell.accuracy.value, cell.of_answered) == (0.5, 1.0)
    assert (cell.unreadable, cell.unsupported) == (1, 1)
    assert (cell.chance, cell.constant, cell.letter) == (0.25, 0.75, "A")


def test_means_are_plain_over_data_sets_and_tasks_whatever_their_sizes() -> None:
    rows = detection(["B"] * 8, ["A"] * 8, "one")  # 1.0
    rows += detection(["A"] * 2, ["A"] * 2, "two")  # 0.5
    rows += [asked("A" if k else "B", "A", task=PLACE, dataset="one", n=k) for k in range(4)]  # 0.75
    cells = mmad_scores.score(mark(rows))
    assert cells["one"][AVERAGE].accuracy.value == pytest.approx(0.875)
    assert cells["two"][AVERAGE].accuracy.value == pytest.approx(0.5)
    assert cells[AVERAGE][DETECTION].accuracy.value == pytest.approx(0.75)
    assert cells[AVERAGE][PLACE].accuracy.value == pytest.approx(0.75)
    assert cells[AVERAGE][AVERAGE].accuracy.value == pytest.approx((0.875 + 0.5) / 2)
    assert cells["two"][PLACE].accuracy.value is None
    assert "no such questions" in cells["two"][PLACE].accuracy.reason
    assert list(cells) == ["one", "two", AVERAGE]


def test_without_good_parts_detection_is_undefined_and_says_why() -> None:
    cell = mmad_scores.score(mark(detection([], ["A", "B"])))["one"][DETECTION]
    assert cell.accuracy.value is cell.constant is None
    assert cell.accuracy.reason.startswith("There are no good parts")


def test_the_published_reading_leaves_out_silence_and_takes_the_last_letter() -> None:
    rows = [
        asked("Answer: A. B is wrong", "B", task=PLACE, n=0),  # theirs: B; ours: A is announced
        asked("a dent, I think", "B", task=PLACE, n=1),  # theirs: closest option; ours: unreadable
        asked(Outcome.UNREADABLE, "B", task=PLACE, n=2),
    ]
    cell = mmad_scores.score(mark(rows))["one"][PLACE]
    assert (cell.accuracy.value, cell.as_published) == (0.0, 1.0)
    assert cell.unreadable == 2


def test_detection_has_the_rates_of_the_published_tables() -> None:
    marks = mark(detection(["B", "B", "B", "A"], ["A", "B", "hm", "A"]))
    figures = {name: figure.value for name, figure in mmad_scores.detection(marks)["one"].items()}
    assert figures == {
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "f1": pytest.approx(4 / 7),
        "overkill": pytest.approx(0.25),
        "miss": 0.5,
    }


def test_pictures_are_resampled_whole() -> None:
    names = [f"picture {k // 4}" for k in range(40)]  # four questions about each of ten
    pictures = Pictures(names, [False] * 40)
    right = np.repeat([1, 0] * 5, 4)
    estimate = pictures.mean(names, right, "none")
    assert estimate.value == 0.5
    assert estimate.spread.std() == pytest.approx((0.25 / 10) ** 0.5, rel=0.1)  # not 0.25 / 40
    assert set(np.round(estimate.spread * 10).astype(int)) <= set(range(11))


def test_a_mean_of_estimates_leaves_out_what_is_undefined() -> None:
    one, two = Estimate(0.2, np.full(5, 0.2)), Estimate(0.4, np.full(5, 0.6))
    together = mean_of([one, Estimate.undefined("why"), two], "class")
    assert together.value == pytest.approx(0.3)
    assert together.spread.tolist() == pytest.approx([0.4] * 5)
    assert mean_of([Estimate.undefined("why")], "class").reason.startswith("No class has a value")
    assert Estimate(0.5, np.full(9, np.nan)).figure().low is None


def yes_no(said: str | Outcome, *, good: bool, category: str, n: int) -> Asked:
    prompt = Prompt((Turn("user", ("?",)),), "?", {"Yes": "Yes", "No": "No"}, "detection")
    name = f"VisA/{category}/{good}/{n}"
    item = Item(name, name, "VisA-D&R", category, "detection", good, "No" if good else "Yes", prompt)
    return Asked(item, Said(said) if not isinstance(said, Outcome) else Said.nothing(said, "why"))


def test_visa_dr_has_four_measures_per_class_and_their_mean() -> None:
    rows = [yes_no(said, good=False, category="candle", n=k) for k, said in enumerate(["Yes", "Yes", "No", "eh"])]
    rows += [yes_no(said, good=True, category="candle", n=k) for k, said in enumerate(["No", "Yes", "eh"])]
    rows += [yes_no("Yes", good=False, category="pcb1", n=0), yes_no("No", good=True, category="pcb1", n=0)]
    held, told = visa_dr_scores.score(mark(rows))
    assert told is None
    assert held is not None
    candle = {key: one.value for key, one in held.ours["candle"].items()}
    assert candle == {
        "accuracy": pytest.approx(3 / 7),
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "f1": pytest.approx(4 / 7),
    }
    assert held.ours[MEAN]["accuracy"].value == pytest.approx((3 / 7 + 1) / 2)
    assert held.against["as published"]["candle"]["accuracy"].value == pytest.approx(4 / 7)  # "eh" is a No there
    assert held.against["always Yes"][MEAN]["recall"].value == 1
    assert held.against["always No"][MEAN]["precision"].value is None


def test_words_are_held_against_the_references_of_other_pictures(visa_dr_folder: Path) -> None:
    from genau.evaluation.dialogue.visa_dr import read_reasoning

    items = [item for chain in read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json") for item in chain]
    said = [Said(item.expected) if "candle" in item.picture else Said("nonsense here") for item in items]
    said[0] = Said.nothing(Outcome.UNREADABLE, "cut off")
    marks = mark([Asked(item, one) for item, one in zip(items, said, strict=True)])
    assert all(one.option is None for one in marks)
    cosine = [None if k == 1 else 0.5 for k in range(len(items))]
    _, scores = visa_dr_scores.score(marks, {"cosine": cosine})
    assert scores is not None
    assert scores["candle"]["rouge_l"].value == pytest.approx(7 / 8)
    assert scores["pcb1"]["rouge_l"].value == 0
    assert scores[MEAN]["rouge_l"].value == pytest.approx(7 / 16)
    assert scores[MEAN]["cosine"].value == pytest.approx(0.5)
    first, cause = rouge_l(items[2].expected, items[0].expected), rouge_l("Cause number 1.", "Cause number 0.")
    floor = scores["candle"]["rouge_l_of_other_pictures"].value
    assert floor == pytest.approx((first * 4 + cause * 4) / 8)


def test_a_row_of_the_table_says_how_it_was_read() -> None:
    right, odd = mark([asked("B", "B", good=True), asked("both A and B", "A")])
    assert isinstance(right, Mark)
    assert right.to_dict()["right"] is True
    row = odd.to_dict()
    assert (row["option"], row["option_as_published"], row["right"]) == (None, "B", False)
    assert (row["outcome"], row["reason"]) == ("unreadable", "no single option can be read in the answer")
    assert row["said"] == "both A and B"
