"""Faults of arrangement and print: a part is missing, misplaced, too many or wrong; a printed line is broken."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from genau.datasets.synthetic.canvas import Canvas, Part, Sprite, Style, clipped
from genau.datasets.synthetic.marks import blob, site_at, stroke
from genau.datasets.synthetic.noise import Rng, colour
from genau.datasets.synthetic.parts import ROUND, SHAPES, render

Mask = NDArray[np.bool_]
Fault = tuple[Canvas, Mask, str]  # changed product, mask (H, W), words for the form

SWAPS: dict[str, tuple[str, ...]] = {  # parts that a feeder may mix up
    "tablet": ("lozenge", "tablet"),
    "lozenge": ("tablet", "lozenge"),
    "washer": ("nut", "o-ring"),
    "o-ring": ("washer", "nut"),
    "nut": ("washer", "screw head"),
    "screw head": ("nut", "cap"),
    "screw": ("clip", "nut"),
    "gear": ("washer", "cap"),
    "cap": ("gear", "screw head"),
    "connector": ("cap", "connector"),
    "pin": ("pin", "screw head"),
    "clip": ("screw", "washer"),
    "vial": ("ampoule", "bottle"),
    "bottle": ("vial", "ampoule"),
    "ampoule": ("vial", "bottle"),
    "bead": ("soft pill", "tablet"),
    "soft pill": ("bead", "lozenge"),
    "moulded cup": ("cap", "washer"),
}


def footprint(sprite: Sprite, size_hw: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) that a part covers."""
    mask = np.zeros(size_hw, np.bool_)
    rows, columns = clipped(sprite.top, sprite.left, sprite.alpha.shape, size_hw)
    inner = sprite.alpha[
        rows.start - sprite.top : rows.stop - sprite.top, columns.start - sprite.left : columns.stop - sprite.left
    ]
    mask[rows, columns] = inner > 0.5
    return mask


def _choose(canvas: Canvas, rng: Rng) -> int:
    """Return the number of a part that is mostly in the picture."""
    height, width = canvas.rgb.shape[:2]
    inside = [k for k, p in enumerate(canvas.parts) if 0 <= p.centre_yx[0] < height and 0 <= p.centre_yx[1] < width]
    return int(rng.choice(inside or list(range(len(canvas.parts)))))


def _exchange(canvas: Canvas, index: int, part: Part | None) -> tuple[Canvas, Mask]:
    """Replace or remove one part; the mask covers where it was and where it is."""
    size_hw = canvas.rgb.shape[0], canvas.rgb.shape[1]
    mask = footprint(canvas.sprites[index], size_hw)
    parts, sprites = list(canvas.parts), list(canvas.sprites)
    if part is None:
        del parts[index], sprites[index]
    else:
        parts[index], sprites[index] = part, render(part, canvas.light)
        mask = mask | footprint(sprites[index], size_hw)
    return canvas.with_parts(tuple(parts), tuple(sprites)), mask


def missing_part(canvas: Canvas, rng: Rng) -> Fault:
    """Leave a place empty."""
    changed, mask = _exchange(canvas, _choose(canvas, rng), None)
    return changed, np.asarray(binary_fill_holes(mask), np.bool_), "empty place"


def misplaced_part(canvas: Canvas, rng: Rng) -> Fault:
    """Shift or turn a part; where turning does not show, shift it."""
    index = _choose(canvas, rng)
    part = canvas.parts[index]
    (y, x), angle = part.centre_yx, part.angle_rad
    turned = part.style.kind not in (*ROUND, "cap", "gear", "nut", "screw head") and rng.random() < 0.6
    if turned:
        angle += rng.choice([-1, 1]) * rng.uniform(0.3, math.pi - 0.3)
    if not turned or rng.random() < 0.4:
        way, far = rng.uniform(0, 2 * math.pi), part.radius * rng.uniform(0.3, 0.9)
        y, x = y + far * math.sin(way), x + far * math.cos(way)
    changed, mask = _exchange(canvas, index, replace(part, centre_yx=(float(y), float(x)), angle_rad=float(angle)))
    return changed, mask, "turned part" if turned else "shifted part"


def extra_part(canvas: Canvas, rng: Rng) -> Fault:
    """Add a part of the same or a strange kind at a place where none belongs."""
    size_hw = canvas.rgb.shape[0], canvas.rgb.shape[1]
    part = canvas.parts[_choose(canvas, rng)]
    way = rng.uniform(0, 2 * math.pi)
    far = part.radius * rng.uniform(0.9, 1.3)
    y = float(np.clip(part.centre_yx[0] + far * math.sin(way), 0.1 * size_hw[0], 0.9 * size_hw[0]))
    x = float(np.clip(part.centre_yx[1] + far * math.cos(way), 0.1 * size_hw[1], 0.9 * size_hw[1]))
    radius = part.radius * rng.uniform(0.2, 0.45) if len(canvas.parts) == 1 else part.radius
    style = part.style if rng.random() < 0.6 and len(canvas.parts) > 1 else _other_style(part.style, rng)
    added = replace(part, style=style, centre_yx=(y, x), radius=float(radius), angle_rad=float(rng.uniform(0, 6.3)))
    sprite = render(added, canvas.light)
    changed = canvas.with_parts((*canvas.parts, added), (*canvas.sprites, sprite))
    return changed, footprint(sprite, size_hw), "surplus part"


def wrong_part(canvas: Canvas, rng: Rng) -> Fault:
    """Exchange a part for one of another colour, size or kind."""
    index = _choose(canvas, rng)
    part, way = canvas.parts[index], int(rng.integers(3))
    style, radius = part.style, part.radius
    if way == 0:
        style = replace(style, colour=_other_colour(style, rng))
    elif way == 1:
        radius *= rng.choice([rng.uniform(0.5, 0.78), rng.uniform(1.2, 1.4)])
    else:
        style = _other_style(style, rng)
    changed, mask = _exchange(canvas, index, replace(part, style=style, radius=float(radius)))
    return changed, mask, ("part of another colour", "part of another size", "part of another kind")[way]


def _other_colour(style: Style, rng: Rng) -> np.ndarray:
    tries = [colour(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.15, 0.95)) for _ in range(3)]
    return max(tries, key=lambda tried: float(np.abs(tried - style.colour).max()))


def _other_style(style: Style, rng: Rng) -> Style:
    kind = str(rng.choice(SWAPS[style.kind]))
    if kind == style.kind or kind not in SHAPES:
        return replace(style, colour=_other_colour(style, rng), shape=tuple(rng.random(5).tolist()))
    return replace(style, kind=kind, shape=tuple(rng.random(5).tolist()))


def print_fault(canvas: Canvas, rng: Rng) -> Fault:
    """Break, bridge, blot or erase a place of the print."""
    if canvas.ink is None or canvas.ink_rgb is None or canvas.backdrop is None:
        raise ValueError("A canvas without ink has no print to spoil.")
    height, width = canvas.ink.shape
    edges = np.argwhere((canvas.ink > 0.35) & (canvas.ink < 0.9))
    solid = np.argwhere(canvas.ink > 0.9)
    kind = int(rng.integers(4))
    places = solid if kind in (0, 1) and len(solid) else edges
    y, x = (int(v) for v in places[int(rng.integers(len(places)))]) if len(places) else (height // 2, width // 2)
    reach = max(3.0, min(height, width) * math.exp(rng.uniform(math.log(0.012), math.log(0.12 if kind == 1 else 0.06))))
    site = site_at(canvas, (y, x), reach, 1, False, None)
    window = (site.rows, site.columns)
    ink = canvas.ink.copy()
    if kind <= 1:  # a gap, or a larger place without ink
        gone = blob(site, rng, reach * 0.8, 0.6 if kind else 0.2, 1.3, 1.0)
        ink[window] = np.minimum(ink[window], 1 - gone)
    elif kind == 2:  # a bridge of ink
        way = rng.uniform(0, 2 * math.pi)
        ends = [
            [site.centre_yx[0] + s * reach * math.sin(way), site.centre_yx[1] + s * reach * math.cos(way)]
            for s in (-1, 0, 1)
        ]
        line = stroke(site, [np.array(ends, np.float32)], max(1.2, reach * rng.uniform(0.15, 0.4)), taper=False)
        ink[window] = np.maximum(ink[window], line)
    else:  # a blot or mouse-bite-like spur at the edge
        ink[window] = np.maximum(ink[window], blob(site, rng, reach * 0.7, 0.5, 1.2, 1.0))
    tone = np.broadcast_to(canvas.ink_rgb, canvas.rgb.shape)[window]
    change = ink[window] - canvas.ink[window]
    rgb = canvas.rgb.copy()
    toward = np.where(change[..., None] > 0, tone, canvas.backdrop[window])
    left = np.where(change > 0, 1 - canvas.ink[window], canvas.ink[window])
    share = np.clip(np.abs(change) / np.maximum(left, 1e-3), 0, 1)[..., None]
    rgb[window] += share * (toward - rgb[window])
    mask = np.zeros((height, width), np.bool_)
    mask[window] = np.abs(change) > 0.3
    words = ("gap in the print", "missing print", "bridge in the print", "blot on the print")[kind]
    return replace(canvas, rgb=rgb, ink=ink), mask, words


FAULTS: dict[str, Callable[[Canvas, Rng], Fault]] = {
    "missing part": missing_part,
    "misplaced part": misplaced_part,
    "extra part": extra_part,
    "wrong part": wrong_part,
    "print fault": print_fault,
}
