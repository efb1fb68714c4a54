"""What follows from a mask: connected regions, their boxes and sizes, where they lie, how severe they are.

Words and numbers about geometry are always computed here, never read from generated text; training answers too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genau.prompts import NOTHING
from genau.results import UNKNOWN_TYPE, Defect

SMALLEST_FRACTION = 2e-5  # of the picture's area; smaller specks are interpolation noise (12 px of 1000 x 600)
SEVERITIES = ("minor", "moderate", "severe")
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")
_EIGHT_CONNECTED = np.ones((3, 3), np.int8)


@dataclass(frozen=True, eq=False)
class Region:
    """One connected region of a mask, in the mask's frame."""

    inside: NDArray[np.bool_]  # (h, w), cut out at the box
    box_yx: tuple[slice, slice]
    area_px: int
    area_fraction: float  # of the whole picture
    location: str

    @property
    def bbox_xyxy(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels; right and bottom exclusive."""
        y, x = self.box_yx
        return x.start, y.start, x.stop, y.stop


def location_word(y: float, x: float) -> str:
    """Return the 3x3 location word of a point given in fractions of height and width: "top left" … "center"."""
    row, column = (min(2, int(value * 3)) for value in (y, x))
    return " ".join(word for word in (_ROWS[row], _COLUMNS[column]) if word) or "center"


def find_regions(mask: NDArray[np.bool_]) -> list[Region]:
    """Return the 8-connected regions of (H, W), largest first; specks under `SMALLEST_FRACTION` are left out."""
    labels, _ = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    regions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        area = int(inside.sum())
        if area < SMALLEST_FRACTION * mask.size:
            continue
        ys, xs = np.nonzero(inside)
        y, x = (box[0].start + ys.mean() + 0.5) / mask.shape[0], (box[1].start + xs.mean() + 0.5) / mask.shape[1]
        regions.append(Region(inside, (box[0], box[1]), area, area / mask.size, location_word(float(y), float(x))))
    return sorted(regions, key=lambda region: -region.area_px)


def keep_regions(regions: Sequence[Region], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of the regions only."""
    mask = np.zeros(size_hw, np.bool_)
    for region in regions:
        mask[region.box_yx] |= region.inside
    return mask


def to_defects(
    regions: Sequence[Region],
    anomaly_map: NDArray[np.float32],
    type_means: Mapping[str, Sequence[float]],
    relations: Sequence[str | None] | None = None,
) -> tuple[Defect, ...]:
    """Make a record of each region; largest score first.

    `type_means` holds, for each type that is present in the picture, the mean of its map over each region: the
    largest gives the region's type; without any the type is "unknown". `relations` holds one per region.
    """
    defects = []
    for number, region in enumerate(regions):
        best = max(type_means, key=lambda name: type_means[name][number], default=UNKNOWN_TYPE)
        score = float(anomaly_map[region.box_yx][region.inside].max())
        relation = None if relations is None else relations[number]
        defects.append(
            Defect(best, score, region.bbox_xyxy, region.area_px, region.area_fraction, region.location, relation)
        )
    return tuple(sorted(defects, key=lambda defect: -defect.score))


@dataclass(frozen=True)
class SeverityRules:
    """When defects are minor, moderate or severe."""

    moderate: float = 0.005  # from this share of the picture's area on
    severe: float = 0.05
    types: Mapping[str, str] = field(default_factory=dict)  # how severe a type is at least, however small

    def of(self, area_fraction: float, types: Iterable[str] = ()) -> str:
        """Return the severity of defects that cover this share of the picture; none for zero."""
        if area_fraction <= 0:
            return NOTHING
        by_area = SEVERITIES[int(area_fraction >= self.moderate) + int(area_fraction >= self.severe)]
        known = [by_area, *(self.types[name] for name in types if name in self.types)]
        return max(known, key=SEVERITIES.index)


def severity(area_fraction: float) -> str:
    """Return the severity by the rules that the answers of the training follow."""
    return SeverityRules().of(area_fraction)


def locations(regions: Sequence[Region], most: int = 3) -> str:
    """Return where the defects are, largest first, each word once: "top left, center"."""
    return ", ".join(list(dict.fromkeys(region.location for region in regions))[:most]) or NOTHING
