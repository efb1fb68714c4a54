"""What is true of an annotated picture, as far as its annotation tells; the answers say nothing else."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genau.appearance import appearance_found
from genau.datasets.layout import words
from genau.datasets.sample import Sample
from genau.instruct.knowledge import UNKNOWN, one_line
from genau.prompts import NOTHING
from genau.reading import read_picture
from genau.regions import Region, find_regions, locations, severity

# Names of folders and labels that say only that something is wrong, or that several things are.
VAGUE_TYPES = frozenset(
    {
        *("anomalous", "anomaly", "bad", "combined", "damaged", "defect", "defective", "ko", "mixed", "ng", "nok"),
        *("logical anomalies", "structural anomalies", "other", "others", "unknown"),
    }
)
_EVERY_PLACE = 9
SMALLEST_PX = 3  # smaller regions are left by drawing tools; nobody could count them


def type_names(sample: Sample) -> tuple[str, ...]:
    """Return a sample's types in words; none if one of them says only that something is wrong."""
    named = tuple(dict.fromkeys(words(name).lower() for name in sample.types))
    return () if VAGUE_TYPES.intersection(named) else named


@dataclass(frozen=True, eq=False)
class Facts:
    """What is true of one picture. Fields that the annotation does not tell are empty or None."""

    sample: Sample
    types: tuple[str, ...]  # present, largest first; empty for a good part, and where they are not told
    regions: tuple[Region, ...]  # connected, largest first, in pixels of the original picture
    share: float | None  # of the picture's area that is defective; None: not told
    place_of: dict[str, str]  # by type, where the masks tell types apart: "top left, center"

    @property
    def defective(self) -> bool:
        """Whether the part is defective."""
        return self.sample.label

    @property
    def places(self) -> tuple[str, ...]:
        """The 3x3 words of all regions, largest first, each once."""
        return tuple(locations(self.regions, most=_EVERY_PLACE).split(", ")) if self.regions else ()

    @property
    def location(self) -> str:
        """The line of the analysis: at most three places, "none" or "unknown"."""
        return (locations(self.regions) if self.regions else UNKNOWN) if self.defective else NOTHING

    @property
    def severity(self) -> str:
        """By share of the picture: minor, moderate, severe, "none" or "unknown"."""
        return (UNKNOWN if self.share is None else severity(self.share)) if self.defective else NOTHING

    @cached_property
    def appearance(self) -> str:
        """How the defect looks: as the data set says, else as measured on the picture, else "unknown"."""
        told = (self.sample.analysis or {}).get("appearance")
        if told:
            return one_line(told)
        if not self.regions:
            return UNKNOWN
        return appearance_found(read_picture(self.sample.image).rgb, self.regions)


def facts_of(sample: Sample) -> Facts:
    """Return what the annotation of a sample tells; reads its masks, if any, but not yet its picture.

    Raises `DataError` and `ImageError` as `Sample.read_masks` does.
    """
    types = type_names(sample)
    if not sample.label or sample.mask is None:
        return Facts(sample, types, (), None if sample.label else 0.0, {})
    masks: dict[str, NDArray[np.bool_]] = {words(name).lower(): mask for name, mask in sample.read_masks().items()}
    union: NDArray[np.bool_] = np.logical_or.reduce(list(masks.values()))
    told_apart = set(types) <= set(masks)
    if told_apart:
        types = tuple(sorted(types, key=lambda name: -int(masks[name].sum())))
    regions = _regions(union)
    place_of = {name: locations(_regions(masks[name])) for name in types} if told_apart else {}
    return Facts(sample, types, regions, float(union.mean()) if regions else None, place_of)


def _regions(mask: NDArray[np.bool_]) -> tuple[Region, ...]:
    return tuple(region for region in find_regions(mask) if region.area_px >= SMALLEST_PX)
