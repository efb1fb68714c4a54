"""Masks of all types in one palette picture per image: 0 is background, i the i-th type, 255 a defect of no type."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.errors import UsageError
from genau.report.files import Place, write_bytes
from genau.report.instances import types_of, untyped
from genau.report.overlay import type_colours
from genau.results import UNKNOWN_TYPE, Inspection

INDEXED, _CLASSES = "indexed", "classes.json"
UNTYPED_INDEX = 255
_MOST_TYPES = UNTYPED_INDEX - 1


def indexed_mask(result: Inspection, index: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return the mask (H, W) of class indices in the frame of the original; `index` gives each type's.

    Where masks of types overlap, the type with the largest score of the picture counts, of equal ones the first. What
    only the general mask holds is `UNTYPED_INDEX`.
    """
    classes = np.zeros((result.height, result.width), np.uint8)
    if result.pred_mask.size:
        classes[result.pred_mask] = UNTYPED_INDEX

    def rank(name: str) -> tuple[float, int]:
        return float(np.nan_to_num(result.types.get(name, 0.0), nan=-1.0)), -index[name]

    for name in sorted((name for name in result.type_masks if name in index), key=rank):  # the best is painted last
        if result.type_masks[name].size:
            classes[result.type_masks[name]] = index[name]
    return classes


class IndexedMasks:
    """Writes `indexed/<relative>.png` of each image, and `indexed/classes.json` with what the indices mean."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / INDEXED
        self._index: dict[str, int] = {}

    def add(self, result: Inspection, place: Place | None) -> None:
        """Write the mask of one image, beside its general mask in name. Raises `OSError`, `UsageError`."""
        new = [name for name in types_of(result) if name not in self._index]
        if len(self._index) + len(new) > _MOST_TYPES:
            raise UsageError(
                f"The run has {len(self._index) + len(new)} types; a palette picture holds {_MOST_TYPES}. "
                "Ask for fewer types, or leave the format masks out: each type has a mask of its own in masks/."
            )
        self._index |= {name: number for number, name in enumerate(new, start=len(self._index) + 1)}
        if new:
            self._write_classes()
        if place is None or not place.mask:
            return
        picture = Image.fromarray(indexed_mask(result, self._index), mode="P")
        picture.putpalette(_palette(result, self._index))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        write_bytes(self._folder / place.mask.removeprefix("masks/"), buffer.getvalue())

    def close(self, jsonl: Path, places: Sequence[Place | None]) -> None:
        """Write what the indices mean, also where there were no types. Raises `OSError`."""
        self._write_classes()

    def _write_classes(self) -> None:
        classes = {0: "background"} | {number: name for name, number in self._index.items()}
        classes[UNTYPED_INDEX] = untyped(list(self._index))
        write_bytes(self._folder / _CLASSES, (json.dumps(classes, indent=2) + "\n").encode())


def _palette(result: Inspection, index: Mapping[str, int]) -> list[int]:
    """Return 256 colours in a row, of each type that of its outline in the overlay; background is black."""
    colours = type_colours(result)
    palette = np.zeros((256, 3), np.uint8)
    for name, number in index.items():
        palette[number] = colours.get(name, colours[UNKNOWN_TYPE])
    palette[UNTYPED_INDEX] = colours[UNKNOWN_TYPE]
    return palette.ravel().tolist()
