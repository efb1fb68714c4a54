"""One annotated picture of a data set, as every reader delivers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genau.errors import DataError

UNTYPED = "defect"  # key of `read_masks` where pixels cannot be told apart by type
# What a reference description in words may tell: the fields of `results.Analysis` but the verdict, which is the label.
ANALYSIS_KEYS = ("types", "location", "appearance", "severity", "likely_cause", "recommendation")
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class Sample:
    """One picture, its label and where its mask is; nothing of the picture is read before a mask is asked for."""

    image: Path
    label: bool  # True = defective
    product: str  # words for prompts, for example "printed circuit board"
    category: str  # the row of the tables, for example "pcb1"
    dataset: str
    split: str
    types: tuple[str, ...] = ()  # defect types present, as the annotation says; empty if it names none
    mask: Path | None = None  # None for normal pictures and for defective ones whose pixels nobody annotated
    mask_types: Mapping[int, str] | None = field(default=None, hash=False)
    # pixel value of the mask -> type; None: every pixel that is not 0 is defective
    group: str | None = None  # pictures of the same physical part share it; a split never parts them
    analysis: Mapping[str, str] | None = field(default=None, hash=False)
    # reference description in words, some or all of `ANALYSIS_KEYS`
    more_masks: tuple[Path, ...] = ()  # beside `mask`, where each defect of the picture has a mask of its own

    def __post_init__(self) -> None:
        """Refuse normal samples that carry defects, and further masks where there is no first untyped one."""
        if self.more_masks and (self.mask is None or self.mask_types is not None):
            raise ValueError(f"{self.image} has more_masks={self.more_masks}; they need a mask, and no mask_types.")
        if not self.label and (self.types or self.mask is not None):
            raise ValueError(f"{self.image} is normal but has types={self.types} and mask={self.mask}.")

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files of all masks."""
        return () if self.mask is None else (self.mask, *self.more_masks)

    @property
    def has_mask(self) -> bool:
        """Whether every pixel's truth is known: always for normal pictures, with a mask for defective ones."""
        return not self.label or self.mask is not None

    def read_mask(self, size_hw: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Return the union of all defects, (H, W), in the upright frame of the image; all False if it is normal.

        `size_hw` is the image's upright size where the caller knows it: it saves reading a normal picture, and the
        mask must have it. Raises `DataError` for a defective sample without mask or with an empty or unfit one.
        """
        if self.label:
            return self._read_values(size_hw).astype(np.bool_)
        if size_hw is None:
            from genau.reading import read_picture  # Pillow is loaded when pixels are wanted, not with the list

            size_hw = read_picture(self.image).rgb.shape[:2]
        return np.zeros(size_hw, np.bool_)

    def read_masks(self, size_hw: tuple[int, int] | None = None) -> dict[str, NDArray[np.bool_]]:
        """Return one mask (H, W) per type, in the upright frame of the image; an empty dict if it is normal.

        Annotated types come first and may be empty where the drawing lacks them. The only key is "defect" where the
        annotation names no type, or several without saying which pixel is which. Raises like `read_mask`.
        """
        if not self.label:
            return {}
        values = self._read_values(size_hw)
        if self.mask_types is None:
            return {self.types[0] if len(self.types) == 1 else UNTYPED: values != 0}
        masks = {name: np.zeros(values.shape, np.bool_) for name in self.types}
        for value in np.unique(values[values != 0]).tolist():
            if value not in self.mask_types:
                raise DataError(
                    f"{self.mask} has pixels of value {value}; the types are numbered {dict(self.mask_types)}. "
                    "Draw the mask with these values, or add the missing type to the list."
                )
            name = self.mask_types[value]
            masks[name] = masks.get(name, False) | (values == value)
        return masks

    def _read_values(self, size_hw: tuple[int, int] | None) -> NDArray[np.int32]:
        """Return the raw mask values (H, W) of a defective sample, checked for size and for being empty."""
        if self.mask is None:
            raise DataError(
                f"{self.image} is defective but has no mask, so its defective pixels are unknown. "
                "Add a mask, or leave the sample out of pixel measures (`has_mask` tells)."
            )
        values = self._read_file(self.mask, size_hw)
        for path in self.more_masks:
            values = np.maximum(values, self._read_file(path, size_hw))
        if not values.any():
            raise DataError(
                f"{self.mask} is empty but {self.image} is labelled defective. "
                "Draw the defect, label the image normal, or remove the mask if the pixels are not annotated."
            )
        return values

    def _read_file(self, path: Path, size_hw: tuple[int, int] | None) -> NDArray[np.int32]:
        from genau.reading import read_mask

        values: NDArray[np.int32] = read_mask(path, self.image)
        if size_hw is not None and values.shape != tuple(size_hw):
            raise DataError(
                f"{path} has the size {values.shape}, its image {tuple(size_hw)} (H, W). "
                "A mask must be drawn in the frame of its upright image: export it again at that size."
            )
        if path.suffix.lower() in _LOSSY_SUFFIXES:
            if self.mask_types is not None:
                raise DataError(f"{path} is a JPEG, which blurs type numbers. Save typed masks as PNG.")
            values = values * (values > 127)  # JPEG rings a few grey levels around every edge
        return values
