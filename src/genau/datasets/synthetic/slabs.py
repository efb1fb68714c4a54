"""Solid plates that vary from part to part by nature: granite, terrazzo, marble, timber with knots, ground castings."""

import math

import numpy as np
from PIL import Image, ImageDraw

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import (
    Field,
    Rng,
    blend,
    blur,
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


def slab(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A polished slab: speckled granite, terrazzo with chips of stone, or marble with clouds and veins."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    kind = int(product.integers(3))
    base = muted(product, 0.2, 0.92)
    cloud = fractal(instance, size_hw, product.uniform(25, 80) * unit, 4, 0.6)
    fine = fractal(instance, size_hw, product.uniform(1.2, 3) * unit, 1)
    if kind == 0:
        albedo = _granite(product, instance, size_hw, base, unit)
    elif kind == 1:
        albedo = _terrazzo(product, instance, size_hw, base, unit)
    else:
        albedo = tinted(np.broadcast_to(base, (*size_hw, 3)), 1 + product.uniform(0.02, 0.09) * cloud)
        for _ in range(int(product.integers(1, 4))):
            vein = np.abs(
                fractal(instance, size_hw, product.uniform(40, 130) * unit, 5, 0.5, product.uniform(0.6, 2.5))
            )
            line = (1 - smoothstep(vein, 0, product.uniform(0.03, 0.3))) * product.uniform(0.2, 0.7)
            albedo = blend(albedo, muted(product, 0.15, 0.95), line)
    albedo = tinted(albedo, 1 + product.uniform(0.005, 0.03) * fine + 0.015 * cloud)
    gloss = product.uniform(0, 0.12)
    rgb = lit(np.asarray(albedo, np.float32), 0.06 * fine, light, gloss)
    return Canvas(rgb, light, ("granite slab", "terrazzo slab", "marble slab")[kind])


def _granite(product: Rng, instance: Rng, size_hw: tuple[int, int], base: Field, unit: float) -> Field:
    """Return the colours (H, W, 3) of interlocking grains of three or four minerals."""
    cell, grains = product.uniform(2.5, 12) * unit, int(product.integers(3, 5))
    share = product.normal(0, 0.5, grains).astype(np.float32)
    fields = [share[k] + value_noise(instance, size_hw, (cell, cell)) for k in range(grains)]
    which, best = np.zeros(size_hw, np.uint8), fields[0]
    for k, field in enumerate(fields[1:], 1):
        which[field > best] = k
        best = np.maximum(best, field)
    spread = product.uniform(0.15, 0.6)
    tones = np.stack([base + spread * (muted(product, 0.05, 0.95) - base) for _ in range(grains)]).astype(np.float32)
    return np.asarray(tones[which], np.float32)


def _terrazzo(product: Rng, instance: Rng, size_hw: tuple[int, int], base: Field, unit: float) -> Field:
    """Return the colours (H, W, 3) of stone chips in a plain binder."""
    height, width = size_hw
    tones = [tuple(int(255 * v) for v in np.clip(base, 0, 1))]
    tones += [tuple(int(255 * v) for v in muted(product, 0.1, 0.95)) for _ in range(int(product.integers(2, 5)))]
    picture = Image.new("RGB", (2 * width, 2 * height), tones[0])
    pen = ImageDraw.Draw(picture)
    mean = product.uniform(2.5, 14) * unit
    count = int(min(900, product.uniform(0.25, 0.7) * height * width / (2.5 * mean * mean)))
    centres = instance.random((count, 1, 2)) * (2 * width, 2 * height)
    corners = np.sort(instance.random((count, 6, 1)) * 2 * math.pi, axis=1)
    reach = 2 * mean * instance.lognormal(0, 0.45, (count, 1, 1)) * instance.uniform(0.75, 1.25, (count, 6, 1))
    points = centres + reach * np.concatenate([np.cos(corners), np.sin(corners)], -1)
    which = instance.integers(1, len(tones), count)
    for polygon, k in zip(points.reshape(count, 12).tolist(), which.tolist(), strict=True):
        pen.polygon(polygon, fill=tones[k])
    return np.asarray(picture.reduce(2), np.float32) / np.float32(255)


def timber(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A planed board: growth rings that flow around knots, pores, and knots that belong to good parts."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    angle = product.choice([0, math.pi / 2]) + instance.normal(0, 0.03)
    v, u = plane(size_hw, angle)
    spacing = product.uniform(5, 28) * unit
    slow = fractal(instance, size_hw, 90 * unit, 2, 0.5)
    rings = v / spacing + product.uniform(0.3, 1.6) * slow + product.uniform(-0.004, 0.004) * u * v / (spacing * unit)
    knots = np.zeros(size_hw, np.float32)
    for _ in range(int(instance.poisson(product.uniform(0, 2.2)))):
        y, x = (instance.uniform(-0.5, 0.5) * side for side in size_hw)
        size = instance.lognormal(math.log(product.uniform(5, 15)), 0.4) * unit
        away = np.sqrt((v - y) ** 2 + ((u - x) / 1.5) ** 2) / size
        rings = rings + 2.2 * size / spacing * np.sign(v - y) * np.exp(-away / 1.5)
        knots = np.maximum(knots, (1 - smoothstep(away, 0.7, 1.15)) * (0.75 + 0.25 * np.cos(away * 14)))
    stripe = (rings + instance.random()) % 1
    late = stripe**3 * (1 - smoothstep(stripe, 0.93, 1.0))
    room = turn_room(size_hw, angle)
    streak = turned(fractal(instance, room, 2.2 * unit, 1, 1, product.uniform(15, 40)), size_hw, angle)
    pale = colour(product.uniform(0.06, 0.11), product.uniform(0.15, 0.55), product.uniform(0.45, 0.92))
    dark = pale * colour(product.uniform(0.04, 0.09), product.uniform(0.1, 0.4), product.uniform(0.45, 0.75))
    mix = (product.uniform(0.25, 0.9) * late)[..., None]
    albedo = pale + mix * (dark - pale)
    albedo = tinted(albedo, 1 + product.uniform(0.01, 0.06) * streak + 0.03 * slow)
    albedo = blend(albedo, dark * np.float32(0.6), 0.85 * knots)
    pore = smoothstep(streak, 1.0, 2.2)
    relief = np.asarray(-0.4 * pore - 0.3 * late, np.float32)
    return Canvas(lit(np.asarray(albedo, np.float32), relief, light), light, "planed timber board")


def ground_plate(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A cast or ground metal plate: dull, with soft clouds of light and shade, short grinding marks and fine grain."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    angle = product.uniform(0, math.pi) + instance.normal(0, 0.04)
    base = metal(product) * product.uniform(0.35, 1.0)
    room = turn_room(size_hw, angle)
    marks = turned(value_noise(instance, room, (1.5 * unit, product.uniform(8, 60) * unit)), size_hw, angle)
    cloud = fractal(instance, size_hw, product.uniform(50, 160) * unit, 2)
    grain = fractal(instance, size_hw, product.uniform(1.2, 4) * unit, 2, 0.7)
    tone = 1 + product.uniform(0.03, 0.14) * cloud
    tone = tone * (1 + product.uniform(0.0, 0.07) * marks + product.uniform(0.005, 0.05) * grain)
    if product.random() < 0.4:  # rounded borders catch less light
        v, u = plane(size_hw)
        away = np.maximum(np.abs(v) * 2 / size_hw[0], np.abs(u) * 2 / size_hw[1])
        tone = tone * (1 - product.uniform(0.2, 0.6) * smoothstep(away, product.uniform(0.6, 0.85), 1.0))
    relief = np.asarray(product.uniform(0, 0.25) * grain + 0.1 * blur(marks, 0.5), np.float32)
    rgb = lit(np.asarray(tinted(base, tone), np.float32), relief, light, 0.05)
    return Canvas(rgb, light, "ground metal plate" if product.random() < 0.6 else "die-cast metal plate")
