"""Painters of spot-like defects on the surface: stain, discoloration, contamination, corrosion."""

import math

import numpy as np

from genau.datasets.synthetic.marks import Mark, Site, blob, foreign, moved, patchy, put, relief, soft, tone
from genau.datasets.synthetic.noise import Rng, blend, colour, fractal, smoothstep, tinted


def stain(site: Site, rng: Rng, reach: float) -> Mark:
    """A dried liquid: translucent, uneven inside, often with a darker rim and satellite drops."""
    cover = blob(site, rng, reach * 0.8, rng.uniform(0.1, 0.5), rng.uniform(1, 1.8), rng.uniform(1, 0.25 * reach + 1))
    drops = int(rng.choice([0, 0, 1, 3])) if reach > 5 * site.canvas.unit else 0
    for _ in range(drops):
        away = moved(site, rng.uniform(0, 6.3), reach * rng.uniform(0.6, 0.9))
        cover = np.maximum(cover, blob(away, rng, reach * rng.uniform(0.08, 0.18), 0.2))
    cover = cover * site.limit
    spread = soft(cover, max(0.8, 0.06 * reach))
    rim = 4 * spread * (1 - spread) * float(rng.choice([0, 0.6, 1.2]))
    film = cover * patchy(rng, site.size_hw, max(3, reach * 0.35), 0.45)
    share = np.clip((film + rim * cover) * rng.uniform(0.25, 0.85), 0, 0.97)
    tint = colour(rng.choice([0.06, 0.09, 0.12, rng.random()]), rng.beta(1.5, 3), rng.uniform(0.1, 0.7))
    target = tint if rng.random() < 0.35 else tone(site, rng, 0.3, 0.85, 0.6)
    alpha = np.asarray(np.minimum(share * site.strength, 0.97), np.float32)
    return Mark(put(site, np.asarray(target, np.float32), alpha, 0.8), cover, "irregular blotch")


def discoloration(site: Site, rng: Rng, reach: float) -> Mark:
    """A change of hue or brightness without relief, with soft borders."""
    edge = rng.uniform(0.3, 1.0) * reach
    cover = blob(site, rng, reach * 0.75, 0.3, rng.uniform(1, 2.2), edge) * site.limit
    base = site.base
    if rng.random() < 0.6:
        shift = rng.normal(0, rng.choice([0.1, 0.15, 0.28]), 3) * site.strength
        factor = np.exp(shift - shift.mean() * rng.uniform(0.3, 1))
        target = np.clip(base * factor + 0.1 * (factor - factor.mean()), 0, 1).astype(np.float32)
    else:
        target = tone(site, rng, 0.15, 0.5, 0.5)
    alpha = cover * patchy(rng, site.size_hw, max(4, reach * 0.5), 0.65)
    return Mark(put(site, target, alpha, 0.97), cover, "soft patch")


def contamination(site: Site, rng: Rng, reach: float) -> Mark:
    """Foreign particles: chips, crumbs or dust that lie on top, shaded and with a shadow."""
    body = foreign(site, rng)
    count = 1 if rng.random() < 0.6 else int(rng.integers(2, 9))
    cover = np.zeros(site.size_hw, np.float32)
    height = np.zeros(site.size_hw, np.float32)
    for _ in range(count):
        away = moved(site, rng.uniform(0, 6.3), reach * rng.uniform(0.2, 0.8)) if count > 1 else site
        radius = max(1.2, reach * (0.7 if count == 1 else rng.uniform(0.08, 0.25)))
        one = blob(away, rng, radius, rng.uniform(0.3, 1.0), rng.uniform(1, 2.6), 1.0)
        cover = np.maximum(cover, one)
        height = np.maximum(height, soft(one, 0.35 * radius) * radius * 0.7)
    crumb = 1 + 0.12 * fractal(rng, site.size_hw, max(2, reach * 0.3), 2)
    light, shift = site.canvas.light, max(1.0, 0.12 * reach)
    moved_cover = np.roll(cover, (round(-light[1] * shift), round(-light[0] * shift)), (0, 1))
    shadow = soft(moved_cover, 0.6 * shift) * (1 - cover)
    rgb = tinted(site.rgb, 1 - 0.4 * shadow)
    lump = relief(tinted(body, crumb), height, light, 1.2)
    rgb = blend(rgb, lump, cover)
    return Mark(np.asarray(rgb, np.float32), cover, "foreign particle" if count == 1 else "scattered particles")


def corrosion(site: Site, rng: Rng, reach: float) -> Mark:
    """Rust or tarnish: a cloud of brown to orange (or greenish) flecks, rough, densest in the middle."""
    area = blob(site, rng, reach * 0.85, 0.6, rng.uniform(1, 2), 0.6 * reach)
    flecks = fractal(rng, site.size_hw, max(2.5, reach * rng.uniform(0.15, 0.4)), 4, 0.75)
    cover = smoothstep(area + 0.28 * flecks, 0.42, 0.62) * site.limit
    deep, pale = colour(0.04, 0.75, 0.22), colour(rng.uniform(0.05, 0.09), 0.7, 0.62)
    if rng.random() < 0.2:
        deep, pale = colour(0.42, 0.3, 0.25), colour(0.45, 0.35, 0.7)
    mix = smoothstep(flecks, -1.2, 1.6)[..., None]
    target = deep + mix * (pale - deep)
    alpha = cover * min(0.95, rng.uniform(0.5, 0.95) * site.strength)
    rgb = put(site, np.asarray(target, np.float32), alpha.astype(np.float32), 0.4)
    rgb = relief(rgb, (cover * flecks).astype(np.float32) * 0.7, site.canvas.light, 0.6)
    count = "cluster of spots" if float(cover.sum()) < 0.3 * math.pi * reach**2 else "rough patch"
    return Mark(rgb, cover, count)
