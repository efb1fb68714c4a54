"""Small industrial parts as signed distances with a relief: tablets, washers, screws, gears, caps, pins and the like.

A shape is a function of local coordinates v, u (h, w), in part radii, and of `shape`, the proportions in [0, 1].
It returns the distance to the outline (negative inside), the relief (both in radii) and how much of the accent colour.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from genau.datasets.synthetic.canvas import Part, Sprite
from genau.datasets.synthetic.noise import Field, blend, fractal, lit, smoothstep, tinted
from genau.datasets.synthetic.vessels import VESSEL_PLURALS, VESSELS

SMALL = 12.0  # pixels
Shape = Callable[[Field, Field, tuple[float, ...]], tuple[Field, Field, Field]]


def render(part: Part, light: Field) -> Sprite:
    """Draw a part into a window of its own; edges are smoothed over one pixel."""
    reach = math.ceil(part.radius * 1.04) + 2
    top, left = math.floor(part.centre_yx[0]) - reach, math.floor(part.centre_yx[1]) - reach
    y = (np.arange(2 * reach + 1, dtype=np.float32) + top - part.centre_yx[0])[:, None] / part.radius
    x = (np.arange(2 * reach + 1, dtype=np.float32) + left - part.centre_yx[1])[None, :] / part.radius
    c, s = np.float32(math.cos(part.angle_rad)), np.float32(math.sin(part.angle_rad))
    distance, relief, accent = SHAPES[part.style.kind](c * y - s * x, c * x + s * y, part.style.shape)
    alpha = np.clip(0.5 - distance * part.radius, 0, 1)
    rng = np.random.default_rng(part.seed)
    cell = max(1.5, part.radius * 0.12)
    room = (2 * reach + 1, 2 * reach + 1)
    small = part.radius < SMALL  # there the grain of the material is finer than a pixel
    speckle = rng.standard_normal(room, np.float32) if small else fractal(rng, room, cell, 2, 0.7)
    if part.style.kind in VESSELS:  # blown and moulded: smooth
        speckle = speckle * np.float32(0.3)
    tone = (1 + rng.normal(0, part.style.spread)) * (1 + 0.03 * speckle)
    style = part.style
    albedo = tinted(blend(style.colour, style.accent, accent), tone)
    height = relief * part.radius + 0.08 * speckle
    lean = rng.normal(0, 3 * style.spread, 2)  # no two lie at quite the same tilt
    lamp = light + np.array([lean[0], lean[1], 0], np.float32)
    sharp = 18 if style.kind not in VESSELS else 12 + 60 * style.shape[4]
    rgb = lit(np.asarray(albedo, np.float32), np.asarray(height, np.float32), lamp, style.gloss, sharp)
    rim = 1 - 0.25 * smoothstep(distance * part.radius, -1.8, 0.5)
    if style.clear > 0:  # the ground shows where the wall is seen face on; towards the outline it is dark and dense
        bright = np.minimum(rgb.max(-1), 1)
        see_through = style.clear * smoothstep(-distance, 0.02, 0.12) * (1 - accent) * (1 - bright * bright)
        alpha = np.maximum(alpha * (1 - see_through), np.minimum(alpha, 0.51))
        rim = rim * (1 - 0.4 * style.clear * smoothstep(distance, -0.1, -0.01))
    return Sprite(top, left, np.asarray(tinted(rgb, rim), np.float32), np.asarray(alpha, np.float32))


def _none(like: Field) -> Field:
    return np.zeros(like.shape, np.float32)


def _radius(v: NDArray[np.floating], u: NDArray[np.floating]) -> Field:
    return np.asarray(np.sqrt(v * v + u * u), np.float32)


def _dome(inside: Field, width: float) -> Field:
    """Return a rounded shoulder: 0 at the outline, level 1 from `width` radii inside on."""
    t = np.clip(inside / width, 0, 1)
    return np.asarray(np.sqrt(t * (2 - t)), np.float32)


def tablet(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A round tablet, flat or domed, with or without a break line."""
    distance = _radius(v, u) - 0.97
    relief = 0.22 * _dome(-distance, 0.15 + 0.85 * shape[0])
    if shape[1] > 0.5:
        relief = relief - 0.07 * np.exp(-((v / 0.06) ** 2))
    return distance, relief, _none(v)


def lozenge(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A long round-ended body, one-coloured or in two colours with a seam."""
    wide = 0.28 + 0.2 * shape[0]
    distance = _radius(v, np.maximum(np.abs(u) - (0.97 - wide), 0)) - wide
    relief = wide * 0.8 * _dome(-distance, wide)
    seam = shape[1] * 0.4 - 0.2
    accent = smoothstep(u, seam - 0.02, seam + 0.02) if shape[2] > 0.4 else _none(v)
    return distance, relief + 0.02 * accent, accent


def washer(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A flat ring with chamfered edges."""
    radius, bore = _radius(v, u), 0.35 + 0.35 * shape[0]
    distance = np.maximum(radius - 0.97, bore - radius)
    return distance, 0.1 * _dome(-distance, 0.04 + 0.1 * shape[1]), _none(v)


def o_ring(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A ring of round section."""
    thick = 0.08 + 0.16 * shape[0]
    distance = np.abs(_radius(v, u) - (0.97 - thick)) - thick
    return distance, thick * _dome(-distance, thick), _none(v)


def nut(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A hexagonal nut with chamfer and a threaded bore."""
    a, b = np.abs(v), np.abs(u)
    radius, bore = _radius(v, u), 0.36 + 0.14 * shape[0]
    hexagon = np.maximum(a, a * 0.5 + b * 0.866) - 0.84
    distance = np.maximum(hexagon, bore - radius)
    relief = 0.2 * _dome(0.9 - radius, 0.2) + 0.05 * np.cos(radius * 60) * (radius < bore + 0.1)
    return distance, np.asarray(relief, np.float32), _none(v)


def screw_head(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A screw seen from above: domed head with slot, cross or hexagon recess."""
    radius = _radius(v, u)
    distance = radius - 0.97
    a, b = np.abs(v), np.abs(u)
    if shape[1] < 0.35:
        drive = np.maximum(a - 0.09, b - (0.75 if shape[1] < 0.2 else 0.95))
    elif shape[1] < 0.7:
        drive = np.maximum(np.minimum(np.maximum(a - 0.1, b - 0.5), np.maximum(b - 0.1, a - 0.5)), a + b - 0.62)
    else:
        drive = np.maximum(a, a * 0.5 + b * 0.866) - 0.38
    recess = smoothstep(-drive, -0.02, 0.05)
    return distance, 0.3 * _dome(-distance, 0.2 + 0.8 * shape[0]) - 0.2 * recess, recess


def screw(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A screw or bolt lying on its side: head, shank with thread, blunt tip."""
    shank, head = 0.13 + 0.1 * shape[0], 0.3 + 0.1 * shape[1]
    neck = -0.97 + 0.28 + 0.2 * shape[2]
    pitch = 0.08 + 0.06 * shape[3]
    thread = np.abs(((u - v * 0.25) / pitch) % 1 - 0.5) * 2
    threaded = smoothstep(u, neck + 0.1, neck + 0.16)
    half = shank - 0.035 * thread * threaded
    tip = 0.97 - np.abs(v) * 0.6
    body = np.maximum(np.maximum(np.abs(v) - half, u - tip), neck - 0.1 - u)
    cap = np.maximum(np.maximum(np.abs(v) - head, u - neck), -0.97 - u + 0.1 * (np.abs(v) / head) ** 2)
    distance = np.minimum(body, cap)
    across = np.where(u > neck, half, head)
    relief = np.sqrt(np.maximum(across**2 - v * v, 0)) * 0.9 - 0.05 * thread * threaded * (u > neck)
    return np.asarray(distance, np.float32), np.asarray(relief, np.float32), _none(v)


def gear(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A gear wheel: teeth, web with holes or without, hub and bore."""
    radius, heading = _radius(v, u), np.arctan2(v, u)
    teeth = 9 + int(shape[0] * 22)
    tooth = np.clip(np.cos(heading * teeth) * 2.2, -1, 1) * min(0.09, 1.1 / teeth)
    bore = 0.12 + 0.15 * shape[1]
    distance = np.maximum((radius - 0.87 - tooth) * 0.8, bore - radius)
    web = smoothstep(radius, bore + 0.14, bore + 0.18) * (1 - smoothstep(radius, 0.66, 0.7))
    if shape[2] > 0.5:
        ring = (bore + 0.15 + 0.68) / 2
        count = 3 + int(shape[3] * 4)
        turn = (heading * count / (2 * math.pi)) % 1 - 0.5
        holes = np.sqrt((radius - ring) ** 2 + (turn * 2 * math.pi / count * ring) ** 2) - 0.12
        distance = np.maximum(distance, -holes)
    relief = 0.12 * _dome(-distance, 0.05) - 0.06 * web
    return np.asarray(distance, np.float32), relief, 0.25 * web


def cap(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A bottle top or a knob: knurled skirt, raised rings, a simple print."""
    radius, heading = _radius(v, u), np.arctan2(v, u)
    ribs = 24 + int(shape[0] * 60)
    distance = radius - 0.95 - 0.02 * np.cos(heading * ribs)
    skirt = smoothstep(radius, 0.8, 0.86)
    relief = 0.25 * _dome(0.97 - radius, 0.22) + 0.02 * np.cos(heading * ribs) * skirt
    ring = 0.3 + 0.4 * shape[1]
    relief = relief + 0.03 * np.exp(-(((radius - ring) / 0.04) ** 2))
    lobes = 2 + int(shape[2] * 5)
    emblem = smoothstep(ring * (0.55 + 0.35 * np.cos(heading * lobes)) - radius, 0, 0.03)
    return np.asarray(distance, np.float32), np.asarray(relief, np.float32), emblem if shape[3] > 0.4 else _none(v)


def connector(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A connector housing: rounded box, cavity with rows of metal pins, polarising notch."""
    tall = 0.35 + 0.3 * shape[0]
    side_v, side_u = np.abs(v) - (tall - 0.06), np.abs(u) - 0.9
    distance = _radius(np.maximum(side_v, 0), np.maximum(side_u, 0)) + np.minimum(np.maximum(side_v, side_u), 0) - 0.06
    notch = np.maximum(np.abs(u) - 0.12, np.abs(v - tall) - 0.09)
    distance = np.maximum(distance, -notch)
    cavity = smoothstep(-np.maximum(np.abs(v) - tall + 0.17, np.abs(u) - 0.8), 0, 0.04)
    columns, rows = 3 + int(shape[1] * 7), 1 + int(shape[2] * 2.99)
    pitch = 1.5 / columns
    dv = ((v / pitch + rows / 2) % 1 - 0.5) * (np.abs(v) < pitch * rows / 2) + 9 * (np.abs(v) >= pitch * rows / 2)
    du = ((u / pitch + columns / 2) % 1 - 0.5) * (np.abs(u) < 0.75) + 9 * (np.abs(u) >= 0.75)
    pin = smoothstep(0.24 - np.maximum(np.abs(dv), np.abs(du)), 0, 0.06) * cavity
    relief = 0.12 * _dome(-distance, 0.06) - 0.18 * cavity + 0.1 * pin
    return np.asarray(distance, np.float32), np.asarray(relief, np.float32), pin


def pin(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A pin or solder ball from above, round or square, with a bright top."""
    power = 2 if shape[0] < 0.5 else 6
    distance = (np.abs(v) ** power + np.abs(u) ** power) ** (1 / power) - 0.9
    return np.asarray(distance, np.float32), 0.5 * _dome(-distance, 0.5 + 0.4 * shape[1]), _none(v)


def clip(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A stamped link: two eyes joined by a bar, as in chains, lugs and brackets."""
    eye, bore = 0.3 + 0.12 * shape[0], 0.12 + 0.12 * shape[1]
    ends = _radius(v, np.abs(u) - (0.97 - eye))
    bar = np.maximum(np.abs(v) - eye * (0.45 + 0.4 * shape[2]), np.abs(u) - (0.97 - eye))
    distance = np.maximum(np.minimum(ends - eye, bar), bore - ends)
    return np.asarray(distance, np.float32), 0.12 * _dome(-distance, 0.08), _none(v)


SHAPES: dict[str, Shape] = {
    "tablet": tablet,
    "lozenge": lozenge,
    "washer": washer,
    "o-ring": o_ring,
    "nut": nut,
    "screw head": screw_head,
    "screw": screw,
    "gear": gear,
    "cap": cap,
    "connector": connector,
    "pin": pin,
    "clip": clip,
    **VESSELS,
}

ROUND = ("tablet", "washer", "o-ring", "pin")  # turning these changes nothing that shows
PLURALS: dict[str, str] = {
    "tablet": "tablets",
    "lozenge": "oblong tablets",
    "washer": "washers",
    "o-ring": "sealing rings",
    "nut": "hexagon nuts",
    "screw head": "screw heads",
    "screw": "screws",
    "gear": "gear wheels",
    "cap": "bottle tops",
    "connector": "connectors",
    "pin": "pins",
    "clip": "metal clips",
    **VESSEL_PLURALS,
}
