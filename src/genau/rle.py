"""Masks as COCO's compressed run lengths: exact, small, and read by every tool of that format.

Runs alternate background, foreground, … down the columns, as in COCO. The string holds 5 bits per character; from the
fourth run on the difference to the run before the last is stored (`rleToString` in cocoapi, common/maskApi.c).

Shapes: H, W the picture's height and width; h, w those of a part of it.
"""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from genau.errors import DataError

_FIRST_CHARACTER = 48  # "0"
_HIGHEST = 48 + 63


class Rle(TypedDict):
    """A mask as COCO's JSON holds it."""

    size: list[int]  # [H, W]
    counts: str


def encode(mask: NDArray[np.bool_], *, at_yx: tuple[int, int] = (0, 0), size_hw: tuple[int, int] | None = None) -> Rle:
    """Return the run lengths of a mask (H, W), or of a part (h, w) whose first pixel lies at `at_yx` of `size_hw`.

    Raises `ValueError` if the mask has not two axes or the part does not lie inside.
    """
    if mask.ndim != 2:
        raise ValueError(f"The mask has shape {mask.shape}; it must be (H, W).")
    top, left = at_yx
    height, width = size_hw or (mask.shape[0], mask.shape[1])
    if min(top, left) < 0 or top + mask.shape[0] > height or left + mask.shape[1] > width:
        raise ValueError(f"A part {mask.shape} at {at_yx} (y, x) does not lie inside {(height, width)} (H, W).")
    columns, rows = np.nonzero(mask.T)
    place = (columns + left) * height + rows + top  # (area,), position down the columns, ascending
    counts = [height * width]
    if place.size:
        last = np.flatnonzero(np.diff(place) != 1)
        starts, stops = place[np.r_[0, last + 1]], place[np.r_[last, -1]] + 1
        edges = np.stack([starts, stops], axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=height * width).tolist()
        if counts[-1] == 0:  # COCO ends with the last run that has pixels
            counts.pop()
    return {"size": [height, width], "counts": _compressed(counts)}


def decode(rle: Mapping[str, object]) -> NDArray[np.bool_]:
    """Return the mask (H, W). Raises `DataError` for run lengths that are damaged or do not fill the picture."""
    size, text = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and isinstance(text, str)):
        raise DataError(
            f"Run lengths need a size [H, W] and a counts string, but have {sorted(rle)}. "
            "Read the `segmentation` of an annotation in compressed form."
        )
    height, width = int(size[0]), int(size[1])
    counts = _counts(text)
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise DataError(
            f"The runs hold {sum(counts)} pixels, the picture {height} x {width} (H x W). "
            "The counts are damaged, or belong to another picture; write the file again."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def area(rle: Rle) -> int:
    """Return the number of foreground pixels."""
    return sum(_counts(rle["counts"])[1::2])


def _compressed(counts: list[int]) -> str:
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(chr((bits | 0x20 if more else bits) + _FIRST_CHARACTER))
    return "".join(characters)


def _counts(text: str) -> list[int]:
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        if not _FIRST_CHARACTER <= ord(character) <= _HIGHEST:
            raise DataError(f"{character!r} is no character of compressed run lengths. Write the file again.")
        bits = ord(character) - _FIRST_CHARACTER
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise DataError("The run lengths end in the middle of a number: the counts are cut off. Write the file again.")
    return counts
