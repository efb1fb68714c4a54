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
    total = np.zeros(size_hw, np.float32)
    for octave in range(octaves):
        size = cell / 2**octave
        total += gain**octave * value_noise(rng, size_hw, (size, size * stretch))
        if size <= 1:
            break
    sample = total[::2, ::2] if min(size_hw) > 32 else total  # mean and deviation need no more
    total -= sample.mean()
    total /= np.float32(max(1e-6, float(sample.std())))
    return total


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
    length = np.sqrt(1 + slope_y * slope_y + slope_x * slope_x)
    diffuse = np.maximum(light[2] - light[0] * slope_x - light[1] * slope_y, 0) / (length * light[2])
    picture = albedo * (0.35 + 0.65 * np.minimum(diffuse, 1.7))[..., None]
    if gloss > 0:
        half = light + np.array([0, 0, 1], np.float32)
        half /= np.float32(np.linalg.norm(half))
        facing = np.maximum(half[2] - half[0] * slope_x - half[1] * slope_y, 0) / length
        picture = picture + (gloss * facing**shininess)[..., None]
    return np.asarray(picture, np.float32)


def draw_light(product: Rng, instance: Rng) -> Field:
    """Return a unit light direction (x, y, z): the product's, moved a little by the instance."""
    angle = product.uniform(0, 2 * math.pi) + instance.normal(0, 0.25)
    lift = float(np.clip(product.uniform(0.55, 0.9) + instance.normal(0, 0.04), 0.45, 0.95))
    flat = math.sqrt(1 - lift * lift)
    return np.array([flat * math.cos(angle), flat * math.sin(angle), lift], np.float32)


def colour(hue: float, saturation: float, value: float) -> Field:
    """Return RGB (3,) in [0, 1] of a hue in turns, a saturation and a value."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(1, max(0, saturation)), min(1, max(0, value))), np.float32)


def muted(rng: Rng, low: float = 0.2, high: float = 0.9) -> Field:
    """Return a colour (3,) such as materials have: mostly grey to earthy, seldom strong."""
    saturation = rng.beta(1.2, 6) if rng.random() < 0.85 else rng.uniform(0.3, 0.7)
    hue = rng.uniform(0.02, 0.14) if rng.random() < 0.6 else rng.random()
    return colour(float(hue), float(saturation), rng.uniform(low, high))


def metal(rng: Rng) -> Field:
    """Return the colour (3,) of a metal: steel, aluminium, brass, copper, blued or blackened."""
    tones = ((0.6, 0.04, 0.62), (0.58, 0.02, 0.8), (0.12, 0.42, 0.75), (0.05, 0.45, 0.7), (0.6, 0.12, 0.45))
    hue, saturation, value = tones[int(rng.integers(len(tones)))]
    return colour(hue + rng.normal(0, 0.01), saturation * rng.uniform(0.5, 1.3), value + rng.normal(0, 0.08))


def smoothstep(field: NDArray[np.floating], low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a smooth step between."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
