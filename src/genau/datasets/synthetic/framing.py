"""What belongs to a good sheet besides its surface: its border against the ground, and drilled mounting holes.

Without these the darkest place of a smooth picture was nearly always a defect, and the minimum grey level alone told
pictures from their twins with 0.64 AUROC. They also teach that not every opening is a hole too many.
"""

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import Field, Rng, colour, fractal, metal, muted, plane, smoothstep, tinted

HANDLED_SHARE = 0.35  # of the products without parts carry traces of handling
ACCEPTED_LEVELS = 6.0  # grey levels before light and lens: on a line one pixel wide the lens leaves less than half


def framed(canvas: Canvas, product: Rng, instance: Rng) -> Canvas:
    """Return the sheet as it is mounted: with borders, mounting holes, both or neither; one decision per product."""
    size_hw, unit = (canvas.rgb.shape[0], canvas.rgb.shape[1]), canvas.unit
    has_border, has_holes = product.random() < 0.6, product.random() < 0.55
    if not (has_border or has_holes):
        return canvas
    tilt, shift = instance.normal(0, 0.02), instance.normal(0, 3, 2) * unit
    v, u = plane(size_hw, tilt)
    v, u = v - np.float32(shift[0]), u - np.float32(shift[1])
    inside = np.full(size_hw, 9.0, np.float32)  # distance to the nearest edge of the material, pixels
    if has_border:
        inside = np.minimum(inside, _to_border(product, v, u, size_hw, unit))
    if has_holes:
        inside = np.minimum(inside, _to_holes(product, v, u, size_hw, unit))
    ground = _ground(product, instance, size_hw, canvas)
    depth = product.uniform(0.2, 0.8)
    near = 1 / (
        1 + (np.minimum(inside, 0) / np.float32(product.uniform(2, 8) * unit)) ** 2
    )  # the sheet's shadow on the ground
    ground = np.asarray(tinted(ground, 1 - depth * near), np.float32)
    bevel = 1 + product.uniform(-0.3, 0.3) * (1 - smoothstep(inside, 0, 1 + product.uniform(0.5, 3) * unit))
    cover = np.clip(0.5 + inside, 0, 1)[..., None]
    rgb = ground + cover * (tinted(canvas.rgb, bevel) - ground)
    labels = (inside > 0).astype(np.int16)
    return replace(canvas, rgb=np.asarray(rgb, np.float32), backdrop=ground, labels=labels)


def _to_border(product: Rng, v: Field, u: Field, size_hw: tuple[int, int], unit: float) -> Field:
    """Return how far inside the sheet a pixel lies (H, W): one to four straight sides in view, corners round or not."""
    sides = product.permutation(4)[: int(product.choice([1, 1, 2, 4]))]
    corner = float(product.choice([0.0, product.uniform(3, 25)])) * unit
    far = np.full(size_hw, 4.0 * max(size_hw), np.float32)
    reach_v, reach_u = far.copy(), far.copy()
    for side in sides.tolist():
        along, half = ((v, -v, u, -u)[side], size_hw[0 if side < 2 else 1] / 2)
        gap = np.asarray(half * product.uniform(0.7, 0.97) - along, np.float32)
        if side < 2:
            reach_v = np.minimum(reach_v, gap)
        else:
            reach_u = np.minimum(reach_u, gap)
    in_v, in_u = np.maximum(corner - reach_v, 0), np.maximum(corner - reach_u, 0)
    rounded = corner - np.sqrt(in_v * in_v + in_u * in_u)
    return np.asarray(np.where((in_v > 0) & (in_u > 0), rounded, np.minimum(reach_v, reach_u)), np.float32)


def _to_holes(product: Rng, v: Field, u: Field, size_hw: tuple[int, int], unit: float) -> Field:
    """Return the distance outside of round holes (H, W), at places that belong to the product."""
    nearest = np.full(size_hw, 16.0 * max(size_hw) ** 2, np.float32)  # squared distance to a centre
    radius = product.uniform(2.5, 14) * unit
    count, mirrored = int(product.integers(1, 4)), product.random() < 0.5
    for _ in range(count):
        y, x = (product.uniform(-0.42, 0.42) * side for side in size_hw)
        for sign in (1, -1) if mirrored else (1,):
            dv, du = v - np.float32(y), u - np.float32(sign * x)
            nearest = np.minimum(nearest, dv * dv + du * du)
    return np.asarray(np.sqrt(nearest) - np.float32(radius), np.float32)


def _ground(product: Rng, instance: Rng, size_hw: tuple[int, int], canvas: Canvas) -> Field:
    """Return what the sheet lies on (H, W, 3): unlit depth, a metal fixture or a bright table, unlike the sheet."""
    kind = product.random()
    base = colour(product.random(), 0.2, product.uniform(0.0, 0.1)) if kind < 0.5 else muted(product, 0.08, 0.97)
    if kind > 0.85:
        base = metal(product)
    sheet = canvas.rgb[::8, ::8].mean((0, 1))
    if float(np.abs(sheet - base).max()) < 0.15:
        base = base * 0.3 if float(base.mean()) > 0.2 else colour(0, 0, product.uniform(0.5, 0.95))
    unit = canvas.unit
    tone = 1 + 0.04 * fractal(instance, size_hw, 30 * unit, 2)
    return np.asarray(tinted(base, tone), np.float32)


def handled(canvas: Canvas, product: Rng, instance: Rng) -> Canvas:
    """Return a sheet with the hairlines and specks of handling that every plant accepts: fainter than a defect.

    Products made of parts stay as they are: a fault of arrangement would lay them anew, without the traces.
    """
    if canvas.parts or product.random() > HANDLED_SHARE:
        return canvas
    height, width = canvas.rgb.shape[:2]
    image = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(image)
    reach, heading = product.uniform(0.02, 0.3) * min(height, width), product.uniform(0, math.pi)
    for _ in range(int(instance.poisson(product.uniform(2, 14)))):
        y, x = instance.random() * height, instance.random() * width
        angle, half = heading + instance.normal(0, 0.3), reach * instance.uniform(0.2, 1)
        step = half * math.cos(angle), half * math.sin(angle)
        pen.line((x - step[0], y - step[1], x + step[0], y + step[1]), fill=int(instance.integers(90, 256)))
    for _ in range(int(instance.poisson(product.uniform(0, 20)))):
        pen.point((instance.random() * width, instance.random() * height), fill=int(instance.integers(90, 256)))
    depth = product.choice([-1, 1]) * product.uniform(0.3, 1) * ACCEPTED_LEVELS / 255 / 255
    trace = np.asarray(image, np.float32) * np.float32(depth)
    return replace(canvas, rgb=np.asarray(canvas.rgb + trace[..., None], np.float32))
