"""Measures of image-level scores and verdicts; where one is undefined, an error says why.

N images; labels and predictions are True for defective. Ties between scores count as scikit-learn counts them. All
measures need both classes: the average precision of defective images alone is 1 for any model and says nothing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from genau.errors import GenAUError
from genau.metrics.counts import Points, best_f1, precision_integral, precision_recall_line, roc_line


class UndefinedMetricError(GenAUError, ValueError):
    """The data do not define this measure: leave the cell empty, do not write a zero."""


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the probability that a defective image scores above a normal one, ties counting half.

    `scores`, `labels`: (N,). Mann and Whitney 1947. Raises `UndefinedMetricError` without both classes or for scores
    that are not finite.
    """
    values, truth = _checked("AUROC", scores, labels)
    n_pos = int(truth.sum())
    n_neg = truth.size - n_pos
    rank_sum = float(rankdata(values)[truth].sum())
    return (rank_sum - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the sum over thresholds of (gain in recall) times precision, without interpolation.

    `scores`, `labels`: (N,). Raises like `auroc`.
    """
    values, truth = _checked("Average precision", scores, labels)
    true_pos, predicted, _ = _operating_points(values, truth)
    return precision_integral(true_pos, predicted)


def f1_max(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the best F1 over all thresholds and its threshold, at or above which an image is called defective.

    `scores`, `labels`: (N,). Among equally good thresholds the lowest, which misses fewest defects. Raises like
    `auroc`.
    """
    values, truth = _checked("F1-max", scores, labels)
    true_pos, predicted, thresholds = _operating_points(values, truth)
    best, index = best_f1(true_pos, predicted)
    return best, float(thresholds[index])


def roc_points(scores: ArrayLike, labels: ArrayLike, most: int = 200) -> Points:
    """Return at most `most` points (false positive rate, true positive rate), from (0, 0) to (1, 1).

    `scores`, `labels`: (N,). Raises like `auroc`.
    """
    true_pos, predicted, _ = _operating_points(*_checked("The ROC curve", scores, labels))
    return roc_line(true_pos, predicted, most)


def precision_recall_points(scores: ArrayLike, labels: ArrayLike, most: int = 200) -> Points:
    """Return at most `most` points (recall, precision), from the strictest threshold that calls anything to the laxest.

    `scores`, `labels`: (N,). Raises like `auroc`.
    """
    true_pos, predicted, _ = _operating_points(*_checked("The precision-recall curve", scores, labels))
    return precision_recall_line(true_pos, predicted, most)


def balanced_accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of the recalls of both classes. `predictions`, `labels`: (N,) bool. Raises like `auroc`."""
    called = as_bool("predictions", predictions)
    _, truth = _checked("Balanced accuracy", called, labels)
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)


def require_both_classes(metric: str, n_anomalous: int, n_normal: int, unit: str = "") -> None:
    """Raise `UndefinedMetricError` unless there are anomalous and normal examples."""
    if n_anomalous == 0 or n_normal == 0:
        raise UndefinedMetricError(
            f"{metric} needs both classes; got {n_anomalous} anomalous and {n_normal} normal{unit}. "
            "Add the missing class, or leave this measure out."
        )


def _operating_points(
    values: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return true positives, predicted positives and threshold (K,) for each distinct score, largest first."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    true_pos = np.cumsum(truth[order], dtype=np.int64)[last_of_tie]
    return true_pos, last_of_tie.astype(np.int64) + 1, ordered[last_of_tie]


def _checked(metric: str, scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.asarray(scores, dtype=np.float64)
    truth = as_bool("labels", labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"{metric}: scores {values.shape} and labels {truth.shape} must both be (N,).")
    if bad := int((~np.isfinite(values)).sum()):
        raise UndefinedMetricError(
            f"{metric}: {bad} of {values.size} scores are NaN or infinite. Such images were not inspected: count them "
            "as failures and leave them out, or find out why."
        )
    require_both_classes(metric, int(truth.sum()), int((~truth).sum()))
    return values, truth


def as_bool(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    """Return the array as bool; raise `ValueError` unless it holds True and False, or 1 and 0."""
    array = np.asarray(values)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be True or False (or 1 and 0); got {np.unique(array)[:5].tolist()}.")
    return array.astype(np.bool_)
