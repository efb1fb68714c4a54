"""VisA-D&R's tables: Yes or No per class, and answers in words against the reference."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.dialogue import Outcome
from genau.evaluation.dialogue.estimates import Estimate, Pictures, mean_of
from genau.evaluation.dialogue.marks import Mark
from genau.evaluation.dialogue.visa_dr import DETECTION, NO, REASONING, YES
from genau.metrics import Figure, rouge_l

MEAN = "mean"
ACCURACY, PRECISION, RECALL, F1 = "accuracy", "precision", "recall", "f1"
MEASURES = (ACCURACY, PRECISION, RECALL, F1)
Scores = dict[str, dict[str, Figure]]  # class or MEAN -> measure


@dataclass(frozen=True)
class Held:
    """The figures of a model with those that it must be held against."""

    ours: Scores
    against: Mapping[str, Scores]  # what always says Yes or No; the same answers read as published


def score(
    marks: Sequence[Mark], more: Mapping[str, Sequence[float | None]] | None = None
) -> tuple[Held | None, Scores | None]:
    """Return the figures of `detection` and of `reasoning`, None for one that nothing was asked of.

    `more`: as in `reasoning`, for its questions alone.
    """
    yes_no, told = ([one for one in marks if one.item.task == task] for task in (DETECTION, REASONING))
    return detection(yes_no) if yes_no else None, reasoning(told, more) if told else None


def detection(marks: Sequence[Mark]) -> Held:
    """Return accuracy, precision, recall and F1 per class, and their plain means; Yes is the positive answer.

    An unreadable answer is wrong, and no Yes: it misses a defect and does not pass a good part.
    """
    said = np.array([one.option or "" for one in marks])
    published = np.array([one.published or NO for one in marks])
    against = {
        "always Yes": np.full(len(marks), YES),
        "always No": np.full(len(marks), NO),
        "as published": published,
    }
    return Held(_detection(marks, said), {name: _detection(marks, words) for name, words in against.items()})


def _detection(marks: Sequence[Mark], said: NDArray[np.str_]) -> Scores:
    def estimates(here: NDArray[np.intp]) -> dict[str, Estimate]:
        names = [marks[place].item.picture for place in here]
        defective = np.array([not marks[place].item.good for place in here])
        pictures = Pictures(names, list(~defective))
        yes, no = said[here] == YES, said[here] == NO
        right, hits = np.where(defective, yes, no), yes & defective
        return {
            ACCURACY: pictures.mean(names, right, "There are no pictures."),
            PRECISION: pictures.ratio(names, hits, yes, "Nothing was called defective."),
            RECALL: pictures.ratio(names, hits, defective, "There are no defective pictures."),
            F1: pictures.ratio(names, 2 * hits, 1 * yes + defective, "Nothing is defective, nor called so."),
        }

    return _by_class(marks, estimates)


def _by_class(marks: Sequence[Mark], estimates: Callable[[NDArray[np.intp]], dict[str, Estimate]]) -> Scores:
    """Return the figures of each class, and the plain mean over the classes where they are defined."""
    classes = np.array([one.item.category for one in marks])
    rows = {str(name): estimates(np.flatnonzero(classes == name)) for name in np.unique(classes)}
    scores = {name: {key: one.figure() for key, one in row.items()} for name, row in rows.items()}
    keys = next(iter(rows.values())).keys() if rows else ()
    scores[MEAN] = {key: mean_of([row[key] for row in rows.values()], "class").figure() for key in keys}
    return scores


def reasoning(marks: Sequence[Mark], more: Mapping[str, Sequence[float | None]] | None = None) -> Scores:
    """Return the mean ROUGE-L per class, beside it that of other pictures' references; silence scores 0.

    `more`: further measures of each answer, in [0, 1]; None where one could not be made, which is left out.
    """
    others = _other_references(marks)
    values: dict[str, list[float | None]] = {
        "rouge_l": [rouge_l(one.text or "", one.item.expected) for one in marks],
        "rouge_l_of_other_pictures": [
            None if other is None else rouge_l(other, one.item.expected)
            for one, other in zip(marks, others, strict=True)
        ],
        **{name: list(scores) for name, scores in (more or {}).items()},
    }

    def estimates(here: NDArray[np.intp]) -> dict[str, Estimate]:
        names = [marks[place].item.picture for place in here]
        pictures = Pictures(names, [marks[place].item.good for place in here])
        found = {}
        for key, scores in values.items():
            known = [(names[k], score) for k, place in enumerate(here) if (score := scores[place]) is not None]
            found[key] = pictures.mean([name for name, _ in known], [score for _, score in known], "None was made.")
        return found

    return _by_class(marks, estimates)


def _other_references(marks: Sequence[Mark]) -> list[str | None]:
    """Return for each question the reference to the same question, or else to any, about the next other picture.

    How much words agree that are about something else: what a model must beat that looks at nothing.
    """
    return [_other_reference(marks, place) for place in range(len(marks))]


def _other_reference(marks: Sequence[Mark], place: int) -> str | None:
    one, any_other = marks[place].item, None
    for other in (
        mark.item for mark in itertools.chain(itertools.islice(marks, place + 1, None), itertools.islice(marks, place))
    ):
        if other.picture == one.picture:
            continue
        if other.prompt.question == one.prompt.question:
            return other.expected
        any_other = any_other or other.expected
    return any_other


def counts(marks: Sequence[Mark]) -> dict[str, Any]:
    """Return how many questions were asked, and how many of them were not answered, by why."""
    return {
        "questions": len(marks),
        "unreadable": sum(one.outcome in {Outcome.UNREADABLE, Outcome.FAILED} for one in marks),
        "unsupported": sum(one.outcome is Outcome.UNSUPPORTED for one in marks),
    }
