"""Place by place: does the picture show what good parts show there, and the reverse? (Ours.)

The context memory asks whether a patch occurs anywhere in good parts; a place that is empty is nothing strange to it.
Here a patch is compared with those around the same place only. Shapes: C channels, (h, w) the grid of one scale.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model.context import PicturePatches, ReferenceGrids

SCALE = 0  # the finest
MOST_SHIFT = 3  # cells that a part may lie beside its place
WINDOW = 1  # cells around a place; in wider ones an empty place finds the next part of its row
FAR = 2.0  # the largest cosine distance


@dataclass(frozen=True)
class Correspondence:
    """How a picture's places compare with the same places of good parts: medians over these; 0 where unknown."""

    missing: Tensor  # (h, w) cosine distance from what good parts show here to the nearest patch of the picture nearby
    extra: Tensor  # (h, w) cosine distance from what the picture shows here to the nearest patch of good parts nearby
    plainer: Tensor  # (h, w) how much less the picture changes from cell to cell here than good parts do, in [-2, 2]
    valid: Tensor  # (h, w) bool


def correspond(picture: PicturePatches, grids: ReferenceGrids) -> Correspondence | None:
    """Compare a picture with good parts of the same shape, each shifted onto it; None if none has its shape."""
    here, valid = picture.features[SCALE].float(), picture.valid[SCALE]
    maps = [
        _compare_places(here, there.float(), valid)
        for there, its_valid in zip(grids.features, grids.valid, strict=True)
        if torch.equal(its_valid, valid)
    ]
    if not maps:
        return None
    missing, extra, plainer = torch.stack(maps).quantile(0.5, 0) * valid
    return Correspondence(missing, extra, plainer, valid)


def find_shift(here: Tensor, there: Tensor, valid: Tensor) -> tuple[int, int]:
    """Return (down, right) in cells, so that there[y + down, x + right] is most like here[y, x]; both (C, h, w)."""
    best, found = -torch.inf, (0, 0)
    padded = [F.pad(part, (MOST_SHIFT,) * 4) for part in (there, valid[None].float())]
    steps = range(-MOST_SHIFT, MOST_SHIFT + 1)
    for down, right in sorted(((y, x) for y in steps for x in steps), key=lambda at: at[0] ** 2 + at[1] ** 2):
        moved, inside = (_window(part, (down, right), valid.shape) for part in padded)
        both = valid & (inside[0] > 0)
        if not both.any():
            continue
        likeness = float((torch.einsum("chw,chw->hw", here, moved) * both).sum() / both.sum())
        if likeness > best + 1e-6:  # of equals the smallest shift
            best, found = likeness, (down, right)
    return found


def nearest_nearby(patches: Tensor, others: Tensor, valid: Tensor) -> Tensor:
    """Return (h, w): cosine distance of each patch (C, h, w) to the nearest of the others within `WINDOW` cells."""
    side, grid = 2 * WINDOW + 1, valid.shape
    around = F.unfold(others[None], side, padding=WINDOW).view(len(others), side * side, *grid)  # (C, n, h, w)
    inside = F.unfold(valid[None, None].float(), side, padding=WINDOW).view(side * side, *grid) > 0
    distance = 1 - (patches[:, None] * around).sum(0)  # (n, h, w)
    return distance.masked_fill(~inside, FAR).amin(0)


def unevenness(patches: Tensor) -> Tensor:
    """Return (h, w): mean cosine distance of each patch (C, h, w) to the four next to it."""
    padded = F.pad(patches[None], (1, 1, 1, 1), mode="replicate")[0]
    sides = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return torch.stack([1 - (patches * side).sum(0) for side in sides]).mean(0)


def _compare_places(here: Tensor, there: Tensor, valid: Tensor) -> Tensor:
    """Return (3, h, w): missing, extra, plainer, against one good part; 0 where the shift leaves nothing to compare."""
    shift = find_shift(here, there, valid)
    moved, inside = _moved(there, shift), _moved(valid[None].float(), shift)[0] > 0
    both = valid & inside
    uneven = _moved(unevenness(there)[None], shift)[0] - unevenness(here)
    maps = [nearest_nearby(moved, here, valid), nearest_nearby(here, moved, inside), uneven]
    return torch.stack(maps) * both


def _moved(part: Tensor, shift: tuple[int, int]) -> Tensor:
    """Return (C, h, w) with cell (y + down, x + right) at (y, x), zero beyond its border."""
    return _window(F.pad(part, (MOST_SHIFT,) * 4), shift, part.shape[1:])


def _window(padded: Tensor, shift: tuple[int, int], grid: torch.Size) -> Tensor:
    top, left = MOST_SHIFT + shift[0], MOST_SHIFT + shift[1]
    return padded[:, top : top + grid[0], left : left + grid[1]]
