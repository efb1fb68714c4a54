"""Each defect's own pixels, cut out of the mask: what annotations and detections are made of."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genau.errors import UsageError
from genau.results import UNKNOWN_TYPE, Defect, Inspection

DEFECT_CLASS = "defect"  # where no types were asked for, so that nothing could be known


@dataclass(frozen=True, eq=False)
class Instance:
    """One defect with its pixels."""

    defect: Defect
    inside: NDArray[np.bool_]  # (h, w), cut out at the box
    box_yx: tuple[slice, slice]  # frame of the original image

    @property
    def area_px(self) -> int:
        """Pixels of the original image."""
        return int(self.inside.sum())

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask (H, W) in the frame of the original image."""
        mask = np.zeros(size_hw, np.bool_)
        mask[self.box_yx] = self.inside
        return mask


def instances(result: Inspection) -> Iterator[Instance]:
    """Yield each defect of a result with its connected region of the mask, in the order of `defects`.

    No two 8-connected regions have the same box: both would have to cross it from side to side. A defect whose box is
    no region's, in a result that was made by hand, gets what the mask holds inside its box.
    Raises `UsageError` for a result with defects but without a mask.
    """
    if not result.defects:
        return
    if not result.pred_mask.any():
        raise UsageError(
            f"The result of {result.image!r} names {len(result.defects)} defects but holds no mask: results that are "
            "read back from JSON have none. Inspect the image again, or ask for the format when the run is made."
        )
    labels, _ = ndimage.label(result.pred_mask, structure=np.ones((3, 3), np.int8))
    regions = {}
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        y, x = box
        regions[x.start, y.start, x.stop, y.stop] = labels[box] == number
    for defect in result.defects:
        left, top, right, bottom = defect.bbox_xyxy
        box_yx = (slice(top, bottom), slice(left, right))
        inside = regions.get(defect.bbox_xyxy, result.pred_mask[box_yx])
        yield Instance(defect, inside, box_yx)


def class_names(types: list[str]) -> list[str]:
    """Return the classes of a run: the types in their order, then what stands for a defect of none of them."""
    return [*(name for name in types if name != UNKNOWN_TYPE), untyped(types)]


def untyped(types: list[str]) -> str:
    """Return the class of a defect of no type: "unknown" beside types, "defect" where none were asked for."""
    return UNKNOWN_TYPE if any(name != UNKNOWN_TYPE for name in types) else DEFECT_CLASS


def class_name(defect: Defect, types: list[str]) -> str:
    """Return the class of one defect in a run with these types."""
    return untyped(types) if defect.type == UNKNOWN_TYPE else defect.type


def types_of(result: Inspection) -> list[str]:
    """Return the types of a result, those asked for first, in their order."""
    named = [*result.types, *result.type_masks, *(defect.type for defect in result.defects)]
    return [name for name in dict.fromkeys(named) if name != UNKNOWN_TYPE]
