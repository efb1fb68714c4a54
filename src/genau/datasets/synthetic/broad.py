"""Painters of defects over a large share of the part: uneven coating, broken-off pieces, torn borders."""

import math

import numpy as np

from genau.datasets.synthetic.marks import Mark, Site, blob, patchy, put, soft, tone
from genau.datasets.synthetic.noise import Field, Rng, blend, colour, fractal, smoothstep, tinted


def uneven_coat(site: Site, rng: Rng, reach: float) -> Mark:
    """A broad cloud, band or fading side where the surface is a little darker, paler or duller; often just visible."""
    height, width = site.size_hw
    kind = int(rng.integers(3))
    if kind == 0:
        area = blob(site, rng, 0.8 * reach, 0.6, rng.uniform(1, 2.5), rng.uniform(0.3, 1.0) * reach)
    else:
        along = _across(site, rng.uniform(0, 2 * math.pi)) / reach
        bent = along + 0.15 * fractal(rng, (height, width), max(6.0, reach), 2)
        edge = rng.uniform(0.1, 0.5)
        area = smoothstep(bent, -edge, edge)
        if kind == 1:
            area = area * (1 - smoothstep(bent, rng.uniform(0.2, 0.6), rng.uniform(0.7, 1.0)))
        area = area * _round_window(site, reach)
    area = area * patchy(rng, (height, width), max(4.0, rng.uniform(0.15, 0.6) * reach), rng.uniform(0.1, 0.8))
    cover = np.asarray(area * site.limit, np.float32)
    target = tone(site, rng, 0.1, 0.45, 0.5)
    rgb = put(site, target, cover, rng.uniform(0.6, 1.0))
    return Mark(rgb, cover, "uneven patch")


def broken_off(site: Site, rng: Rng, reach: float) -> Mark:
    """A large piece is gone along a jagged line: the ground shows, with a lit fracture and the part's shadow."""
    return _without(site, rng, reach, rng.uniform(0.05, 0.25), "broken-off piece")


def torn_border(site: Site, rng: Rng, reach: float) -> Mark:
    """The material is torn or folded away to the ground along a smooth, bent line."""
    return _without(site, rng, reach, rng.uniform(0.01, 0.05), "torn-off piece")


def _without(site: Site, rng: Rng, reach: float, jag: float, words: str) -> Mark:
    height, width = site.size_hw
    outward = _outward(site, rng)
    depth = _across(site, outward) / reach + rng.uniform(0.0, 0.5)
    rough = fractal(rng, (height, width), max(3.0, rng.uniform(0.15, 0.6) * reach), 4, 0.55)
    bow = _across(site, outward + math.pi / 2) / reach
    gone = depth + jag * rough - rng.uniform(0.2, 1.2) * bow * bow
    outline = np.asarray(soft(site.limit, 1.0) > 0.02, np.float32)  # its smoothed outline goes as well
    inside = outline * smoothstep(gone * reach, -0.6, 0.6)
    lip = rng.uniform(1.0, 3.5) * max(0.8, site.canvas.unit)
    fresh = inside * (1 - smoothstep(gone * reach, 0, lip))
    behind = _behind(site, rng)
    near = soft(1 - inside, 0.1 * reach + 1)
    rgb = blend(site.rgb, tinted(behind, 1 - 0.4 * near), inside)
    pale = np.minimum(site.base * rng.uniform(0.5, 1.7) + 0.03, 1)
    rgb = blend(rgb, tinted(pale, 1 + 0.1 * rough), 0.8 * fresh)
    return Mark(np.asarray(rgb, np.float32), np.asarray(inside, np.float32), words, solid=True)


def _across(site: Site, angle: float) -> Field:
    """Return the distance (h, w) from the centre along a direction, pixels."""
    y = np.arange(site.size_hw[0], dtype=np.float32)[:, None] - site.centre_yx[0]
    x = np.arange(site.size_hw[1], dtype=np.float32)[None, :] - site.centre_yx[1]
    return np.asarray(y * np.float32(math.sin(angle)) + x * np.float32(math.cos(angle)), np.float32)


def _round_window(site: Site, reach: float) -> Field:
    """Return 1 around the centre, fading out, so that no window border shows."""
    y, x = _across(site, math.pi / 2), _across(site, 0.0)
    return 1 - smoothstep(np.sqrt(y * y + x * x) / reach, 0.5, 1.3)


def _outward(site: Site, rng: Rng) -> float:
    """Return the direction (radians) from the part to the ground, or out of the picture where there is none."""
    missing = site.limit < 0.5
    if missing.any():
        y, x = np.argwhere(missing[::2, ::2]).mean(0) * 2 - np.argwhere(~missing[::2, ::2]).mean(0) * 2
    else:
        height, width = site.canvas.rgb.shape[:2]
        y = site.rows.start + site.centre_yx[0] - height / 2
        x = site.columns.start + site.centre_yx[1] - width / 2
    return math.atan2(float(y), float(x)) + rng.normal(0, 0.3)


def _behind(site: Site, rng: Rng) -> Field:
    """Return what shows where the piece was (h, w, 3) or (3,): the ground, or a plain table unlike the part."""
    if site.canvas.backdrop is not None:
        return site.canvas.backdrop[site.rows, site.columns]
    dark = float(site.base.mean()) > 0.35 or rng.random() < 0.3
    return colour(rng.random(), 0.08, rng.uniform(0.02, 0.15) if dark else rng.uniform(0.6, 0.95))
