"""Painters of line-like defects: scratch, crack, cut, thread, smear, wear."""

import math
from dataclasses import replace

import numpy as np

from genau.datasets.synthetic.marks import Mark, Site, blob, foreign, patchy, put, relief, soft, stroke, tone, walk
from genau.datasets.synthetic.noise import Field, Rng, blend, fractal, tinted, value_noise


def _around(site: Site, rng: Rng, length: float, bend: float, jag: float = 0.0, heading: float | None = None) -> Field:
    """Return a path whose middle lies at the site's centre."""
    heading = rng.uniform(0, 2 * math.pi) if heading is None else heading
    path = walk(rng, (0, 0), heading, length, bend, jag)
    return np.asarray(path - path[len(path) // 2] + np.array(site.centre_yx), np.float32)


def scratch(site: Site, rng: Rng, reach: float) -> Mark:
    """One to five strokes, bright or dark, with a lit and a shaded flank; strength varies along them."""
    unit = site.canvas.unit
    width = float(rng.uniform(0.6, 1.6) if rng.random() < 0.7 else rng.uniform(1.6, 3.6)) * max(0.8, unit)
    heading, bend = rng.uniform(0, 2 * math.pi), rng.choice([0.03, 0.15, 0.6])
    count = int(rng.choice([1, 1, 1, 2, 3, 5]))
    paths = []
    for _ in range(count):
        path = _around(
            site, rng, 2 * reach * rng.uniform(0.5 if count > 1 else 0.95, 1), bend, 0.02, heading + rng.normal(0, 0.06)
        )
        paths.append(path + rng.normal(0, 0.12 * reach if count > 1 else 0, 2).astype(np.float32))
    cover = stroke(site, paths, width, wobble=rng) * site.limit
    alpha = cover * patchy(rng, site.size_hw, max(4, reach * 0.3), rng.uniform(0.45, 0.9))
    rgb = put(site, tone(site, rng, 0.22, 0.85, 0.4), alpha, 0.4)
    rgb = relief(rgb, -soft(cover, 0.6) * width * 0.7, site.canvas.light, rng.uniform(0.1, 0.8) * site.strength)
    words = "parallel lines" if count > 1 else ("curved line" if bend > 0.3 else "straight line")
    return Mark(rgb, cover, words)


def crack(site: Site, rng: Rng, reach: float) -> Mark:
    """A jagged dark line that forks and thins out, one flank lit."""
    unit = site.canvas.unit
    width = float(rng.uniform(0.7, 2.6)) * max(0.8, unit)
    trunk = _around(site, rng, 2 * reach, rng.uniform(0.3, 1.2), rng.uniform(0.3, 0.7))
    paths, branches = [trunk], []
    for _ in range(int(rng.integers(0, 5))):
        knot = int(rng.integers(len(trunk) // 5, len(trunk) - 2))
        ahead = trunk[knot + 1] - trunk[knot]
        side = math.atan2(ahead[0], ahead[1]) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
        start = float(trunk[knot][0]), float(trunk[knot][1])
        branches.append(walk(rng, start, side, reach * rng.uniform(0.2, 0.8), 0.6, 0.5))
    cover = stroke(site, paths, width, wobble=rng)
    if branches:
        cover = np.maximum(cover, stroke(site, branches, width * 0.6, wobble=rng))
    cover = cover * site.limit
    alpha = cover * patchy(rng, site.size_hw, max(4, reach * 0.3), 0.7)
    rgb = put(site, tone(site, rng, 0.5, 0.95, 0.93), alpha, 0.15)
    rgb = relief(rgb, -soft(cover, 0.8) * width * 0.8, site.canvas.light, 0.5)
    return Mark(rgb, cover, "branched line" if branches else "jagged line")


def cut(site: Site, rng: Rng, reach: float) -> Mark:
    """A slit that gapes: dark inside, raised pale lips."""
    path = _around(site, rng, 2 * reach, rng.uniform(0.05, 0.6))
    width = max(1.5, reach * rng.uniform(0.06, 0.22))
    count = len(path) - 1
    lens = [path[k : k + 2] for k in range(count)]
    cover = np.zeros(site.size_hw, np.float32)
    steps = max(1, count // 12)
    for k in range(0, count, steps):
        share = math.sin(math.pi * (k + 0.5) / count) ** 0.6
        piece = path[k : k + steps + 1] if steps > 1 else lens[k]
        cover = np.maximum(cover, stroke(site, [piece], width * max(0.25, share), taper=False))
    cover = cover * site.limit
    lips = np.clip(soft(cover, 0.35 * width + 0.5) * 1.6, 0, 1) * (1 - cover)
    inside = (
        np.minimum(site.base * 0.25, 0.12)
        if site.canvas.backdrop is None
        else site.canvas.backdrop[site.rows, site.columns] * 0.8
    )
    rgb = put(site, np.asarray(np.minimum(site.base * 1.25 + 0.05, 1), np.float32), lips * 0.6 * site.limit, 0.8)
    rgb = blend(rgb, inside, cover)
    rgb = relief(rgb, soft(np.maximum(lips, 0), 0.6) * width * 0.3, site.canvas.light, 0.8)
    return Mark(
        np.asarray(rgb, np.float32),
        np.maximum(cover, 0.6 * (lips > 0.5) * site.limit).astype(np.float32),
        "gaping slit",
    )


def thread(site: Site, rng: Rng, reach: float) -> Mark:
    """A loose fibre or hair that lies on top, round and with its own shadow."""
    unit = site.canvas.unit
    width = float(rng.uniform(0.8, 2.2) if rng.random() < 0.7 else rng.uniform(2.2, 4)) * max(0.8, unit)
    path = _around(site, rng, 3.0 * reach, rng.uniform(0.8, 2.6))
    path = np.clip(path, 0, np.array(site.size_hw) - 1).astype(np.float32)
    cover = stroke(site, [path], width, taper=False)
    body = foreign(site, rng)
    light = site.canvas.light
    shift = max(1, round(width * 0.8))
    shadow = soft(np.roll(cover, (round(-light[1] * shift), round(-light[0] * shift)), (0, 1)), 0.7 * width)
    rgb = tinted(site.rgb, 1 - 0.35 * shadow * (1 - cover))
    round_ = soft(cover, 0.35 * width)
    rgb = blend(rgb, tinted(body, 0.75 + 0.35 * round_), cover)
    return Mark(np.asarray(rgb, np.float32), cover, "curled fibre" if width < 2 * unit else "loose thread")


def smear(site: Site, rng: Rng, reach: float) -> Mark:
    """A wiped film: streaks along one direction that fade out, translucent."""
    aspect = rng.uniform(1.6, 5)
    state = rng.bit_generator.state
    outline = blob(site, rng, reach / math.sqrt(aspect), 0.3, aspect, 0.45 * reach)
    replay = np.random.default_rng(0)
    replay.bit_generator.state = state
    angle = replay.uniform(0, math.pi)  # the blob's own direction: its first draw
    height, width = site.size_hw
    y = np.arange(height, dtype=np.float32)[:, None] - site.centre_yx[0]
    x = np.arange(width, dtype=np.float32)[None, :] - site.centre_yx[1]
    across, along = math.cos(angle) * y - math.sin(angle) * x, math.cos(angle) * x + math.sin(angle) * y
    lanes = value_noise(rng, (1, 512), (1.0, 2.5))[0] + 0.7 * value_noise(rng, (1, 512), (1.0, 9.0))[0]
    bent = across + 0.04 * reach * np.sin(along / reach * 2 + rng.uniform(0, 6))
    streak = lanes[np.clip(bent * 256 / (reach + 1) * 0.5 + 256, 0, 511).astype(np.int64)]
    cover = outline * site.limit
    alpha = cover * np.clip(0.62 + 0.3 * streak, 0.12, 1) * rng.uniform(0.3, 0.75) * min(1.3, site.strength)
    target = foreign(site, rng) if rng.random() < 0.4 else tone(site, rng, 0.25, 0.7, 0.5)
    return Mark(put(site, target, np.minimum(alpha, 0.95).astype(np.float32), 0.75), cover, "streaky film")


def wear(site: Site, rng: Rng, reach: float) -> Mark:
    """A rubbed area: many fine strokes in about one direction, duller or shinier than the rest."""
    area = blob(site, rng, reach * 0.8, 0.5, rng.uniform(1, 2.5), 0.5 * reach) * site.limit
    heading, count = rng.uniform(0, math.pi), int(rng.integers(10, 34))
    paths = []
    for _ in range(count):
        off = rng.normal(0, 0.38 * reach, 2)
        away = replace(site, centre_yx=(site.centre_yx[0] + off[0], site.centre_yx[1] + off[1]))
        paths.append(_around(away, rng, reach * rng.uniform(0.2, 0.9), 0.3, 0.02, heading + rng.normal(0, 0.12)))
    lines = stroke(site, [path[::3] if len(path) > 20 else path for path in paths], 0.8 * max(0.8, site.canvas.unit))
    haze = 0.55 * patchy(rng, site.size_hw, max(4, reach * 0.3), 0.4)
    alpha = np.clip(area * haze + lines * site.limit * (0.25 + 0.75 * area), 0, 1) * rng.uniform(0.5, 0.95)
    rgb = put(site, tone(site, rng, 0.25, 0.7, 0.35), np.minimum(alpha * site.strength, 1).astype(np.float32), 0.7)
    grain = 1 + 0.05 * (area * fractal(rng, site.size_hw, 2, 1))[..., None]
    return Mark(
        np.asarray(rgb * grain, np.float32),
        np.maximum(0.6 * area, 0.9 * lines * site.limit * (area > 0.2)),
        "rubbed area",
    )
