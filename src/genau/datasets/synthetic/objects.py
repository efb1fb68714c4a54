"""Products with parts: rows on a tray, loose parts, one part on a ground, arrays of pins, a threaded bolt."""

import math

import numpy as np

from genau.datasets.synthetic.canvas import Canvas, Part, Style, compose
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
    value_noise,
)
from genau.datasets.synthetic.parts import PLURALS, render

METALLIC = ("washer", "nut", "screw head", "screw", "gear", "pin", "clip")


def _style(product: Rng, kind: str, ground_value: float) -> Style:
    """Draw the look of one product's parts, apart in brightness from the ground they lie on."""
    base = metal(product) if kind in METALLIC and product.random() < 0.85 else _vivid(product)
    for _ in range(4):
        if abs(float(base.mean()) - ground_value) > 0.18:
            break
        base = metal(product) if kind in METALLIC else _vivid(product)
    if kind == "o-ring" and product.random() < 0.6:
        base = colour(product.random(), 0.1, product.uniform(0.05, 0.2) if ground_value > 0.3 else 0.75)
    accent = metal(product) if kind == "connector" else _vivid(product)
    if kind == "screw head":
        accent = base * 0.45
    gloss = product.uniform(0.15, 0.5) if kind in METALLIC else product.uniform(0, 0.4)
    return Style(kind, base, accent, float(gloss), tuple(product.random(5).tolist()))


def _vivid(product: Rng) -> Field:
    pale = product.random() < 0.45
    return colour(product.random(), product.uniform(0, 0.12), product.uniform(0.75, 0.97)) if pale else coat(product)


def ground(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Field:
    """Return a ground (H, W, 3) to lay parts on: plain, cloth-like, brushed, card or rubber mat."""
    unit = min(size_hw) / 256
    base = muted(product, 0.05, 0.95)
    kind = int(product.integers(4))
    tone = 0.01 * fractal(instance, size_hw, 70 * unit, 3)
    if kind == 1:
        tone += product.uniform(0.02, 0.07) * fractal(instance, size_hw, product.uniform(1.5, 4) * unit, 3)
    elif kind == 2:
        tone += product.uniform(0.02, 0.06) * value_noise(instance, size_hw, (unit, 60 * unit))
    elif kind == 3:
        v, u = plane(size_hw, product.uniform(0, 3) + instance.normal(0, 0.02), product.uniform(3, 8) * unit)
        tone += product.uniform(0.02, 0.08) * np.cos(u * math.pi) * np.cos(v * math.pi)
    return np.asarray(tinted(base, 1 + tone), np.float32)


def _finish(backdrop: Field, parts: list[Part], light: Field, product_name: str, shadow: tuple[float, float]) -> Canvas:
    sprites = tuple(render(part, light) for part in parts)
    rgb, labels = compose(backdrop, sprites, light, shadow)
    return Canvas(rgb, light, product_name, backdrop, labels, tuple(parts), sprites, shadow=shadow)


def _shadow(product: Rng, radius: float) -> tuple[float, float]:
    return float(product.uniform(0.15, 0.55)), float(max(0.8, radius * product.uniform(0.06, 0.16)))


def tray(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Parts of one kind in rows, one in every pocket or place."""
    height, width = size_hw
    light = draw_light(product, instance)
    kind = str(product.choice(["tablet", "lozenge", "washer", "o-ring", "nut", "screw head", "screw", "clip", "cap"]))
    rows, columns = int(product.integers(2, 6)), int(product.integers(3, 8))
    pitch = min(height / rows, width / columns) * product.uniform(0.86, 0.98)
    radius = pitch / 2 * product.uniform(0.68, 0.9)
    backdrop = ground(product, instance, size_hw)
    style = _style(product, kind, float(backdrop.mean()))
    tilt = instance.normal(0, 0.025)
    origin = np.array([height / 2, width / 2]) + instance.normal(0, 0.04 * pitch, 2)
    base_angle = product.choice([0, math.pi / 2, product.uniform(0, 3)])
    free = product.random() < 0.4 and kind not in ("lozenge", "screw", "clip")
    jitter = product.uniform(0.0, 0.035)
    parts = []
    for row in range(rows):
        for column in range(columns):
            y, x = (row - (rows - 1) / 2) * pitch, (column - (columns - 1) / 2) * pitch
            turned = (y * math.cos(tilt) + x * math.sin(tilt), x * math.cos(tilt) - y * math.sin(tilt))
            at = origin + turned + instance.normal(0, jitter * pitch, 2)
            angle = instance.uniform(0, 6.3) if free else base_angle + tilt + instance.normal(0, 0.05)
            parts.append(Part(style, (float(at[0]), float(at[1])), radius, float(angle), int(instance.integers(2**31))))
    if pockets := product.random() < 0.6:
        backdrop = _pockets(backdrop, parts, light, pitch, product.random() < 0.5)
    holder = "blister of" if pockets else "tray of"
    return _finish(backdrop, parts, light, f"{holder} {PLURALS[kind]}", _shadow(product, radius))


def _pockets(backdrop: Field, parts: list[Part], light: Field, pitch: float, square: bool) -> Field:
    """Press a recess for each part into the ground."""
    height, width = backdrop.shape[:2]
    relief = np.zeros((height, width), np.float32)
    reach = math.ceil(pitch / 2)
    grid = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.maximum(np.abs(grid)[:, None], np.abs(grid)[None]) if square else np.hypot(grid[:, None], grid[None])
    recess = -0.07 * pitch * (1 - smoothstep(np.asarray(distance / pitch, np.float32), 0.43, 0.48))
    for part in parts:
        top, left = round(part.centre_yx[0]) - reach, round(part.centre_yx[1]) - reach
        rows, columns = slice(max(0, top), max(0, top + len(grid))), slice(max(0, left), max(0, left + len(grid)))
        window = relief[rows, columns]
        window += recess[rows.start - top :, columns.start - left :][: window.shape[0], : window.shape[1]]
    return lit(backdrop, relief, light)


def loose(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Parts of one kind strewn on a ground without touching, in any direction; their number means nothing."""
    height, width = size_hw
    light = draw_light(product, instance)
    kind = str(product.choice(["tablet", "lozenge", "washer", "o-ring", "nut", "screw", "gear", "clip", "cap"]))
    radius = min(size_hw) * product.uniform(0.07, 0.2)
    backdrop = ground(product, instance, size_hw)
    style = _style(product, kind, float(backdrop.mean()))
    wanted = int(product.integers(4, 22))
    places: list[tuple[float, float]] = []
    for _ in range(wanted * 4):
        at = (
            instance.uniform(0.4, height / radius - 0.4) * radius,
            instance.uniform(0.4, width / radius - 0.4) * radius,
        )
        if len(places) < wanted and all(math.hypot(at[0] - y, at[1] - x) > 2 * radius for y, x in places):
            places.append((float(at[0]), float(at[1])))
    parts = [
        Part(
            style,
            at,
            radius * float(instance.normal(1, 0.005)),
            float(instance.uniform(0, 6.3)),
            int(instance.integers(2**31)),
        )
        for at in places
    ]
    return _finish(backdrop, parts, light, f"loose {PLURALS[kind]}", _shadow(product, radius))


def single(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """One large part on a ground."""
    light = draw_light(product, instance)
    kind = str(product.choice(["gear", "cap", "connector", "nut", "washer", "screw", "clip", "lozenge", "screw head"]))
    radius = min(size_hw) * product.uniform(0.34, 0.49) * float(instance.normal(1, 0.015))
    backdrop = ground(product, instance, size_hw)
    style = _style(product, kind, float(backdrop.mean()))
    at = np.array(size_hw) / 2 + instance.normal(0, 0.025 * radius, 2)
    angle = product.uniform(0, 6.3) + instance.normal(0, 0.06)
    if product.random() < 0.25:
        angle = instance.uniform(0, 6.3)
    parts = [Part(style, (float(at[0]), float(at[1])), radius, float(angle), int(instance.integers(2**31)))]
    return _finish(backdrop, parts, light, f"single {PLURALS[kind].removesuffix('s')}", _shadow(product, radius))


def pin_array(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A dark or coloured body with a regular array of pins or balls."""
    light = draw_light(product, instance)
    rows, columns = int(product.integers(3, 10)), int(product.integers(4, 13))
    pitch = min(size_hw[0] / (rows + 1), size_hw[1] / (columns + 1)) * product.uniform(0.8, 0.98)
    radius = pitch * product.uniform(0.2, 0.36)
    shade = coat(product, 0.06, 0.4)
    grain = fractal(instance, size_hw, 2.5 * min(size_hw) / 256, 2)
    tilt = instance.normal(0, 0.02)
    v, u = plane(size_hw, -tilt, pitch)
    edge = np.maximum(np.abs(v) - rows / 2 - 0.2, np.abs(u) - columns / 2 - 0.2) * pitch
    body = lit(tinted(shade, 1 + 0.05 * grain), np.clip(-edge, 0, 3).astype(np.float32), light, 0.05)
    outside = ground(product, instance, size_hw)
    backdrop = blend(outside, body, np.clip(0.5 - edge, 0, 1))
    style = Style("pin", metal(product), shade, float(product.uniform(0.2, 0.6)), tuple(product.random(5).tolist()))
    hollow = product.random() < 0.3
    parts = []
    for row in range(rows):
        for column in range(columns):
            if hollow and 0.3 * rows < row + 0.5 < 0.7 * rows and 0.3 * columns < column + 0.5 < 0.7 * columns:
                continue
            y, x = (row - (rows - 1) / 2) * pitch, (column - (columns - 1) / 2) * pitch
            at = (
                size_hw[0] / 2 + y * math.cos(tilt) - x * math.sin(-tilt),
                size_hw[1] / 2 + x * math.cos(tilt) - y * math.sin(tilt),
            )
            parts.append(Part(style, at, radius, tilt, int(instance.integers(2**31))))
    return _finish(np.asarray(backdrop, np.float32), parts, light, "socket with pin rows", _shadow(product, radius))


def bolt(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A threaded rod close up: flanks of a thread around a cylinder, on a plain ground."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    v, u = plane(size_hw, product.choice([0, math.pi / 2, product.uniform(0, 3)]) + instance.normal(0, 0.03))
    reach = min(size_hw) * product.uniform(0.2, 0.42)
    pitch = product.uniform(9, 34) * unit
    turn = ((u + v * pitch / (reach * 3)) / pitch + instance.random()) % 1
    tooth = blur(np.asarray(np.minimum(np.abs(turn - 0.5) * 2, product.uniform(0.75, 1)), np.float32), 0.6)
    half = reach - 0.3 * pitch * (1 - tooth) * 0.5
    outside = np.abs(v) - half
    round_ = np.sqrt(np.maximum(half**2 - v * v, 0)).astype(np.float32)
    slide = fractal(instance, size_hw, 3 * unit, 3, 0.6)
    albedo = tinted(metal(product), 1 + 0.05 * slide)
    rgb = lit(albedo, 0.5 * round_ + 0.5 * pitch * tooth, light, product.uniform(0.1, 0.4), 14)
    backdrop = ground(product, instance, size_hw)
    cover = np.clip(0.5 - outside, 0, 1)[..., None]
    rgb = backdrop + cover * (tinted(rgb, 0.55 + 0.45 * round_ / reach) - backdrop)
    labels = (outside < 0).astype(np.int16)
    return Canvas(np.asarray(rgb, np.float32), light, "threaded bolt", backdrop, labels)
