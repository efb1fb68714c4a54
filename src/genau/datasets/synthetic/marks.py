"""What every defect painter works with: a site in a picture, a path, a blob, a colour that shows.

A painter changes a small window of an (H, W, 3) picture in [0, 1] and says which share of each pixel it covers.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from genau.datasets.synthetic.canvas import Canvas, clipped
from genau.datasets.synthetic.noise import (
    Field,
    Rng,
    blend,
    blur,
    coat,
    fractal,
    slopes,
    smoothstep,
    tinted,
    value_noise,
)

OVERSAMPLE = 3


@dataclass(frozen=True, eq=False)
class Site:
    """The window of a canvas in which one defect is painted."""

    canvas: Canvas
    rows: slice
    columns: slice
    centre_yx: tuple[float, float]  # pixels within the window
    limit: Field  # (h, w) in {0, 1}: where the defect may be
    strength: float  # 1 as drawn; larger where a first try could not be seen

    @property
    def rgb(self) -> Field:
        """The picture in the window (h, w, 3), as it was."""
        return self.canvas.rgb[self.rows, self.columns]

    @property
    def size_hw(self) -> tuple[int, int]:
        """The window's size."""
        return self.limit.shape[0], self.limit.shape[1]

    @property
    def base(self) -> Field:
        """The mean colour (3,) of the picture around the centre of the window, where the defect may be."""
        reach = max(4, min(self.size_hw) // 4)
        y, x = round(self.centre_yx[0]), round(self.centre_yx[1])
        around = (slice(max(0, y - reach), y + reach), slice(max(0, x - reach), x + reach))
        weight = self.limit[around][..., None] + 1e-6
        return np.asarray((self.rgb[around] * weight).sum((0, 1)) / weight.sum(), np.float32)


@dataclass(frozen=True, eq=False)
class Mark:
    """A painted defect: the changed window, its cover and the words for its form."""

    rgb: Field  # (h, w, 3)
    cover: Field  # (h, w) in [0, 1]
    words: str  # the form: 'branched line', 'round spot'
    solid: bool = False  # never drawn fainter: what is gone is gone


def site_at(
    canvas: Canvas, at_yx: tuple[int, int], reach: float, strength: float, within: bool, region: Field | None
) -> Site:
    """Cut the window of `reach` pixels around a place; `within` keeps the defect on the part that is hit there."""
    size_hw = canvas.rgb.shape[0], canvas.rgb.shape[1]
    half = math.ceil(reach) + 4
    rows, columns = clipped(at_yx[0] - half, at_yx[1] - half, (2 * half + 1, 2 * half + 1), size_hw)
    limit = np.ones((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    if within and canvas.labels is not None:
        limit *= canvas.labels[rows, columns] == canvas.labels[at_yx]
    if region is not None and within:
        limit *= region[rows, columns]
    centre = float(at_yx[0] - rows.start), float(at_yx[1] - columns.start)
    return Site(canvas, rows, columns, centre, limit, strength)


def put(site: Site, target: Field, alpha: Field, texture: float = 0.6) -> Field:
    """Blend in a colour (3,) or (h, w, 3); a share `texture` of the surface's own structure shows through it."""
    structure = site.rgb - site.base
    mixed = target + texture * structure
    return np.asarray(blend(site.rgb, mixed, alpha), np.float32)


def relief(rgb: Field, height: Field, light: Field, gain: float = 1.0) -> Field:
    """Return a window whose relief (h, w), pixels, throws light and dark flanks."""
    slope_y, slope_x = slopes(height)
    flank = -(light[0] * slope_x + light[1] * slope_y)
    shade = np.tanh(flank * gain)
    floor = 0.12 * np.maximum(shade, 0)
    picture = tinted(rgb, 1 + 0.75 * shade)
    for k in range(3):
        picture[..., k] += floor
    return picture


def tone(site: Site, rng: Rng, low: float, high: float, dark_share: float = 0.6) -> Field:
    """Return a colour (3,) that is darker or brighter than the surface by a share drawn from [low, high]."""
    share = min(0.97, rng.uniform(low, high) * site.strength)
    base = site.base
    value = float(base.mean())
    dark = rng.random() < dark_share
    if value < 0.16:
        dark = False
    elif value > 0.8:
        dark = True
    changed = base * (1 - share) if dark else base + (1 - base) * share
    return np.asarray(changed * np.exp(rng.normal(0, 0.04, 3)), np.float32)


def foreign(site: Site, rng: Rng) -> Field:
    """Return the colour (3,) of a foreign body, clearly unlike the surface."""
    best, gap = site.base, -1.0
    for _ in range(2):
        tried = coat(rng, 0.03, 0.97)
        distance = float(np.abs(tried - site.base).max()) + rng.uniform(0, 0.25)
        if distance > gap:
            best, gap = tried, distance
    return best


def blob(site: Site, rng: Rng, radius: float, ragged: float, aspect: float = 1.0, soft: float = 1.0) -> Field:
    """Return a closed spot (h, w) in [0, 1] around the centre: an ellipse whose outline wanders by `ragged`."""
    height, width = site.size_hw
    y = np.arange(height, dtype=np.float32)[:, None] - site.centre_yx[0]
    x = np.arange(width, dtype=np.float32)[None, :] - site.centre_yx[1]
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    v, u = (c * y - s * x) * math.sqrt(aspect), (c * x + s * y) / math.sqrt(aspect)
    distance = np.sqrt(v * v + u * u) / radius
    if ragged > 0:
        heading = np.arctan2(v, u)
        for k in range(2, 6):
            distance = distance * (1 + ragged / k * rng.normal(0, 0.6) * np.cos(k * heading + rng.uniform(0, 6.3)))
        distance = distance + 0.25 * ragged * value_noise(rng, (height, width), (radius * 0.3, radius * 0.3))
    edge = max(0.5, soft) / radius
    return smoothstep(np.asarray(1 - distance, np.float32), -edge / 2, edge / 2)


def walk(
    rng: Rng, start_yx: tuple[float, float], heading: float, length: float, bend: float, jag: float = 0.0
) -> Field:
    """Return a path (n, 2) of y, x: the heading drifts smoothly by `bend` in all and jumps by `jag` at each step."""
    count = int(np.clip(length / 3, 6, 120))
    drift = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 6), np.cumsum(rng.normal(0, 0.7, 6)))
    headings = heading + bend * (drift - drift[count // 2]) + jag * rng.normal(0, 1, count)
    steps = np.stack([np.sin(headings), np.cos(headings)], 1) * (length / count)
    path = np.cumsum(steps, 0)
    return np.asarray(np.array(start_yx) + np.vstack([np.zeros((1, 2)), path]), np.float32)


def stroke(site: Site, paths: list[Field], width: float, taper: bool = True, wobble: Rng | None = None) -> Field:
    """Return the cover (h, w) of lines of a width in pixels, thin ones by share of the pixel; ends taper off."""
    height, width_px = site.size_hw
    n = OVERSAMPLE
    image = Image.new("L", (width_px * n, height * n), 0)
    pen = ImageDraw.Draw(image)
    drawn = max(width, 0.7)
    for path in paths:
        points = [((float(x) + 0.5) * n, (float(y) + 0.5) * n) for y, x in path]
        last = len(points) - 1
        sway = np.ones(last) if wobble is None else np.clip(1 + 0.3 * wobble.standard_normal(last), 0.4, 1.7)
        for k in range(last):
            along = (k + 0.5) / last
            thin = min(1.0, 0.25 + 4 * min(along, 1 - along)) if taper else 1.0
            pen.line((points[k], points[k + 1]), fill=255, width=max(1, round(drawn * thin * sway[k] * n)))
            if (r := drawn * thin * sway[k] * n / 2 - 0.5) > 2:  # round the joints of thick lines
                x, y = points[k + 1]
                pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    cover = np.asarray(image.reduce(n), np.float32)[:height, :width_px] / 255
    return np.asarray(np.minimum(1, cover * 1.15), np.float32)


def patchy(rng: Rng, size_hw: tuple[int, int], cell: float, low: float, high: float = 1.0) -> Field:
    """Return a factor (h, w) that wanders between `low` and `high`: nothing real is evenly strong."""
    return low + (high - low) * smoothstep(fractal(rng, size_hw, cell, 3, 0.6), -1.2, 1.2)


def moved(site: Site, angle: float, distance: float) -> Site:
    """Return the site with its centre moved."""
    y, x = site.centre_yx
    return replace(site, centre_yx=(y + distance * math.sin(angle), x + distance * math.cos(angle)))


def soft(field: Field, sigma: float) -> Field:
    """Return a blurred cover."""
    return blur(np.ascontiguousarray(field, np.float32), sigma)
