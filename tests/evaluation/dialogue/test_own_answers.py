"""GenAU answers what its map and scores decide, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genau.answering import NO_SCORE, Answer
from genau.dialogue import Outcome, Prompt, Shown, Turn
from genau.evaluation.dialogue import own
from genau.evaluation.dialogue.mmad import Setting, read
from genau.evaluation.dialogue.own import InspectorAnswers
from genau.evaluation.dialogue.visa_dr import read_detection
from genau.inspector import Inspector


@pytest.fixture
def answerer(inspector: Inspector) -> InspectorAnswers:
    return InspectorAnswers(inspector)


def test_three_tasks_are_answered_by_an_option_and_the_rest_is_unsupported(
    answerer: InspectorAnswers, mmad_folder: Path
) -> None:
    for (item,) in read(mmad_folder, Setting(datasets=("GoodsAD",))):
        said = answerer.answer(item.prompt)
        if item.task in {"Anomaly Detection", "Defect Classification"}:
            assert said.text in item.prompt.options
        elif item.task == "Defect Localization":
            assert said.text in item.prompt.options or "no single option says" in said.reason
        else:
            assert said.outcome is Outcome.UNSUPPORTED
            assert said.reason.startswith("Object Analysis: No shipped model answers this")


def test_a_lower_threshold_turns_no_into_yes(inspector: Inspector, visa_dr_folder: Path) -> None:
    prompt = read_detection(visa_dr_folder, visa_dr_folder / "test_data.json")[1][0].prompt
    said, settings = [], []
    for threshold in (0.0, 1.0):
        inspector.thresholds = type(inspector.thresholds)(image=threshold)
        asked = InspectorAnswers(inspector)
        said.append(asked.answer(prompt).text)
        settings.append(dict(asked.settings))
    assert said == ["Yes", "No"]
    assert settings[0] != settings[1]


def test_a_picture_is_seen_once_for_all_its_questions_and_with_its_good_parts(
    answerer: InspectorAnswers, mmad_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    see = Inspector.see

    def watched(self: Inspector, *given: Any) -> Any:
        seen.append(given)
        return see(self, *given)

    monkeypatch.setattr(Inspector, "see", watched)
    items = [item for (item,) in read(mmad_folder, Setting(datasets=("DS-MVTec",), shots=2))]
    for item in items[:8]:
        answerer.answer(item.prompt)
    assert [given[0] for given in seen] == [mmad_folder / name for name in dict.fromkeys(i.picture for i in items[:8])]
    assert seen[0][1] == [mmad_folder / f"MVTec-AD/bottle/train/good/{k}.png" for k in (2, 1)]


def replying(answer: Answer) -> InspectorAnswers:
    asked = InspectorAnswers.__new__(InspectorAnswers)
    asked._inspector = SimpleNamespace(answer=lambda *_, **__: answer)  # type: ignore[assignment]
    asked._speaks = False
    asked._see = lambda prompt: None  # type: ignore[assignment,method-assign,return-value]
    return asked


def prompted(task: str, options: dict[str, str]) -> Prompt:
    return Prompt((Turn("user", (Shown(Path("a.png")), "?")),), "Where is the defect?", options, task)


@pytest.mark.parametrize(
    ("found", "texts", "option"),
    [
        (["top left", "center"], ["Bottom right.", "Top left."], "B"),
        (["top"], ["In the upper-center part of the picture.", "At the top left."], "A"),
        (["left"], ["Center left", "Left and right"], "A"),
        (["center"], ["The middle.", "Top"], "A"),
        (["top left"], ["Top left corner", "The upper left"], None),
        (["top left"], ["Top", "Left"], None),
        ([], ["Top", "Left"], None),
    ],
)
def test_a_place_is_the_one_option_that_means_it(found: list[str], texts: list[str], option: str | None) -> None:
    asked = replying(Answer("Where?", "place", answer="There.", value=list(found)))
    said = asked.answer(prompted("Defect Localization", dict(zip("AB", texts, strict=True))))
    assert said.text == option
    assert (said.outcome is Outcome.UNSUPPORTED) is (option is None)


def test_the_likeliest_type_is_taken_even_below_its_threshold() -> None:
    scores = {"Scratch": 0.1, "Broken": 0.3, "Stain": 0.2}
    asked = replying(Answer("Which?", "kind", answer="None.", value=[], types=scores))
    options = {"A": "Scratch.", "B": "Broken.", "C": "Stain."}
    assert asked.answer(prompted("Defect Classification", options)).text == "B"
    said = asked.answer(prompted("Defect Classification", {"A": "x" * 500, "B": "y"}))
    assert (said.outcome, "cannot be asked as defects" in said.reason) == (Outcome.UNSUPPORTED, True)


def test_a_score_that_is_no_number_is_unreadable() -> None:
    asked = replying(Answer("Which?", "presence", reason=NO_SCORE))
    assert asked.answer(prompted("detection", {"Yes": "Yes", "No": "No"})).outcome is Outcome.UNREADABLE


def test_the_premise_and_the_form_of_the_reply_are_taken_off() -> None:
    assert own._bare("There is a defect in the object. Where is the defect?") == "Where is the defect?"
    asked = "Are there any defects for the object in the image? Please reply with 'Yes' or 'No'."
    assert own._bare(asked) == "Are there any defects in the image?"
