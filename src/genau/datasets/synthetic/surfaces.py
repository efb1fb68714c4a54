"""Surfaces without pattern: cast stone, brushed metal, paper, plastic, turned metal, grained and embossed sheets.

Each family is a function of two generators: `product` draws what all parts of the product share (colours, scale,
geometry), `instance` what differs from part to part (texture, pose). So a reference is the same call with another
instance.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import (
    Field,
    Rng,
    blend,
    blur,
    coat,
    colour,
    draw_light,
    fractal,
    lit,
    metal,
    muted,
    plane,
    smoothstep,
    tinted,
    turn_room,
    turned,
    value_noise,
)


def stone(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Cast stone, concrete or sand-cast metal: mottled, with flecks of other minerals and a rough relief."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    kind = int(product.integers(3))
    base = metal(product) * 0.8 if kind == 2 else muted(product, 0.35, 0.85)
    mottle, rough = product.uniform(0.02, 0.1), product.uniform(0.2, 1.4)
    cloud = fractal(instance, size_hw, product.uniform(20, 70) * unit, 4, product.uniform(0.5, 0.75))
    grain_cell = product.uniform(1.5, 7) * unit
    grain = fractal(instance, size_hw, grain_cell, 3, 0.7)
    albedo = tinted(base, 1 + mottle * cloud + product.uniform(0.02, 0.08) * grain)
    for _ in range(int(product.integers(0, 4)) if kind < 2 else 0):
        cell, share = product.uniform(3, 12) * unit, product.uniform(1.2, 2.2)
        fleck = smoothstep(fractal(instance, size_hw, cell, 2, 0.6), share, share + 0.35)
        albedo += (product.uniform(0.4, 0.9) * fleck)[..., None] * (muted(product, 0.1, 0.95) - albedo)
    height = rough * blur(grain, 0.5) + product.uniform(0, 1.5) * cloud
    name = ("cast stone surface", "concrete surface", "sand-cast metal surface")[kind]
    return Canvas(lit(albedo, height * 0.5, light, 0.1 if kind == 2 else 0.0), light, name)


def brushed(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Brushed metal: long fine streaks across a broad anisotropic shine."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    angle = product.choice([0, math.pi / 2, product.uniform(0, math.pi)]) + instance.normal(0, 0.03)
    room = turn_room(size_hw, angle)
    streak = np.zeros(room, np.float32)
    for thickness, weight in ((1, 1.0), (2.5, 0.7), (9, product.uniform(0.1, 0.5))):
        length = product.uniform(40, 160) * unit * (1 + thickness / 3)
        streak += weight * value_noise(instance, room, (thickness * unit, length))
    streak = turned(streak, size_hw, angle)
    _, across = plane(size_hw, angle + math.pi / 2, min(size_hw) / 2)
    bands = np.cos(across * product.uniform(0.6, 2.5) + instance.uniform(-0.6, 0.6) + product.uniform(0, 6))
    shine = 1 + product.uniform(0.05, 0.22) * bands
    tone = shine * (1 + product.uniform(0.03, 0.11) * streak)
    return Canvas(np.asarray(tinted(metal(product), tone), np.float32), light, "brushed metal plate")


def paper(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Paper, card or fleece: cloudy formation, fine tooth and visible fibres."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    kind = int(product.integers(3))
    base = (
        muted(product, 0.7, 0.95) if kind != 1 else colour(product.uniform(0.06, 0.11), 0.4, product.uniform(0.5, 0.8))
    )
    cloud = fractal(instance, size_hw, product.uniform(10, 40) * unit, 4, 0.7)
    tooth = fractal(instance, size_hw, product.uniform(1.2, 3.5) * unit, 2, 0.6)
    fibres = _fibres(product, instance, size_hw, int(product.integers(60, 500)), unit)
    depth = product.uniform(-0.25, 0.25)
    albedo = tinted(base, 1 + product.uniform(0.005, 0.035) * cloud + depth * fibres)
    height = product.uniform(0.05, 0.5) * tooth + product.uniform(0.2, 1.2) * fibres
    return Canvas(lit(albedo, height, light), light, ("paper sheet", "kraft cardboard", "fibre fleece")[kind])


def _fibres(product: Rng, instance: Rng, size_hw: tuple[int, int], count: int, unit: float) -> Field:
    height, width = size_hw
    image = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(image)
    length, bend = product.uniform(6, 30) * unit, product.uniform(0.1, 0.7)
    starts = instance.random((count, 2)) * (height, width)
    headings = instance.uniform(0, 2 * math.pi, (count, 1)) + np.cumsum(instance.normal(0, bend, (count, 5)), 1)
    steps = np.stack([np.sin(headings), np.cos(headings)], -1) * length / 5
    points = starts[:, None] + np.cumsum(steps, 1)
    tones = instance.integers(60, 255, count)
    for path, tone in zip(points[..., ::-1].reshape(count, -1).tolist(), tones.tolist(), strict=True):
        draw.line(path, fill=tone, width=max(1, round(0.8 * unit)))
    return blur(np.asarray(image, np.float32) / np.float32(255), 0.5)


def plastic(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A glossy or frosted moulded cover: smooth, curved, orange-peel relief, perhaps a bead or a step in it."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    base = coat(product, 0.1)
    v, u = plane(size_hw, product.uniform(0, 6.3) + instance.normal(0, 0.04), min(size_hw) / 2)
    bow = product.uniform(4, 30) * unit
    height = -bow * (v * v + product.uniform(0, 1) * u * u)
    for _ in range(int(product.integers(0, 3))):
        offset, wide = product.uniform(-0.9, 0.9) + instance.normal(0, 0.02), product.uniform(0.02, 0.1)
        across = (u, v)[int(product.integers(2))] - offset
        height += product.choice([-1, 1]) * product.uniform(1.5, 5) * unit * np.exp(-((across / wide) ** 2))
    peel = fractal(instance, size_hw, product.uniform(3, 14) * unit, 2, 0.5)
    height += product.uniform(0.02, 0.22) * peel * unit
    gloss = product.uniform(0.05, 0.5)
    albedo = tinted(base, 1 + 0.015 * fractal(instance, size_hw, 60 * unit, 2))
    name = "glossy plastic cover" if gloss > 0.25 else "matt plastic housing"
    return Canvas(lit(albedo, height, light, gloss, product.uniform(8, 60)), light, name)


def turned_metal(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A metal disc with concentric tool marks, bow-tie shine, steps and a bore, on a plain ground."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    v, u = plane(size_hw)
    shift, reach = instance.normal(0, 5, 2) * unit, min(size_hw) / 2 * product.uniform(0.75, 1.6)
    v, u = v - np.float32(shift[0]), u - np.float32(shift[1])
    radius = np.sqrt(v * v + u * u)
    marks = instance.standard_normal(math.ceil(radius.max() * 2) + 2).astype(np.float32)
    marks = np.convolve(marks, [0.3, 0.5, 0.3], "same") + 0.6 * np.sin(np.arange(len(marks)) * product.uniform(0.4, 2))
    tool = np.interp(radius.ravel() * 2, np.arange(len(marks)), marks).reshape(size_hw).astype(np.float32)
    heading = np.arctan2(v, u) * 2 - 2 * math.atan2(float(light[1]), float(light[0]))
    shine = 1 + product.uniform(0.1, 0.35) * np.maximum(np.cos(heading), -0.4) ** 3
    tone = shine * (1 + product.uniform(0.02, 0.08) * tool)
    tone *= 1 + 0.02 * fractal(instance, size_hw, 30 * unit, 3)
    height = np.zeros(size_hw, np.float32)
    for edge in product.uniform(0.2, 0.95, int(product.integers(0, 4))):
        height += product.choice([-1, 1]) * 4 * unit * smoothstep(radius / reach, edge, edge + 0.025)
    rgb = lit(tinted(metal(product), tone), height, light, 0.1)
    bore = product.choice([0, product.uniform(0.06, 0.3)]) * reach
    inside = np.clip(0.5 + reach - radius, 0, 1) * (np.clip(0.5 + radius - bore, 0, 1) if bore else 1)
    ground = tinted(muted(product, 0.05, 0.9), 1 + 0.02 * fractal(instance, size_hw, 5 * unit, 3))
    rim = 1 - 0.45 * np.exp(-(((radius - reach) / (1.5 * unit)) ** 2))
    rgb = blend(ground, tinted(rgb, rim), inside)
    return Canvas(
        np.asarray(rgb, np.float32),
        light,
        "turned metal disc",
        np.asarray(ground, np.float32),
        (inside > 0.5).astype(np.int16),
    )


def grained(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Veneer, laminate or rolled sheet: quasi-periodic stripes bent by a slow field, with fine pores along them."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    angle = product.choice([0, math.pi / 2]) + product.normal(0, 0.05) + instance.normal(0, 0.03)
    room = turn_room(size_hw, angle)
    slow = fractal(instance, room, product.uniform(30, 80) * unit, 2, 0.5, product.uniform(3, 8))
    y = np.arange(room[0], dtype=np.float32)[:, None] / (product.uniform(6, 40) * unit)
    rings = y + product.uniform(0.3, 1.6) * slow + instance.uniform(0, 9)
    stripe = np.abs((rings % 1) - product.uniform(0.2, 0.8)) * 2
    pores = fractal(instance, room, 2 * unit, 1, 1, product.uniform(10, 30))
    room_tone = 0.7 * turned(np.asarray(stripe, np.float32), size_hw, angle)
    pore = smoothstep(turned(pores, size_hw, angle), 0.8, 2.2)
    first, second = (
        muted(product, 0.4, 0.85),
        colour(product.uniform(0.03, 0.12), product.uniform(0.1, 0.6), product.uniform(0.2, 0.7)),
    )
    mix = product.uniform(0.2, 0.8) * room_tone[..., None]
    albedo = tinted(first + mix * (second - first), 1 - product.uniform(0.05, 0.4) * pore)
    albedo *= (1 + 0.04 * fractal(instance, size_hw, 50 * unit, 5))[..., None]
    return Canvas(lit(albedo, -0.6 * pore, light), light, "grained laminate panel")


def embossed(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Embossed film or synthetic hide: cushions between fine furrows, all in one colour."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    cell = product.uniform(5, 18) * unit
    stretch = product.uniform(0.7, 1.6)
    furrow = np.abs(fractal(instance, size_hw, cell, 1, 1, stretch))
    furrow = np.minimum(
        furrow, 0.8 * np.abs(fractal(instance, size_hw, cell * product.uniform(0.6, 1.5), 2, 0.4)) + 0.1
    )
    cushion = blur(smoothstep(furrow, 0, product.uniform(0.25, 0.7)), 0.6 * unit)
    height = product.uniform(0.8, 3) * unit * cushion
    base = coat(product, 0.1, 0.8)
    albedo = tinted(base, 0.75 + 0.25 * cushion + 0.03 * fractal(instance, size_hw, 60 * unit, 3))
    return Canvas(lit(albedo, height, light, product.uniform(0, 0.25), 12), light, "embossed film")
