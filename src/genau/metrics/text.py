"""Measures of answers in words. They compare words; whether a sentence is true they cannot tell."""

import re
from collections.abc import Collection, Mapping, Sequence

from genau.errors import suggest
from genau.metrics.image import UndefinedMetricError

CLOSED_FIELDS = ("verdict", "types", "location", "severity", "recommendation")  # one of a few answers
OPEN_FIELDS = ("appearance", "likely_cause")  # free words
_NOTHING = frozenset({"", "none"})
_WORD = re.compile(r"[^\W_]+")


def rouge_l(candidate: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words, in [0, 1]; case and punctuation do not count.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", with beta = 1. Raises `UndefinedMetricError` for
    a reference without words; a candidate without words scores 0.
    """
    said, expected = _words(candidate), _words(reference)
    if not expected:
        raise UndefinedMetricError(f"ROUGE-L needs words in the reference; got {reference!r}. Leave this picture out.")
    return 2 * _longest_common(said, expected) / (len(said) + len(expected))


def words_agree(said: str, expected: Collection[str]) -> float:
    """Return the Jaccard index of the phrases said, parted by commas, and those expected: "top left, center".

    1 if they are the same set, 0 if they share none; half right is seen as half right. "none" is the empty set, and two
    empty sets agree; silence agrees with nothing.
    """
    if not _words(said):
        return 0.0
    spoken, wanted = _phrases(said), {_plain(phrase) for phrase in expected} - _NOTHING
    return len(spoken & wanted) / len(spoken | wanted) if spoken | wanted else 1.0


def types_agree(said: Collection[str], present: Collection[str]) -> tuple[float | None, float]:
    """Return precision and recall of the types said; precision is None if none was said.

    Case and repetition do not count. Raises `UndefinedMetricError` if no type is present.
    """
    spoken, wanted = ({_plain(name) for name in names} - _NOTHING for names in (said, present))
    if not wanted:
        raise UndefinedMetricError("The recall of types needs a type that is present; got none. Leave good parts out.")
    hits = len(spoken & wanted)
    return (hits / len(spoken) if spoken else None), hits / len(wanted)


def field_accuracy(said: Mapping[str, str], reference: Mapping[str, str]) -> dict[str, float]:
    """Return, for every field of the reference, 1 or 0 for closed fields and ROUGE-L for open ones.

    Closed fields (verdict, types, location, severity, recommendation) must hold the same phrases, in any order; case,
    spaces and a full stop do not count. A field that was not said scores 0; one whose reference is empty is left out.
    Raises `ValueError` for a field that has no measure.
    """
    figures = {}
    for name, expected in reference.items():
        if name not in (*CLOSED_FIELDS, *OPEN_FIELDS):
            known = (*CLOSED_FIELDS, *OPEN_FIELDS)
            raise ValueError(f"field {name!r} must be one of {', '.join(known)}.{suggest(name, known)}")
        if not _words(expected):
            continue
        if name in OPEN_FIELDS:
            figures[name] = rouge_l(said.get(name, ""), expected)
        else:
            words = said.get(name, "")
            figures[name] = float(bool(_words(words)) and _phrases(words) == _phrases(expected))
    return figures


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _plain(phrase: str) -> str:
    return " ".join(phrase.lower().split()).strip(" .")


def _phrases(text: str) -> set[str]:
    return {_plain(phrase) for phrase in text.split(",")} - _NOTHING


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(second) + 1)  # row[j]: longest common subsequence of the words so far and second[:j]
    for word in first:
        above = row.copy()
        for j, other in enumerate(second):
            row[j + 1] = above[j] + 1 if word == other else max(above[j + 1], row[j])
    return row[-1]
