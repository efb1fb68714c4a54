"""From the head's margin on its grid to the anomaly map in the frame of the original image."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from genau.images import Letterbox

SMOOTHING_CELLS = 1.0  # standard deviation of the Gaussian, in cells of the finest grid; touches only the drawn map


def to_original(
    margin: NDArray[np.float32], letterbox: Letterbox, roi: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the anomaly map (H, W) in [0, 1] of a margin (h, w) that covers the whole canvas.

    Padding neither is drawn nor bleeds in. Outside the region of interest (H, W), where given, the map is 0.
    """
    inside = letterbox.valid_cells((margin.shape[0], margin.shape[1])).astype(np.float32)
    probability = np.where(inside > 0, expit(margin.astype(np.float32)), np.float32(0))
    weight = ndimage.gaussian_filter(inside, SMOOTHING_CELLS)
    smooth = ndimage.gaussian_filter(probability, SMOOTHING_CELLS) / np.maximum(weight, 1e-6)
    drawn = letterbox.back(np.clip(smooth, 0, 1).astype(np.float32))
    return drawn if roi is None else drawn * roi


def roi_cells(roi: NDArray[np.bool_], letterbox: Letterbox, grid_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (h, w): the cells of the finest grid that hold any pixel of the region of interest (H, W)."""
    canvas = letterbox.apply_mask(roi)
    rows, columns = (letterbox.size // cells for cells in grid_hw)
    blocks = canvas.reshape(grid_hw[0], rows, grid_hw[1], columns)
    cells: NDArray[np.bool_] = np.any(blocks, axis=(1, 3))
    return cells & letterbox.valid_cells(grid_hw)
