"""Pixel measures of any number of anomaly maps in constant memory.

H W: an image; K: the bins of the histogram, from score 0 to score 1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genau.metrics.image import UndefinedMetricError, best_f1, precision_integral, require_both_classes

N_BINS = 65_536  # a power of two: a score falls below a bin's edge in float32 exactly if it does so in its bin
AUPRO_FPR_LIMIT = 0.3  # Bergmann et al. 2019
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.bool_)


class PixelHistogram:
    """Counts of normal and anomalous pixels by score, and the share of every defect region by score.

    Scores in the same of 65,536 bins count as ties: `tie_error` bounds what that can cost. Histograms of several
    workers are merged; the result does not depend on order. They pickle.
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
        bins = _bins(scores, mask)
        everything = np.bincount(bins.ravel(), minlength=N_BINS)
        window = ndimage.find_objects(mask.view(np.uint8))  # label only the rows and columns that hold a defect
        if window:
            inside = mask[window[0]]
            labels, n_regions = ndimage.label(inside, _EIGHT_NEIGHBOURS)
            regions = labels[inside]  # (n anomalous pixels,), from 1
            anomalous_bins = bins[window[0]][inside]
            sizes = np.bincount(regions, minlength=n_regions + 1)
            counts = np.bincount(anomalous_bins, minlength=N_BINS)
            self.anomalous += counts
            self.overlap += np.bincount(anomalous_bins, 1.0 / sizes[regions], minlength=N_BINS)
            self.n_regions += n_regions
            everything -= counts
        self.normal += everything

    def merge(self, other: "PixelHistogram") -> None:
        """Add the images that another histogram has seen."""
        self.normal += other.normal
        self.anomalous += other.anomalous
        self.overlap += other.overlap
        self.n_regions += other.n_regions

    def auroc(self) -> float:
        """Return the probability that an anomalous pixel scores above a normal one, ties counting half.

        Raises `UndefinedMetricError` without both kinds of pixels, like the other measures.
        """
        self._require_both("Pixel AUROC")
        below = np.cumsum(self.normal) - self.normal  # (K,) normal pixels in lower bins
        wins = (self.anomalous * (below + self.normal / 2)).sum()  # float: the product exceeds 2**63 on large sets
        return float(wins / self.anomalous.sum() / self.normal.sum())

    def tie_error(self) -> float:
        """Return the largest error that binning can have caused in `auroc`: half the share of pairs in one bin.

        Above about 0.001 the map uses too little of [0, 1] for its pixel measures to be trusted.
        """
        self._require_both("The tie error")
        return float((self.anomalous / self.anomalous.sum() * (self.normal / self.normal.sum())).sum() / 2)

    def average_precision(self) -> float:
        """Return the average precision over pixels, without interpolation."""
        self._require_both("Pixel average precision")
        true_pos, predicted, _ = self._operating_points()
        return precision_integral(true_pos, predicted)

    def f1_max(self) -> tuple[float, float]:
        """Return the best F1 over all thresholds and its threshold, at or above which a pixel is called defective."""
        self._require_both("Pixel F1-max")
        true_pos, predicted, bins = self._operating_points()
        best, index = best_f1(true_pos, predicted)
        return best, float(bins[index]) / N_BINS

    def aupro(self, fpr_limit: float = AUPRO_FPR_LIMIT) -> float:
        """Return the area under the mean overlap per region, as a share of what the false positive rates allow.

        The curve runs over the false positive rate up to `fpr_limit`, and the area is divided by that. Every region
        counts alike, whatever its size; the curve is linear between thresholds and at the limit. Bergmann et al. 2021,
        "The MVTec Anomaly Detection Dataset", section 5.
        """
        if not 0 < fpr_limit <= 1:
            raise ValueError(f"fpr_limit={fpr_limit} must be above 0 and at most 1.")
        n_normal = int(self.normal.sum())
        if self.n_regions == 0 or n_normal == 0:
            raise UndefinedMetricError(
                f"AUPRO needs defect regions and normal pixels; got {self.n_regions} regions and {n_normal} normal "
                "pixels. Add images with masks, or leave this measure out."
            )
        fpr = np.concatenate([[0.0], np.cumsum(self.normal[::-1]) / n_normal])  # (K + 1,), strictest threshold first
        pro = np.concatenate([[0.0], np.cumsum(self.overlap[::-1]) / self.n_regions])
        n_inside = int(np.searchsorted(fpr, fpr_limit, side="right"))
        x = np.append(fpr[:n_inside], fpr_limit)
        y = np.append(pro[:n_inside], np.interp(fpr_limit, fpr[n_inside - 1 :], pro[n_inside - 1 :]))
        return float(np.trapezoid(y, x) / fpr_limit)

    def _operating_points(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return true positives, predicted positives and bin of every bin that is not empty, highest first."""
        total = self.normal + self.anomalous
        bins = np.flatnonzero(total)[::-1]
        return np.cumsum(self.anomalous[bins]), np.cumsum(total[bins]), bins

    def _require_both(self, metric: str) -> None:
        require_both_classes(metric, int(self.anomalous.sum()), int(self.normal.sum()), " pixels")


def _bins(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the bin (H, W) of every score; refuse what would be counted wrongly."""
    if scores.ndim != 2 or scores.shape != mask.shape:
        raise ValueError(f"scores {scores.shape} and mask {mask.shape} must both be (H, W).")
    if mask.dtype != np.bool_:
        raise ValueError(f"mask has dtype {mask.dtype}; it must be bool. Use mask != 0.")
    if scores.size == 0:
        raise ValueError(f"scores {scores.shape} has no pixels; give the map of an image.")
    low, high = float(scores.min()), float(scores.max())
    if not (low >= 0 and high <= 1):  # also catches NaN, which fails every comparison
        raise ValueError(f"scores run from {low} to {high}; they must be finite and in [0, 1].")
    bins = (scores * np.float32(N_BINS)).astype(np.int64)
    return np.minimum(bins, N_BINS - 1, out=bins)  # a score of exactly 1 belongs to the last bin
