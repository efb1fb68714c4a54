"""Surfaces with a pattern that repeats: woven, knitted, perforated, bricks and hexagons, wound wire."""

import math

import numpy as np

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
)


def wavy_plane(
    product: Rng, instance: Rng, size_hw: tuple[int, int], pitch: float, waviness: float, any_angle: bool
) -> tuple[Field, Field]:
    """Return v, u (H, W) in pattern pitches: the product's angle, the instance's pose and a slow waviness."""
    unit = min(size_hw) / 256
    angle = (product.uniform(0, math.pi) if any_angle else product.normal(0, 0.03)) + instance.normal(0, 0.03)
    v, u = plane(size_hw, angle, pitch * instance.normal(1, 0.015))
    wave = waviness * unit / pitch
    v = v + instance.random() + wave * fractal(instance, size_hw, 60 * unit, 2)
    return v, u + instance.random() + wave * fractal(instance, size_hw, 60 * unit, 2)


def per_item(rng: Rng, index: Field, spread: float) -> Field:
    """Return a value per integer of `index` (H, W), around 1."""
    whole = np.floor(index).astype(np.int64)
    whole -= whole.min()
    return (1 + spread * rng.standard_normal(int(whole.max()) + 1, dtype=np.float32))[whole]


def woven(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Woven cloth, plain or twill: rounded threads that pass over and under each other."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = max(3.5, product.uniform(4, 16) * unit)
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0.2, 1.5), product.random() < 0.5)
    twill = int(product.integers(2, 5))  # 2 is plain weave
    over = (np.floor(u) + np.floor(v)) % twill < (1 if twill < 4 else 2)
    fill_u, fill_v = np.abs((u % 1) - 0.5) * 2, np.abs((v % 1) - 0.5) * 2
    fullness = product.uniform(0.6, 1.0)
    warp = np.sqrt(np.maximum(1 - (fill_u / fullness) ** 2, 0)) * (0.6 + 0.4 * np.cos((v % 1 - 0.5) * math.pi))
    weft = np.sqrt(np.maximum(1 - (fill_v / fullness) ** 2, 0)) * (0.6 + 0.4 * np.cos((u % 1 - 0.5) * math.pi))
    seen_warp = np.where(over, warp + 0.25 * (warp > 0), warp * 0.8) > np.where(
        over, weft * 0.8, weft + 0.25 * (weft > 0)
    )
    height = np.where(seen_warp, warp, weft)
    first = muted(product, 0.2, 0.9)
    second = first * product.uniform(0.8, 1.15) if product.random() < 0.6 else muted(product, 0.2, 0.9)
    spread = product.uniform(0.02, 0.08)
    tone = np.where(seen_warp, per_item(instance, u, spread), per_item(instance, v, spread))
    tone = tone * (0.45 + 0.55 * height) * (1 + 0.06 * fractal(instance, size_hw, 2.2 * unit, 2))
    albedo = tinted(np.where(seen_warp[..., None], first, second), tone)
    name = "woven fabric" if twill == 2 else "twill fabric"
    relief = np.asarray(height * pitch * product.uniform(0.1, 0.3), np.float32)
    return Canvas(lit(albedo, relief, light), light, name, _dark(product, size_hw))


def knitted(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Knitted cloth: columns of V-shaped stitches."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = max(7.0, product.uniform(8, 22) * unit)
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0.3, 2), product.random() < 0.3)
    slant = product.uniform(0.7, 1.3)
    arm = np.abs((u % 1) - 0.5) * 2  # 0 in the middle of a stitch, 1 between columns
    along = (v * product.uniform(1.2, 1.7) - slant * arm) % 1
    round_along, round_arm = np.sin(along * math.pi), np.sin(np.clip(arm, 0.02, 0.98) * math.pi)
    height = np.asarray(np.maximum(round_along, 0) ** 0.6 * np.maximum(round_arm, 0) ** 0.5, np.float32)
    yarn = muted(product, 0.25, 0.9)
    twist = np.sin((v * 5 + u * 9) * math.pi * 2) if pitch > 10 else np.zeros(size_hw, np.float32)
    tone = (0.3 + 0.7 * height) * (1 + 0.05 * twist + 0.07 * fractal(instance, size_hw, 2 * unit, 2))
    albedo = tinted(yarn, tone * per_item(instance, u, 0.03))
    return Canvas(lit(albedo, height * pitch * 0.12, light), light, "knitted fabric", _dark(product, size_hw))


def perforated(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A perforated sheet or a mesh: round, square or slotted openings in rows, dark or lit ground behind."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = max(8.0, product.uniform(12, 44) * unit)
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0, 0.5), product.random() < 0.5)
    staggered, exponent = product.random() < 0.5, product.choice([2, 2, 4, 10])
    if staggered:
        u = np.asarray(u + 0.5 * (np.floor(v) % 2), np.float32)
    opening = product.uniform(0.22, 0.44)
    slot = product.uniform(0.5, 1.0)
    dv, du = np.abs((v % 1) - 0.5) / slot, np.abs((u % 1) - 0.5)
    distance = (dv**exponent + du**exponent) ** (1 / exponent)
    sheet = np.clip(0.5 + (distance - opening) * pitch, 0, 1).astype(np.float32)
    bevel = smoothstep(distance, opening - 0.02, opening + product.uniform(0.04, 0.12))
    base = metal(product) if product.random() < 0.6 else muted(product, 0.15, 0.95)
    tone = 1 + 0.04 * fractal(instance, size_hw, 4 * unit, 3) + 0.03 * fractal(instance, size_hw, 60 * unit, 2)
    rgb = lit(tinted(base, tone), bevel * product.uniform(0.5, 2.5) * unit, light, 0.15)
    ground = _dark(product, size_hw) if product.random() < 0.7 else np.full((*size_hw, 3), muted(product, 0.6, 0.95))
    ground = ground * (1 + 0.03 * fractal(instance, size_hw, 40 * unit, 2))[..., None].astype(np.float32)
    rgb = blend(ground, rgb, sheet)
    name = "perforated sheet" if opening < 0.36 else "moulded mesh"
    return Canvas(np.asarray(rgb, np.float32), light, name, ground, (sheet > 0.5).astype(np.int16))


def bricks(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A panel of bricks, hexagons or squares: bevelled cells of slightly different tone between joints."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = product.uniform(18, 70) * unit
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0, 0.8), product.random() < 0.4)
    if hexagons := product.random() < 0.35:
        edge, cell = _hexagons(v, u)
    else:
        aspect, bond = product.uniform(1, 3), float(product.choice([0, 0.5, 1 / 3]))
        u = np.asarray(u / aspect + bond * np.floor(v), np.float32)
        edge = np.minimum(0.5 - np.abs(v % 1 - 0.5), (0.5 - np.abs(u % 1 - 0.5)) * aspect)
        cell = np.floor(v) * 57 + np.floor(u)
    joint, bevel = product.uniform(0.015, 0.07), product.uniform(0.02, 0.12)
    raised = smoothstep(edge, joint, joint + bevel)
    base, joint_tone = muted(product, 0.3, 0.9), muted(product, 0.15, 0.85)
    grain = fractal(instance, size_hw, product.uniform(2, 9) * unit, 3, 0.7)
    cloud = fractal(instance, size_hw, product.uniform(15, 50) * unit, 3)
    tone = per_item(instance, cell % 997, product.uniform(0.0, 0.09)) * (1 + 0.04 * grain + 0.03 * cloud)
    cover = smoothstep(edge, joint * 0.8, joint * 1.2 + 0.4 / pitch)[..., None]
    albedo = tinted(joint_tone, 1 + 0.06 * grain) * (1 - cover) + tinted(base, tone) * cover
    height = raised * product.uniform(1, 4) * unit + 0.25 * grain
    rgb = lit(albedo, np.asarray(height, np.float32), light, product.uniform(0, 0.15))
    return Canvas(rgb, light, "hexagon-patterned panel" if hexagons else "brick-patterned panel")


def _hexagons(v: Field, u: Field) -> tuple[Field, Field]:
    """Return the distance to the edge and a number for each hexagonal cell (H, W)."""
    tall = np.float32(math.sqrt(3))

    def centred(shift: float) -> tuple[Field, Field, Field]:
        row, column = np.floor(v / tall + shift), np.floor(u + shift)
        return v - (row - shift + 0.5) * tall, u - (column - shift + 0.5), row * 71 + column + 3 * shift

    (v1, u1, cell1), (v2, u2, cell2) = centred(0.0), centred(0.5)
    first = v1 * v1 + u1 * u1 < v2 * v2 + u2 * u2
    dv, du = np.abs(np.where(first, v1, v2)), np.abs(np.where(first, u1, u2))
    edge = np.asarray(0.5 - np.maximum(du, du * 0.5 + dv * tall / 2), np.float32)
    return edge, np.asarray(np.where(first, cell1 * 2, cell2 * 2 + 1), np.float32)


def wound(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Wound wire, cable or ribbed hose: parallel round strands side by side."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    pitch = max(4.0, product.uniform(5, 30) * unit)
    v, u = wavy_plane(product, instance, size_hw, pitch, product.uniform(0.05, 0.5), product.random() < 0.4)
    strand = np.asarray(np.sqrt(np.maximum(1 - (np.abs((v % 1) - 0.5) * 2) ** 2, 0.0)), np.float32)
    base = metal(product) if product.random() < 0.6 else coat(product)
    streak = fractal(instance, size_hw, 2 * unit, 2, 0.6)
    tone = per_item(instance, v, 0.03) * (1 + 0.04 * streak) * (0.35 + 0.65 * strand)
    if product.random() < 0.4:  # twisted strands
        tone = tone * (1 + 0.12 * np.sin((u * product.uniform(0.8, 2) + v % 1) * 2 * math.pi))
    rgb = lit(tinted(base, tone), blur(strand * pitch * 0.22, 0.5), light, product.uniform(0.1, 0.45), 25)
    return Canvas(rgb, light, "wound wire" if pitch < 12 * unit else "ribbed hose")


def _dark(product: Rng, size_hw: tuple[int, int]) -> Field:
    return np.full((*size_hw, 3), colour(product.random(), 0.15, product.uniform(0.02, 0.14)), np.float32)
