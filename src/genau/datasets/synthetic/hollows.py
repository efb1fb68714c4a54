"""Painters of defects in the form: dent, bubble, pit, hole, chip, burr, deformation."""

import math

import numpy as np
from scipy.ndimage import map_coordinates

from genau.datasets.synthetic.marks import Mark, Site, blob, moved, put, relief, soft, stroke, tone, walk
from genau.datasets.synthetic.noise import Field, Rng, blend, fractal, smoothstep, tinted


def dent(site: Site, rng: Rng, reach: float) -> Mark:
    """A hollow pressed into the surface: only light and shade tell it, lit on the far flank."""
    radius = reach * 0.8
    cover = (
        blob(site, rng, radius, rng.uniform(0.0, 0.35), rng.uniform(1, 2.4), rng.uniform(0.35, 0.9) * radius)
        * site.limit
    )
    depth = radius * rng.uniform(0.12, 0.6) * site.strength
    smooth = soft(cover, 0.12 * radius)
    rgb = relief(site.rgb, -smooth * depth, site.canvas.light, rng.uniform(0.9, 1.8))
    shade = 1 - rng.uniform(0.02, 0.25) * smooth
    return Mark(
        np.asarray(tinted(rgb, shade), np.float32),
        smoothstep(cover, 0.05, 0.45),
        "round hollow" if reach < 30 else "broad hollow",
    )


def bubble(site: Site, rng: Rng, reach: float) -> Mark:
    """One to seven blisters: domes with a lit flank, a dark rim and a small highlight."""
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, 8))
    cover = np.zeros(site.size_hw, np.float32)
    height, spark = cover.copy(), cover.copy()
    light = site.canvas.light
    for _ in range(count):
        away = moved(site, rng.uniform(0, 6.3), reach * rng.uniform(0.25, 0.75)) if count > 1 else site
        radius = max(1.5, reach * (0.8 if count == 1 else rng.uniform(0.12, 0.26)))
        one = blob(away, rng, radius, 0.12, rng.uniform(1, 1.3), 1.2)
        y = np.arange(site.size_hw[0], dtype=np.float32)[:, None] - away.centre_yx[0]
        x = np.arange(site.size_hw[1], dtype=np.float32)[None, :] - away.centre_yx[1]
        dome = np.sqrt(np.maximum(1 - (y * y + x * x) / (radius * 1.05) ** 2, 0))
        height = np.maximum(height, one * dome * radius * 0.55)
        peak_y, peak_x = y - light[1] * radius * 0.45, x - light[0] * radius * 0.45
        spark = np.maximum(spark, np.exp(-(peak_y**2 + peak_x**2) / (0.2 * radius) ** 2))
        cover = np.maximum(cover, one)
    cover = cover * site.limit
    hollow = rng.random() < 0.25
    rgb = relief(
        site.rgb,
        np.asarray(height * site.limit * (-1 if hollow else 1), np.float32),
        light,
        rng.uniform(0.5, 1.1) * site.strength,
    )
    rim = cover * (1 - soft(cover, 1.2 + 0.1 * reach / math.sqrt(count)))
    rgb = tinted(rgb, 1 - rng.uniform(0.15, 0.6) * rim)
    rgb = rgb + (rng.uniform(0.15, 0.6) * spark * cover)[..., None]
    return Mark(np.asarray(rgb, np.float32), cover, "round blister" if count == 1 else "group of blisters")


def pit(site: Site, rng: Rng, reach: float) -> Mark:
    """Small craters, single or in a swarm: dark floor, lit far rim."""
    unit = max(0.8, site.canvas.unit)
    count = 1 if reach < 5 * unit else int(rng.integers(3, 28))
    cover = np.zeros(site.size_hw, np.float32)
    for _ in range(count):
        away = moved(site, rng.uniform(0, 6.3), reach * math.sqrt(rng.random()) * 0.85) if count > 1 else site
        radius = max(1.0, reach * 0.8) if count == 1 else max(1.0, rng.lognormal(0.5, 0.4) * unit)
        cover = np.maximum(cover, blob(away, rng, radius, rng.uniform(0.1, 0.5), rng.uniform(1, 1.5), 0.9))
    cover = cover * site.limit
    rgb = put(site, tone(site, rng, 0.45, 0.9, 0.95), cover * rng.uniform(0.6, 1), 0.3)
    rgb = relief(rgb, -soft(cover, 0.7) * 2.2 * unit, site.canvas.light, 0.55)
    return Mark(rgb, cover, "crater" if count == 1 else "swarm of craters")


def hole(site: Site, rng: Rng, reach: float) -> Mark:
    """An opening through the material: shaded depth or the ground behind, sharp torn or drilled edge."""
    torn = rng.random() < 0.5
    cover = blob(
        site, rng, reach * 0.8, rng.uniform(0.4, 0.9) if torn else 0.05, rng.uniform(1, 1.7 if torn else 1.1), 1.0
    )
    cover = cover * site.limit
    light, shift = site.canvas.light, max(1, round(0.18 * reach))
    shifted = np.roll(cover, (round(light[1] * shift), round(light[0] * shift)), (0, 1))
    wall = np.clip(cover - shifted, 0, 1)  # the wall on the lamp's side lies in shadow
    depth = np.minimum(site.base * rng.uniform(0.05, 0.35), 0.2) + (0.25 if float(site.base.mean()) < 0.12 else 0)
    behind = np.broadcast_to(depth, site.rgb.shape)
    if site.canvas.backdrop is not None and rng.random() < 0.7:
        behind = site.canvas.backdrop[site.rows, site.columns] * 0.75
        if float(np.abs(behind.mean((0, 1)) - site.base).max()) < 0.12:
            behind = behind * 0.35
    opening = tinted(behind, 1 - 0.5 * wall + 0.25 * soft(cover, 0.3 * reach))
    rgb = blend(site.rgb, opening, cover)
    rgb = relief(rgb, -soft(cover, 0.9) * 1.5, light, 0.35)
    return Mark(np.asarray(rgb, np.float32), cover, "torn opening" if torn else "round opening")


def chip(site: Site, rng: Rng, reach: float) -> Mark:
    """A piece broken off: at an edge the ground and a fresh fracture show, inside a surface a shallow flake."""
    labels = site.canvas.labels
    piece = blob(site, rng, reach * 0.8, rng.uniform(0.3, 0.9), rng.uniform(1, 2.0), 0.9)
    facets = _facets(site, rng, reach)
    pale = (
        site.base + (1 - site.base) * rng.uniform(0.1, 0.5) if rng.random() < 0.6 else site.base * rng.uniform(0.4, 0.8)
    )
    fracture = tinted(pale, facets)
    if labels is None or site.canvas.backdrop is None:
        cover = piece * site.limit
        rgb = blend(site.rgb, fracture, cover)
        rgb = relief(np.asarray(rgb, np.float32), -soft(cover, 0.8) * 2.5, site.canvas.light, 0.5)
        return Mark(rgb, cover, "faceted flake")
    cover = piece * site.limit
    inner = blob(site, np.random.default_rng(7), reach * 0.5, 0.4, 1.2, 1.0) * piece
    lost = np.maximum(inner, smoothstep(soft(piece, 0.12 * reach), 0.55, 0.85)) * cover
    rgb = blend(site.rgb, fracture, cover)
    behind = site.canvas.backdrop[site.rows, site.columns]
    edge_shadow = 1 - 0.35 * soft(1 - lost, 0.15 * reach)
    rgb = blend(rgb, tinted(behind, edge_shadow), lost)
    return Mark(np.asarray(rgb, np.float32), cover, "bite at the edge")


def _facets(site: Site, rng: Rng, reach: float) -> Field:
    """Return brightness (h, w) of broken facets: a few planes that face the light differently."""
    planes = np.zeros((3, *site.size_hw), np.float32)
    y = np.arange(site.size_hw[0], dtype=np.float32)[:, None] - site.centre_yx[0]
    x = np.arange(site.size_hw[1], dtype=np.float32)[None, :] - site.centre_yx[1]
    for k in range(3):
        angle = rng.uniform(0, 2 * math.pi)
        planes[k] = (y * math.sin(angle) + x * math.cos(angle)) / reach + rng.normal(0, 0.2)
    which = planes.argmax(0)
    rough = 1 + 0.08 * fractal(rng, site.size_hw, max(2, reach * 0.25), 3)
    return np.asarray(rng.uniform(0.65, 1.3, 3).astype(np.float32)[which] * rough, np.float32)


def burr(site: Site, rng: Rng, reach: float) -> Mark:
    """A ragged rim or sliver of surplus material: at an edge it sticks out, on a surface it is a raised splinter."""
    base, light = site.base, site.canvas.light
    labels, heading = site.canvas.labels, rng.uniform(0, 2 * math.pi)
    outline = _edge_heading(site)
    if labels is not None and outline is not None:
        heading = outline
    paths = []
    for _ in range(int(rng.integers(1, 5))):
        along = rng.normal(0, 0.25 * reach)
        start = (site.centre_yx[0] + along * math.cos(heading), site.centre_yx[1] - along * math.sin(heading))
        back = (start[0] - 0.15 * reach * math.sin(heading), start[1] - 0.15 * reach * math.cos(heading))
        paths.append(walk(rng, back, heading + rng.normal(0, 0.45), reach * rng.uniform(0.45, 0.95), 0.8, 0.15))
    width = max(1.2, reach * rng.uniform(0.1, 0.28))
    cover = stroke(site, paths, width, wobble=rng)
    root = blob(site, rng, reach * 0.3, 0.5, 1.5, 1.0)
    cover = np.maximum(cover, root * (rng.random() < 0.6))
    shadow = soft(np.roll(cover, (round(-light[1] * 2), round(-light[0] * 2)), (0, 1)), 1.2) * (1 - cover)
    bright = base + (1 - base) * min(0.9, rng.uniform(0.15, 0.55) * site.strength)
    if float(base.mean()) > 0.75:
        bright = base * rng.uniform(0.5, 0.7)
    rgb = tinted(site.rgb, 1 - 0.4 * shadow)
    rgb = blend(rgb, bright, cover)
    rgb = relief(np.asarray(rgb, np.float32), soft(cover, 0.3 * width) * width, light, 0.6)
    return Mark(rgb, cover, "ragged sliver")


def _edge_heading(site: Site) -> float | None:
    """Return the direction out of the part at the site's centre, None inside a surface."""
    y, x = (round(v) for v in site.centre_yx)
    reach = 5
    window = site.limit[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    if window.min() > 0.5 or window.max() < 0.5:
        return None
    places = np.argwhere(window < 0.5).mean(0) - np.argwhere(window > 0.5).mean(0)
    return math.atan2(float(places[0]), float(places[1]))


def deformation(site: Site, rng: Rng, reach: float) -> Mark:
    """The structure itself is pushed aside, twisted or pinched, with a little shade where it bulges."""
    height, width = site.size_hw
    y = np.arange(height, dtype=np.float32)[:, None] - site.centre_yx[0]
    x = np.arange(width, dtype=np.float32)[None, :] - site.centre_yx[1]
    fall = soft(blob(site, rng, 0.62 * reach, 0.4, rng.uniform(1, 2), 0.5 * reach), 0.12 * reach) * site.limit
    kind, amount = int(rng.integers(3)), rng.choice([-1, 1]) * min(0.75, rng.uniform(0.25, 0.55) * site.strength)
    if kind == 0:
        angle = rng.uniform(0, 6.3)
        move_y, move_x = amount * reach * 0.6 * math.sin(angle) * fall, amount * reach * 0.6 * math.cos(angle) * fall
    elif kind == 1:
        move_y, move_x = 1.6 * amount * x * fall, -1.6 * amount * y * fall
    else:
        move_y, move_x = 1.2 * amount * y * fall, 1.2 * amount * x * fall
    grid_y, grid_x = np.indices((height, width), dtype=np.float32)
    where = np.stack([grid_y + move_y, grid_x + move_x])
    rgb = np.stack([map_coordinates(site.rgb[..., c], where, order=1, mode="nearest") for c in range(3)], -1)
    rgb = relief(
        np.asarray(rgb, np.float32),
        np.asarray(fall * amount * reach * rng.uniform(0.3, 0.8), np.float32),
        site.canvas.light,
        0.9,
    )
    cover = smoothstep(fall, 0.04, 0.35)
    return Mark(rgb, cover, ("shifted structure", "twisted structure", "pinched structure")[kind])
