"""Moulded and blown bodies, opaque to clear: vials, bottles, ampoules, beads and soft pills.

The same contract as in `parts`: local coordinates v, u in part radii and proportions in [0, 1] give the distance to
the outline (negative inside), the relief (both in radii) and how much of the accent colour.
"""

import numpy as np

from genau.datasets.synthetic.noise import Field, smoothstep


def _turned(v: Field, u: Field, half: Field, first: float, last: float) -> tuple[Field, Field]:
    """Return distance and relief of a body of revolution along u whose half width is `half` (h, w)."""
    distance = np.maximum(np.abs(v) - half, np.maximum(first - u, u - last))
    relief = 0.8 * np.sqrt(np.maximum(half * half - v * v, 0))
    return np.asarray(distance, np.float32), np.asarray(relief, np.float32)


def vial(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A vial with shoulder, neck and crimped top; the top has the accent colour."""
    wide, neck = 0.3 + 0.2 * shape[0], 0.16 + 0.1 * shape[1]
    shoulder = 0.25 + 0.25 * shape[2]
    top = np.where(u > 0.66, neck + 0.06, neck)
    half = np.asarray(wide + (top - wide) * smoothstep(u, shoulder, shoulder + 0.18), np.float32)
    half = half - 0.06 * smoothstep(-u, 0.88, 0.97)
    distance, relief = _turned(v, u, half, -0.97, 0.97)
    return distance, relief, smoothstep(u, 0.65, 0.67)


def bottle(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A bottle with round shoulders, a long neck and a band of the accent colour as its label."""
    wide, neck = 0.26 + 0.16 * shape[0], 0.08 + 0.06 * shape[1]
    half = neck + (wide - neck) * (1 - smoothstep(u, 0.05 + 0.2 * shape[2], 0.5))
    half = half + 0.03 * ((u > 0.84) & (u < 0.93))
    distance, relief = _turned(v, u, half, -0.97, 0.97)
    band = smoothstep(0.3 - np.abs(u + 0.45), 0, 0.02) if shape[3] > 0.4 else np.zeros(v.shape, np.float32)
    return distance, relief, band


def ampoule(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A sealed ampoule: straight body, narrow waist, drawn-out tip, perhaps with a ring."""
    wide, waist = 0.2 + 0.12 * shape[0], 0.2 + 0.2 * shape[1]
    half = wide - (wide - 0.1) * np.exp(-(((u - waist) / 0.09) ** 2))
    half = half - (wide - 0.07) * smoothstep(u, waist + 0.25, 0.9) - 0.08 * smoothstep(-u, 0.85, 0.97)
    distance, relief = _turned(v, u, half, -0.97, 0.97)
    return distance, relief, smoothstep(0.025 - np.abs(u - waist), 0, 0.01)


def bead(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A ball or drop-shaped bead."""
    lean = 0.25 * shape[0]
    radius = np.sqrt((v * (1 + lean * (1 + u))) ** 2 + u * u)
    distance = np.asarray(radius - 0.95, np.float32)
    return (
        distance,
        np.asarray(0.8 * np.sqrt(np.maximum(0.9 - radius * radius, 0)), np.float32),
        np.zeros_like(distance),
    )


def soft_pill(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """An oval soft-shelled pill with a seam along it."""
    tall = 0.45 + 0.25 * shape[0]
    power = 2 + 1.5 * shape[1]
    radius = (np.abs(v / tall) ** power + np.abs(u / 0.96) ** power) ** (1 / power)
    distance = np.asarray((radius - 1) * tall, np.float32)
    relief = tall * 0.9 * np.sqrt(np.maximum(1 - radius * radius, 0))
    seam = 0.015 * np.exp(-((v / 0.025) ** 2)) if shape[2] > 0.5 else 0
    return distance, np.asarray(relief + seam, np.float32), np.zeros_like(distance)


def moulded_cup(v: Field, u: Field, shape: tuple[float, ...]) -> tuple[Field, Field, Field]:
    """A deep cup or stopper from above: rim, wall and a floor with a gate mark."""
    radius = np.sqrt(v * v + u * u)
    rim = 0.06 + 0.1 * shape[0]
    floor = 1 - smoothstep(radius, 0.95 - 2.5 * rim, 0.97 - rim)
    relief = 0.15 * np.sqrt(np.clip((0.97 - radius) / rim, 0, 1)) - (0.15 + 0.3 * shape[1]) * floor
    gate = 0.05 * np.exp(-((radius / 0.08) ** 2))
    return np.asarray(radius - 0.97, np.float32), np.asarray(relief + gate, np.float32), 0.3 * floor


VESSELS = {
    "vial": vial,
    "bottle": bottle,
    "ampoule": ampoule,
    "bead": bead,
    "soft pill": soft_pill,
    "moulded cup": moulded_cup,
}
VESSEL_PLURALS = {
    "vial": "glass vials",
    "bottle": "moulded bottles",
    "ampoule": "ampoules",
    "bead": "beads",
    "soft pill": "soft pills",
    "moulded cup": "moulded cups",
}
