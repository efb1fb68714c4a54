"""What tiles cost, told before a run begins."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import say
from genau.errors import ImageError, UsageError

if TYPE_CHECKING:
    from genau.inspector import Inspector
    from genau.model.context import ContextMemory
    from genau.tiling import Tile
    from genau.views import ViewMemories

SIZES_TOLD = 3  # the most frequent ones

TileSide = Annotated[str | None, typer.Option("--tile", help="See large pictures in tiles too: pixels, or auto.")]
Overlap = Annotated[float, typer.Option(help="Share of a tile's side that its neighbour sees too.")]


def read_tile(text: str | None, overlap: float) -> "Tile | None":
    """Return the side of the tiles that were asked for.

    Raises:
        UsageError: it is no such side, or the overlap is none.
    """
    from genau.tiling import check, parse

    tile = None if text is None else parse(text)
    check(tile, overlap)
    return tile


class Costs:
    """The sizes of a run's pictures, read from their headers; nothing is read without tiles."""

    def __init__(self, paths: Sequence[Path], tile: "Tile | None", overlap: float, roi: Path | None) -> None:
        """Count the sizes.

        Raises:
            UsageError: no picture is larger than a tile.
        """
        from genau.arguments import load_roi
        from genau.tiling import larger_than

        self.tile, self.overlap = tile, overlap
        self.sizes = Counter[tuple[int, int]]()
        if tile is None:
            return
        for path in paths:
            self.sizes.update(_size(path))
        self.roi = None if roi is None else load_roi(roi)
        if self.sizes and not any(larger_than(*size_hw, tile) for size_hw in self.sizes):
            height, width = max(self.sizes, key=max)
            raise UsageError(
                f"A tile of {tile} pixels is not smaller than any picture; the largest has {width}x{height}: there is "
                "nothing to gain. Leave --tile out, or use smaller ones."
            )

    def tell(
        self,
        inspector: "Inspector",
        memory: "ContextMemory | ViewMemories | None",
        product: str | None,
        types: Mapping[str, str | None] | None,
    ) -> None:
        """Say on stderr how many views each size of picture has, and about how long they take on this machine."""
        if not self.sizes:
            return
        seconds = _seconds_per_view(inspector, memory, product, types)
        canvas = inspector.processor.image_processor.size
        for size_hw, count in self.sizes.most_common(SIZES_TOLD):
            say(f"{size_hw[1]}x{size_hw[0]}: {self._cost(size_hw, canvas, seconds)}{_times(count)}")
        if (more := len(self.sizes) - SIZES_TOLD) > 0:
            say(f"and {more} more size{'s' if more > 1 else ''} of picture")

    def _cost(self, size_hw: tuple[int, int], canvas: int, seconds: float) -> str:
        from genau.tiling import choose, larger_than

        if not larger_than(*size_hw, self.tile):
            return f"not larger than a tile of {self.tile} pixels, seen whole"
        roi = self.roi if self.roi is not None and self.roi.shape == size_hw else None
        try:
            boxes = choose(size_hw, canvas, self.tile, self.overlap, roi)
        except ImageError as error:
            return str(error)
        if not boxes:
            return "1 view, the whole: tiles would not show more"
        side = max(boxes[0].bottom - boxes[0].top, boxes[0].right - boxes[0].left)
        views = len(boxes) + 1
        return f"{views} views, the whole and {views - 1} of {side} pixels, about {_duration(views * seconds)}"


def _size(path: Path) -> list[tuple[int, int]]:
    """Return (H, W) of a picture, or nothing where it cannot be read: its row will say why."""
    from genau.reading import read_size

    try:
        return [read_size(path)]
    except ImageError:
        return []


def _seconds_per_view(
    inspector: "Inspector",
    memory: "ContextMemory | ViewMemories | None",
    product: str | None,
    types: Mapping[str, str | None] | None,
) -> float:
    """Measure one view of noise, after one to warm up."""
    import numpy as np

    from genau.views import ViewMemories

    canvas = inspector.processor.image_processor.size
    noise = np.random.default_rng(0).integers(0, 256, (canvas, canvas, 3), np.uint8)
    compared = memory.tiles if isinstance(memory, ViewMemories) else memory
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        inspector.inspect(noise, references=compared, product=product, types=types, analysis=False)
        seconds = time.perf_counter() - started
    return seconds


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s per picture on this machine" if seconds < 90 else f"{seconds / 60:.0f} min per picture"


def _times(count: int) -> str:
    return f" ({count} pictures)" if count > 1 else ""
