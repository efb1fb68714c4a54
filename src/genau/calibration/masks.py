"""The mask's threshold: from masks that a person drew, or from the largest map values of good pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genau.calibration.choice import Method, choose
from genau.errors import UsageError

STEPS = 1000  # thresholds k / STEPS are tried
CRITERIA = ("iou", "f1")


@dataclass(frozen=True)
class PixelThreshold:
    """A mask threshold and, in words, where it comes from."""

    value: float  # in [0, 1]
    method: str


class MaskTally:
    """Counts, picture by picture and in constant memory, how well masks at each threshold fit those that were drawn."""

    def __init__(self, criterion: str = "iou") -> None:
        """Start without pictures; `criterion` is "iou" or "f1", each the mean over pictures."""
        if criterion not in CRITERIA:
            raise UsageError(f"criterion={criterion!r} must be one of {', '.join(CRITERIA)}.")
        self.criterion, self.pictures = criterion, 0
        self._sum = np.zeros(STEPS + 1)

    def add(self, anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one bad picture: its map (H, W) in [0, 1] and its drawn mask (H, W), which must not be empty.

        Raises:
            UsageError: the sizes differ or the mask is empty.
        """
        if anomaly_map.shape != mask.shape or not mask.any():
            fault = "is empty" if anomaly_map.shape == mask.shape else f"is {mask.shape}, its map {anomaly_map.shape}"
            raise UsageError(
                f"A mask {fault}. Give masks of the pictures' size that mark the defect, for bad pictures."
            )
        # Rounded down: a value belongs to the mask at every threshold k / STEPS up to itself.
        steps = np.clip(np.floor(anomaly_map.astype(np.float64) * STEPS + 1e-6), 0, STEPS).astype(np.int64)
        inside = np.bincount(steps[mask], minlength=STEPS + 1)[::-1].cumsum()[::-1]  # (STEPS + 1,) true positives
        drawn = np.bincount(steps.ravel(), minlength=STEPS + 1)[::-1].cumsum()[::-1]
        total = int(mask.sum())
        self._sum += 2 * inside / (drawn + total) if self.criterion == "f1" else inside / (drawn + total - inside)
        self.pictures += 1

    def threshold(self) -> PixelThreshold:
        """Return the threshold of the best mean; in the middle of a plateau of equally good ones.

        Raises:
            UsageError: no picture was added.
        """
        if not self.pictures:
            raise UsageError("No mask was given, so there is no mask threshold. Give masks of bad pictures (--masks).")
        means = self._sum / self.pictures
        best = np.flatnonzero(means >= means.max() - 1e-12)
        run = best[: int(np.argmax(np.append(np.diff(best) != 1, True))) + 1]  # the first unbroken stretch
        name = "IoU" if self.criterion == "iou" else "F1"
        words = f"largest mean {name} ({means.max():.3f}) over {self.pictures} drawn masks"
        return PixelThreshold(float(run[run.size // 2]) / STEPS, words)


def pixel_from_good(maxima: Sequence[float], method: Method = Method()) -> PixelThreshold:  # noqa: B008 (frozen)
    """Return a mask threshold that good pictures' maps hardly reach: the order statistic of their largest values.

    `maxima`: (n,), the largest value of each good picture's map, in [0, 1]; target and confidence are the method's.

    Raises:
        UsageError: there are fewer than two.
    """
    values = np.asarray(maxima, np.float64)
    values = values[np.isfinite(values)]
    if values.size < 2:
        raise UsageError(f"A mask threshold from good pictures needs at least 2 maps; got {values.size}. Add pictures.")
    by_alarms = Method(target_false_alarms=method.target_false_alarms, confidence=method.confidence)
    return PixelThreshold(choose(values, values[:0], by_alarms), f"above the maps of {values.size} good pictures")
