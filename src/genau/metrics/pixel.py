"""Pixel measures of any number of anomaly maps in constant memory.

H W: an image; K: the bins of the histogram, from score 0 to score 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genau.metrics.counts import (
    Points,
    best_f1,
    binned_auroc,
    binned_average_precision,
    operating_bins,
    precision_recall_line,
    pro_area,
    pro_curve,
    roc_line,
    thinned,
)
from genau.metrics.image import UndefinedMetricError, require_both_classes

N_BINS = 65_536  # a power of two: a score falls below a bin's edge in float32 exactly if it does so in its bin
AUPRO_FPR_LIMIT = 0.3  # Bergmann et al. 2019
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.bool_)
_KINDS: dict[str, type[np.generic]] = {"normal": np.int64, "anomalous": np.int64, "overlap": np.float64}


class PixelHistogram:
    """Counts of normal and anomalous pixels by score, and the share of every defect region by score.

    Scores in the same of 65,536 bins count as ties: `tie_error` bounds what that can cost. Histograms of several
    workers are merged; the result does not depend on order. `arrays` and `from_arrays` save them without pickle.
    """

    def __init__(self) -> None:
        """Start without pixels."""
        self.normal = np.zeros(N_BINS, np.int64)  # (K,) normal pixels in each bin
        self.anomalous = np.zeros(N_BINS, np.int64)  # (K,) anomalous pixels in each bin
        self.overlap = np.zeros(N_BINS, np.float64)  # (K,) sum over regions of the share of the region in each bin
        self.n_regions = 0

    def update(self, scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one image. `scores`: (H, W) in [0, 1]; `mask`: (H, W) bool, True = defective, all False if it is normal.

        Regions are the 8-connected components of the mask. Raises `ValueError` for other shapes, kinds or ranges.
        """
        bins = score_bins(scores, mask)
        self.normal += np.bincount(bins.ravel(), minlength=N_BINS)
        box = _box(mask)  # only the rows and columns that hold a defect
        if box is None:
            return
        inside = mask[box]
        labels, n_regions = ndimage.label(inside, _EIGHT_NEIGHBOURS)
        regions = labels[inside]  # (n anomalous pixels,), from 1
        anomalous_bins = bins[box][inside]
        sizes = np.bincount(regions, minlength=n_regions + 1)
        counts = np.bincount(anomalous_bins, minlength=N_BINS)
        self.anomalous += counts
        self.normal -= counts
        self.overlap += np.bincount(anomalous_bins, 1.0 / sizes[regions], minlength=N_BINS)
        self.n_regions += n_regions

    def merge(self, other: "PixelHistogram") -> None:
        """Add the images that another histogram has seen."""
        self.normal += other.normal
        self.anomalous += other.anomalous
        self.overlap += other.overlap
        self.n_regions += other.n_regions

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return copies of the counts, to save with `np.savez`: normal, anomalous, overlap (K,), n_regions ()."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name).copy() for name in _KINDS}
        return arrays | {"n_regions": np.array(self.n_regions, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "PixelHistogram":
        """Rebuild a histogram from `arrays`, or from the file that `np.load` opens.

        Raises `ValueError` if an array is missing, negative, or of another shape or kind.
        """
        shapes = {name: (N_BINS,) for name in _KINDS} | {"n_regions": ()}
        kinds = _KINDS | {"n_regions": np.int64}
        read = {name: checked_array(arrays, name, shape, kinds[name]) for name, shape in shapes.items()}
        histogram = cls()
        histogram.normal, histogram.anomalous, histogram.overlap = (read[name] for name in _KINDS)
        histogram.n_regions = int(read["n_regions"])
        return histogram

    def auroc(self) -> float:
        """Return the probability that an anomalous pixel scores above a normal one, ties counting half.

        Raises `UndefinedMetricError` without both kinds of pixels, like the other measures.
        """
        self._require_both("Pixel AUROC")
        return binned_auroc(self.normal, self.anomalous)

    def tie_error(self) -> float:
        """Return the largest error that binning can have caused in `auroc`: half the share of pairs in one bin.

        Above about 0.001 the map uses too little of [0, 1] for its pixel measures to be trusted.
        """
        self._require_both("The tie error")
        return float((self.anomalous / self.anomalous.sum() * (self.normal / self.normal.sum())).sum() / 2)

    def average_precision(self) -> float:
        """Return the average precision over pixels, without interpolation."""
        self._require_both("Pixel average precision")
        return binned_average_precision(self.normal, self.anomalous)

    def f1_max(self) -> tuple[float, float]:
        """Return the best F1 over all thresholds and its threshold, at or above which a pixel is called defective."""
        self._require_both("Pixel F1-max")
        true_pos, predicted, bins = operating_bins(self.normal, self.anomalous)
        best, index = best_f1(true_pos, predicted)
        return best, float(bins[index]) / N_BINS

    def aupro(self, fpr_limit: float = AUPRO_FPR_LIMIT) -> float:
        """Return the area under the mean overlap per region, as a share of what the false positive rates allow.

        The curve runs over the false positive rate up to `fpr_limit`, and the area is divided by that. Every region
        counts alike, whatever its size; the curve is linear between thresholds and at the limit. Bergmann et al. 2021,
        "The MVTec Anomaly Detection Dataset", section 5.
        """
        self._require_regions("AUPRO")
        return pro_area(self.normal, self.overlap, self.n_regions, fpr_limit)

    def roc_points(self, most: int = 200) -> Points:
        """Return at most `most` points (false positive rate, true positive rate), from (0, 0) to (1, 1)."""
        self._require_both("The pixel ROC curve")
        true_pos, predicted, _ = operating_bins(self.normal, self.anomalous)
        return roc_line(true_pos, predicted, most)

    def precision_recall_points(self, most: int = 200) -> Points:
        """Return at most `most` points (recall, precision), from the strictest threshold to the laxest."""
        self._require_both("The pixel precision-recall curve")
        true_pos, predicted, _ = operating_bins(self.normal, self.anomalous)
        return precision_recall_line(true_pos, predicted, most)

    def pro_points(self, most: int = 200, fpr_limit: float = AUPRO_FPR_LIMIT) -> Points:
        """Return at most `most` points (false positive rate, overlap per region), from (0, 0) to the limit.

        The area under them, divided by `fpr_limit`, is `aupro`.
        """
        self._require_regions("The PRO curve")
        return thinned(*pro_curve(self.normal, self.overlap, self.n_regions, fpr_limit), most)

    def _require_both(self, metric: str) -> None:
        require_both_classes(metric, int(self.anomalous.sum()), int(self.normal.sum()), " pixels")

    def _require_regions(self, metric: str) -> None:
        require_regions(metric, self.n_regions, int(self.normal.sum()))


def require_regions(metric: str, n_regions: int, n_normal: int) -> None:
    """Raise `UndefinedMetricError` unless there are defect regions and normal pixels."""
    if n_regions == 0 or n_normal == 0:
        raise UndefinedMetricError(
            f"{metric} needs defect regions and normal pixels; got {n_regions} regions and {n_normal} normal "
            "pixels. Add images with masks, or leave this measure out."
        )


def checked_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], kind: type[np.generic]
) -> NDArray[Any]:
    """Return a copy of a saved array; raise `ValueError` where it cannot be what `arrays()` gave."""
    if name not in arrays:
        raise ValueError(f"The saved counts lack {name!r}; they hold {sorted(arrays)}. Save what arrays() returns.")
    array = np.asarray(arrays[name])
    if array.shape != shape or array.dtype != kind:
        raise ValueError(
            f"The saved {name!r} is {array.dtype} {array.shape}; it must be {np.dtype(kind)} {shape} (kind and shape). "
            "It was saved by another version or for another question: measure again."
        )
    if not (array >= 0).all():  # also catches NaN
        raise ValueError(f"The saved {name!r} has negative counts or NaN. The file is damaged: measure again.")
    return array.copy()


def score_bins(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the bin (H, W) of every score; raise `ValueError` for what would be counted wrongly."""
    if scores.ndim != 2 or scores.shape != mask.shape:
        raise ValueError(f"scores {scores.shape} and mask {mask.shape} must both be (H, W).")
    if mask.dtype != np.bool_:
        raise ValueError(f"mask has dtype {mask.dtype}; it must be bool. Use mask != 0.")
    if scores.size == 0:
        raise ValueError(f"scores {scores.shape} has no pixels; give the map of an image.")
    low, high = float(scores.min()), float(scores.max())
    if not (low >= 0 and high <= 1):  # also catches NaN, which fails every comparison
        raise ValueError(f"scores run from {low} to {high}; they must be finite and in [0, 1].")
    scaled = scores * np.float32(N_BINS)
    if high == 1:  # belongs to the last bin
        np.minimum(scaled, np.float32(N_BINS - 1), out=scaled)
    return scaled.astype(np.uint16)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the rows and columns that the mask touches, or None if it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    y = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[y].any(axis=0))
    return y, slice(int(columns[0]), int(columns[-1]) + 1)
