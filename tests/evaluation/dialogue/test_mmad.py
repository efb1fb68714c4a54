"""MMAD's files become prompts in the benchmark's own words."""

import json
from pathlib import Path
from typing import Any

import pytest

from genau.dialogue import Shown
from genau.errors import DataError, UsageError
from genau.evaluation.dialogue import mmad
from genau.evaluation.dialogue.items import subset
from genau.evaluation.dialogue.mmad import Setting, read

BROKEN = "DS-MVTec/bottle/image/broken/0.png"


def change(folder: Path, **entry: Any) -> None:
    content = json.loads((folder / "mmad.json").read_text())
    content[BROKEN] |= entry
    (folder / "mmad.json").write_text(json.dumps(content))


def test_each_question_is_an_item_with_its_task_answer_and_truth(mmad_folder: Path) -> None:
    items = [item for (item,) in read(mmad_folder, Setting())]
    assert len(items) == 2 * (2 * 4 + 2 * 2)
    assert {item.task for item in items} == {*mmad.TASKS[:3], "Object Analysis"}  # Object Details is renamed
    one = next(item for item in items if item.picture == BROKEN and item.task == mmad.CLASSIFICATION)
    assert (one.dataset, one.category, one.good, one.expected) == ("DS-MVTec", "bottle", False, "B")
    assert one.prompt.options == {"A": "Scratch.", "B": "Broken.", "C": "Stain.", "D": "Hole."}
    assert sum(item.good for item in items) == 2 * 2 * 2
    assert not next(item for item in items if item.picture == "GoodsAD/food_box/test/broken/0.png").good


def test_the_prompt_has_the_parts_of_the_benchmark_in_its_order(mmad_folder: Path) -> None:
    (item,) = read(mmad_folder, Setting(shots=2))[4]
    assert item.picture == BROKEN
    (turn,) = item.prompt.turns
    assert turn.role == "user"
    assert [part for part in turn.parts if isinstance(part, str)] == [
        mmad.INSTRUCTION,
        "Answer with the option's letter from the given choices directly! ",
        "Following is/are 2 image of normal sample, which can be used as a template to compare the image being "
        "queried.",
        "Following is the query image: ",
        "Following is the question list: ",
        "Is there any defect in the object? \nA. Yes.\nB. No.\n",
    ]
    root = mmad_folder / "MVTec-AD/bottle/train/good"
    assert [part for part in turn.parts if isinstance(part, Shown)] == [
        Shown(root / "2.png", reference=True),
        Shown(root / "1.png", reference=True),
        Shown(mmad_folder / BROKEN),
    ]
    similar = read(mmad_folder, Setting(templates="similar"))[4][0].prompt
    assert next(iter(similar.pictures)).path == root / "0.png"
    assert len(list(read(mmad_folder, Setting(shots=0))[4][0].prompt.pictures)) == 1


def test_domain_knowledge_stands_before_the_templates(mmad_folder: Path) -> None:
    setting = Setting(knowledge=True, datasets=("DS-MVTec",))
    parts = read(mmad_folder, setting)[0][0].prompt.turns[0].parts
    assert parts[2] == mmad.KNOWN + "A round rim.\nA piece is missing."
    with pytest.raises(DataError, match=r"knows nothing of GoodsAD/food_box\. Ask without --domain-knowledge"):
        read(mmad_folder, Setting(knowledge=True))


def test_shuffled_options_keep_their_answer_and_their_seed(mmad_folder: Path) -> None:
    plain = {chain[0].id: chain[0] for chain in read(mmad_folder, Setting())}
    shuffled = [chain[0] for chain in read(mmad_folder, Setting(shuffle=1))]
    assert shuffled == [chain[0] for chain in read(mmad_folder, Setting(shuffle=1))]
    for item in shuffled:
        same = plain[item.id]
        assert item.prompt.options[item.expected] == same.prompt.options[same.expected]
        assert list(item.prompt.options) == list(same.prompt.options)
    assert any(item.expected != plain[item.id].expected for item in shuffled)


def test_only_what_was_chosen_is_read_and_needs_its_pictures(mmad_folder: Path) -> None:
    (mmad_folder / "GoodsAD/food_box/test/good/0.png").unlink()
    with pytest.raises(DataError, match=r"1 of 10 pictures are not in .*food_box/test/good/0\.png.*--dataset"):
        read(mmad_folder, Setting())
    chains = read(mmad_folder, Setting(datasets=("DS-MVTec",), tasks=(mmad.DETECTION,)))
    assert len(chains) == 4
    with pytest.raises(UsageError, match=r"'GoodAD' is not one of DS-MVTec, GoodsAD\. Did you mean 'GoodsAD'"):
        read(mmad_folder, Setting(datasets=("GoodAD",)))
    with pytest.raises(UsageError, match="--task 'Detection' is not one of"):
        read(mmad_folder, Setting(tasks=("Detection",)))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"conversation": None}, "has no list 'conversation'"),
        ({"conversation": [{"Question": "?"}]}, "lacks Question, Answer, Options or type"),
        (
            {"conversation": [{"Question": "?", "Answer": "C", "Options": {"A": "x"}, "type": "Anomaly Detection"}]},
            "the answer 'C' and the options A; it must",
        ),
        (
            {"conversation": [{"Question": "?", "Answer": "A", "Options": {"A": "x"}, "type": "Weather"}]},
            "has the type 'Weather'",
        ),
        (
            {"random_templates": []},
            r"has 0 random templates in mmad\.json; --shots 1 needs.*Ask with --shots 0",
        ),
    ],
)
def test_a_damaged_file_is_explained(mmad_folder: Path, entry: dict[str, Any], words: str) -> None:
    change(mmad_folder, **entry)
    with pytest.raises(DataError, match=words):
        read(mmad_folder, Setting())


def test_a_folder_without_the_questions_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mmad\.json is not there\. It must be MMAD's questions.*docs/dialogue\.md"):
        read(tmp_path, Setting())
    (tmp_path / "mmad.json").write_text("{")
    with pytest.raises(DataError, match=r"is no JSON .*download it again"):
        read(tmp_path, Setting())
    (tmp_path / "mmad.json").write_text("[]")
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path, Setting())


def test_a_subset_is_even_repeatable_and_grows(mmad_folder: Path) -> None:
    chains = read(mmad_folder, Setting())
    small, large = subset(chains, 12, seed=3), subset(chains, 16, seed=3)
    assert small == subset(chains, 12, seed=3) != subset(chains, 12, seed=4)
    assert {chain[0].id for chain in small} < {chain[0].id for chain in large}
    strata = [(item.dataset, item.task, item.good) for (item,) in small]
    assert len(set(strata)) == len(strata) == 12  # one of each
    assert [chains.index(chain) for chain in small] == sorted(chains.index(chain) for chain in small)
    assert subset(chains, None) == subset(chains, 999) == chains
