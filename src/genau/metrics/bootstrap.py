"""How far a measure could have come out otherwise with other pictures: bootstrap intervals.

N pictures, R resamples. Efron 1979. Only the pictures are resampled: what other training seeds would give is not in
these intervals.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genau.metrics.counts import best_f1, binned_auroc, binned_average_precision, operating_bins, pro_area
from genau.metrics.image import UndefinedMetricError, require_both_classes
from genau.metrics.pixel import AUPRO_FPR_LIMIT, N_BINS, PixelHistogram, checked_array, require_regions

PixelMeasure = Literal["auroc", "average_precision", "f1_max", "aupro"]
MOST_UNDEFINED = 0.05  # of the resamples: as much as a 95 % interval leaves out
_POISSON_ONE = np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 16)]))  # P(at most 0), P(at most 1), ...
_COUNTS = ("normal", "anomalous", "overlap", "n_regions")


def resample_indices(labels: ArrayLike, resamples: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """Return (R, N) indices of pictures drawn with replacement from those of the same label.

    `labels`: (N,), good or defective, or the index of a type. `labels[indices[r]]` equals `labels`: every resample
    has as many pictures of each class as the data, so no measure becomes undefined.
    """
    classes = np.asarray(labels)
    if classes.ndim != 1 or classes.size == 0 or resamples < 1:
        raise ValueError(
            f"labels {classes.shape} must be (N,) with at least one picture, resamples={resamples} at least 1."
        )
    rng = np.random.default_rng(seed)
    indices = np.empty((resamples, classes.size), np.int64)
    for value in np.unique(classes):
        places = np.flatnonzero(classes == value)
        indices[:, places] = places[rng.integers(0, places.size, (resamples, places.size))]
    return indices


def replicates(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    scores: ArrayLike,
    labels: ArrayLike,
    indices: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the measure (R,) of every resample.

    `scores`: (N,) or (N, C), `labels`: (N,), `indices`: (R, N) from `resample_indices`. For a measure that returns
    more than a number: `lambda scores, labels: f1_max(scores, labels)[0]`.
    """
    values, truth = np.asarray(scores), np.asarray(labels)
    if values.shape[:1] != truth.shape or indices.ndim != 2 or indices.shape[1] != truth.size:
        raise ValueError(
            f"scores {values.shape}, labels {truth.shape} and indices {indices.shape} must be (N,), (N,) and (R, N). "
            "Make the indices from these labels."
        )
    return np.array([metric(values[row], truth[row]) for row in indices], np.float64)


def interval(
    replicates: NDArray[np.float64],
    estimate: float,
    level: float = 0.95,
    clip: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Return low and high of the percentile interval, widened where it would leave out the estimate itself.

    `replicates`: (R,). Widening matters for measures that a resample flatters, such as F1-max. `clip` are the
    limits of what the measure can be. Up to 5 % of the replicates may be undefined (NaN): they are left out. Raises
    `UndefinedMetricError` where there are more: then there are too few defective pictures for an interval.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1. Use 0.95.")
    defined = replicates[np.isfinite(replicates)]
    if defined.size == 0 or defined.size < (1 - MOST_UNDEFINED) * replicates.size or not np.isfinite(estimate):
        raise UndefinedMetricError(
            f"An interval needs a finite estimate and replicates; got {estimate} and {replicates.size - defined.size} "
            f"undefined of {replicates.size}: too few pictures. Give the value alone, or add pictures."
        )
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    low, high = min(float(low), estimate), max(float(high), estimate)
    return (low, high) if clip is None else (max(low, clip[0]), min(high, clip[1]))


class PixelBootstrap:
    """Bootstrap of pixel measures over whole pictures, in constant memory and one pass.

    Every resample counts a picture Poisson(1) times (Oza and Russell 2001). How often follows from the picture's key
    alone, so neither order nor workers matter. Pixels are counted in few bins, which biases the level of a measure;
    `interval` takes only the spread from here.
    """

    def __init__(self, resamples: int = 200, bins: int = 1024) -> None:
        """Start without pictures. `bins` are few of the 65,536 of a `PixelHistogram`, finer near 0 and 1."""
        if resamples < 1 or not 16 <= bins <= N_BINS or bins % 2:
            raise ValueError(
                f"resamples={resamples} must be at least 1 and bins={bins} even and from 16 to {N_BINS}. "
                "Use 200 and 1024."
            )
        self.resamples, self.bins = resamples, bins
        self._starts = coarse_starts(bins)
        rows = resamples + 1  # row 0 counts every picture once
        self.normal = np.zeros((rows, bins), np.int64)
        self.anomalous = np.zeros((rows, bins), np.int64)
        self.overlap = np.zeros((rows, bins), np.float64)
        self.n_regions = np.zeros(rows, np.int64)

    def update(self, key: str, picture: PixelHistogram) -> None:
        """Add the histogram of one picture. `key` names it uniquely, such as its path within the data set."""
        weights = np.concatenate([[1], poisson_weights(key, self.resamples)])[:, None]  # (R + 1, 1)
        self.normal += weights * np.add.reduceat(picture.normal, self._starts)
        self.n_regions += weights[:, 0] * picture.n_regions
        if picture.n_regions:
            self.anomalous += weights * np.add.reduceat(picture.anomalous, self._starts)
            self.overlap += weights * np.add.reduceat(picture.overlap, self._starts)

    def merge(self, other: "PixelBootstrap") -> None:
        """Add the pictures that another one has seen. Raises `ValueError` if it has other resamples or bins."""
        if (self.resamples, self.bins) != (other.resamples, other.bins):
            raise ValueError(
                f"resamples and bins are {self.resamples}, {self.bins} here and {other.resamples}, {other.bins} there; "
                "they must agree. Give every worker the same."
            )
        for name in _COUNTS:
            counts = getattr(self, name)
            counts += getattr(other, name)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return copies of the counts, to save with `np.savez`: (R + 1, bins) each, n_regions (R + 1,)."""
        return {name: getattr(self, name).copy() for name in _COUNTS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "PixelBootstrap":
        """Rebuild from `arrays`, or from the file that `np.load` opens; raises like `PixelHistogram.from_arrays`."""
        shape = np.shape(arrays["normal"]) if "normal" in arrays else ()
        if len(shape) != 2:
            raise ValueError(
                f"The saved 'normal' has shape {shape}; it must be (R + 1, bins). Save what arrays() returns."
            )
        bootstrap = cls(shape[0] - 1, shape[1])
        for name in _COUNTS:
            empty = getattr(bootstrap, name)
            setattr(bootstrap, name, checked_array(arrays, name, empty.shape, empty.dtype.type))
        return bootstrap

    def replicates(self, measure: PixelMeasure) -> NDArray[np.float64]:
        """Return the measure (R,) of every resample, from coarse bins; NaN where one drew no defective picture.

        Raises `UndefinedMetricError` where the pictures themselves do not define the measure.
        """
        if measure not in get_args(PixelMeasure):
            raise ValueError(f"measure={measure!r} must be one of {', '.join(get_args(PixelMeasure))}.")
        self._coarse(measure, 0)
        return np.array([self._coarse_or_nan(measure, row) for row in range(1, self.resamples + 1)])

    def interval(self, measure: PixelMeasure, estimate: float, level: float = 0.95) -> tuple[float, float]:
        """Return low and high, in [0, 1], of the measure whose exact value is `estimate`.

        The coarse replicates are shifted by the difference between `estimate` and the coarse value of all pictures,
        so that the bias of coarse bins cancels. Raises like the function `interval`.
        """
        return interval(self.shifted_replicates(measure, estimate), estimate, level, (0.0, 1.0))

    def shifted_replicates(self, measure: PixelMeasure, estimate: float) -> NDArray[np.float64]:
        """Return the replicates (R,) around the exact value `estimate`; the bias of coarse bins cancels."""
        return self.replicates(measure) + (estimate - self._coarse(measure, 0))

    def _coarse_or_nan(self, measure: PixelMeasure, row: int) -> float:
        try:
            return self._coarse(measure, row)
        except UndefinedMetricError:
            return float("nan")

    def _coarse(self, measure: PixelMeasure, row: int) -> float:
        normal, anomalous = self.normal[row], self.anomalous[row]
        if measure == "aupro":
            n_regions = int(self.n_regions[row])
            require_regions("AUPRO", n_regions, int(normal.sum()))
            return pro_area(normal, self.overlap[row], n_regions, AUPRO_FPR_LIMIT)
        require_both_classes(f"Pixel {measure}", int(anomalous.sum()), int(normal.sum()), " pixels")
        if measure == "auroc":
            return binned_auroc(normal, anomalous)
        if measure == "average_precision":
            return binned_average_precision(normal, anomalous)
        true_pos, predicted, _ = operating_bins(normal, anomalous)
        return best_f1(true_pos, predicted)[0]


def coarse_starts(bins: int) -> NDArray[np.intp]:
    """Return (bins,) the first fine bin of each coarse one: single at both ends of [0, 1], wider towards the middle.

    Most pixels of a good detector score near 0, or near 1; equal bins would put them all into one, and the spread
    would vanish.
    """
    half, middle = bins // 2, N_BINS // 2
    edges = list(range(half // 4))
    start = len(edges)
    for left in range(half - start, 0, -1):
        edges.append(start)
        start = max(start + 1, round(start * (middle / start) ** (1 / left)))
    return np.array(edges + [N_BINS - edge for edge in [middle, *edges[:0:-1]]])


def poisson_weights(key: str, resamples: int) -> NDArray[np.int64]:
    """Return how often (R,) the picture of this key counts in each resample: Poisson of mean 1.

    Made from raw bits, whose stream numpy keeps over its versions, so a saved bootstrap can be continued.
    """
    seed = int.from_bytes(blake2b(key.encode(errors="surrogateescape"), digest_size=16).digest(), "little")
    uniform = np.random.PCG64(seed).random_raw(resamples) / 2.0**64  # (R,), in [0, 1]
    return np.searchsorted(_POISSON_ONE, uniform, side="right").astype(np.int64)
