"""Pixels: a picture, the square canvas that a model sees of it, and the way back to the original frame.

H, W: original picture; S: side of the square canvas in pixels; h, w: a grid of cells that covers the whole canvas.
Row before column everywhere. Pixel i has its centre at i + 0.5.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.errors import ImageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Label = TypeVar("Label", bound=np.generic)

PAD_GREY = 127  # nothing to see there: the encoders' normalisation maps it close to 0


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright colour picture, ready to be inspected."""

    rgb: NDArray[np.uint8]  # (H, W, 3), upright (EXIF orientation applied), transparency on white
    name: str  # what to call it in results and errors

    def __post_init__(self) -> None:
        """Refuse arrays that are not 8-bit RGB pictures."""
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.size == 0:
            raise ImageError(
                f"Picture {self.name!r} holds {self.rgb.dtype} of shape {self.rgb.shape}; "
                "it must be uint8 of shape (H, W, 3). Use genau.reading.read_picture to convert."
            )

    @property
    def height(self) -> int:
        """H in pixels."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """W in pixels."""
        return int(self.rgb.shape[1])


@dataclass(frozen=True)
class Letterbox:
    """A picture scaled to fit into a square canvas, without distortion, its top left corner on the canvas's.

    The content starts at (0, 0) and only the right or the bottom is padded: a cell's position does not depend on the
    aspect ratio, and the way back needs no offset.
    """

    original_hw: tuple[int, int]  # (H, W) in pixels
    size: int  # S, side of the square canvas in pixels

    def __post_init__(self) -> None:
        """Refuse empty pictures and canvases."""
        if min(*self.original_hw, self.size) < 1:
            raise ImageError(
                f"A {self.original_hw[0]} x {self.original_hw[1]} picture (H x W) cannot be put on a canvas of side "
                f"{self.size}; every side must be at least 1 pixel. Check the picture's and the canvas's size."
            )

    @classmethod
    def of(cls, pixels: NDArray[Any], size: int) -> "Letterbox":
        """Return the letterbox of a picture or mask (H, W, ...) on a canvas of side `size`."""
        return cls((int(pixels.shape[0]), int(pixels.shape[1])), size)

    @property
    def content_hw(self) -> tuple[int, int]:
        """Size of the scaled picture on the canvas in pixels: the longer side is S, the shorter at least 1."""
        height, width = self.original_hw
        scale = self.size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def apply(self, rgb: NDArray[np.uint8], fill: int | tuple[int, int, int] = PAD_GREY) -> NDArray[np.uint8]:
        """Return the canvas (S, S, 3) of a picture (H, W, 3): bicubic, anti-aliased when it shrinks, padded by `fill`.

        Raises ImageError if the picture is not of `original_hw`.
        """
        self._check(rgb, "picture")
        content_h, content_w = self.content_hw
        # A reducing gap of 3 averages whole blocks first: 100 megapixels in a fraction of the time, same look.
        small = Image.fromarray(rgb).resize((content_w, content_h), Image.Resampling.BICUBIC, reducing_gap=3.0)
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        canvas[:] = fill
        canvas[:content_h, :content_w] = np.asarray(small)
        return canvas

    def apply_mask(self, mask: NDArray[Label]) -> NDArray[Label]:
        """Return the canvas (S, S) of a mask (H, W), same dtype, padded by 0.

        Shrinking takes the largest value of the pixels that a canvas pixel stands for, so that a defect of one pixel
        stays. Where several labels meet the largest wins: to keep every label, call it once per label with a
        bool mask. Growing takes the nearest. Raises ImageError if the mask is not of `original_hw`.
        """
        self._check(mask, "mask")
        content = mask
        for axis in (0, 1):
            content = _resample_labels(content, self.content_hw[axis], axis)
        canvas = np.zeros((self.size, self.size), mask.dtype)
        canvas[: content.shape[0], : content.shape[1]] = content
        return canvas

    def valid_cells(self, grid_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (h, w): the cells whose centre lies on the content; the first row and column always do."""
        valid = np.zeros(grid_hw, np.bool_)
        valid_h, valid_w = self._valid_hw(grid_hw)
        valid[:valid_h, :valid_w] = True
        return valid

    def back(self, cells: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the map (H, W) of a grid (h, w) of any resolution that covers the whole canvas.

        Bilinear between the cells' centres; a grid finer than the picture is averaged (triangle filter). Only
        `valid_cells` count, the outermost of them is continued to the edge, and the result stays in their range.
        """
        if cells.ndim != 2 or cells.size == 0:
            raise ImageError(
                f"The grid has shape {cells.shape}; it must be (h, w) and not empty. Pass one map at a time."
            )
        grid_hw = (cells.shape[0], cells.shape[1])
        valid_h, valid_w = self._valid_hw(grid_hw)
        valid = np.ascontiguousarray(cells[:valid_h, :valid_w], np.float32)
        # cells per original pixel
        step_h, step_w = (
            content / self.size * grid / original
            for content, grid, original in zip(self.content_hw, grid_hw, self.original_hw, strict=True)
        )
        rows = _taps(self.original_hw[0], valid_h, step_h)  # (H, h)
        columns = _taps(self.original_hw[1], valid_w, step_w)  # (W, w)
        pixels: NDArray[np.float32] = rows @ np.ascontiguousarray((columns @ valid.T).T)  # (H, h) @ (h, W)
        # The weights sum to 1 up to rounding; a probability of 1 must not come back as 1.0000001.
        return np.clip(pixels, valid.min(), valid.max(), out=pixels)

    def _valid_hw(self, grid_hw: tuple[int, int]) -> tuple[int, int]:
        # Centre (i + 0.5) * S / h lies on the content if it is smaller than the content's side.
        valid = [
            min(grid, max(1, math.ceil(content * grid / self.size - 0.5)))
            for content, grid in zip(self.content_hw, grid_hw, strict=True)
        ]
        return valid[0], valid[1]

    def _check(self, pixels: NDArray[Any], what: str) -> None:
        dims = 3 if what == "picture" else 2
        if pixels.shape[:2] != self.original_hw or pixels.ndim != dims:
            raise ImageError(
                f"The {what} has shape {pixels.shape}, but this letterbox was made for (H, W) = {self.original_hw}"
                f"{' with 3 channels' if dims == 3 else ''}. Make a letterbox of its own with Letterbox.of."
            )


def _taps(n_out: int, n_in: int, step: float) -> "csr_array":
    """Return the sparse weights (n_out, n_in) that interpolate linearly, `step` inputs per output.

    Centres are half-pixel; beyond the first and last input these are continued; a step above 1 widens the triangle,
    so that every input counts.
    """
    from scipy.sparse import csr_array

    reach = max(1.0, step)
    centres = np.clip((np.arange(n_out) + 0.5) * step - 0.5, 0, n_in - 1)  # in units of inputs
    n_taps = min(n_in, 2 * math.ceil(reach))
    first = np.clip(np.floor(centres - reach).astype(np.int64) + 1, 0, n_in - n_taps)
    index = first[:, None] + np.arange(n_taps)  # (n_out, n_taps)
    weights = np.maximum(0, 1 - np.abs(index - centres[:, None]) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    starts = np.arange(n_out + 1) * n_taps
    return csr_array((weights.ravel().astype(np.float32), index.ravel(), starts), shape=(n_out, n_in))


def _resample_labels(mask: NDArray[Any], n_out: int, axis: int) -> NDArray[Any]:
    n_in = mask.shape[axis]
    if n_out >= n_in:
        nearest = ((np.arange(n_out) + 0.5) * n_in / n_out).astype(np.int64)
        return np.asarray(np.take(mask, nearest, axis))
    # Every pixel belongs to the one canvas pixel that holds its centre: nothing vanishes, nothing is counted twice.
    starts = np.ceil(np.arange(n_out) * n_in / n_out - 0.5).astype(np.int64)
    return np.asarray(np.maximum.reduceat(mask, starts, axis))
