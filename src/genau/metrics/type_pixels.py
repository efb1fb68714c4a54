"""Pixel measures of which kind of defect is where, in constant memory.

H W: a picture; C: the classes, good first; K: bins of score. The protocol of MultiADS (arXiv 2504.06740).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.errors import suggest
from genau.metrics.counts import binned_auroc, binned_average_precision
from genau.metrics.image import UndefinedMetricError
from genau.metrics.pixel import N_BINS, checked_array, score_bins
from genau.metrics.types import check_names, confusion_rows, mean_f1

GOOD = "good"  # the class of every pixel without defect
_COUNTS = ("own", "total", "confusion", "n_left_out")


class TypePixels:
    """Counts of pixels by class and score, over [good, *types].

    A pixel's truth is its type, good elsewhere. The score of a type is its map, that of good is 1 - anomaly map. A
    pixel annotated with two types has no one truth and is left out. Workers merge; order does not matter.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Start without pixels. `names`: the types, without good."""
        check_names(names)
        if GOOD in names:
            raise ValueError(f"names={list(names)} must hold types of defects only; {GOOD!r} is added. Take it out.")
        self.names = tuple(names)
        n_classes = len(self.names) + 1
        self.own = np.zeros((n_classes, N_BINS), np.int64)  # (C, K) pixels of the class by their score for it
        self.total = np.zeros((n_classes, N_BINS), np.int64)  # (C, K) all pixels by their score for the class
        self.confusion = np.zeros((n_classes, n_classes), np.int64)  # (C, C) pixels by [truth, answer]
        self.n_left_out = np.zeros((), np.int64)  # pixels of two types

    @property
    def classes(self) -> tuple[str, ...]:
        """Good, then the types."""
        return (GOOD, *self.names)

    def update(
        self,
        type_maps: Mapping[str, NDArray[np.float32]],
        anomaly_map: NDArray[np.float32],
        masks: Mapping[str, NDArray[np.bool_]],
    ) -> None:
        """Add one picture.

        `type_maps`: a map (H, W) in [0, 1] of every type; `anomaly_map`: (H, W) in [0, 1]; `masks`: (H, W) bool of the
        types that are annotated, none for a good part. Raises `ValueError` for other names, shapes, kinds or ranges.
        """
        truth, kept = self._truth(anomaly_map, masks)
        self._require_maps(type_maps)
        score_bins(anomaly_map, kept)  # refuses what is no map before anything is counted
        binned = [score_bins(type_maps[name], kept) for name in self.names]
        best = np.float32(1) - anomaly_map
        binned.insert(0, score_bins(best, kept))
        answer = np.zeros(best.shape, np.intp)
        for index, name in enumerate(self.names, start=1):
            better = type_maps[name] > best  # ties stay with the first, so with good
            answer[better] = index
            best = np.maximum(best, type_maps[name])
        n_classes, true = len(binned), truth[kept]
        for index, bins in enumerate(binned):
            self.total[index] += np.bincount(bins[kept], minlength=N_BINS)
            self.own[index] += np.bincount(bins[kept][true == index], minlength=N_BINS)
        pairs = np.bincount(true * n_classes + answer[kept], minlength=n_classes**2)
        self.confusion += pairs.reshape(n_classes, n_classes)
        self.n_left_out += kept.size - true.size

    def merge(self, other: "TypePixels") -> None:
        """Add the pictures that another one has seen. Raises `ValueError` if it has other names."""
        if self.names != other.names:
            raise ValueError(f"names are {self.names} here and {other.names} there; they must agree, in one order.")
        for name in _COUNTS:
            counts = getattr(self, name)
            counts += getattr(other, name)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return copies of the counts and the names (C - 1,), to save with `np.savez`."""
        counts: dict[str, NDArray[Any]] = {name: getattr(self, name).copy() for name in _COUNTS}
        return counts | {"names": np.array(self.names, np.str_)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "TypePixels":
        """Rebuild from `arrays`, or from the file that `np.load` opens; raises like `PixelHistogram.from_arrays`."""
        if "names" not in arrays or arrays["names"].ndim != 1 or arrays["names"].dtype.kind != "U":
            raise ValueError(
                f"The saved counts need 'names', (C - 1,) words; they hold {sorted(arrays)}. Save arrays()."
            )
        pixels = cls([str(name) for name in arrays["names"]])
        for name in _COUNTS:
            setattr(pixels, name, checked_array(arrays, name, getattr(pixels, name).shape, np.int64))
        return pixels

    def macro_auroc(self) -> float:
        """Return the mean, over the classes present, of the pixel AUROC of one class against the rest.

        Raises `UndefinedMetricError` where fewer than two classes are present, like the other measures.
        """
        self._require_two("Macro pixel AUROC")
        return float(np.mean([binned_auroc(self._rest(c), self.own[c]) for c in self._present()]))

    def macro_average_precision(self) -> float:
        """Return the mean, over the classes present, of the pixel average precision of one class against the rest."""
        self._require_two("Macro pixel average precision")
        return float(np.mean([binned_average_precision(self._rest(c), self.own[c]) for c in self._present()]))

    def macro_f1(self) -> float:
        """Return the mean F1 over classes that are present or answered, every pixel answered by its largest score."""
        self._require_two("Macro pixel F1")
        return mean_f1(self.confusion)

    def per_type(self) -> dict[str, dict[str, float | None]]:
        """Return n (pixels), recall, precision, f1, auroc and average_precision of every class; None where undefined.

        Raises `UndefinedMetricError` without pixels.
        """
        if not self.confusion.any():
            raise UndefinedMetricError("The table of types needs pixels; got none. Add pictures with masks.")
        rows = confusion_rows(self.confusion)
        for index, row in enumerate(rows):
            rest, own = self._rest(index), self.own[index]
            both = bool(rest.any() and own.any())
            row["auroc"] = binned_auroc(rest, own) if both else None
            row["average_precision"] = binned_average_precision(rest, own) if both else None
        return dict(zip(self.classes, rows, strict=True))

    def _rest(self, index: int) -> NDArray[np.int64]:
        rest: NDArray[np.int64] = self.total[index] - self.own[index]
        return rest

    def _present(self) -> list[int]:
        return [int(index) for index in np.flatnonzero(self.confusion.sum(axis=1))]

    def _require_two(self, metric: str) -> None:
        present = [self.classes[index] for index in self._present()]
        if len(present) < 2:
            raise UndefinedMetricError(
                f"{metric} needs pixels of at least two classes; got {', '.join(present) or 'none'}. Add pictures with "
                "masks by type, or leave this measure out."
            )

    def _truth(
        self, anomaly_map: NDArray[np.float32], masks: Mapping[str, NDArray[np.bool_]]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the class of every pixel (H, W), and where it has one only (H, W)."""
        truth = np.zeros(anomaly_map.shape, np.intp)
        kept = np.ones(anomaly_map.shape, np.bool_)
        for name, mask in masks.items():
            if name not in self.names:
                raise ValueError(
                    f"mask of {name!r}: the types are {', '.join(self.names)}.{suggest(name, self.names)} Leave out "
                    "pictures whose pixels are not annotated by type."
                )
            if mask.shape != truth.shape or mask.dtype != np.bool_:
                raise ValueError(
                    f"mask of {name!r} is {mask.dtype} {mask.shape}; it must be bool {truth.shape} (H, W)."
                )
            kept &= ~(mask & (truth > 0))
            truth[mask] = self.names.index(name) + 1
        return truth, kept

    def _require_maps(self, type_maps: Mapping[str, NDArray[np.float32]]) -> None:
        if set(type_maps) != set(self.names):
            missing, unknown = sorted(set(self.names) - set(type_maps)), sorted(set(type_maps) - set(self.names))
            raise ValueError(
                f"type_maps lack {missing or 'none'} and have {unknown or 'none'} beside the types; they must hold a "
                "map of every type. Ask the detector for all of them."
            )
