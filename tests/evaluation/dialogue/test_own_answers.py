"""GenAU answers what its map and scores decide, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genau.answering import NO_SCORE, Answer
from genau.dialogue import Outcome, Prompt, Shown, Turn
from genau.evaluation.dialogue import own
from genau.evaluation.dialogue.items import Chain
from genau.evaluation.dialogue.mmad import Setting, read
from genau.evaluation.dialogue.own import InspectorAnswers
from genau.evaluation.dialogue.visa_dr import read_detection, read_reasoning
from genau.inspector import Inspector
from genau.speaking import Spoken


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


# A model that speaks


@dataclass
class Heard:
    """Says what it is told to, and keeps what it was asked."""

    says: Spoken
    asked: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)

    def speak(self, image: Any, question: str, earlier: Sequence[tuple[str, str]] = ()) -> Spoken:
        self.asked.append((question, list(earlier)))
        return self.says


@pytest.fixture
def heard(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard(Spoken("Answer: B", True, 4, -0.1))
    inspector.model.config.answers_freely = True
    monkeypatch.setattr(inspector.eye, "speak", heard.speak)
    return heard


def test_other_tasks_are_asked_in_words_with_the_benchmarks_own_prompt(
    inspector: Inspector, heard: Heard, mmad_folder: Path
) -> None:
    answerer = InspectorAnswers(inspector)
    for (item,) in read(mmad_folder, Setting(datasets=("GoodsAD",))):
        heard.asked.clear()
        said = answerer.answer(item.prompt)
        if item.task in {"Anomaly Detection", "Defect Classification"}:
            assert heard.asked == []
        elif item.task == "Object Analysis":
            assert (said.text, said.tokens_out) == ("Answer: B", 4)
            ((asked, earlier),) = heard.asked
            assert asked.startswith("You are an industrial inspector")
            assert "Following is/are 1 image of normal sample" in asked
            assert asked.endswith("Following is the question list:\nHow many parts? \nA. One.\nB. Two.")
            assert earlier == []


def test_what_the_map_cannot_choose_is_asked_in_words(inspector: Inspector, heard: Heard, mmad_folder: Path) -> None:
    inspector.thresholds = type(inspector.thresholds)(image=1.0)  # nothing is found, so no place is right
    places = [i for (i,) in read(mmad_folder, Setting()) if i.task == "Defect Localization"]
    assert InspectorAnswers(inspector).answer(places[0].prompt).text == "Answer: B"


def test_what_was_said_before_is_said_again(inspector: Inspector, heard: Heard, visa_dr_folder: Path) -> None:
    first, second = visa_reasoning(visa_dr_folder)
    before = [*first.prompt.turns, Turn("assistant", ("A spot.",))]
    InspectorAnswers(inspector).answer(second.prompt.after(before))
    assert heard.asked == [("What could be the cause?", [("Are there any defects?", "A spot.")])]


def visa_reasoning(folder: Path) -> Chain:
    return read_reasoning(folder, folder / "test_data.json")[0]


@pytest.mark.parametrize(
    ("spoken", "reason"),
    [(Spoken("So then", False, 256, -1.0), "cut off"), (Spoken("", True, 1, -1.0), "before its first word")],
)
def test_words_without_an_end_and_silence_are_unreadable(
    inspector: Inspector, heard: Heard, visa_dr_folder: Path, spoken: Spoken, reason: str
) -> None:
    heard.says = spoken
    said = InspectorAnswers(inspector).answer(visa_reasoning(visa_dr_folder)[0].prompt)
    assert (said.outcome, said.text, said.tokens_out) == (Outcome.UNREADABLE, None, spoken.tokens)
    assert reason in said.reason


def test_settings_tell_a_model_that_speaks_from_one_that_does_not(inspector: Inspector) -> None:
    assert "other questions" not in InspectorAnswers(inspector).settings
    inspector.model.config.answers_freely = True
    assert InspectorAnswers(inspector).settings["other questions"] == "in words, at most 256 tokens"
