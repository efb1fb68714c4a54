"""Everything that is counted over the pictures of a unit, in constant memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.detection import Detection
from genau.metrics import PixelBootstrap, PixelHistogram, TypePixels


class Tally:
    """Pixel counts of a unit; `types` are the candidates whose maps are measured too."""

    def __init__(self, types: Sequence[str] = ()) -> None:
        self.pixels = PixelHistogram()
        self.bootstrap = PixelBootstrap()
        self.types = TypePixels(types) if types else None
        self._candidates = tuple(types)

    def add(self, name: str, detection: Detection, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Count one picture's map, if it has one; `masks` (H, W) are its defects by type, empty if it is good."""
        anomaly_map = detection.inspection.anomaly_map
        if not anomaly_map.size:
            return
        picture = PixelHistogram()
        picture.update(anomaly_map, union(masks, anomaly_map.shape))
        self.pixels.merge(picture)
        self.bootstrap.update(name, picture)
        one_known_type = len(masks) <= 1 and set(masks) <= set(self._candidates)  # of several: left out (MultiADS)
        if self.types is not None and one_known_type and set(detection.draw_type) >= set(self._candidates):
            maps = {kind: detection.draw_type[kind]() for kind in self._candidates}
            self.types.update(maps, anomaly_map, masks)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all counts for saving."""
        parts = {"pixels": self.pixels.arrays(), "bootstrap": self.bootstrap.arrays()}
        if self.types is not None:
            parts["types"] = self.types.arrays()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, types: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> "Tally":
        """Rebuild from `arrays`."""
        tally = cls(types)
        parts: dict[str, dict[str, NDArray[Any]]] = {"pixels": {}, "bootstrap": {}, "types": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = array
        tally.pixels = PixelHistogram.from_arrays(parts["pixels"])
        tally.bootstrap = PixelBootstrap.from_arrays(parts["bootstrap"])
        if types:
            tally.types = TypePixels.from_arrays(parts["types"])
        return tally


def union(masks: Mapping[str, NDArray[np.bool_]], size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where any defect is, (H, W)."""
    whole = np.zeros(size_hw, np.bool_)
    for mask in masks.values():
        whole |= mask
    return whole
