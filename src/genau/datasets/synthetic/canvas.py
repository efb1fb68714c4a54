"""The picture before light and camera: reflectance, what lies behind, and the parts and ink that it was made from."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genau.datasets.synthetic.noise import Field, blend, blur_bytes, tinted


@dataclass(frozen=True)
class Style:
    """How the parts of one product look: drawn once per product."""

    kind: str  # a key of parts.SHAPES
    colour: Field  # (3,) in [0, 1]
    accent: Field  # (3,), second colour: other half, print, recess
    gloss: float  # strength of the highlight
    shape: tuple[float, ...]  # in [0, 1]; each kind reads proportions out of it
    clear: float = 0.0  # how much of the ground shows through: 0 opaque, towards 1 glass
    spread: float = 0.015  # deviation of the tone from part to part


@dataclass(frozen=True, eq=False)
class Part:
    """One part: where it lies and what it looks like."""

    style: Style
    centre_yx: tuple[float, float]  # pixels
    radius: float  # pixels, half of the longest extent
    angle_rad: float
    seed: int  # of its own small texture


@dataclass(frozen=True, eq=False)
class Sprite:
    """A drawn part: a window of the picture."""

    top: int
    left: int
    rgb: Field  # (h, w, 3)
    alpha: Field  # (h, w) in [0, 1]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A product in neutral light; painters return changed copies."""

    rgb: Field  # (H, W, 3), about [0, 1]
    light: Field  # (3,) x, y, z: where relief gets its light from
    product: str
    backdrop: Field | None = None  # (H, W, 3): what shows where material is missing
    labels: NDArray[np.int16] | None = None  # (H, W): 0 behind, k on part k; None where material is everywhere
    parts: tuple[Part, ...] = ()
    sprites: tuple[Sprite, ...] = field(default=(), repr=False)  # one for each part
    ink: Field | None = None  # (H, W) in [0, 1]: coverage of the print
    ink_rgb: Field | None = None  # (3,) or (H, W, 3)
    shadow: tuple[float, float] = (0.4, 2.0)  # darkness and blur in pixels of the parts' shadow
    between: float = 0.0  # darkness of the shadow that parts throw on each other

    @property
    def unit(self) -> float:
        """Pixels of 1/256 of the shorter side."""
        return float(min(self.rgb.shape[0], self.rgb.shape[1])) / 256

    def with_parts(self, parts: tuple[Part, ...], sprites: tuple[Sprite, ...]) -> "Canvas":
        """Return the product with other parts on the same backdrop."""
        if self.backdrop is None:
            raise ValueError("A canvas without backdrop has no parts to exchange.")
        rgb, labels = compose(self.backdrop, sprites, self.light, self.shadow, self.between)
        return replace(self, rgb=rgb, labels=labels, parts=parts, sprites=sprites)


def clipped(top: int, left: int, size_hw: tuple[int, int], within_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a window that lie within a picture (H, W)."""
    rows = slice(min(max(0, top), within_hw[0]), max(0, min(within_hw[0], top + size_hw[0])))
    return rows, slice(min(max(0, left), within_hw[1]), max(0, min(within_hw[1], left + size_hw[1])))


def compose(
    backdrop: Field, sprites: tuple[Sprite, ...], light: Field, shadow: tuple[float, float], between: float = 0.0
) -> tuple[Field, NDArray[np.int16]]:
    """Lay the sprites on the backdrop (H, W, 3); return the picture and the label of the part seen in each pixel.

    Each darkens what it lies on by up to `between` around its foot: in a heap, parts shade each other.
    """
    height, width = backdrop.shape[:2]
    covered = np.zeros((height, width), np.float32)
    labels = np.zeros((height, width), np.int16)
    for sprite in sprites:
        rows, columns = clipped(sprite.top, sprite.left, sprite.alpha.shape, (height, width))
        alpha = sprite.alpha[
            rows.start - sprite.top : rows.stop - sprite.top, columns.start - sprite.left : columns.stop - sprite.left
        ]
        covered[rows, columns] = np.maximum(covered[rows, columns], alpha)
    darkness, softness = shadow
    shift = 1.5 * softness / max(0.3, math.hypot(float(light[0]), float(light[1])))
    shade = blur_bytes(covered, softness)
    shade = np.roll(shade, (round(-light[1] * shift), round(-light[0] * shift)), (0, 1))
    rgb = tinted(backdrop, 1 - darkness * shade)
    for number, sprite in enumerate(sprites, 1):
        rows, columns = clipped(sprite.top, sprite.left, sprite.alpha.shape, (height, width))
        inner = (
            slice(rows.start - sprite.top, rows.stop - sprite.top),
            slice(columns.start - sprite.left, columns.stop - sprite.left),
        )
        under = rgb[rows, columns]
        if between > 0:
            down, right = (2 if light[axis] < 0 else -2 for axis in (1, 0))
            under = tinted(under, 1 - between * np.roll(sprite.alpha, (down, right), (0, 1))[inner])
        rgb[rows, columns] = blend(under, sprite.rgb[inner], sprite.alpha[inner])
        labels[rows, columns][sprite.alpha[inner] > 0.5] = number
    return np.asarray(rgb, np.float32), labels
