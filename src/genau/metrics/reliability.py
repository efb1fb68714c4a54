"""Whether a score can be read as a probability: calibration of image scores.

N pictures; scores in [0, 1] are read as the probability of a defect, labels are True for defective. One class alone is
enough.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genau.metrics.image import UndefinedMetricError, as_bool


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Return the mean distance between score and share of defective pictures over bins, weighted by their pictures.

    `scores`, `labels`: (N,). Bins of equal width, each with its upper edge (Guo et al. 2017, equation 3, with the
    score of a defect as the confidence). Raises `UndefinedMetricError` without pictures or for scores not in [0, 1].
    """
    points = reliability_points(scores, labels, bins)
    total = sum(count for _, _, count in points)
    return sum(abs(share - mean) * count for mean, share, count in points) / total


def brier(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean squared distance between score and label (Brier 1950).

    `scores`, `labels`: (N,). Raises like `expected_calibration_error`.
    """
    values, truth = _checked("The Brier score", scores, labels)
    return float(np.mean((values - truth) ** 2))


def reliability_points(scores: ArrayLike, labels: ArrayLike, bins: int = 15) -> list[tuple[float, float, int]]:
    """Return (mean score, share of defective pictures, number of pictures) of every bin that is not empty.

    `scores`, `labels`: (N,). Lowest scores first; raises like `expected_calibration_error`.
    """
    values, truth = _checked("Calibration", scores, labels)
    if bins < 1:
        raise ValueError(f"bins={bins} must be at least 1. Use 15, as Guo et al. do.")
    places = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)  # 0 belongs to the first bin
    counts = np.bincount(places, minlength=bins)
    sums = np.bincount(places, values, minlength=bins)
    defective = np.bincount(places, truth, minlength=bins)
    filled = [int(place) for place in np.flatnonzero(counts)]
    return [(float(sums[b] / counts[b]), float(defective[b] / counts[b]), int(counts[b])) for b in filled]


def _checked(metric: str, scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), as_bool("labels", labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"{metric}: scores {values.shape} and labels {truth.shape} must both be (N,).")
    if values.size == 0:
        raise UndefinedMetricError(f"{metric} needs pictures; got none. Add some, or leave this measure out.")
    if not ((values >= 0) & (values <= 1)).all():  # also catches NaN
        raise UndefinedMetricError(
            f"{metric}: scores run from {values.min()} to {values.max()}; they must be probabilities in [0, 1]. Leave "
            "out pictures that were not inspected, or map the scores to [0, 1] first."
        )
    return values, truth
