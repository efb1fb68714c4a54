"""Open and fibrous materials: wire screens, foam, carpet and felt."""

import math

import numpy as np

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import (
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
    smoothstep,
    tinted,
)
from genau.datasets.synthetic.objects import ground
from genau.datasets.synthetic.patterns import per_item, wavy_plane


def wire_screen(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A screen of round wires, crossing flat, woven or welded, before a dark, plain or back-lit ground."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = max(6.0, product.uniform(9, 64) * unit)
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0.05, 1.0), product.random() < 0.6)
    if product.random() < 0.3:  # diamonds or oblong openings
        u = u * np.float32(product.uniform(0.5, 0.8))
    thick = max(1.3 / pitch, product.uniform(0.06, 0.2))
    woven = product.random() < 0.6
    away_v, away_u = np.abs(v % 1 - 0.5) / thick, np.abs(u % 1 - 0.5) / thick
    round_v, round_u = (np.sqrt(np.maximum(1 - a * a, 0)) for a in (away_v, away_u))
    over = np.cos(math.pi * (np.floor(v) + u)) if woven else np.float32(0.15)
    under = np.cos(math.pi * (np.floor(u) + v + 1)) if woven else np.float32(-0.15)
    lift = thick * pitch
    height_v, height_u = lift * (round_v + 0.5 * over), lift * (round_u + 0.5 * under)
    top = np.where((away_v < 1) & ((away_u >= 1) | (height_v > height_u)), height_v, height_u)
    nearest = np.minimum(away_v, away_u)
    cover = np.clip(0.5 + (1 - nearest) * thick * pitch, 0, 1)
    spread = product.uniform(0.01, 0.06)
    tone = np.where(height_v > height_u, per_item(instance, v, spread), per_item(instance, u, spread))
    tone = tone * (0.55 + 0.45 * np.sqrt(np.maximum(1 - np.minimum(nearest, 1) ** 2, 0)))
    tone = tone * (1 + 0.03 * fractal(instance, size_hw, 3 * unit, 2))
    base = metal(product) if product.random() < 0.8 else coat(product, 0.05, 0.9)
    relief = np.asarray(np.where(nearest < 1, top, 0), np.float32) * np.float32(0.6)
    rgb = lit(tinted(base, tone), relief, light, product.uniform(0.1, 0.6), 22)
    behind = ground(product, instance, size_hw)
    if product.random() < 0.5:
        behind = np.asarray(behind * np.float32(0.15 if float(base.mean()) > 0.4 else 1.0), np.float32)
    if abs(float(behind.mean()) - float(base.mean())) < 0.2:
        behind = np.asarray(behind * 0.3 if float(base.mean()) > 0.4 else behind + 0.4, np.float32)
    shadow = 1 - product.uniform(0, 0.4) * blur(np.asarray(cover, np.float32), max(1.0, 0.1 * pitch))
    behind = np.asarray(tinted(behind, shadow), np.float32)
    rgb = behind + cover[..., None].astype(np.float32) * (rgb - behind)
    name = "woven wire screen" if woven else "welded wire screen"
    return Canvas(np.asarray(rgb, np.float32), light, name, behind, (cover > 0.5).astype(np.int16))


def foam(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Foam with open pores, carpet pile or pressed felt: rough, soft and never twice the same."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    kind = int(product.integers(3))
    base = coat(product, 0.08, 0.9)
    cell = product.uniform(2.5, 11) * unit
    cloud = fractal(instance, size_hw, product.uniform(20, 70) * unit, 3)
    if kind == 0:
        field = fractal(instance, size_hw, cell, 2, product.uniform(0.3, 0.8))
        pores = smoothstep(field, product.uniform(0.3, 1.0), product.uniform(1.2, 2.2))
        fine = fractal(instance, size_hw, max(1.2, 0.3 * cell), 1)
        tone = (1 + 0.04 * fine + 0.02 * cloud) * (1 - product.uniform(0.25, 0.75) * pores)
        height = -product.uniform(0.5, 2.0) * unit * pores + 0.2 * fine
    else:
        stretch = product.uniform(0.6, 1.8) if kind == 1 else product.uniform(2, 7)
        pile = fractal(instance, size_hw, cell * (0.7 if kind == 1 else 0.5), 2, 0.8, stretch)
        swept = fractal(instance, size_hw, product.uniform(25, 90) * unit, 2)  # the pile lies one way or the other
        tone = 1 + product.uniform(0.05, 0.16 if kind == 1 else 0.07) * pile + product.uniform(0, 0.06) * swept
        height = product.uniform(0.3, 1.6 if kind == 1 else 0.6) * unit * pile
    albedo = tinted(base, np.maximum(tone, 0.1))
    if kind == 2 and product.random() < 0.5:  # fibres of a second colour
        second = smoothstep(fractal(instance, size_hw, 1.6 * unit, 1, 1, product.uniform(3, 8)), 1.2, 2.4)
        albedo = blend(albedo, muted(product, 0.1, 0.9), 0.6 * second)
    depth = np.full((*size_hw, 3), colour(product.random(), 0.1, product.uniform(0.02, 0.12)), np.float32)
    name = ("foam sheet", "carpet", "felt mat")[kind]
    return Canvas(lit(albedo, np.asarray(height, np.float32), light), light, name, depth)
