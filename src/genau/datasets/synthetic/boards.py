"""Dense circuit boards and cut cables: high contrast, hundreds of fine details, nothing where it could be left out."""

import math

import numpy as np

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import Field, Rng, blend, coat, colour, draw_light, fractal, lit, metal, tinted
from genau.datasets.synthetic.objects import ground
from genau.datasets.synthetic.prints import Print

Point = tuple[float, float]
WHITE = np.array([0.9, 0.9, 0.86], np.float32)  # of the printed marks


def dense_board(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A board full of parallel tracks, pads and vias, with lacquer and white print or as black-and-white artwork."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    shift = tuple((instance.normal(0, 2.5, 2) * unit).tolist())
    pose = size_hw, float(product.choice([0, 0, math.pi / 4]) + instance.normal(0, 0.01)), (shift[0], shift[1])
    copper, pads, silk = Print(*pose), Print(*pose), Print(*pose)
    half_y, half_x = (1.05 * s / min(size_hw) for s in size_hw)
    pitch = product.uniform(0.035, 0.11)
    for _ in range(int(product.integers(6, 16))):
        _bus(copper, pads, product, half_y, half_x, pitch)
    for _ in range(int(product.integers(2, 7))):
        _chip(copper, pads, silk, product, half_y, half_x, pitch)
    for _ in range(int(product.integers(5, 40))):
        at = product.uniform(-half_y, half_y), product.uniform(-half_x, half_x)
        pads.disc(at, pitch * 0.6)
        copper.disc(at, pitch * 0.7)
        pads.disc(at, pitch * 0.22, 0)
    ink, solder = copper.coverage(), pads.coverage()
    grain = fractal(instance, size_hw, product.uniform(1.5, 4) * unit, 2)
    if product.random() < 0.3:
        return _artwork(product, np.maximum(ink, solder), grain, light)
    lacquer = colour(
        product.choice([0.36, 0.4, 0.6, 0.02, 0.1]), product.uniform(0.2, 0.75), product.uniform(0.12, 0.5)
    )
    backdrop = np.asarray(tinted(lacquer, 1 + 0.03 * grain), np.float32)
    tone = np.asarray(np.clip(backdrop * product.uniform(1.35, 2.2) + 0.05, 0, 1), np.float32)
    rgb = blend(backdrop, tone, ink)
    tin = metal(product) if product.random() < 0.6 else colour(0.12, 0.45, 0.8)
    wet = tinted(tin, 1 + 0.12 * fractal(instance, size_hw, 2.5 * unit, 2))
    rgb = np.asarray(blend(rgb, wet, solder), np.float32)
    rgb = blend(rgb, WHITE, silk.coverage() * np.float32(0.9))
    relief = np.asarray(0.6 * ink + product.uniform(0.5, 2.0) * solder, np.float32)
    rgb = lit(np.asarray(rgb, np.float32), relief, light, product.uniform(0.05, 0.2))
    return Canvas(rgb, light, "dense circuit board", backdrop, None, ink=ink, ink_rgb=tone)


def _artwork(product: Rng, ink: Field, grain: Field, light: Field) -> Canvas:
    """Return the board as a back-lit film or a thresholded picture: tracks and ground nearly black and white."""
    dark, pale = product.uniform(0.0, 0.12), product.uniform(0.8, 1.0)
    on, off = (pale, dark) if product.random() < 0.7 else (dark, pale)
    noise = np.float32(product.uniform(0, 0.03)) * grain
    backdrop = np.repeat((np.float32(off) + noise)[..., None], 3, -1)
    tone = np.repeat((np.float32(on) + noise)[..., None], 3, -1)
    rgb = blend(backdrop, tone, ink)
    return Canvas(np.asarray(rgb, np.float32), light, "circuit artwork", backdrop, None, ink=ink, ink_rgb=tone)


def _bus(copper: Print, pads: Print, product: Rng, half_y: float, half_x: float, pitch: float) -> None:
    """Lay parallel tracks side by side that bend together by 45 degrees."""
    count, heading = int(product.integers(2, 9)), int(product.integers(8)) * math.pi / 4
    point = np.array([product.uniform(-half_y, half_y), product.uniform(-half_x, half_x)])
    knots, sides = [point], []
    for _ in range(int(product.integers(2, 5))):
        step = np.array([math.sin(heading), math.cos(heading)])
        point = point + step * product.uniform(0.2, 0.9)
        knots.append(point)
        sides.append(heading)
        heading += product.choice([-1, 1]) * math.pi / 4
    width = pitch * product.uniform(0.3, 0.6)
    for lane in range(count):
        offset = (lane - (count - 1) / 2) * pitch
        path: list[Point] = []
        for k, knot in enumerate(knots):
            before, after = sides[max(0, k - 1)], sides[min(k, len(sides) - 1)]
            middle = (before + after) / 2
            reach = offset / math.cos((after - before) / 2)
            path.append((float(knot[0] + reach * math.cos(middle)), float(knot[1] - reach * math.sin(middle))))
        copper.line(path, width)
        for end in (path[0], path[-1]):
            copper.disc(end, pitch * 0.45)
            pads.disc(end, pitch * 0.36)


def _chip(copper: Print, pads: Print, silk: Print, product: Rng, half_y: float, half_x: float, pitch: float) -> None:
    """Lay two rows of oblong pads, a printed frame and a stub of track on each pad."""
    count, y, x = int(product.integers(3, 12)), product.uniform(-half_y, half_y), product.uniform(-half_x, half_x)
    gap, long, upright = product.uniform(0.12, 0.4), pitch * product.uniform(0.6, 1.6), product.random() < 0.5

    def box(top: float, left: float, tall: float, wide: float) -> list[Point]:
        corners = [(top, left), (top, left + wide), (top + tall, left + wide), (top + tall, left)]
        return [(y + b, x + a) if upright else (y + a, x + b) for a, b in corners]

    for k in range(count):
        for side in (-1, 1):
            top = side * gap / 2 - (long if side < 0 else 0)
            pads.area(box(top, k * pitch * 1.2, long, pitch * 0.65))
            copper.area(box(top + side * long, k * pitch * 1.2 + pitch * 0.2, long, pitch * 0.25))
    frame = box(-gap / 2 + 0.02, -0.3 * pitch, gap - 0.04, count * pitch * 1.2 + 0.3 * pitch)
    silk.line([*frame, frame[0]], 0.012)


def cable_end(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A cut cable face on, with its cores and strands, or a stack of rods or tubes seen from their ends."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    stacked = product.random() < 0.5
    pose = size_hw, 0.0, (0.0, 0.0)
    outer, inner, bore = Print(*pose), Print(*pose), Print(*pose)
    discs = _stack(product, instance, size_hw) if stacked else _cores(product, instance)
    wall = product.uniform(0.55, 0.85)
    hollow = stacked and product.random() < 0.5
    for at, radius in discs:
        outer.disc(at, radius * (0.97 if stacked else 1.0))
        reach = radius * (wall if stacked else 0.62)
        if hollow:
            bore.disc(at, reach)
        elif stacked:
            inner.disc(at, reach)
        else:
            _strands(inner, instance, at, reach, product.uniform(0.1, 0.2) * reach)
    ends, strands, holes = outer.coverage(), inner.coverage(), bore.coverage()
    behind = ground(product, instance, size_hw) * np.float32(0.25 if product.random() < 0.7 else 1)
    grain = fractal(instance, size_hw, product.uniform(1.5, 4) * unit, 2)
    jacket, core = (metal(product), metal(product)) if stacked else (coat(product), metal(product))
    if float(np.abs(jacket - core).max()) < 0.15:
        core = np.asarray(core * np.float32(0.6), np.float32)
    sheath = np.zeros(size_hw, np.float32)
    if not stacked:
        round_ = Print(*pose)
        round_.disc((0.0, 0.0), 0.93)
        sheath = round_.coverage()
        filler = tinted(coat(product), 1 + 0.04 * grain)
        behind = np.asarray(behind, np.float32)
    rgb = behind if stacked else blend(behind, filler, sheath)
    rgb = blend(rgb, tinted(jacket, 1 + 0.04 * grain), ends)
    rgb = blend(rgb, tinted(core, 1 + 0.1 * grain), strands)
    rgb = blend(rgb, behind * np.float32(0.4), holes)
    relief = (ends + strands - holes) * np.float32(product.uniform(0.6, 2.0) * unit)
    rgb = lit(np.asarray(rgb, np.float32), np.asarray(relief, np.float32), light, product.uniform(0.05, 0.3))
    labels = (np.maximum(sheath, ends) > 0.5).astype(np.int16)
    name = ("stacked tubes" if hollow else "stacked rods") if stacked else "cut cable"
    return Canvas(rgb, light, name, np.asarray(behind, np.float32), labels)


def _stack(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> list[tuple[Point, float]]:
    """Return centres and radii of round ends packed in rows, each a little off its place."""
    radius = product.uniform(0.07, 0.24)
    half_y, half_x = (s / min(size_hw) for s in size_hw)
    rows, columns = int(2 * half_y / (radius * 1.74)) + 3, int(half_x / radius) + 3
    spots = []
    for row in range(rows):
        for column in range(columns):
            y = -half_y + (row - 0.5) * radius * 1.74 + instance.normal(0, 0.03 * radius)
            x = -half_x + (2 * column - 0.5 + row % 2) * radius + instance.normal(0, 0.03 * radius)
            spots.append(((float(y), float(x)), radius * float(instance.normal(0.98, 0.012))))
    return spots


def _cores(product: Rng, instance: Rng) -> list[tuple[Point, float]]:
    """Return centres and radii of a cable's cores: one, or two to six in a ring, perhaps one in the middle."""
    count, turn = int(product.integers(1, 7)), instance.uniform(0, 2 * math.pi)
    if count == 1:
        return [((float(instance.normal(0, 0.01)), float(instance.normal(0, 0.01))), 0.72)]
    ring = 0.82 / (1 + math.sin(math.pi / count))
    radius = 0.96 * ring * math.sin(math.pi / count)
    angles = [turn + 2 * math.pi * k / count for k in range(count)]
    return [((ring * math.sin(a), ring * math.cos(a)), radius) for a in angles]


def _strands(sheet: Print, instance: Rng, at: Point, reach: float, radius: float) -> None:
    """Fill a core with the cut ends of its strands."""
    sheet.disc(at, reach, 90)
    rings = max(1, int(reach / (2 * radius)))
    for ring in range(rings + 1):
        away = ring * (reach - radius) / rings
        for k in range(max(1, 6 * ring)):
            angle = 2 * math.pi * k / max(1, 6 * ring) + instance.normal(0, 0.04)
            spot = at[0] + away * math.sin(angle), at[1] + away * math.cos(angle)
            sheet.disc((float(spot[0]), float(spot[1])), radius * 0.92, int(instance.integers(190, 256)))
