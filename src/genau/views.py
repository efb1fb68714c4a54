"""Several views of one picture, the whole and its tiles: what they are compared with, and what they say together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from genau.errors import UsageError
from genau.images import Picture
from genau.judgement import Reply
from genau.model.context import ContextMemory
from genau.tiling import Box, Tile, blend


@dataclass(frozen=True, eq=False)
class ViewMemories:
    """Good parts, remembered twice: whole, and in tiles. Whole is compared with whole, a tile with all tiles."""

    whole: ContextMemory
    tiles: ContextMemory
    tile: Tile  # what was asked for when they were remembered


@dataclass(frozen=True, eq=False)
class Tiling:
    """Where a picture's tiles lie, and what they are compared with; they are looked at again at each question."""

    boxes: tuple[Box, ...]
    memory: ContextMemory | None


def memory_for(memory: ContextMemory | ViewMemories | None, tile: Tile | None) -> ContextMemory | ViewMemories | None:
    """Return a memory that fits the tiles.

    Raises:
        UsageError: the references were remembered without tiles, or with others.
    """
    if tile is None:
        return memory.whole if isinstance(memory, ViewMemories) else memory
    if isinstance(memory, ContextMemory) or (isinstance(memory, ViewMemories) and memory.tile != tile):
        held = f"in tiles of {memory.tile}" if isinstance(memory, ViewMemories) else "without tiles"
        raise UsageError(
            f"The references were remembered {held}, but the picture is to be seen in tiles of {tile}. "
            f"Remember them so: remember(references, tile={tile!r})."
        )
    return memory


def cut(picture: Picture, box: Box) -> Picture:
    """Return one tile as a picture of its own."""
    return Picture(np.ascontiguousarray(picture.rgb[box.slices]), picture.name)


def merge(whole: Reply, tiles: Sequence[Reply], boxes: Sequence[Box], size_hw: tuple[int, int]) -> Reply:
    """Return what the whole picture (H, W) and its tiles say together to one question.

    The scores are those of the view with the largest `pred_score`, or of one whose score is no number; the map is the
    larger of the whole picture's and the tiles', pixel by pixel.
    """
    highest = max((whole, *tiles), key=lambda view: math.inf if math.isnan(view.pred_score) else view.pred_score)
    draw = partial(_draw, whole, tiles, boxes, size_hw)
    return Reply(highest.pred_score, highest.map_score, highest.text_score, draw)


def _draw(whole: Reply, tiles: Sequence[Reply], boxes: Sequence[Box], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    blended = blend((tile.draw() for tile in tiles if tile.draw), boxes, size_hw)
    return blended if whole.draw is None else np.maximum(whole.draw(), blended, out=blended)
