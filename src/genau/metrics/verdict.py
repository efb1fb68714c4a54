"""Measures of verdicts in words: "normal", "defect" or "unreadable".

N pictures; labels are True for defective. An unreadable answer is wrong for a good part and for a defective one: it is
a missed defect and a good part not passed, and never counts as normal.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genau.errors import suggest
from genau.metrics.image import UndefinedMetricError, as_bool, require_both_classes

VERDICTS = ("normal", "defect", "unreadable")
Verdicts = Sequence[str] | NDArray[np.str_]


def verdict_balanced_accuracy(verdicts: Verdicts, labels: ArrayLike) -> float:
    """Return the mean of `recall` and `specificity`; unreadable is wrong for both. Raises without both classes."""
    said, truth = _checked(verdicts, labels)
    require_both_classes("Balanced accuracy", int(truth.sum()), int((~truth).sum()))
    return (recall(said, truth) + specificity(said, truth)) / 2


def recall(verdicts: Verdicts, labels: ArrayLike) -> float:
    """Return the share of the defective parts that are called defect; unreadable misses. Raises without any."""
    said, truth = _checked(verdicts, labels)
    return _share("Recall", said == "defect", truth, "defective pictures")


def specificity(verdicts: Verdicts, labels: ArrayLike) -> float:
    """Return the share of the good parts that are called normal; unreadable does not pass. Raises without any."""
    said, truth = _checked(verdicts, labels)
    return _share("Specificity", said == "normal", ~truth, "good pictures")


def precision(verdicts: Verdicts, labels: ArrayLike) -> float:
    """Return the share of defective parts among those called defect; unreadable is no such call. Raises without any."""
    said, truth = _checked(verdicts, labels)
    return _share("Precision", truth, said == "defect", 'verdicts "defect"')


def f1(verdicts: Verdicts, labels: ArrayLike) -> float:
    """Return 2 TP / (calls of defect + defective parts): the harmonic mean of `precision` and `recall`.

    It is 0 where defective parts are there and none is called so. Raises without defective parts.
    """
    said, truth = _checked(verdicts, labels)
    called = said == "defect"
    if not truth.any():
        raise UndefinedMetricError(_nothing("F1", "defective pictures"))
    return float(2 * (called & truth).sum() / (called.sum() + truth.sum()))


def unreadable_share(verdicts: Verdicts) -> float:
    """Return the share of the answers that are unreadable. Raises without answers."""
    said = _read(verdicts)
    return _share("The unreadable share", said == "unreadable", np.ones(said.size, np.bool_), "verdicts")


def _share(metric: str, hit: NDArray[np.bool_], among: NDArray[np.bool_], what: str) -> float:
    if not among.any():
        raise UndefinedMetricError(_nothing(metric, what))
    return float(hit[among].mean())


def _nothing(metric: str, what: str) -> str:
    return f"{metric} needs {what}; got none. Add some, or leave this measure out."


def _read(verdicts: Verdicts) -> NDArray[np.str_]:
    said = np.asarray(verdicts, dtype=np.str_)
    for word in np.unique(said):
        if word not in VERDICTS:
            raise ValueError(f"verdict {str(word)!r} must be one of {', '.join(VERDICTS)}.{suggest(word, VERDICTS)}")
    return said


def _checked(verdicts: Verdicts, labels: ArrayLike) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    said, truth = _read(verdicts), np.asarray(labels)
    if said.ndim != 1 or said.shape != truth.shape:
        raise ValueError(f"verdicts {said.shape} and labels {truth.shape} must both be (N,).")
    return said, as_bool("labels", truth)
