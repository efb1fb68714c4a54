"""A canvas in crops, as towers of a fixed picture size see it, and what they saw of it put together again.

A tower reads V x V pixels in patches of p, and of V the first s p only: a crop is that part of the canvas.
Shapes: B pictures, S canvas side, k crops across it, n crops in all, V side of the tower's pictures, s patches across
one of them, C channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from genau.errors import CheckpointError
from genau.model.backbones import Sight

ContextScales = tuple[tuple[tuple[int, ...], int, int], ...]  # as in GenAUConfig
USUAL_ACROSS = 2  # crops: finer than the canvas of nano, and five views of a picture at most
MIDDLE_LEVELS = (1, 2)  # first blocks see edges, last ones things: what is odd shows between them


@dataclass(frozen=True)
class Places:
    """Which crop of which picture each of n crops is; pictures in order, and of each its crops row by row."""

    picture: Tensor  # (n,)
    row: Tensor  # (n,)
    column: Tensor  # (n,)
    counts: tuple[int, ...]  # of each picture


@dataclass(frozen=True)
class Cutting:
    """How a canvas is cut."""

    canvas: int  # S, pixels
    view: int  # V, pixels
    patch: int  # p, pixels

    @classmethod
    def of(cls, canvas: int | None, view: int, patch: int, most: int) -> "Cutting":
        """Return how a canvas of at most `most` crops across is cut; it is of the usual size unless given.

        Raises:
            CheckpointError: it is not of whole crops, or of too many.
        """
        cutting = cls(view // patch * patch * USUAL_ACROSS if canvas is None else canvas, view, patch)
        if cutting.canvas % cutting.crop or not 1 <= cutting.across <= most:
            sizes = [str(cutting.crop * count) for count in range(1, most + 1)]
            raise CheckpointError(
                f"image_size={canvas} is not 1 to {most} crops of {cutting.crop} pixels, which this base sees at once. "
                f"Use {', '.join(sizes[:-1])} or {sizes[-1]}."
            )
        return cutting

    @property
    def cells(self) -> int:
        """Patches across a crop, s."""
        return self.view // self.patch

    @property
    def crop(self) -> int:
        """Side of a crop in canvas pixels."""
        return self.cells * self.patch

    @property
    def across(self) -> int:
        """Crops across the canvas, k."""
        return self.canvas // self.crop

    @property
    def context_scales(self) -> ContextScales:
        """Patches as they are, and about twice as large: the smallest multiple that divides the canvas."""
        larger = next(times for times in range(2, self.canvas) if self.canvas % (times * self.patch) == 0)
        return ((MIDDLE_LEVELS, self.patch, 2), (MIDDLE_LEVELS, larger * self.patch, 1))

    def places(self, content_hw: Tensor) -> Places:
        """Return the crops that hold content (B, 2), canvas pixels from the top left corner on."""
        found, counts = list[tuple[int, int, int]](), []
        for picture, (height, width) in enumerate(content_hw.tolist()):
            rows, columns = math.ceil(height / self.crop), math.ceil(width / self.crop)
            found += [(picture, row, column) for row in range(rows) for column in range(columns)]
            counts.append(rows * columns)
        pictures, rows_in, columns_in = torch.tensor(found, device=content_hw.device).T
        return Places(pictures, rows_in, columns_in, tuple(counts))

    def cut(self, pixel_values: Tensor, places: Places) -> Tensor:
        """Return crops (n, 3, V, V) of canvases (B, 3, S, S); zero where the tower does not look."""
        tiles = pixel_values.unflatten(2, (self.across, self.crop)).unflatten(4, (self.across, self.crop))
        crops = tiles[places.picture, :, places.row, :, places.column]  # (n, 3, crop, crop)
        unseen = self.view - self.crop
        return F.pad(crops, (0, unseen, 0, unseen))

    def whole(self, pixel_values: Tensor, content_hw: Tensor) -> Tensor:
        """Return the whole contents (B, 2) of canvases (B, 3, S, S) as (B, 3, V, V), stretched to a square."""
        views = [
            F.interpolate(canvas[None, :, :height, :width], (self.view, self.view), mode="bicubic", antialias=True)
            for canvas, (height, width) in zip(pixel_values, content_hw.tolist(), strict=True)
        ]
        return torch.cat(views)

    def stitch(self, crops: Tensor, places: Places) -> Tensor:
        """Return what was seen in crops (n, h * w, C), h = w, on the canvas (B, C, k h, k w); zero where nothing was.

        The cells of a crop are in raster order.
        """
        side, batch = math.isqrt(crops.shape[1]), len(places.counts)
        canvas = crops.new_zeros(batch, self.across, self.across, side, side, crops.shape[2])
        canvas[places.picture, places.row, places.column] = crops.unflatten(1, (side, side))
        return canvas.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def cells_of(self, places: Places, side: int) -> Tensor:
        """Return the cells (n, side * side) of the canvas's grid of k * side that crops of so many cells lie on."""
        grid = torch.arange((self.across * side) ** 2, device=places.row.device)
        grid = grid.view(self.across, side, self.across, side).transpose(1, 2).flatten(2)  # (k, k, side * side)
        return grid[places.row, places.column]


def level_blocks(count: int) -> tuple[int, int, int, int]:
    """Return after which of a tower's `count` blocks the pyramid's levels are taken: 1/4, 2/4, 3/4 and all."""
    first, second, third = (math.ceil(count * quarter / 4) for quarter in (1, 2, 3))
    return first, second, third, count


def look_through(tower: Any, embedded: Tensor, blocks: Sequence[int]) -> dict[int, Tensor]:  # noqa: ANN401
    """Return the states (n, s * s, C) after some of a tower's blocks, from embedded patches, which are those after 0.

    Asked for its states, a tower would keep all of them: gigabytes where it is large.
    """
    states, hidden = {0: embedded}, embedded
    for number, block in enumerate(tower.encoder.layers, 1):
        hidden = block(hidden, None)  # no mask: of a view every patch is read
        if number in blocks:
            states[number] = hidden
    return states


def sight_of(
    tokens: Sequence[Tensor], cells: Sequence[Tensor], token_grid: tuple[int, int], pyramid: tuple[Tensor, ...]
) -> Sight:
    """Return the sight of pictures with their own numbers of visual tokens (N_i, D), of cells (N_i,), in fp32."""
    counts = torch.tensor([len(own) for own in tokens], device=tokens[0].device)
    return Sight(
        pad_sequence(list(tokens), batch_first=True).float(),
        counts,
        pad_sequence(list(cells), batch_first=True, padding_value=-1),
        token_grid,
        tuple(level.float() for level in pyramid),
    )
