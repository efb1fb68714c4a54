"""Annotated pictures to train on: synthetic scenes, real pictures, and real good pictures with painted defects.

Every index always gives the same example. Positive and negative come in pairs of the same picture wherever possible,
so that nothing but the defect gives the label away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genau.datasets.sample import Sample
from genau.datasets.synthetic import PAINTABLE_TYPES, make_scene, paint_defect
from genau.reading import read_picture

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]
MOST_REFERENCES = 2
SCENE_SIDES = (256, 640)  # pixels; the shorter and longer sides of scenes lie between


@dataclass(frozen=True, eq=False)
class Example:
    """One picture with everything that a teacher knows about it."""

    rgb: Rgb  # (H, W, 3)
    masks: Mapping[str, Mask]  # (H, W) by type; empty for a good part
    product: str
    appearances: Mapping[str, str]  # how each type looks here, in words
    references: tuple[Rgb, ...] = ()  # good parts of the same product


class ExampleSource:
    """A fixed list of examples, made when asked for."""

    def __init__(
        self, count: int, samples: Sequence[Sample], *, synthetic: float, references: float, seed: int
    ) -> None:
        self.count, self.seed, self.synthetic, self.references = count, seed, synthetic if samples else 1.0, references
        self.samples = list(samples)
        self.good = [sample for sample in samples if not sample.label]

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.count

    def __getitem__(self, index: int) -> Example:
        """Return an example; indices 2k and 2k + 1 are a pair, the first defective, the second good."""
        pair, good = divmod(index, 2)
        rng = np.random.default_rng((self.seed, pair))
        with_references = rng.random() < self.references
        if rng.random() < self.synthetic:
            example = self._scene(int(rng.integers(2**31)), rng, good=bool(good), with_references=with_references)
        elif self.good and rng.random() < 0.5:
            example = self._painted(rng, good=bool(good), with_references=with_references)
        else:
            example = self._real(rng, good=bool(good))
        return turn(example, rng)

    def _scene(self, seed: int, rng: np.random.Generator, *, good: bool, with_references: bool) -> Example:
        size_hw = tuple(int(side) for side in rng.integers(*SCENE_SIDES, size=2))
        scene = make_scene(seed, (size_hw[0], size_hw[1]), defective=True)
        count = int(rng.integers(1, MOST_REFERENCES + 1))
        references = tuple(scene.reference(k) for k in range(count)) if with_references else ()
        if good:
            return Example(scene.good, {}, scene.product, {}, references)
        appearances = {defect.type: defect.appearance for defect in scene.defects}
        return Example(scene.image, scene.masks, scene.product, appearances, references)

    def _painted(self, rng: np.random.Generator, *, good: bool, with_references: bool) -> Example:
        """Return a good real picture, with or without a painted defect."""
        sample = self.good[int(rng.integers(len(self.good)))]
        rgb = _crop(read_picture(sample.image).rgb, None, rng)
        kind = str(rng.choice(PAINTABLE_TYPES))
        painted, mask, appearance = paint_defect(rgb, rng, kind)
        references = self._references_of(sample, rng) if with_references else ()
        if good:
            return Example(rgb, {}, sample.product, {}, references)
        return Example(painted, {kind: mask}, sample.product, {kind: appearance}, references)

    def _real(self, rng: np.random.Generator, *, good: bool) -> Example:
        """Return a crop of an annotated picture that holds its defect, or one of the same picture that does not."""
        defective = [sample for sample in self.samples if sample.label]
        sample = defective[int(rng.integers(len(defective)))]
        rgb, mask = read_picture(sample.image).rgb, sample.read_mask()
        if good:
            clean = clean_crop(mask, rng)
            if clean is None and self.good:
                sample = self.good[int(rng.integers(len(self.good)))]
                return Example(_crop(read_picture(sample.image).rgb, None, rng), {}, sample.product, {})
            box = clean or (slice(0, 1), slice(0, 1))
            return Example(np.ascontiguousarray(rgb[box]), {}, sample.product, {})
        masks = {name: part for name, part in sample.read_masks().items() if part.any()}
        appearances = {name: describe_appearance(rgb, part) for name, part in masks.items()}
        return Example(rgb, masks, sample.product, appearances)

    def _references_of(self, sample: Sample, rng: np.random.Generator) -> tuple[Rgb, ...]:
        others = [other for other in self.good if other.product == sample.product and other.group != sample.group]
        count = min(len(others), int(rng.integers(1, MOST_REFERENCES + 1)))
        chosen = rng.permutation(len(others))[:count]
        return tuple(read_picture(others[int(k)].image).rgb for k in chosen)


def clean_crop(mask: Mask, rng: np.random.Generator, tries: int = 30) -> tuple[slice, slice] | None:
    """Return a box of 35-90 % of each side of (H, W) that holds no defect, or None if none was found."""
    for _ in range(tries):
        height, width = (int(side * rng.uniform(0.35, 0.9)) for side in mask.shape)
        top, left = int(rng.integers(mask.shape[0] - height + 1)), int(rng.integers(mask.shape[1] - width + 1))
        box = slice(top, top + height), slice(left, left + width)
        if not mask[box].any():
            return box
    return None


def _crop(rgb: Rgb, mask: Mask | None, rng: np.random.Generator) -> Rgb:
    """Return a random crop of 60-100 % of each side that keeps clear of the mask, or the whole picture."""
    height, width = (int(side * rng.uniform(0.6, 1.0)) for side in rgb.shape[:2])
    top, left = int(rng.integers(rgb.shape[0] - height + 1)), int(rng.integers(rgb.shape[1] - width + 1))
    box = slice(top, top + height), slice(left, left + width)
    return rgb if mask is not None and mask[box].any() else np.ascontiguousarray(rgb[box])


def turn(example: Example, rng: np.random.Generator) -> Example:
    """Turn picture, masks and references together by a multiple of 90 degrees, mirrored or not."""
    quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned_pixels(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = np.rot90(pixels, quarter)
        return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

    return Example(
        turned_pixels(example.rgb),  # type: ignore[arg-type]
        {name: turned_pixels(mask) for name, mask in example.masks.items()},  # type: ignore[misc]
        example.product,
        example.appearances,
        tuple(turned_pixels(reference) for reference in example.references),  # type: ignore[misc]
    )


def describe_appearance(rgb: Rgb, mask: Mask) -> str:
    """Return how a marked region looks against its surroundings: "small dark spot", "long bright line"."""
    reach, whole = max(2, min(mask.shape) // 50), mask
    if mask.any():  # the rest of the picture is of no use, and growing a region takes long
        near = tuple(slice(max(0, int(at.min()) - reach), int(at.max()) + reach + 1) for at in np.nonzero(mask))
        rgb, mask = rgb[near], mask[near]
    grey = rgb.mean(2)
    around = ndimage.binary_dilation(mask, iterations=reach) & ~mask
    difference = float(grey[mask].mean() - grey[around].mean()) if around.any() else 0.0
    tone = "dark" if difference < -8 else "bright" if difference > 8 else "faint"
    ys, xs = np.nonzero(mask)
    spread = (
        np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(np.stack([ys, xs])) + 1e-6 * np.eye(2)), 1e-6))
        if len(ys) > 1
        else np.ones(2)
    )
    shape = "line" if spread[1] > 4 * spread[0] else "spot" if whole.mean() < 0.01 else "patch"
    size = "small" if whole.mean() < 0.002 else "large" if whole.mean() > 0.05 else "medium"
    return f"{size} {tone} {shape}"
