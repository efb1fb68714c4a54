"""Printed products: labels with text-like strokes, codes and emblems, and circuit-like tracks with pads."""

import math

import numpy as np
from PIL import Image, ImageDraw

from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.noise import Field, Rng, blend, coat, colour, draw_light, fractal, lit, smoothstep, tinted
from genau.datasets.synthetic.objects import ground

OVERSAMPLE = 2


class Print:
    """Ink drawn in label coordinates: 1 is half the shorter side, turned and shifted by the instance's pose."""

    def __init__(self, size_hw: tuple[int, int], angle: float, shift_yx: tuple[float, float]) -> None:
        self.size_hw, self.angle, self.shift = size_hw, angle, shift_yx
        self.scale = min(size_hw) / 2
        self.image = Image.new("L", (size_hw[1] * OVERSAMPLE, size_hw[0] * OVERSAMPLE), 0)
        self.pen = ImageDraw.Draw(self.image)

    def place(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return picture positions (x, y), oversampled, of label positions (y, x)."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        y0, x0 = self.size_hw[0] / 2 + self.shift[0], self.size_hw[1] / 2 + self.shift[1]
        k, n = self.scale, OVERSAMPLE
        return [((x0 + k * (c * x - s * y)) * n, (y0 + k * (c * y + s * x)) * n) for y, x in points]

    def line(self, points: list[tuple[float, float]], width: float) -> None:
        """Draw a stroke of a width in label units."""
        self.pen.line(self.place(points), fill=255, width=max(2, round(width * self.scale * OVERSAMPLE)), joint="curve")

    def area(self, points: list[tuple[float, float]], tone: int = 255) -> None:
        """Fill a polygon."""
        self.pen.polygon(self.place(points), fill=tone)

    def disc(self, at: tuple[float, float], radius: float, tone: int = 255) -> None:
        """Fill a circle."""
        (x, y), r = self.place([at])[0], radius * self.scale * OVERSAMPLE
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=tone)

    def coverage(self) -> Field:
        """Return the ink (H, W) in [0, 1]."""
        return np.asarray(self.image.reduce(OVERSAMPLE), np.float32) / np.float32(255)


def _glyphs(product: Rng, count: int) -> list[list[list[tuple[float, float]]]]:
    """Return an alphabet of stroke signs in a 1 x 0.6 box, unlike any script but as busy as one."""
    knots = [(y, x) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.3, 0.6)]
    signs = []
    for _ in range(count):
        strokes = []
        for _ in range(int(product.integers(2, 4))):
            chosen = product.choice(len(knots), int(product.integers(2, 4)), replace=False)
            strokes.append([knots[int(k)] for k in chosen])
        signs.append(strokes)
    return signs


def _text(
    sheet: Print,
    product: Rng,
    top: float,
    left: float,
    size: float,
    length: int,
    signs: list[list[list[tuple[float, float]]]],
) -> None:
    weight = size * product.uniform(0.1, 0.2)
    for position in range(length):
        if product.random() < 0.12:
            continue
        for stroke in signs[int(product.integers(len(signs)))]:
            sheet.line([(top + y * size, left + (position * 0.85 + x) * size) for y, x in stroke], weight)


def _fill(sheet: Print, product: Rng, half_y: float, half_x: float) -> None:
    """Print lines of signs, bars, rules and rings from the top of the label to its foot."""
    signs = _glyphs(product, 12)
    y = -half_y + 0.1
    while y < half_y - 0.1:
        kind, size = int(product.integers(6)), product.uniform(0.07, 0.2)
        if kind <= 2:
            room = int((2 * half_x - 0.25) / (size * 0.85))
            _text(sheet, product, y, -half_x + 0.12, size, int(product.integers(room // 2, room + 1)), signs)
        elif kind == 3:
            size, x = product.uniform(0.15, 0.4), -half_x + 0.12
            size = min(size, half_y - 0.08 - y)
            while x < half_x * 0.8 and size > 0.04:
                bar = product.uniform(0.012, 0.05)
                sheet.area([(y, x), (y, x + bar), (y + size, x + bar), (y + size, x)])
                x += bar + product.uniform(0.015, 0.05)
        elif kind == 4:
            size = 0.02
            sheet.line([(y, -half_x + 0.12), (y, half_x - 0.12)], size)
        else:
            size = min(product.uniform(0.2, 0.5), half_y - 0.06 - y)
            at = (y + size / 2, product.uniform(-half_x * 0.6, half_x * 0.6))
            sheet.disc(at, max(0.03, size / 2))
            sheet.disc(at, max(0.03, size / 2) * product.uniform(0.4, 0.8), 0)
        y += size + product.uniform(0.05, 0.12)


def label(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """A printed label: heading, lines of signs, bars, frame and emblem; the print is the same on every part."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    shift = tuple((instance.normal(0, 3, 2) * unit).tolist())
    sheet = Print(size_hw, float(product.choice([0, 0, 0.2]) + instance.normal(0, 0.02)), (shift[0], shift[1]))
    half_y, half_x = 0.82, 0.82 * size_hw[1] / min(size_hw) * min(1, min(size_hw) / size_hw[0] * 1.0)
    _fill(sheet, product, half_y, half_x)
    card = Print(size_hw, sheet.angle, sheet.shift)
    edge = product.choice([1.0, 3.0])
    card.area(
        [
            (-half_y * edge, -half_x * edge),
            (-half_y * edge, half_x * edge),
            (half_y * edge, half_x * edge),
            (half_y * edge, -half_x * edge),
        ]
    )
    cover = card.coverage()
    base = coat(product, 0.6, 0.97)
    ink = coat(product, 0.03, 0.3)
    if product.random() < 0.2:
        base, ink = ink, base
    fibre = fractal(instance, size_hw, 2 * unit, 3)
    stock = tinted(base, 1 + product.uniform(0.003, 0.02) * fibre)
    if edge == 1.0:
        outside = ground(product, instance, size_hw)
        stock = blend(outside, stock, cover)
    print_ = sheet.coverage() * cover
    backdrop = np.asarray(stock, np.float32)
    tone = ink * (1 + 0.04 * fibre)[..., None].astype(np.float32)
    rgb = blend(backdrop, tone, print_)
    return Canvas(
        np.asarray(rgb, np.float32),
        light,
        "printed label",
        backdrop,
        (cover > 0.5).astype(np.int16),
        ink=print_,
        ink_rgb=tone,
    )


def tracks(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> Canvas:
    """Printed conductor tracks with pads on a coloured ground; bends of 45 degrees, drilled pads."""
    unit, light = min(size_hw) / 256, draw_light(product, instance)
    shift = tuple((instance.normal(0, 3, 2) * unit).tolist())
    sheet = Print(size_hw, float(instance.normal(0, 0.015)), (shift[0], shift[1]))
    pitch = product.uniform(0.1, 0.2)
    half_y, half_x = (0.95 * s / min(size_hw) for s in size_hw)
    rows, columns = int(2 * half_y / pitch), int(2 * half_x / pitch)
    taken = np.zeros((rows + 1, columns + 1), bool)
    width = pitch * product.uniform(0.18, 0.4)
    holes = []
    for _ in range(int(rows * columns * product.uniform(0.12, 0.3))):
        path = _route(product, taken)
        if len(path) < 2:
            continue
        points = [(-half_y + r * pitch, -half_x + c * pitch) for r, c in path]
        sheet.line(points, width * product.choice([1, 1, 1.5]))
        for end in (points[0], points[-1]):
            sheet.disc(end, pitch * 0.34)
            holes.append(end)
    for at in holes:
        sheet.disc(at, pitch * 0.14, 0)
    ink = sheet.coverage()
    base = colour(
        product.choice([0.38, 0.42, 0.6, 0.02, product.random()]), product.uniform(0.2, 0.85), product.uniform(0.1, 0.6)
    )
    if product.random() < 0.25:
        base = colour(0.1, 0.08, product.choice([0.06, 0.93]))
    metal_ = colour(0.1 + product.normal(0, 0.03), product.uniform(0.05, 0.6), product.uniform(0.6, 0.9))
    if product.random() < 0.5:  # under a lacquer the track only changes the ground's brightness
        metal_ = np.clip(base * product.uniform(1.5, 2.4) + 0.08, 0, 1)
    if abs(float(metal_.mean() - base.mean())) < 0.2:
        metal_ = np.clip(1 - base * 0.5, 0, 1)
    grain = fractal(instance, size_hw, product.uniform(2, 5) * unit, 2)
    backdrop = np.asarray(tinted(base, 1 + 0.03 * grain), np.float32)
    tone = np.asarray(tinted(metal_, 1 + 0.04 * grain), np.float32)
    relief = smoothstep(ink, 0, 1) * product.uniform(0.3, 1.2)
    rgb = lit(blend(backdrop, tone, ink), relief, light, 0.05)
    return Canvas(rgb, light, "printed conductor board", backdrop, None, ink=ink, ink_rgb=tone)


def _route(product: Rng, taken: np.ndarray) -> list[tuple[int, int]]:
    """Walk over free grid places, mostly straight on; mark them as taken."""
    row, column = (int(product.integers(n)) for n in taken.shape)
    headings = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
    heading, path = int(product.integers(8)), []
    for _ in range(int(product.integers(3, 16))):
        if not (0 <= row < taken.shape[0] and 0 <= column < taken.shape[1]) or taken[row, column]:
            break
        taken[row, column] = True
        path.append((row, column))
        if product.random() < 0.25:
            heading = (heading + int(product.choice([-1, 1]))) % 8
        row, column = row + headings[heading][0], column + headings[heading][1]
    return path
