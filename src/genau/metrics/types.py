"""Measures of which kind of defect it is: one answer per picture.

N pictures of one true type each, C candidate types. `scores`: (N, C), larger = likelier; `truth`: (N,) index of the
true type. The answer is the type of the largest score, ties to the first. A macro mean counts every type alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genau.metrics.image import UndefinedMetricError, auroc

Scores = NDArray[np.float64]
Truth = NDArray[np.int64]


def top1_accuracy(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the share of pictures whose answer is the true type.

    `scores`: (N, C), `truth`: (N,). Raises `UndefinedMetricError` without pictures or for scores that are not finite.
    """
    values, true = _checked("Top-1 accuracy", scores, truth)
    return float((values.argmax(axis=1) == true).mean())


def macro_recall(scores: ArrayLike, truth: ArrayLike, min_images: int = 5) -> float:
    """Return the mean, over types with at least `min_images` pictures, of the share that is answered right.

    Raises like `top1_accuracy`, and where no type has so many pictures.
    """
    values, true = _checked("Macro recall", scores, truth)
    return _mean_recall(values.argmax(axis=1), true, min_images)


def macro_f1(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean F1 over the types that are present or answered, as scikit-learn does.

    Raises like `top1_accuracy`.
    """
    values, true = _checked("Macro F1", scores, truth)
    return mean_f1(_confusion(values.argmax(axis=1), true, values.shape[1]))


def macro_auroc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean, over the types present, of the AUROC of one type against the rest.

    Raises like `top1_accuracy`, and where fewer than two types are present.
    """
    values, true = _checked("Macro AUROC", scores, truth)
    present = np.unique(true)
    if present.size < 2:
        raise UndefinedMetricError(
            f"Macro AUROC needs pictures of at least two types; got {present.size}. Leave this measure out."
        )
    return float(np.mean([auroc(values[:, index], true == index) for index in present]))


def constant_accuracy(truth: ArrayLike) -> float:
    """Return the accuracy of always answering the most frequent type. `truth`: (N,)."""
    true = _checked_truth("The constant answer", truth)
    return float(np.bincount(true).max() / true.size)


def constant_macro_recall(truth: ArrayLike, min_images: int = 5) -> float:
    """Return the macro recall of always answering the most frequent type. Raises like `macro_recall`."""
    true = _checked_truth("The constant answer", truth)
    return _mean_recall(np.full_like(true, np.bincount(true).argmax()), true, min_images)


def constant_macro_f1(truth: ArrayLike) -> float:
    """Return the macro F1 of always answering the most frequent type."""
    true = _checked_truth("The constant answer", truth)
    counts = np.bincount(true)
    return mean_f1(_confusion(np.full_like(true, counts.argmax()), true, counts.size))


def per_type(scores: ArrayLike, truth: ArrayLike, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return n, recall, precision, f1 and auroc of every type; None where one is undefined.

    `scores`: (N, C), `truth`: (N,), `names`: (C,). Precision is undefined for a type that is never the answer, recall
    for one that is absent, F1 for one that is both. Raises like `top1_accuracy`.
    """
    values, true = _checked("The table of types", scores, truth)
    check_names(names)
    if len(names) != values.shape[1]:
        raise ValueError(
            f"names ({len(names)},) and scores {values.shape} must be (C,) and (N, C): one name per column."
        )
    rows = confusion_rows(_confusion(values.argmax(axis=1), true, len(names)))
    for index, row in enumerate(rows):
        both = 0 < (row["n"] or 0) < true.size
        row["auroc"] = auroc(values[:, index], true == index) if both else None
    return dict(zip(names, rows, strict=True))


def mean_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 over classes present or answered. `confusion`: (C, C) counts of [truth, answer]."""
    return float(np.mean([row["f1"] for row in confusion_rows(confusion) if row["f1"] is not None]))


def confusion_rows(confusion: NDArray[np.int64]) -> list[dict[str, float | None]]:
    """Return n, recall, precision and f1 of each class, None where undefined. `confusion` as in `mean_f1`."""

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    rows: list[dict[str, float | None]] = []
    for index, hits in enumerate(int(count) for count in confusion.diagonal()):
        n, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
        f1 = ratio(2 * hits, n + answered)
        rows.append({"n": n, "recall": ratio(hits, n), "precision": ratio(hits, answered), "f1": f1})
    return rows


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` unless there are names and each stands once."""
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if not names or doubled:
        raise ValueError(f"names={list(names)} must hold at least one type, each once; doubled: {doubled or 'none'}.")


def _confusion(answers: Truth, truth: Truth, n_types: int) -> NDArray[np.int64]:
    """Return counts (C, C) of [truth, answer]."""
    return np.bincount(truth * n_types + answers, minlength=n_types**2).reshape(n_types, n_types)


def _mean_recall(answers: Truth, truth: Truth, min_images: int) -> float:
    counts = np.bincount(truth)
    enough = np.flatnonzero(counts >= max(1, min_images))
    if enough.size == 0:
        raise UndefinedMetricError(
            f"Macro recall needs a type with at least {min_images} pictures; the largest has {int(counts.max())}. "
            "Lower min_images, or leave this measure out."
        )
    return float(np.mean([(answers[truth == index] == index).mean() for index in enough]))


def _checked(metric: str, scores: ArrayLike, truth: ArrayLike) -> tuple[Scores, Truth]:
    values, true = np.asarray(scores, dtype=np.float64), _checked_truth(metric, truth)
    if values.ndim != 2 or values.shape[0] != true.size or values.shape[1] <= true.max():
        raise ValueError(
            f"{metric}: scores {values.shape} and truth {true.shape} must be (N, C) and (N,), truth below C; its "
            f"largest is {int(true.max())}."
        )
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise UndefinedMetricError(
            f"{metric}: {bad} of {true.size} pictures have scores that are NaN or infinite. Such pictures were not "
            "inspected: count them as failures and leave them out, or find out why."
        )
    return values, true


def _checked_truth(metric: str, truth: ArrayLike) -> Truth:
    true = np.asarray(truth)
    if true.ndim == 1 and true.size == 0:
        raise UndefinedMetricError(f"{metric} needs pictures; got none. Add some, or leave this measure out.")
    if true.ndim != 1 or not np.issubdtype(true.dtype, np.integer) or true.min() < 0:
        raise ValueError(f"{metric}: truth is {true.dtype} {true.shape}; it must be (N,) indices of types, from 0.")
    return true.astype(np.int64)
