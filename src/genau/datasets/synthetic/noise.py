"""Random fields and the light that falls on them: what every surface is made of.

H, W: the picture. A field is (H, W) float32. Lengths are pixels unless a name ends in `_u`: then they are in units of
1/256 of the shorter side, so that a product looks the same at any picture size.
"""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter1d

Field = NDArray[np.float32]  # (H, W) or (H, W, 3), see each docstring
Rng = np.random.Generator
COARSEST_STEP = 2.5  # pixels per cell that a smooth field needs before it is enlarged


def value_noise(rng: Rng, size_hw: tuple[int, int], cell_yx: tuple[float, float]) -> Field:
    """Return smooth noise (H, W), mean 0, variance below 1, with one independent value per cell of `cell_yx` pixels."""
    (height, width), (cell_y, cell_x) = size_hw, (max(1.0, cell_yx[0]), max(1.0, cell_yx[1]))
    rows, columns = height / cell_y, width / cell_x
    coarse = rng.standard_normal((math.ceil(rows) + 3, math.ceil(columns) + 3), dtype=np.float32)
    if cell_y == 1 and cell_x == 1:
        return np.ascontiguousarray(coarse[:height, :width])
    top, left = 1 + rng.random(), 1 + rng.random()
    box = (left, top, left + columns, top + rows)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC, box=box), np.float32)


def fractal(
    rng: Rng, size_hw: tuple[int, int], cell: float, octaves: int = 4, gain: float = 0.6, stretch: float = 1.0
) -> Field:
    """Return noise (H, W) of mean 0 and deviation 1, summed over octaves from `cell` pixels down.

    `stretch` lengthens the cells along x: above 1 the field is streaky.
    """
    total = _octaves(rng, size_hw, cell, octaves, gain, stretch)
    sample = total[::3, ::3] if min(size_hw) > 48 else total  # mean and deviation need no more
    mean, deviation = float(sample.mean()), max(1e-6, float(sample.std()))
    return np.asarray((total - np.float32(mean)) * np.float32(1 / deviation), np.float32)


def _octaves(rng: Rng, size_hw: tuple[int, int], cell: float, octaves: int, gain: float, stretch: float) -> Field:
    """Return the sum (H, W) of octaves; the smooth ones are made small and enlarged together."""
    finest = cell / 2 ** (octaves - 1)
    factor = min(8, int(finest / COARSEST_STEP))
    if factor > 1:
        height, width = size_hw
        small_hw = (math.ceil(height / factor) + 2, math.ceil(width / factor) + 2)
        small = _octaves(rng, small_hw, cell / factor, octaves, gain, stretch)
        box = (1, 1, 1 + width / factor, 1 + height / factor)
        grown = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC, box=box)
        return np.asarray(grown, np.float32)
    if octaves == 1:
        return value_noise(rng, size_hw, (cell, cell * stretch))
    coarse = _octaves(rng, size_hw, cell, octaves - 1, gain, stretch)
    if 2 * finest <= 1:  # nothing is finer than a pixel
        return coarse
    return coarse + np.float32(gain ** (octaves - 1)) * value_noise(rng, size_hw, (finest, finest * stretch))


def blur(field: Field, sigma: float) -> Field:
    """Return the Gaussian-blurred field (H, W); from 3 pixels on at reduced resolution, which nobody sees."""
    if sigma < 0.3:
        return field
    if sigma < 3 or min(field.shape) < 16:
        once = gaussian_filter1d(field, sigma, axis=0, mode="nearest", truncate=3)
        return np.asarray(gaussian_filter1d(once, sigma, axis=1, mode="nearest", truncate=3), np.float32)
    factor = max(1, int(sigma / 1.5))
    height, width = field.shape
    small_wh = (max(2, width // factor), max(2, height // factor))
    small = np.asarray(Image.fromarray(field).resize(small_wh, Image.Resampling.BOX), np.float32)
    once = gaussian_filter1d(small, sigma * small_wh[1] / height, axis=0, mode="nearest", truncate=3)
    twice = gaussian_filter1d(once, sigma * small_wh[0] / width, axis=1, mode="nearest", truncate=3)
    return np.asarray(Image.fromarray(twice).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def blur_bytes(field: Field, sigma: float) -> Field:
    """Return a blurred [0, 1] field (H, W) through 8 bits: several times faster, good enough for shadows."""
    picture = Image.fromarray(np.clip(field * 255, 0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), np.float32) / np.float32(255)


def turned(field: Field, size_hw: tuple[int, int], angle_rad: float) -> Field:
    """Return the centre of `field` turned by an angle and cut to `size_hw`; make it with `turn_room` pixels."""
    (height, width), (rows, columns) = size_hw, field.shape
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    x0 = columns / 2 - c * width / 2 - s * height / 2
    y0 = rows / 2 + s * width / 2 - c * height / 2
    affine = (c, s, x0, -s, c, y0)
    image = Image.fromarray(field).transform(
        (width, height), Image.Transform.AFFINE, affine, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(image, np.float32)


def turn_room(size_hw: tuple[int, int], angle_rad: float) -> tuple[int, int]:
    """Return the size (H, W) that holds `size_hw` turned by an angle."""
    height, width = size_hw
    c, s = abs(math.cos(angle_rad)), abs(math.sin(angle_rad))
    return math.ceil(height * c + width * s) + 4, math.ceil(width * c + height * s) + 4


def plane(size_hw: tuple[int, int], angle_rad: float = 0.0, scale: float = 1.0) -> tuple[Field, Field]:
    """Return coordinates v, u (H, W) each: pixels from the centre, turned by an angle, divided by `scale`."""
    height, width = size_hw
    y = (np.arange(height, dtype=np.float32) - height / 2)[:, None] / scale
    x = (np.arange(width, dtype=np.float32) - width / 2)[None, :] / scale
    c, s = np.float32(math.cos(angle_rad)), np.float32(math.sin(angle_rad))
    return c * y - s * x, c * x + s * y


def tinted(colours: NDArray[np.floating], factor: NDArray[np.floating]) -> Field:
    """Return colours (3,) or (H, W, 3) times a factor (H, W): by channel, five times faster than broadcasting."""
    picture = np.empty((*factor.shape, 3), np.float32)
    for k in range(3):
        np.multiply(colours[..., k], factor, out=picture[..., k], casting="same_kind")
    return picture


def blend(under: NDArray[np.floating], over: NDArray[np.floating], cover: NDArray[np.floating]) -> Field:
    """Return colours `over` on `under`, (3,) or (H, W, 3) each, by a cover (H, W)."""
    picture = np.empty((*cover.shape, 3), np.float32)
    for k in range(3):
        step = over[..., k] - under[..., k]
        np.add(under[..., k], cover * step, out=picture[..., k], casting="same_kind")
    return picture


def slopes(height: Field) -> tuple[Field, Field]:
    """Return the forward differences (H, W) of a height field (pixels) along y and x."""
    along_y = np.diff(height, axis=0, append=height[-1:])
    along_x = np.diff(height, axis=1, append=height[:, -1:])
    return along_y, along_x


def lit(
    albedo: Field, height: NDArray[np.floating], light: Field, gloss: float = 0.0, shininess: float = 20.0
) -> Field:
    """Return the picture (H, W, 3) of an albedo (3,) or (H, W, 3) whose relief (H, W) is lit from `light` (x, y, z).

    Lambert and Blinn-Phong; a flat surface keeps its albedo, so that colours survive any light.
    """
    slope_y, slope_x = slopes(np.asarray(height, np.float32))
    steep = 1 / np.sqrt(1 + slope_y * slope_y + slope_x * slope_x)
    x, y, z = (float(v) for v in light)
    diffuse = (z - x * slope_x - y * slope_y) * steep
    picture = tinted(albedo, 0.35 + (0.65 / z) * np.clip(diffuse, 0, 1.7 * z))
    if gloss > 0:
        long = math.sqrt(x * x + y * y + (z + 1) ** 2)
        facing = ((z + 1) / long - x / long * slope_x - y / long * slope_y) * steep
        shine = gloss * np.exp(shininess * np.log(np.maximum(facing, 1e-3)))
        for k in range(3):
            picture[..., k] += shine
    return picture


def draw_light(product: Rng, instance: Rng) -> Field:
    """Return a unit light direction (x, y, z): the product's, moved a little by the instance."""
    angle = product.uniform(0, 2 * math.pi) + instance.normal(0, 0.25)
    lift = float(np.clip(product.uniform(0.55, 0.9) + instance.normal(0, 0.04), 0.45, 0.95))
    flat = math.sqrt(1 - lift * lift)
    return np.array([flat * math.cos(angle), flat * math.sin(angle), lift], np.float32)


def colour(hue: float, saturation: float, value: float) -> Field:
    """Return RGB (3,) in [0, 1] of a hue in turns, a saturation and a value."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(1, max(0, saturation)), min(1, max(0, value))), np.float32)


def coat(rng: Rng, low: float = 0.06, high: float = 0.95) -> Field:
    """Return a colour (3,) such as parts are moulded or painted in: grey, black, white, beige; one in five coloured."""
    kind = rng.random()
    if kind < 0.55:
        return colour(rng.random(), float(rng.beta(1, 9) * 0.4), rng.uniform(low, high))
    if kind < 0.8:
        return colour(rng.uniform(0.04, 0.13), rng.uniform(0.08, 0.5), rng.uniform(max(low, 0.2), high))
    hue = float(rng.choice([0.0, 0.02, 0.08, 0.13, 0.35, 0.55, 0.6, 0.62]) + rng.normal(0, 0.02))
    return colour(hue, rng.uniform(0.25, 0.85), rng.uniform(max(low, 0.2), min(high, 0.9)))


def muted(rng: Rng, low: float = 0.2, high: float = 0.9) -> Field:
    """Return a colour (3,) such as materials have: mostly grey to earthy, seldom strong."""
    saturation, strong, earthy = rng.beta(1.2, 6), rng.random() < 0.07, rng.random() < 0.7
    hue = rng.uniform(0.05, 0.14) if earthy else rng.random()
    saturation = rng.uniform(0.3, 0.6) if strong else saturation * (1 if earthy else 0.5)
    return colour(float(hue), float(saturation), rng.uniform(low, high))


def metal(rng: Rng) -> Field:
    """Return the colour (3,) of a metal: steel, aluminium, brass, copper, blued or blackened."""
    steel, aluminium, iron = (0.6, 0.04, 0.62), (0.58, 0.02, 0.8), (0.08, 0.05, 0.4)
    brass, copper, blued = (0.12, 0.42, 0.75), (0.05, 0.45, 0.7), (0.6, 0.12, 0.45)
    tones = (steel, steel, aluminium, aluminium, iron, iron, brass, copper, blued)
    hue, saturation, value = tones[int(rng.integers(len(tones)))]
    return colour(hue + rng.normal(0, 0.01), saturation * rng.uniform(0.5, 1.3), value + rng.normal(0, 0.08))


def smoothstep(field: NDArray[np.floating], low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a smooth step between."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
