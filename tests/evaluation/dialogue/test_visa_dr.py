"""VisA-D&R's files become one question per picture, and conversations."""

import json
from pathlib import Path
from typing import Any

import pytest

from genau.dialogue import Shown
from genau.errors import DataError, UsageError
from genau.evaluation.dialogue.visa_dr import read, read_detection, read_reasoning


def change(folder: Path, **entry: Any) -> Path:
    path = folder / "test_data.json"
    content = json.loads(path.read_text())
    content[1] |= entry
    path.write_text(json.dumps(content))
    return path


def test_detection_asks_the_published_question_of_each_picture_once(visa_dr_folder: Path) -> None:
    file = visa_dr_folder / "test_data.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps([*content, content[0]]))
    items = [item for (item,) in read_detection(visa_dr_folder, file)]
    assert len(items) == 8
    assert [item.expected for item in items[:4]] == ["No", "Yes", "No", "Yes"]
    assert {item.category for item in items} == {"candle", "pcb1"}
    (turn,) = items[1].prompt.turns
    question = "Are there any defects for the object in the image? Please reply with 'Yes' or 'No'."
    assert turn.parts == (Shown(visa_dr_folder / "VisA/candle/bad/1.png"), question)
    file.write_text(json.dumps([*content, content[0] | {"metadata": {"anomaly": True}}]))
    with pytest.raises(DataError, match=r"candle/good/0\.png good in one entry and defective in another"):
        read_detection(visa_dr_folder, file)


def test_a_conversation_is_a_chain_whose_first_question_shows_the_picture(visa_dr_folder: Path) -> None:
    chain = read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json", ("pcb1",))[1]
    assert [item.prompt.question for item in chain] == ["Are there any defects?", "What could be the cause?"]
    assert [item.expected for item in chain] == ["Yes, there is a dark spot.", "Cause number 5."]
    assert [len(list(item.prompt.pictures)) for item in chain] == [1, 0]
    assert chain[0].prompt.turns[0].parts[1] == "Are there any defects?"  # without the placeholder
    assert len({item.id for item in chain}) == 2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"image": "candle.png"}, r"entry 2: image .*VisA/candle/….*is missing"),
        ({"metadata": {}}, r"metadata\.anomaly is missing"),
        ({"conversations": [{"from": "human", "value": "Why?"}]}, "must be turns of 'human' and 'gpt' in pairs"),
        (
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": " ."}]},
            "in pairs, all with words",
        ),
        ({"image": "VisA/candle/bad/gone.png"}, r"1 of 8 pictures are not in .*gone\.png.*--data is the folder"),
    ],
)
def test_a_damaged_file_is_explained(visa_dr_folder: Path, entry: dict[str, Any], words: str) -> None:
    file = change(visa_dr_folder, **entry)
    with pytest.raises(DataError, match=words):
        read_reasoning(visa_dr_folder, file)


def test_files_that_are_not_the_benchmarks_are_explained(visa_dr_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Nothing is asked\. Name VisA-D&R's file with --detection"):
        read(visa_dr_folder, None, None)
    with pytest.raises(UsageError, match=r"--class 'candel' is not one of candle, pcb1\. Did you mean 'candle'"):
        read(visa_dr_folder, visa_dr_folder / "test_data.json", None, ("candel",))
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(DataError, match="is no list, or an empty one"):
        read_detection(visa_dr_folder, tmp_path / "list.json")
