"""Paint a defect of a named type on a product or on a real picture; say what was painted, in words measured from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genau.appearance import appearance_of
from genau.datasets.synthetic import broad, hollows, lines, logical, spots
from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.marks import Mark, Site, site_at
from genau.datasets.synthetic.noise import Field, Rng, blur
from genau.datasets.synthetic.taxonomy import DEFECT_TYPES
from genau.errors import ImageError, UsageError, suggest

Mask = NDArray[np.bool_]
MASK_COVER = 0.3  # share of a pixel from which it belongs to the defect
LEAST_LEVELS = 5.5  # mean change in a mask, grey levels, before light and noise
FADED_SHARE = 0.65  # of the first tries are drawn down towards what can just be seen: most real defects are subtle
FAINT_REACH = 0.2  # of the shorter side: from here on broad, low-contrast forms are drawn as well
BROAD_SHARE = 0.6
LARGEST = 0.33  # of the picture: more than this is another part rather than a defect
SMALL_SHARE, LARGE_SHARE = 0.25, 0.35
TRIES = 5  # each stronger than the one before


@dataclass(frozen=True)
class Painter:
    """How and where a type is painted."""

    paint: Callable[[Site, Rng, float], Mark]
    reach: tuple[float, float]  # half of its extent, share of the picture's shorter side
    place: Literal["part", "edge", "anywhere"]
    least_fade: float = 0.08  # how thin a faded one may get; bodies and openings do not become glass
    broad: Callable[[Site, Rng, float], Mark] | None = None  # its form where it is large
    room: float = 1.1  # half of its window, in reaches


PAINTERS: dict[str, Painter] = {
    "scratch": Painter(lines.scratch, (0.015, 0.8), "part"),
    "crack": Painter(lines.crack, (0.02, 0.7), "part"),
    "cut": Painter(lines.cut, (0.015, 0.4), "part", 0.45),
    "dent": Painter(hollows.dent, (0.012, 0.36), "part", room=1.5),
    "hole": Painter(hollows.hole, (0.007, 0.28), "part", 0.55),
    "stain": Painter(spots.stain, (0.007, 0.44), "part", room=1.5),
    "discoloration": Painter(spots.discoloration, (0.015, 0.48), "part", broad=broad.uneven_coat, room=1.5),
    "contamination": Painter(spots.contamination, (0.006, 0.25), "anywhere", 0.35),
    "corrosion": Painter(spots.corrosion, (0.012, 0.44), "part", 0.2, room=1.5),
    "smear": Painter(lines.smear, (0.03, 0.6), "part", room=1.5),
    "wear": Painter(lines.wear, (0.03, 0.5), "part", broad=broad.uneven_coat, room=1.5),
    "thread": Painter(lines.thread, (0.02, 0.4), "anywhere", 0.4),
    "chip": Painter(hollows.chip, (0.01, 0.5), "edge", 0.4, broad.broken_off),
    "burr": Painter(hollows.burr, (0.012, 0.16), "edge", 0.4),
    "bubble": Painter(hollows.bubble, (0.008, 0.3), "part"),
    "pit": Painter(hollows.pit, (0.006, 0.3), "part"),
    "deformation": Painter(hollows.deformation, (0.04, 0.5), "part", 0.6, broad.torn_border),
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
    if sigma > 0.4:
        after = np.stack([blur(np.ascontiguousarray((after - before)[..., c]), sigma) for c in range(3)], -1)
        change = np.abs(after[mask])
    else:
        change = np.abs(after[mask] - before[mask])
    return float(np.maximum(np.maximum(change[:, 0], change[:, 1]), change[:, 2]).mean() * 255)


def mean_change(image: NDArray[np.uint8], good: NDArray[np.uint8], mask: Mask) -> float:
    """Return the mean change (grey levels, largest channel) in the mask (H, W) between pictures (H, W, 3)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = mask[window]
    return float(np.abs(image[window][inside].astype(np.int16) - good[window][inside]).max(-1).mean())


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
        texture = min(25.0, float(site.rgb[..., 1][inside].std()) * 255)
        needed, found = max(LEAST_LEVELS, 0.4 * texture), contrast(site.rgb, mark.rgb, inside, sigma)
        if strength <= 1 and not mark.solid and found > needed and rng.random() < FADED_SHARE:
            wanted = 1.15 * needed * (found / needed) ** rng.random()
            fade = np.float32(min(1.0, max(PAINTERS[type_name].least_fade, wanted / found)))
            mark = replace(mark, rgb=site.rgb + fade * (mark.rgb - site.rgb))
        if found >= needed:
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
    side = min(canvas.rgb.shape[:2])
    share = _size(painter, rng)
    reach = side * share
    if within and canvas.parts and canvas.labels is not None and (number := int(canvas.labels[at])) > 0:
        room = canvas.parts[number - 1].radius * rng.uniform(0.4, 1.1)
        reach = min(reach, room * (0.75 if painter.place == "edge" else 1.0))
    reach = max(reach, 1.8, 0.006 * side)
    if painter.broad is not None and share >= FAINT_REACH and rng.random() < BROAD_SHARE:
        whole = painter.broad is not broad.uneven_coat  # what breaks off reaches to the end of the part
        site = site_at(canvas, at, 2 * max(canvas.rgb.shape) if whole else reach * 1.5, strength, within, None)
        mark = painter.broad(site, rng, reach)
        if float(mark.cover.sum()) < LARGEST * side * max(canvas.rgb.shape[:2]):
            return site, mark
    site = site_at(canvas, at, reach * painter.room, strength, within, None)
    return site, painter.paint(site, rng, reach)


def _size(painter: Painter, rng: Rng) -> float:
    """Return half of the extent, share of the shorter side: log-uniform, with more that are small and more large."""
    low, high = (math.log(v) for v in painter.reach)
    end = rng.random()
    if end < SMALL_SHARE:
        high = low + 0.45 * (high - low)
    elif end > 1 - LARGE_SHARE:
        low = high - 0.25 * (high - low)
    return math.exp(rng.uniform(low, high))


def _place(canvas: Canvas, place: str, rng: Rng) -> tuple[int, int]:
    """Return a pixel for the defect's centre: on a part, at its edge, or anywhere."""
    height, width = canvas.rgb.shape[:2]
    labels = canvas.labels
    if labels is None or (place == "anywhere" and canvas.backdrop is not None and rng.random() < 0.25):
        return int(rng.integers(0.03 * height, 0.97 * height)), int(rng.integers(0.03 * width, 0.97 * width))
    if place != "edge":
        for row, column in (rng.random((8, 2)) * (height, width)).astype(int).tolist():
            if labels[row, column] > 0:
                return row, column
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
    return int(row), int(column)


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
