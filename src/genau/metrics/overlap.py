"""Measures of one drawn mask. H W: the picture; True = defective."""

import numpy as np
from numpy.typing import NDArray

from genau.metrics.image import UndefinedMetricError


def iou(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return intersection over union of two masks (H, W).

    Raises `UndefinedMetricError` where nothing is defective: of good parts count those on which nothing is drawn.
    """
    _require_mask("pred", pred)
    _require_mask("truth", truth)
    if pred.shape != truth.shape:
        raise ValueError(
            f"pred {pred.shape} and truth {truth.shape} must have one shape (H, W). Scale pred to the truth."
        )
    if not truth.any():
        raise UndefinedMetricError(
            "IoU needs a defect in the truth; this mask is empty. Leave good parts out, and count those with a mask."
        )
    return float((pred & truth).sum() / (pred | truth).sum())


def _require_mask(name: str, mask: NDArray[np.bool_]) -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(
            f"{name} is {mask.dtype} {mask.shape}; it must be bool (H, W) with pixels. Use mask != 0 of one picture."
        )
