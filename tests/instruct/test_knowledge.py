"""What is known of a type comes from the file, then from the taxonomy; what nobody knows stays unknown."""

import json
from pathlib import Path

import pytest

from genau.datasets.synthetic import DEFECT_TYPES
from genau.errors import DataError
from genau.instruct.knowledge import FILE, TAXONOMY, UNKNOWN, Knowledge, load, means_exactly, recognise


def written(path: Path, text: str) -> Knowledge:
    path.write_text(text, "utf-8")
    return load(path)


def test_types_are_recognised_by_name_synonym_and_relation() -> None:
    asked = ("scratch", "Scratches", "missing_component", "impurity", "discolor", "leak")
    assert [recognise(name) for name in asked] == [
        "scratch",
        "scratch",
        "missing part",
        "contamination",
        "discoloration",
        None,
    ]


def test_a_broad_name_does_not_exclude_other_types() -> None:
    asked = ("scratch", "cracks", "impurity", "contamination", "dirt", "leak")
    assert [means_exactly(name) for name in asked] == [True, True, False, False, False, False]


def test_our_own_file_comes_before_the_taxonomy_field_by_field(tmp_path: Path) -> None:
    known = written(
        tmp_path / "k.yaml",
        """
        metal_nut:
          scratch: {cause: "the chuck  jaws.", recommendation: [dress the jaws, replace the jaws]}
          flip: {appearance: the nut lies on its back}
        any:
          leak: {cause: a burst seam}
        """,
    )
    scratch = known.of(["metal nut"], "scratch")
    assert (scratch.cause, scratch.recommendation) == (("the chuck jaws",), ("dress the jaws", "replace the jaws"))
    assert (scratch.appearance, scratch.origin) == ((DEFECT_TYPES["scratch"].description,), FILE)
    flip = known.of(["x", "Metal-Nut"], "flip")
    assert (flip.appearance, flip.cause, flip.recommendation) == (("the nut lies on its back",), (), ())
    assert known.of(["capsule"], "leak").cause == ("a burst seam",)
    assert known.of(["capsule"], "scratch").origin == TAXONOMY
    assert known.of(["capsule"], "flip").origin == UNKNOWN


def test_of_mmads_text_the_first_sentence_is_taken(tmp_path: Path) -> None:
    text = " <Bent Pin>\n Description: A pin of 0.5 mm leans **to the side**. It is mostly found at the center."
    known = written(tmp_path / "domain_knowledge.json", json.dumps({"VisA": {"pcb_x": {"bent_pin": text}}}))
    entry = known.of(["pcb x"], "bent pin")
    assert (entry.appearance, entry.cause) == (("A pin of 0.5 mm leans to the side",), ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gear: {crack: {apearance: x}}", "gear, crack has the key 'apearance'. Did you mean 'appearance'?"),
        ("gear: {crack: {cause: 7}}", "gear, crack, cause is 7; it must be a text or a list of texts"),
        ("gear: {crack: {cause: []}}", "gear, crack, cause is []; it must be a text"),
        ("gear: {crack: long}", "gear, crack is 'long', no mapping. Needed is product -> type ->"),
        ("gear: long", "gear is 'long', no mapping"),
        ("- a", "holds no mapping but list"),
        ("a: {b: {c: {d: e}}}", "a, b, c is {'d': 'e'}, no text"),
        ("a: [", "is neither YAML nor JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as error:
        written(tmp_path / "k.yaml", text)
    assert words in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml does not exist\. Check the path, or leave --knowledge out"):
        load(tmp_path / "none.yaml")
