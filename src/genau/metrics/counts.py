"""Measures of examples that are counted by score, and points of their curves.

K: bins, lowest score first; a bin's examples count as ties. Counts may be weighted by whole numbers. The callers make
sure that there are examples of both kinds.
"""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
Points = list[tuple[float, float]]


def binned_auroc(normal: Counts, anomalous: Counts) -> float:
    """Return the probability that an anomalous example scores above a normal one. Counts: (K,)."""
    below = np.cumsum(normal) - normal  # (K,) normal examples in lower bins
    wins = (anomalous * (below + normal / 2)).sum()  # float: the product exceeds 2**63 on large sets
    return float(wins / anomalous.sum() / normal.sum())


def binned_average_precision(normal: Counts, anomalous: Counts) -> float:
    """Return the average precision without interpolation. Counts: (K,)."""
    true_pos, predicted, _ = operating_bins(normal, anomalous)
    return precision_integral(true_pos, predicted)


def operating_bins(normal: Counts, anomalous: Counts) -> tuple[Counts, Counts, Counts]:
    """Return true positives, predicted positives and bin of every bin that is not empty, highest first."""
    total = normal + anomalous
    bins = np.flatnonzero(total)[::-1]
    return np.cumsum(anomalous[bins]), np.cumsum(total[bins]), bins


def precision_integral(true_pos: Counts, predicted: Counts) -> float:
    """Return the average precision from cumulated counts (K,), strictest threshold first, `predicted` above 0."""
    gains = np.diff(true_pos, prepend=0)
    return float((gains * (true_pos / predicted)).sum() / true_pos[-1])


def best_f1(true_pos: Counts, predicted: Counts) -> tuple[float, int]:
    """Return the best F1 and the index of the last, so the laxest, of the best thresholds; counts as above."""
    f1 = 2 * true_pos / (predicted + true_pos[-1])
    index = int(f1.size - 1 - np.argmax(f1[::-1]))
    return float(f1[index]), index


def pro_curve(normal: Counts, overlap: Shares, n_regions: int, fpr_limit: float) -> tuple[Shares, Shares]:
    """Return false positive rate and mean overlap per region, strictest threshold first, cut off at the limit.

    `normal`, `overlap`: (K,). The curve starts at (0, 0), is linear between thresholds, and ends at `fpr_limit`.
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit={fpr_limit} must be above 0 and at most 1. Papers use 0.3.")
    fpr = np.concatenate([[0.0], np.cumsum(normal[::-1]) / normal.sum()])  # (K + 1,)
    pro = np.concatenate([[0.0], np.cumsum(overlap[::-1]) / n_regions])
    n_inside = int(np.searchsorted(fpr, fpr_limit, side="right"))
    at_limit = np.interp(fpr_limit, fpr[n_inside - 1 :], pro[n_inside - 1 :])
    return np.append(fpr[:n_inside], fpr_limit), np.append(pro[:n_inside], at_limit)


def pro_area(normal: Counts, overlap: Shares, n_regions: int, fpr_limit: float) -> float:
    """Return the area under `pro_curve` as a share of `fpr_limit`."""
    fpr, pro = pro_curve(normal, overlap, n_regions, fpr_limit)
    return float(np.trapezoid(pro, fpr) / fpr_limit)


def roc_line(true_pos: Counts, predicted: Counts, most: int) -> Points:
    """Return (false positive rate, true positive rate) from cumulated counts, from (0, 0) to (1, 1)."""
    false_pos = predicted - true_pos
    fpr, tpr = false_pos / false_pos[-1], true_pos / true_pos[-1]
    return thinned(np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr]), most)


def precision_recall_line(true_pos: Counts, predicted: Counts, most: int) -> Points:
    """Return (recall, precision) from cumulated counts, from the strictest threshold to the laxest; none invented."""
    return thinned(true_pos / true_pos[-1], true_pos / predicted, most)


def thinned(x: Shares, y: Shares, most: int) -> Points:
    """Return at most `most` points of a curve, evenly spread along its length, both ends among them.

    `x`, `y`: (K,), in order of the threshold. Raises `ValueError` for fewer than 2 points.
    """
    if most < 2:
        raise ValueError(f"most={most} must be at least 2: a curve has two ends. Use 200 for a plot.")
    kept = np.arange(x.size)
    if x.size > most:
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)))
    return [(float(a), float(b)) for a, b in zip(x[kept], y[kept], strict=True)]
