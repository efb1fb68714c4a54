"""Glossy moulded bodies: one large, or many in bulk, in random poses, touching and covering each other."""

import math
from dataclasses import replace

import numpy as np

from genau.datasets.synthetic.canvas import Canvas, Part, Sprite, Style, compose
from genau.datasets.synthetic.noise import Rng, coat, colour, draw_light, metal
from genau.datasets.synthetic.objects import ground
from genau.datasets.synthetic.parts import PLURALS, render
from genau.datasets.synthetic.vessels import VESSELS

POSES = 9  # drawn parts that a heap is laid out of
BULK_KINDS = (*VESSELS, "tablet", "lozenge", "cap", "nut", "o-ring", "washer", "clip")


def _style(product: Rng, kind: str, ground_value: float, bulk: bool) -> Style:
    """Draw glass, glossy plastic, gelatine or metal, apart in brightness from the ground."""
    clear = product.uniform(0.2, 0.65) if kind in VESSELS and product.random() < 0.5 else 0.0
    base = metal(product) if kind in ("nut", "washer", "clip") else coat(product, 0.1, 0.95)
    if clear and product.random() < 0.6:
        base = colour(product.choice([0.08, 0.1, 0.38, 0.58]), product.uniform(0, 0.6), product.uniform(0.4, 0.9))
    if abs(float(base.mean()) - ground_value) < 0.2:
        base = np.asarray(base * 0.4 if ground_value > 0.45 else 1 - (1 - base) * 0.4, np.float32)
    accent = metal(product) if product.random() < 0.5 else coat(product)
    spread = product.uniform(0.01, 0.08) if bulk else 0.015
    shape = tuple(product.random(5).tolist())
    return Style(kind, base, accent, float(product.uniform(0.15, 0.9)), shape, float(clear), float(spread))


def moulded(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """One large moulded or glass body with highlights, upright or lying."""
    light = draw_light(product, instance)
    kind = str(product.choice(list(VESSELS)))
    radius = min(size_hw) * product.uniform(0.36, 0.5) * float(instance.normal(1, 0.012))
    backdrop = ground(product, instance, size_hw)
    style = _style(product, kind, float(backdrop.mean()), False)
    at = np.array(size_hw) / 2 + instance.normal(0, 0.03 * radius, 2)
    angle = product.choice([0, math.pi / 2, -math.pi / 2, product.uniform(0, 6.3)]) + instance.normal(0, 0.05)
    parts = (Part(style, (float(at[0]), float(at[1])), radius, float(angle), int(instance.integers(2**31))),)
    sprites = tuple(render(part, light) for part in parts)
    shadow = float(product.uniform(0.15, 0.5)), float(max(0.8, radius * product.uniform(0.04, 0.14)))
    rgb, labels = compose(backdrop, sprites, light, shadow)
    name = f"single {PLURALS[kind].removesuffix('s')}"
    return Canvas(rgb, light, name, backdrop, labels, parts, sprites, shadow=shadow)


def heap(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Bodies of one kind in bulk: any pose, touching or on top of each other, each with its own highlight and tone."""
    height, width = size_hw
    light = draw_light(product, instance)
    kind = str(product.choice(BULK_KINDS))
    radius = min(size_hw) * math.exp(product.uniform(math.log(0.06), math.log(0.17)))
    backdrop = ground(product, instance, size_hw)
    style = _style(product, kind, float(backdrop.mean()), True)
    poses = [
        Part(style, (0.0, 0.0), radius, 2 * math.pi * (k + instance.random()) / POSES, int(instance.integers(2**31)))
        for k in range(POSES)
    ]
    drawn = [render(part, light) for part in poses]
    dense = product.uniform(0.75, 1.5)
    cells_y, cells_x = math.ceil(height / (radius * dense)), math.ceil(width / (radius * dense))
    keep = 1.0 if product.random() < 0.6 else product.uniform(0.35, 0.9)
    parts, sprites = [], []
    for place in instance.permutation(cells_y * cells_x).tolist():
        if instance.random() > keep:
            continue
        row, column = divmod(place, cells_x)
        y, x = (row + instance.uniform(0, 1)) * height / cells_y, (column + instance.uniform(0, 1)) * width / cells_x
        k = int(instance.integers(POSES))
        parts.append(replace(poses[k], centre_yx=(float(round(y)), float(round(x)))))
        sprites.append(_laid(drawn[k], round(y), round(x), 1 + style.spread * instance.normal()))
    shadow = float(product.uniform(0.3, 0.7)), float(max(0.8, radius * 0.12))
    between, name = float(product.uniform(0.2, 0.6)), f"{PLURALS[kind]} in bulk"
    rgb, labels = compose(backdrop, tuple(sprites), light, shadow, between)
    lying = tuple(parts), tuple(sprites)
    return Canvas(rgb, light, name, backdrop, labels, *lying, shadow=shadow, between=between)


def _laid(sprite: Sprite, y: int, x: int, tone: float) -> Sprite:
    return Sprite(sprite.top + y, sprite.left + x, np.asarray(sprite.rgb * np.float32(tone), np.float32), sprite.alpha)
