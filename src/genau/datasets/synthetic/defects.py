"""Paint a defect of a named type on a product or on a real picture; say what was painted, in words measured from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genau.datasets.synthetic import hollows, lines, logical, spots
from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.marks import Mark, Site, site_at
from genau.datasets.synthetic.noise import Field, Rng, blur
from genau.datasets.synthetic.taxonomy import DEFECT_TYPES
from genau.datasets.synthetic.wording import appearance_of
from genau.errors import ImageError, UsageError, suggest

Mask = NDArray[np.bool_]
MASK_COVER = 0.3  # share of a pixel from which it belongs to the defect
LEAST_LEVELS = 6.0  # mean change in a mask, grey levels, before light and noise
TRIES = 5  # each stronger than the one before


@dataclass(frozen=True)
class Painter:
    """How and where a type is painted."""

    paint: Callable[[Site, Rng, float], Mark]
    reach: tuple[float, float]  # half of its extent, share of the picture's shorter side
    place: Literal["part", "edge", "anywhere"]


PAINTERS: dict[str, Painter] = {
    "scratch": Painter(lines.scratch, (0.03, 0.45), "part"),
    "crack": Painter(lines.crack, (0.05, 0.4), "part"),
    "cut": Painter(lines.cut, (0.03, 0.2), "part"),
    "dent": Painter(hollows.dent, (0.03, 0.26), "part"),
    "hole": Painter(hollows.hole, (0.012, 0.14), "part"),
    "stain": Painter(spots.stain, (0.015, 0.32), "part"),
    "discoloration": Painter(spots.discoloration, (0.04, 0.36), "part"),
    "contamination": Painter(spots.contamination, (0.01, 0.14), "anywhere"),
    "corrosion": Painter(spots.corrosion, (0.03, 0.3), "part"),
    "smear": Painter(lines.smear, (0.06, 0.42), "part"),
    "wear": Painter(lines.wear, (0.06, 0.32), "part"),
    "thread": Painter(lines.thread, (0.05, 0.32), "anywhere"),
    "chip": Painter(hollows.chip, (0.02, 0.13), "edge"),
    "burr": Painter(hollows.burr, (0.025, 0.12), "edge"),
    "bubble": Painter(hollows.bubble, (0.015, 0.2), "part"),
    "pit": Painter(hollows.pit, (0.008, 0.2), "part"),
    "deformation": Painter(hollows.deformation, (0.07, 0.32), "part"),
}
PAINTABLE_TYPES: tuple[str, ...] = tuple(PAINTERS)


def check_type(name: str, known: tuple[str, ...] = tuple(DEFECT_TYPES)) -> None:
    """Raise UsageError with a suggestion unless `name` is one of the `known` defect types."""
    if name not in known:
        raise UsageError(
            f"Defect type {name!r} is not one of {', '.join(known)}.{suggest(name, known)} Use one of these names."
        )


def contrast(before: Field, after: Field, mask: Mask, sigma: float) -> float:
    """Return the mean change (grey levels) in the mask between pictures (h, w, 3) behind a lens of `sigma` pixels."""
    change = (after - before) * 255
    if sigma > 0.4:
        change = np.stack([blur(np.ascontiguousarray(change[..., c]), sigma) for c in range(3)], -1)
    return float(np.abs(change[mask]).max(-1).mean())


def mean_change(image: NDArray[np.uint8], good: NDArray[np.uint8], mask: Mask) -> float:
    """Return the mean change (grey levels, largest channel) in the mask (H, W) between pictures (H, W, 3)."""
    return float(np.abs(image[mask].astype(np.int16) - good[mask]).max(-1).mean())


def add_defect(
    canvas: Canvas, type_name: str, rng: Rng, strength: float = 1.0, sigma: float = 0.0
) -> tuple[Canvas, Mask, str]:
    """Return the canvas with one more defect, its mask (H, W) and the words for its form.

    What cannot be seen behind a lens of `sigma` pixels is drawn again, stronger. The mask may be empty after the last
    try: the caller decides.
    """
    if type_name in logical.FAULTS:
        return logical.FAULTS[type_name](canvas, rng)
    size_hw = canvas.rgb.shape[0], canvas.rgb.shape[1]
    for attempt in range(TRIES):
        power = strength * rng.uniform(0.5, 1.1) * 1.45**attempt
        site, mark = _try(canvas, type_name, rng, power)
        inside = mark.cover > MASK_COVER
        least = 4 if attempt < TRIES - 1 else 1
        if inside.sum() < least:
            continue
        texture = min(25.0, float(site.rgb.mean(-1)[inside].std()) * 255)
        if contrast(site.rgb, mark.rgb, inside, sigma) >= max(LEAST_LEVELS, 0.45 * texture):
            break
    rgb = canvas.rgb.copy()
    rgb[site.rows, site.columns] = mark.rgb
    mask = np.zeros(size_hw, np.bool_)
    mask[site.rows, site.columns] = inside
    return replace(canvas, rgb=rgb), mask, mark.words


def _try(canvas: Canvas, type_name: str, rng: Rng, strength: float) -> tuple[Site, Mark]:
    painter = PAINTERS[type_name]
    within = painter.place != "anywhere" or canvas.backdrop is None
    at = _place(canvas, painter.place, rng)
    low, high = painter.reach
    side = min(canvas.rgb.shape[:2])
    reach = side * math.exp(rng.uniform(math.log(low), math.log(high)))
    if within and canvas.parts and canvas.labels is not None and (number := int(canvas.labels[at])) > 0:
        room = canvas.parts[number - 1].radius * rng.uniform(0.4, 1.0)
        reach = min(reach, room * (0.6 if painter.place == "edge" else 1.0))
    reach = max(reach, 2.5, 0.008 * side)
    site = site_at(canvas, at, reach * 1.1, strength, within, None)
    return site, painter.paint(site, rng, reach)


def _place(canvas: Canvas, place: str, rng: Rng) -> tuple[int, int]:
    """Return a pixel for the defect's centre: on a part, at its edge, or anywhere."""
    height, width = canvas.rgb.shape[:2]
    labels = canvas.labels
    if labels is None or (place == "anywhere" and canvas.backdrop is not None and rng.random() < 0.25):
        return int(rng.integers(0.03 * height, 0.97 * height)), int(rng.integers(0.03 * width, 0.97 * width))
    allowed = labels > 0
    if place == "edge":
        edge = allowed.copy()
        edge[1:-1, 1:-1] &= ~(allowed[2:, 1:-1] & allowed[:-2, 1:-1] & allowed[1:-1, 2:] & allowed[1:-1, :-2])
        edge[[0, -1]] = edge[:, [0, -1]] = False
        allowed = edge if edge.any() else allowed
    places = np.flatnonzero(allowed)
    if not len(places):
        return height // 2, width // 2
    row, column = divmod(int(places[int(rng.integers(len(places)))]), width)
    return row, column


def paint_defect(
    rgb: NDArray[np.uint8], rng: Rng, type: str, region: Mask | None = None
) -> tuple[NDArray[np.uint8], Mask, str]:
    """Paint a defect of one of PAINTABLE_TYPES on a good picture (H, W, 3); return picture, mask (H, W), appearance.

    With `region` (H, W) the defect starts there, and all but burrs stay inside. Raises UsageError for a type that
    needs to know the parts, ImageError for a picture of another form, for an empty region, and where nothing can be
    made visible.
    """
    check_type(type, PAINTABLE_TYPES)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(
            f"The picture is {rgb.dtype} {rgb.shape}; it must be uint8 (H, W, 3). Convert it to RGB first."
        )
    if region is not None and (region.shape != rgb.shape[:2] or not region.any()):
        raise ImageError(
            f"The region has shape {region.shape} and {int(region.sum())} pixels; it must be (H, W) = {rgb.shape[:2]} "
            "and not empty. Pass the part's mask, or None for the whole picture."
        )
    angle, lift = rng.uniform(0, 2 * math.pi), rng.uniform(0.55, 0.85)
    flat = math.sqrt(1 - lift * lift)
    light = np.array([flat * math.cos(angle), flat * math.sin(angle), lift], np.float32)
    labels = None if region is None else region.astype(np.int16)
    canvas = Canvas(np.asarray(rgb, np.float32) / np.float32(255), light, "real picture", labels=labels)
    grey = bool((rgb.max(-1).astype(np.int16) - rgb.min(-1)).mean() < 1.5)
    for attempt in range(4):
        changed, mask, words = add_defect(canvas, type, rng, 1.5**attempt)
        after = changed.rgb.mean(-1, keepdims=True) if grey else changed.rgb  # colour on grey would give it away
        levels = np.clip(after * 255 + 0.5, 0, 255).astype(np.uint8)
        painted = np.where((changed.rgb != canvas.rgb).any(-1, keepdims=True), levels, rgb)
        if mask.any() and mean_change(painted, rgb, mask) >= 4:
            return painted, mask, appearance_of(painted, rgb, mask, words)
    raise ImageError(f"No visible {type!r} could be painted: the picture or region is too small. Use a larger one.")
