"""Measures of words, by hand."""

import pytest

from genau.metrics import UndefinedMetricError, field_accuracy, rouge_l, types_agree, words_agree


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("police killed the gunman", "the gunman killed police", 2 / 4),  # Lin 2004: "the gunman" or "killed"
        ("police kill the gunman", "police killed the gunman", 3 / 4),  # Lin 2004
        ("the gunman kill police", "police killed the gunman", 2 / 4),  # Lin 2004
        ("a scratch", "a long thin scratch", 2 * 2 / 6),
        ("a long thin scratch", "a scratch", 2 * 2 / 6),
        ("A scratch, top-left.", "a Scratch: top left", 1),
        ("a a a", "a", 2 * 1 / 4),
        ("x y z", "a b", 0),
        ("", "a b", 0),
        ("…", "a b", 0),
        ("größer Riss", "GRÖSSER riss", 1 / 2),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(candidate: str, reference: str, expected: float) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(expected)


def test_rouge_l_needs_words_to_compare_with() -> None:
    with pytest.raises(UndefinedMetricError, match=r"needs words in the reference; got ' - '. Leave this picture out"):
        rouge_l("a scratch", " - ")


@pytest.mark.parametrize(
    ("said", "expected", "agreement"),
    [
        ("top left", ["top left"], 1),
        ("Center,  top   left.", ["top left", "center"], 1),
        ("top left", ["top left", "center"], 1 / 2),
        ("top left, bottom", ["top left", "center"], 1 / 3),
        ("top", ["top left"], 0),
        ("none", [], 1),
        ("None.", ["none"], 1),
        ("none", ["center"], 0),
        ("center", [], 0),
        ("", [], 0),
        ("", ["center"], 0),
    ],
)
def test_location_words_agree_as_sets(said: str, expected: list[str], agreement: float) -> None:
    assert words_agree(said, expected) == pytest.approx(agreement)


def test_types_said_and_present_agree_by_precision_and_recall() -> None:
    assert types_agree(["Scratch", "hole"], {"scratch", "bent pin", "stain"}) == (1 / 2, 1 / 3)
    assert types_agree(["hole", "hole"], ["hole"]) == (1, 1)
    assert types_agree([], ["hole"]) == (None, 0)
    assert types_agree(["none"], ["hole"]) == (None, 0)
    with pytest.raises(UndefinedMetricError, match=r"needs a type that is present; got none\. Leave good parts out"):
        types_agree(["hole"], [])


def test_fields_are_compared_by_their_kind() -> None:
    reference = {
        "verdict": "defect",
        "types": "scratch, hole",
        "location": "top left",
        "severity": "minor",
        "recommendation": "Rework the part.",
        "appearance": "a thin bright line",
        "likely_cause": "handling",
    }
    said = reference | {"types": "Hole, scratch", "severity": "severe", "appearance": "a bright line"}
    expected = dict.fromkeys(reference, 1.0) | {"severity": 0.0, "appearance": 2 * 3 / 7}
    assert field_accuracy(said, reference) == pytest.approx(expected)
    assert field_accuracy({}, reference) == pytest.approx(dict.fromkeys(reference, 0.0))
    assert field_accuracy(reference, reference) == pytest.approx(dict.fromkeys(reference, 1.0))


def test_silence_is_not_none_and_an_empty_reference_asks_nothing() -> None:
    assert field_accuracy({"types": "", "location": "none"}, {"types": "none", "location": "None"}) == {
        "types": 0.0,
        "location": 1.0,
    }
    assert field_accuracy({"appearance": "dull"}, {"appearance": " ", "location": ""}) == {}


def test_an_unknown_field_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"field 'likely cause' must be one of .* Did you mean 'likely_cause'\?"):
        field_accuracy({}, {"likely cause": "handling"})
