"""What differs between pictures of good parts: light, shadow, colour balance, focus, noise, compression.

A view is drawn once and applied to a part and to its defect-free twin alike, noise included, so that nothing but the
defect tells the two apart.
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.datasets.synthetic.noise import Field, Rng

CURVE_STEPS = 1024  # per unit of exposure: finer than 8 bits
COARSE = 8  # light changes slowly: its field is made at 1/8 of the size
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
NOISE_STEPS = 2048  # fixed point of the noise
BYTES_DEVIATION = 104.5  # of the sum of two random bytes: sqrt(2 * (256² - 1) / 12)
SHARP = 0.25  # pixels: a lens this sharp blurs nothing
WHOLE = slice(None)
BLOCK = 16  # pixels: JPEG codes such blocks for themselves


@dataclass(frozen=True, eq=False)
class View:
    """How one picture is taken."""

    illumination: Field  # (H, W) factor: light and shadow
    balance: Field  # (3,) factor: exposure and white balance
    glare: Field | None  # (H, W) added: reflections of lamps
    gamma: float
    focus_sigma: float  # pixels
    noise: NDArray[np.int16]  # (H, W, 3), or (H, W, 1) if monochrome; grey levels
    jpeg_quality: int | None  # None: stored without loss
    monochrome: bool  # many inspection cameras see no colour


def draw_view(product: Rng, instance: Rng, size_hw: tuple[int, int]) -> View:
    """Draw a view (H, W): the product fixes camera and lamps, the instance moves and varies them."""
    height, width = size_hw
    rows, columns = max(4, height // COARSE), max(4, width // COARSE)
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :] * np.float32(width / height)
    angle = product.uniform(0, 2 * math.pi) + instance.normal(0, 0.4)
    light = 1 + product.beta(1, 3) * 0.6 * instance.uniform(0.5, 1.2) * (math.cos(angle) * x + math.sin(angle) * y)
    light = light - product.beta(1, 3) * 0.5 * (x * x + y * y) / 2
    for _ in range(int(instance.integers(0, 3)) if product.random() < 0.5 else 0):
        light = light * (1 - instance.uniform(0.05, 0.35) * _veil(instance, y, x))
    cloud = instance.standard_normal((5, 6), dtype=np.float32)  # lamps and coatings are never quite even
    light = light * (1 + np.float32(product.beta(1, 4) * 0.2) * _grow(cloud, (rows, columns)))
    balance = np.exp(product.normal(0, 0.045, 3) + instance.normal(0, 0.015, 3)).astype(np.float32)
    exposure = math.exp(product.normal(0, 0.14) + instance.normal(0, 0.06))
    glare = None
    if product.random() < 0.35:
        glare = np.zeros((rows, columns), np.float32)
        for _ in range(int(instance.integers(1, 4))):
            glare += instance.uniform(0.04, 0.3) * _lobe(instance, y, x)
    monochrome = bool(product.random() < 0.25)
    noise = _noise(instance, size_hw, float(product.beta(1, 2) * 7), monochrome)
    quality = (
        None if product.random() < 0.35 else int(np.clip(product.integers(58, 97) + instance.integers(-3, 4), 50, 98))
    )
    focus = (product.beta(1, 2.5) * 1.3 + abs(instance.normal(0, 0.12))) * min(size_hw) / 256
    return View(
        _grow(np.clip(light, 0.15, 2), size_hw),
        balance * np.float32(exposure),
        None if glare is None else _grow(glare, size_hw),
        float(np.exp(product.normal(0, 0.1))),
        float(focus),
        noise,
        quality,
        monochrome,
    )


@lru_cache(maxsize=4)
def _tone_curve(gamma: float) -> NDArray[np.uint8]:
    """Return grey levels for exposures 0 to 2: a gamma, and a shoulder that keeps highlights from clipping flat."""
    linear = np.arange(2 * CURVE_STEPS) / CURVE_STEPS
    knee = 0.75
    rolled = np.where(linear < knee, linear, knee + (1 - knee) * np.tanh((linear - knee) / (1 - knee) * 0.75))
    return np.asarray(np.clip(rolled**gamma * 255 + 0.5, 0, 255), np.uint8)


def _grow(coarse: Field, size_hw: tuple[int, int]) -> Field:
    image = Image.fromarray(np.ascontiguousarray(coarse, np.float32))
    return np.asarray(image.resize(size_hw[::-1], Image.Resampling.BICUBIC), np.float32)


def _veil(instance: Rng, y: Field, x: Field) -> Field:
    """Return a soft-edged shadow: half of the picture or a broad stripe."""
    angle, soft = instance.uniform(0, 2 * math.pi), instance.uniform(0.12, 0.6)
    along = math.cos(angle) * x + math.sin(angle) * y - instance.uniform(-0.9, 0.9)
    stripe = instance.uniform(0.2, 1.2) if instance.random() < 0.5 else 9.0
    return np.asarray((np.tanh(along / soft) - np.tanh((along - stripe) / soft)) / 2, np.float32)


def _lobe(instance: Rng, y: Field, x: Field) -> Field:
    """Return a reflection: an ellipse or a tube with soft flanks."""
    angle = instance.uniform(0, math.pi)
    dy, dx = y - instance.uniform(-1, 1), x - instance.uniform(-1.2, 1.2)
    long, short = instance.uniform(0.4, 1.4), instance.uniform(0.2, 0.7)
    along, across = math.cos(angle) * dx + math.sin(angle) * dy, math.cos(angle) * dy - math.sin(angle) * dx
    return np.asarray(np.exp(-((along / long) ** 2) - (across / short) ** 2), np.float32)


def photograph(rgb: Field, view: View, rows: slice = WHOLE, columns: slice = WHOLE) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3), 8 bits, that a view takes of a canvas (H, W, 3), or of a window of both."""
    light, window = view.illumination[rows, columns], rgb[rows, columns]
    glare = None if view.glare is None else view.glare[rows, columns] * np.float32(CURVE_STEPS)
    if view.monochrome:
        weights = (LUMINANCE * view.balance).tolist()
        window = (window[..., 0] * weights[0] + window[..., 1] * weights[1] + window[..., 2] * weights[2])[..., None]
    depth = window.shape[2]
    steps = np.empty(window.shape, np.int16)
    for k in range(depth):
        gain = CURVE_STEPS * (1.0 if view.monochrome else float(view.balance[k]))
        exposed = window[..., k] * (light * np.float32(gain))
        steps[..., k] = exposed if glare is None else exposed + glare
    levels = np.take(_tone_curve(view.gamma), steps, mode="clip")
    if view.focus_sigma > SHARP:
        levels = _defocused(levels, view.focus_sigma)
    noisy = levels + view.noise[rows, columns]
    np.clip(noisy, 0, 255, out=noisy)
    picture = noisy.astype(np.uint8)
    if view.jpeg_quality is not None:
        buffer = io.BytesIO()
        Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(
            buffer, "JPEG", quality=view.jpeg_quality
        )
        picture = np.asarray(Image.open(buffer))
        picture = picture if picture.ndim == 3 else picture[..., None]
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def photograph_again(changed: Field, before: Field, view: View, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `photograph(changed, view)`, given that of `before` and taking only the blocks that differ from it."""
    each = changed != before
    differs = each[..., 0] | each[..., 1] | each[..., 2]
    if not differs.any():
        return picture
    reach = len(_taps(view.focus_sigma)) if view.focus_sigma > SHARP else 1
    outer, inner, into = [], [], []
    for axis in (1, 0):
        hit, size = np.flatnonzero(differs.any(axis)), differs.shape[1 - axis]
        first = max(0, (int(hit[0]) - reach) // BLOCK * BLOCK)
        last = min(size, -(-(int(hit[-1]) + 1 + reach) // BLOCK) * BLOCK)
        start = max(0, first - BLOCK)  # one block more, as JPEG smooths colour over the border of a block
        outer.append(slice(start, min(size, last + BLOCK)))
        inner.append(slice(first - start, last - start))
        into.append(slice(first, last))
    result = picture.copy()
    result[into[0], into[1]] = photograph(changed, view, outer[0], outer[1])[inner[0], inner[1]]
    return result


def _noise(instance: Rng, size_hw: tuple[int, int], sigma: float, monochrome: bool) -> NDArray[np.int16]:
    """Return noise (H, W, 3) or (H, W, 1), grey levels: of its own in each channel, and a part common to all.

    Sums of random bytes in fixed point: near enough to normal numbers, and ten times faster.
    """
    height, width = size_hw
    depth = 1 if monochrome else 3
    raw = np.frombuffer(instance.bytes(2 * height * width * depth), np.uint8).reshape(2, height, width, depth)
    own = np.add(raw[0], raw[1], dtype=np.int16)
    own -= 255
    common = own[::-1, ::-1, :1] * np.int16(1.2 * 0.55 * sigma * NOISE_STEPS / BYTES_DEVIATION)
    own *= np.int16(0.55 * sigma * NOISE_STEPS / BYTES_DEVIATION)
    own >>= 1  # halved: the sum of two fits in 16 bits
    own += common >> 1
    own += NOISE_STEPS // 4
    own >>= int(math.log2(NOISE_STEPS)) - 1
    return np.asarray(own, np.int16)


def _taps(sigma: float) -> list[int]:
    """Return the middle and one side of a Gaussian kernel in 1/256; the whole kernel sums to 256."""
    reach = max(1, math.ceil(2.2 * sigma))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    side = [round(float(w) * 256) for w in weights[1:]]
    return [256 - 2 * sum(side), *side]


def _defocused(levels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Return the blurred picture (H, W, C), 8 bits, in fixed-point steps."""
    taps = _taps(sigma)
    for axis in (0, 1):
        reach = len(taps) - 1
        pad = [(0, 0)] * 3
        pad[axis] = (reach, reach)
        wide = np.pad(levels, pad, "edge").astype(np.uint16)
        size = levels.shape[axis]

        def at(shift: int, wide: NDArray[np.uint16] = wide, axis: int = axis, size: int = size) -> NDArray[np.uint16]:
            return wide[shift : shift + size] if axis == 0 else wide[:, shift : shift + size]

        total = at(reach) * np.uint16(taps[0])
        for k, weight in enumerate(taps[1:], 1):
            total += (at(reach - k) + at(reach + k)) * np.uint16(weight)
        total += np.uint16(128)
        levels = (total >> 8).astype(np.uint8)
    return levels
