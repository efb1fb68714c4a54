"""Large pictures in overlapping tiles: where they lie, and how their maps become one map again.

H, W: the original picture in pixels. Row before column everywhere.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genau.errors import ImageError, UsageError

Tile: TypeAlias = int | Literal["auto"]  # side in pixels of the original, or chosen by the picture's size

OVERLAP = 0.25  # of a tile's side
SMALLEST_TILE = 64  # pixels; less is no picture of anything
MOST_TILES = 1024  # of one picture: each keeps its map until all are merged
MOST_AUTO_TILES = 64
WHOLE_UP_TO = 1.5  # canvases; a picture not longer than that loses too little by shrinking to be worth tiles
AUTO_STEP = 16  # pixels


class Box(NamedTuple):
    """A rectangle of pixels of the original; bottom and right exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to cut it out of an array (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def check(tile: Tile | None, overlap: float) -> None:
    """Refuse tiles that no picture can have.

    Raises:
        UsageError: the side is no whole number of at least `SMALLEST_TILE` nor "auto", or the overlap not in [0, 0.9).
    """
    if isinstance(tile, bool) or not (tile is None or tile == "auto" or isinstance(tile, int)):
        raise UsageError(f"tile={tile!r} is no size of a tile. Give its side in pixels, for example 640, or auto.")
    if isinstance(tile, int) and tile < SMALLEST_TILE:
        raise UsageError(
            f"A tile of {tile} pixels is too small to show anything; it must have at least {SMALLEST_TILE}. "
            "Use auto, or a larger one."
        )
    if not 0 <= overlap < 0.9:
        raise UsageError(f"The overlap {overlap} is not in [0, 0.9), a share of the tile's side. Use {OVERLAP}.")


def parse(text: str) -> Tile:
    """Read the side of a tile from the command line: a number of pixels, or "auto".

    Raises:
        UsageError: it is neither.
    """
    word = text.strip().lower()
    if word == "auto":
        return "auto"
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise UsageError(f"{text!r} is no size of a tile. Give its side in pixels, for example 640, or auto.")
    return int(word)


def plan(height: int, width: int, tile: int, overlap: float) -> list[Box]:
    """Return tiles that cover H x W, row-major; none where the whole picture is not larger than one.

    All have the same size; the last of a row or column is shifted inwards to end with the picture. A picture narrower
    than a tile gives tiles of its own width.
    """
    if max(height, width) <= tile:
        return []
    rows, columns = _spans(height, tile, overlap), _spans(width, tile, overlap)
    return [Box(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    """Return (start, stop) of the tiles along one side."""
    side = min(tile, length)
    starts = [min(k * _step(tile, overlap), length - side) for k in range(_count(length, tile, overlap))]
    return [(start, start + side) for start in starts]


def _step(tile: int, overlap: float) -> int:
    return max(1, math.floor(tile * (1 - overlap)))


def _count(length: int, tile: int, overlap: float) -> int:
    return 1 + max(0, math.ceil((length - tile) / _step(tile, overlap)))


def auto_side(height: int, width: int, canvas: int, overlap: float) -> int | None:
    """Return the side that suits a picture: the model's canvas, so that nothing is lost by shrinking.

    None where the picture's longer side is at most `WHOLE_UP_TO` canvases; larger where more than `MOST_AUTO_TILES`
    would be needed.
    """
    if max(height, width) <= WHOLE_UP_TO * canvas:
        return None
    side = canvas
    while _count(height, side, overlap) * _count(width, side, overlap) > MOST_AUTO_TILES:
        side += AUTO_STEP
    return side


def larger_than(height: int, width: int, tile: Tile | None) -> bool:
    """Whether a picture is larger than one tile; by "auto" and without tiles it always is."""
    return not isinstance(tile, int) or max(height, width) > tile


def choose(
    size_hw: tuple[int, int],
    canvas: int,
    tile: Tile | None,
    overlap: float = OVERLAP,
    roi: NDArray[np.bool_] | None = None,
) -> list[Box]:
    """Return the tiles of a picture for a model that sees `canvas` pixels; [] where it is seen whole only.

    Tiles wholly outside the region of interest (H, W) are left out.

    Raises:
        UsageError: as `check`, or the picture is not larger than one tile. ImageError: it needs too many of them.
    """
    check(tile, overlap)
    height, width = size_hw
    if not larger_than(height, width, tile):
        raise UsageError(
            f"A tile of {tile} pixels is not smaller than the picture of {width}x{height}: there is nothing to gain. "
            "Inspect it without tiles, or use smaller ones."
        )
    side = auto_side(height, width, canvas, overlap) if tile == "auto" else tile
    if side is None:
        return []
    if (needed := _count(height, side, overlap) * _count(width, side, overlap)) > MOST_TILES:
        raise ImageError(
            f"A picture of {width}x{height} needs {needed} tiles of {side} pixels with an overlap of {overlap:g}; at "
            f"most {MOST_TILES} are looked at. Use larger tiles, less overlap, or auto."
        )
    return [box for box in plan(height, width, side, overlap) if roi is None or bool(roi[box.slices].any())]


def blend(maps: Iterable[NDArray[np.float32]], boxes: Sequence[Box], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return one map (H, W) in [0, 1] of the maps of tiles, each in [0, 1] and of its box's size; 0 where none lies.

    A tile's weight falls linearly to its border inside overlaps, and the weights are normalised: no seam, as long as
    tiles overlap. Maps are taken one at a time.
    """
    rows = _weights({(box.top, box.bottom) for box in boxes})
    columns = _weights({(box.left, box.right) for box in boxes})
    total, weights = np.zeros(size_hw, np.float32), np.zeros(size_hw, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        weight = rows[box.top, box.bottom][:, None] * columns[box.left, box.right]
        total[box.slices] += weight * values
        weights[box.slices] += weight
    np.divide(total, weights, out=total, where=weights > 0)
    return np.clip(total, 0, 1, out=total)


def _weights(spans: set[tuple[int, int]]) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Return for each span of one side its weights (length,): ramps where it overlaps its neighbours, else 1."""
    found = {}
    for start, stop in spans:
        before = max((end for begin, end in spans if begin < start < end), default=start)
        after = min((begin for begin, end in spans if begin < stop < end), default=stop)
        rising = (np.arange(stop - start) + 0.5) / max(1, before - start)
        falling = (np.arange(stop - start)[::-1] + 0.5) / max(1, stop - after)
        # A ramp of no length is 0.5 at the first pixel and above 1 from there on.
        rising[0] = 1 if before == start else rising[0]
        falling[-1] = 1 if after == stop else falling[-1]
        found[start, stop] = np.minimum(np.minimum(rising, falling), 1).astype(np.float32)
    return found
