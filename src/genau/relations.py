"""What a defect is to the good parts it is compared with: missing, extra, or changed at its place. (Ours.)"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genau.images import Letterbox
from genau.regions import Region, find_regions, keep_regions
from genau.results import CHANGED, EXTRA, MISSING

# Measured by benchmarks/logical.py on synthetic scenes; docs/inspect.md has the figures.
CLEARLY_MISSING = 0.6  # cosine distance from which a place is missing though the general map does not mark it
CLEAR_CHANGE = 0.2  # cosine distance below which a place shows what good parts show
CLEARLY_PLAINER = 0.05
UNLIKE, MOST_UNLIKE = 0.4, 0.3  # cosine distance; share of places that may lie so far from good parts in the same pose
USUAL_SHARE = 0.95  # of the rest of the picture lies below a change that stands out


@dataclass(frozen=True, eq=False)
class Places:
    """How a picture's places compare with those of good parts, on a grid (h, w) that covers the canvas."""

    missing: NDArray[np.float32]  # (h, w) cosine distance from what good parts show to the picture nearby
    extra: NDArray[np.float32]  # (h, w) the same from the picture to good parts
    plainer: NDArray[np.float32]  # (h, w) how much less uneven the picture is than good parts
    letterbox: Letterbox

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(h, w): which places lie on the picture."""
        return self.letterbox.valid_cells((self.missing.shape[0], self.missing.shape[1]))

    @property
    def change(self) -> NDArray[np.float32]:
        """(h, w): the larger of the two distances."""
        return np.maximum(self.missing, self.extra)

    @property
    def same_pose(self) -> bool:
        """Whether the picture shows its parts where good parts lie; loose parts do not, and no place tells anything."""
        return float((self.change[self.valid] >= UNLIKE).mean()) <= MOST_UNLIKE

    def cover(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return (h, w): the share of each cell that a mask (H, W) covers, zero on padding."""
        height, width = self.missing.shape
        side = self.letterbox.size
        canvas = self.letterbox.apply_mask(mask).reshape(height, side // height, width, side // width)
        share: NDArray[np.float32] = canvas.mean((1, 3), dtype=np.float32)
        return share * self.valid


def relate(regions: Sequence[Region], places: Places | None) -> list[str | None]:
    """Return each region's relation: missing, extra, changed; None where it does not stand out or none was compared.

    A place is missing where good parts are more uneven than the picture (a part has edges, the empty place has not),
    extra where the picture is, changed where neither clearly is.
    """
    if places is None or not regions or not places.same_pose:
        return [None] * len(regions)
    size_hw = places.letterbox.original_hw
    covers = [places.cover(keep_regions([region], size_hw)) for region in regions]
    change = places.change
    rest = places.valid & (np.sum(covers, 0) == 0)
    usual = float(np.quantile(change[rest], USUAL_SHARE)) if rest.any() else 0.0
    return [_relation(cover, change, places.plainer, max(usual, CLEAR_CHANGE)) for cover in covers]


def _relation(
    cover: NDArray[np.float32], change: NDArray[np.float32], plainer: NDArray[np.float32], least: float
) -> str | None:
    if not cover.any() or float(np.average(change, weights=cover)) < least:
        return None
    margin = float(np.average(plainer, weights=cover))
    if abs(margin) < CLEARLY_PLAINER:
        return CHANGED
    return MISSING if margin > 0 else EXTRA


def missing_regions(places: Places | None, marked: NDArray[np.bool_], inspected: NDArray[np.bool_]) -> list[Region]:
    """Return the regions (H, W) that clearly miss something and that the general mask `marked` does not touch."""
    if places is None or not places.same_pose:
        return []
    cells = (places.missing >= CLEARLY_MISSING) & (places.plainer >= CLEARLY_PLAINER)
    if not cells.any():
        return []
    empty = (places.letterbox.back(cells.astype(np.float32)) >= 0.5) & inspected
    return [region for region in find_regions(empty) if not marked[region.box_yx][region.inside].any()]
