"""Questions and answers are true, even, repeatable, and no question tells its answer."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.answers import parse_analysis, parse_verdict
from genau.datasets import read as read_samples
from genau.datasets.sample import Sample
from genau.errors import DataError, UsageError
from genau.instruct import Conversation, read
from genau.instruct.building import build, plan
from genau.instruct.facts import facts_of
from genau.instruct.knowledge import Entry, Knowledge
from genau.instruct.making import make, prepare
from genau.instruct.teaching import (
    ANALYSIS,
    COUNT,
    DETECTION,
    KINDS,
    PLACE,
    PRESENCE,
    REASONING,
    SIZE,
    answer_of,
    possible,
)
from genau.results import Verdict

HW = (60, 100)
TYPES = ["scratch", "crack", "leak", "impurity", "scuff"]
Box = tuple[int, int, int, int]  # top, left, bottom, right
BOXES: dict[str, Box] = {"scratch": (2, 3, 8, 30), "crack": (50, 80, 58, 98), "leak": (25, 40, 35, 60)}
BOXES |= {"impurity": (10, 10, 14, 16), "scuff": (30, 5, 34, 50)}


def manifest(root: Path, rows: Sequence[tuple[str, Sequence[str]]], product: str = "gear") -> Path:
    """Write pictures with the boxes of their types drawn."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = []
    for name, types in rows:
        rgb = np.full((*HW, 3), 150, np.uint8)
        values = np.zeros(HW, np.uint8)
        for kind in types:
            top, left, bottom, right = BOXES[kind]
            rgb[top:bottom, left:right] = 20
            values[top:bottom, left:right] = TYPES.index(kind) + 1
        Image.fromarray(rgb).save(root / "images" / f"{name}.png")
        mask = None
        if types:
            Image.fromarray(values).save(root / "masks" / f"{name}.png")
            mask = f"masks/{name}.png"
        told: dict[str, Any] = {"image": f"images/{name}.png", "mask": mask, "product": product, "split": "train"}
        lines.append(json.dumps(told | {"types": list(types)}))
    (root / "dataset.json").write_text(json.dumps({"name": "gears", "types": TYPES, "licence": "CC0"}))
    (root / "annotations.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bad = [(f"bad{k}", (["scratch"], ["crack"], ["scratch", "crack"])[k % 3]) for k in range(24)]
    return manifest(tmp_path / "set", [*bad, *((f"good{k}", []) for k in range(30))])


def made(root: Path, seed: int = 0, per_picture: int = 4, knowledge: Knowledge | None = None) -> list[Conversation]:
    chosen = plan(read_samples(root, "manifest"), seed=seed)
    return list(build(chosen, root, seed=seed, per_picture=per_picture, knowledge=knowledge))


def sample_of(root: Path, name: str) -> Sample:
    return next(sample for sample in read_samples(root, "manifest") if sample.image.stem == name)


# --- truth ---


def answer(kind: str, sample: Sample, asked: str | None = None, knowledge: Knowledge | None = None) -> str:
    return answer_of(kind, facts_of(sample), knowledge or Knowledge(), np.random.default_rng(0), asked)


def test_answers_follow_from_the_masks(root: Path) -> None:
    both, good = sample_of(root, "bad2"), sample_of(root, "good0")
    told = {kind: (answer(kind, both), answer(kind, good)) for kind in KINDS if kind not in {ANALYSIS, PRESENCE}}
    reasoned = told.pop(REASONING)
    assert told == {
        "detection": ("Yes, the part is defective.", "No, the part is normal."),
        "kind": ("Scratch and crack.", "None: the part has no defect."),
        "place": ("In the top left and bottom right areas of the picture.", "Nowhere: the part has no defect."),
        "count": ("2 defective regions.", "Zero: the part has no defect."),
        "size": ("About 5.1 % of the picture.", "0 %: the part has no defect."),
        "severity": ("Severe.", "None."),
    }
    assert reasoned[0].startswith(
        "The part is defective with these defects: scratch and crack. It lies in the top left and bottom right areas "
        "of the picture; it looks like this: "
    )
    assert "Scratch in general: a thin elongated mark" in reasoned[0]
    assert reasoned[1] == "The part is good: there is no visible defect. Recommendation: accept the part."


def test_a_type_is_answered_by_its_own_place(root: Path) -> None:
    both = sample_of(root, "bad2")
    assert answer(PRESENCE, both, "crack") == "Yes, in the bottom right area of the picture."
    assert answer(PRESENCE, both, "leak") == "No, it is not there."


def test_the_analysis_is_read_back_and_its_lines_follow_from_the_masks(root: Path) -> None:
    bad, good = (parse_analysis(answer(ANALYSIS, sample_of(root, name))) for name in ("bad2", "good0"))
    assert bad is not None
    assert good is not None
    assert (bad.verdict, bad.types, bad.location) == ("defect", "scratch, crack", "top left, bottom right")
    assert (bad.severity, bad.appearance) == ("severe", "broad dark line")
    assert (good.verdict, good.types, good.appearance) == ("normal", "none", "no visible defect")
    assert good.recommendation == "accept the part"


def test_every_analysis_and_every_verdict_of_a_set_is_read_back(root: Path) -> None:
    for one in made(root, per_picture=len(KINDS)):
        if one.kind == ANALYSIS:
            analysis = parse_analysis(one.answer)
            assert analysis is not None
            assert analysis.verdict == ("defect" if one.defective else "normal")
        if one.kind in {DETECTION, PRESENCE}:
            found = bool(one.defective) if one.asked is None else one.asked in one.types
            assert parse_verdict(one.answer) is (Verdict.DEFECT if found else Verdict.NORMAL)


def test_what_is_not_known_is_unknown_and_not_asked(tmp_path: Path) -> None:
    root = manifest(tmp_path, [("bad0", ["leak"]), ("good0", [])])
    leak = sample_of(root, "bad0")
    analysis = parse_analysis(answer(ANALYSIS, leak))
    assert analysis is not None
    assert (analysis.likely_cause, analysis.recommendation) == ("unknown", "sort the part out and inspect it by hand")
    assert "The cause is unknown." in answer(REASONING, leak)
    bare = replace(leak, types=("combined",), mask=None, mask_types=None)
    words = parse_analysis(answer(ANALYSIS, bare))
    assert words is not None
    assert (words.types, words.location, words.appearance, words.severity) == ("unknown",) * 4
    assert "the type of the defect is unknown" in answer(REASONING, bare)
    pictures = plan([bare, sample_of(root, "good0")], seed=0)
    assert {one.kind for one in build(pictures, root, seed=0, per_picture=9)} == {"detection", "analysis", "reasoning"}


def test_knowledge_of_the_product_is_in_the_reasons(tmp_path: Path) -> None:
    root = manifest(tmp_path, [("bad0", ["leak"])])
    known = Knowledge(
        {
            ("gear", "leak"): Entry(("oil runs down",), ("a worn seal",), ("replace the seal",), "file"),
            ("gear", "good"): Entry(("all teeth are whole",)),
        }
    )
    leak = sample_of(root, "bad0")
    said = answer(REASONING, leak, knowledge=known)
    assert said.endswith("Leak in general: oil runs down. Likely cause: a worn seal. Recommendation: replace the seal.")
    good = replace(leak, label=False, types=(), mask=None, mask_types=None)
    assert "Good parts look like this: all teeth are whole." in answer(REASONING, good, knowledge=known)
    told = replace(leak, analysis={"likely_cause": "a crash", "appearance": "a wet  spot."})
    analysis = parse_analysis(answer(ANALYSIS, told, knowledge=known))
    assert analysis is not None
    assert (analysis.likely_cause, analysis.appearance) == ("a crash", "a wet spot")
    assert analysis.recommendation == "replace the seal"


def test_specks_that_nobody_could_count_are_no_regions(tmp_path: Path) -> None:
    root = manifest(tmp_path, [("bad0", ["leak"])])
    mask = np.asarray(Image.open(root / "masks" / "bad0.png")).copy()
    mask[1, 1:3] = 3
    Image.fromarray(mask).save(root / "masks" / "bad0.png")
    leak = sample_of(root, "bad0")
    assert answer(COUNT, leak) == "One defective region."
    assert answer(PLACE, leak) == "In the center area of the picture."
    mask[3:] = 0
    Image.fromarray(mask).save(root / "masks" / "bad0.png")
    assert not {PLACE, COUNT, SIZE} & set(possible(facts_of(leak)))


# --- balance ---


def test_each_kind_is_asked_of_as_many_good_as_defective_pictures(root: Path) -> None:
    found = made(root)
    sides = Counter((one.kind, one.defective) for one in found if one.kind != PRESENCE)
    counts = {kind: (sides[kind, True], sides[kind, False]) for kind in KINDS if kind != PRESENCE}
    assert all(good == bad > 0 for good, bad in counts.values()), counts
    assert len(found) == 24 * 2 * 4
    assert max(bad for bad, _ in counts.values()) - min(bad for bad, _ in counts.values()) <= 1
    assert len({one.id for one in found}) == len(found)


def test_absent_types_are_asked_for_as_often_as_present_ones_and_look_alikes_first(root: Path) -> None:
    asked = [one for one in made(root, per_picture=9) if one.kind == PRESENCE]
    present = [one for one in asked if one.asked in one.types]
    absent = [one for one in asked if one.asked not in one.types]
    assert len(present) == len(absent) == 24
    of_defective = [one for one in absent if one.defective]
    assert len(of_defective) == 12
    for one in of_defective:
        if len(one.types) == 1:  # scratch and crack resemble each other
            assert {one.asked, *one.types} == {"scratch", "crack"}
    own = Counter(one.asked for one in absent if not one.defective)
    assert set(own) == {"scratch", "crack"}


@pytest.mark.parametrize("name", ["leak", "impurity"])
def test_of_a_broad_or_unknown_type_no_other_is_called_absent(tmp_path: Path, name: str) -> None:
    rows = [*((f"bad{k}", [name]) for k in range(8)), *((f"good{k}", []) for k in range(8))]
    asked = [one for one in made(manifest(tmp_path, rows), per_picture=9) if one.kind == PRESENCE]
    assert {one.asked for one in asked} == {name}
    assert {(one.defective, one.asked in one.types) for one in asked} == {(True, True), (False, False)}


def test_a_type_under_another_name_is_not_called_absent(tmp_path: Path) -> None:
    rows = [(f"bad{k}", [("scratch", "scuff")[k % 2]]) for k in range(8)] + [(f"good{k}", []) for k in range(8)]
    asked = [one for one in made(manifest(tmp_path, rows), per_picture=9) if one.kind == PRESENCE and one.defective]
    absent = {one.asked for one in asked if one.asked not in one.types}
    assert absent
    assert not absent & {"scratch", "scuff"}


def test_no_wording_is_for_one_verdict_only(root: Path) -> None:
    wordings: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for seed in range(4):
        for one in made(root, seed, 9):
            if one.kind != PRESENCE:
                wordings[bool(one.defective)][one.question.removeprefix("Product: gear. ")] += 1
    assert set(wordings[True]) == set(wordings[False])
    for text, count in wordings[True].items():
        assert 0.5 < count / wordings[False][text] < 2, text


def test_pictures_without_a_partner_are_left_out_and_told(root: Path, tmp_path: Path) -> None:
    chosen = plan(read_samples(root, "manifest"), seed=0)
    assert len(chosen.pairs) == 24
    assert chosen.left_out == ["gear: 6 of 30 good pictures, so that verdicts are even"]
    alone = read_samples(manifest(tmp_path / "nuts", [("bad0", ["leak"])], "nut"), "manifest")
    both = plan([*read_samples(root, "manifest"), *alone], seed=0)
    assert both.left_out[1] == "nut: all 1 pictures, since none is good and every verdict would be the same"
    with pytest.raises(DataError, match=r"No category has both good and defective pictures \(nut: all 1"):
        plan(alone, seed=0)


def test_the_same_seed_gives_the_same_conversations_and_another_seed_others(root: Path) -> None:
    assert made(root) == made(root)
    assert made(root) != made(root, seed=1)
    with pytest.raises(UsageError, match="per_picture=10 must be from 1 to 9"):
        made(root, per_picture=10)
    with pytest.raises(UsageError, match="seed=-1 must not be negative"):
        made(root, seed=-1)


def test_a_pair_with_an_unreadable_mask_is_told_and_the_others_are_asked(root: Path) -> None:
    (root / "masks" / "bad0.png").write_bytes(b"no picture")
    told: list[str] = []
    chosen = plan(read_samples(root, "manifest"), seed=0)
    found = list(build(chosen, root, seed=0, tell=told.append))
    assert len(told) == 1
    assert "bad0.png" in told[0]
    assert len({one.images for one in found}) == 46


# --- files ---


def test_a_written_set_is_read_back_with_masks_and_types(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "gears.jsonl"
    card = make(prepare(root), out, per_picture=9).card
    expected = {one.id: one for one in made(root, per_picture=9)}
    found = list(read(out))
    assert len(found) == len(expected) == card["counts"]["conversations"]
    for one in found:
        assert {**vars(one), "source": ""} == {**vars(expected[one.id]), "source": "", "images": one.images} | {
            "masks": one.masks
        } | ({} if one.masks else {"mask_types": None})
        assert [path.resolve() for path in one.images if isinstance(path, Path)] == list(expected[one.id].images)
    typed = next(one for one in found if one.asked == "crack" and len(one.types) == 2)
    assert typed.read_mask()[52, 90]
    assert not typed.read_mask()[4, 5]


def test_the_data_card_says_source_counts_balance_seed_and_version(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "gears.jsonl"
    made = make(prepare(root, seed=5), out, per_picture=2)
    card = json.loads((tmp_path / "gears.datacard.json").read_text())
    assert card == made.card
    assert (card["data"], card["layout"], card["licence"], card["seed"]) == (["gears"], "manifest", "CC0", 5)
    assert (card["images"], card["per_picture"], card["card_version"]) == ("set", 2, 1)
    assert card["counts"]["pictures"] == {"good": 24, "defective": 24, "unlabelled": 0}
    assert card["words_known_from"] == {"taxonomy": ["gear: crack", "gear: scratch"]}
    assert card["left_out"] == ["gear: 6 of 30 good pictures, so that verdicts are even"]
    assert made.notes[0] == "Left out: gear: 6 of 30 good pictures, so that verdicts are even."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gears.datacard.json", "gears.jsonl", "set"]


def test_a_failed_run_leaves_what_was_there_before(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "gears.jsonl"
    make(prepare(root), out)
    before = out.read_bytes()
    (root / "masks" / "bad3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad3\.png"):
        make(prepare(root), out, per_picture=5)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gears.datacard.json", "gears.jsonl", "set"]
    with pytest.raises(UsageError, match=r"must end in \.jsonl"):
        make(prepare(root), tmp_path / "gears.json")


# --- commands ---


def test_the_commands_build_and_check_a_set_in_words(root: Path, tmp_path: Path, genau: Any) -> None:
    out = tmp_path / "gears.jsonl"
    run = genau("data", "instruct", "--data", root, "--per-picture", 9, "--seed", 1, "-o", out)
    assert run.code == 0
    assert run.out.startswith(f"{out} holds 432 conversations about 24 defective and 24 good pictures.\n")
    assert "presence: 24 absent, 24 present." in run.out
    assert "Note: Left out: gear: 6 of 30 good pictures" in run.err
    run = genau("data", "conversations", out)
    assert run.code == 0
    assert "432 usable conversations about 48 pictures." in run.out
    assert "presence 48" in run.out
    assert "Missing pictures: 0 conversations. Repeated ids: 0. Placeholders that do not match: 0." in run.out


def test_the_check_tells_everything_that_is_wrong_and_exits_with_one(root: Path, tmp_path: Path, genau: Any) -> None:
    out = tmp_path / "gears.jsonl"
    make(prepare(root), out)
    first, second, third, *rest = out.read_text().splitlines()
    broken = [first, first, second.replace("<image>", ""), third.replace("images/", "nowhere/", 2), "{", *rest]
    out.write_text("\n".join(broken))
    run = genau("data", "conversations", out)
    assert run.code == 1
    assert (
        "Missing pictures: 1 conversations. Repeated ids: 1. Placeholders that do not match: 1. "
        "Other records that cannot be used: 1." in run.out
    )
    for words in ("0 <image> placeholders but 1 picture", "--images DIR", "Give each conversation its own id", "JSON"):
        assert words in run.out
    assert run.out.count("problem: ") == 4


def test_the_check_tells_common_questions_where_no_kind_is_named_and_what_to_do_without_any(
    tmp_path: Path, genau: Any
) -> None:
    told = [{"from": "human", "value": "What is a burr?"}, {"from": "gpt", "value": "No idea."}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": k, "conversations": told}) + "\n" for k in range(3)))
    run = genau("data", "conversations", tmp_path / "a.jsonl")
    assert run.code == 0
    assert 'names no kinds of question. Most frequent: "What is a burr?" (3).' in run.out
    assert "Answers that begin with yes: 0; with no: 3; others: 0." in run.out
    (tmp_path / "a.jsonl").write_text("")
    run = genau("data", "conversations", tmp_path / "a.jsonl")
    assert (run.code, "holds no conversations. Check the path" in run.out) == (1, True)
    run = genau("data", "conversations", tmp_path / "none")
    assert (run.code, "does not exist" in run.out) == (1, True)
    run = genau("data", "conversations", tmp_path / "a.jsonl", "--format", "lava")
    assert (run.code, "Did you mean 'llava'?" in run.out) == (1, True)


def test_wrong_arguments_of_the_builder_are_answered_in_words(root: Path, tmp_path: Path, genau: Any) -> None:
    (tmp_path / "plain").mkdir()
    run = genau("data", "instruct", "--data", tmp_path / "plain", "-o", tmp_path / "o.jsonl")
    assert (run.code, "no layout that is recognised" in run.err) == (1, True)
    run = genau("data", "instruct", "--data", root, "--category", "geer", "-o", tmp_path / "o.jsonl")
    assert (run.code, "Did you mean 'gear'" in run.err) == (1, True)
    run = genau("data", "instruct", "--data", root, "--per-picture", 12, "-o", tmp_path / "o.jsonl")
    assert (run.code, "must be from 1 to 9" in run.err) == (2, True)
    run = genau("data", "instruct", "--data", root, "-o", tmp_path / "o.csv")
    assert (run.code, "must end in .jsonl" in run.err) == (2, True)
