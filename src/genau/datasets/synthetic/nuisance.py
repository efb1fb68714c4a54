"""What differs between pictures of good parts: light, shadow, colour balance, focus, noise, compression.

A view is drawn once and applied to a part and to its defect-free twin alike, noise included, so that nothing but the
defect tells the two apart.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from genau.datasets.synthetic.noise import Field, Rng

CURVE_STEPS = 1024  # per unit of exposure: finer than 8 bits
COARSE = 8  # light changes slowly: its field is made at 1/8 of the size


@dataclass(frozen=True, eq=False)
class View:
    """How one picture is taken."""

    illumination: Field  # (H, W) factor: light and shadow
    balance: Field  # (3,) factor: exposure and white balance
    glare: Field  # (H, W) added: reflections of lamps
    gamma: float
    focus_sigma: float  # pixels
    noise: NDArray[np.float32]  # (H, W, 3), or (H, W, 1) if monochrome; grey levels
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
    balance = np.exp(product.normal(0, 0.045, 3) + instance.normal(0, 0.015, 3)).astype(np.float32)
    exposure = math.exp(product.normal(0, 0.14) + instance.normal(0, 0.06))
    glare = np.zeros((rows, columns), np.float32)
    if product.random() < 0.35:
        for _ in range(int(instance.integers(1, 4))):
            glare += instance.uniform(0.04, 0.3) * _lobe(instance, y, x)
    noise_sigma = product.beta(1, 2) * 7
    noise = instance.standard_normal((height, width, 3), dtype=np.float32) * np.float32(noise_sigma * 0.55)
    noise += 1.2 * noise[::-1, ::-1, :1].copy()  # part of the noise is common to the channels
    quality = (
        None if product.random() < 0.25 else int(np.clip(product.integers(58, 97) + instance.integers(-3, 4), 50, 98))
    )
    if monochrome := bool(product.random() < 0.2):
        noise = noise[..., :1]
    focus = (product.beta(1, 2.5) * 1.3 + abs(instance.normal(0, 0.12))) * min(size_hw) / 256
    return View(
        _grow(np.clip(light, 0.15, 2), size_hw),
        balance * np.float32(exposure),
        _grow(glare, size_hw),
        float(np.exp(product.normal(0, 0.1))),
        float(focus),
        noise,
        quality,
        monochrome,
    )


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


def photograph(rgb: Field, view: View) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3), 8 bits, that a view takes of a canvas (H, W, 3)."""
    exposed = rgb * (view.balance * np.float32(CURVE_STEPS))
    exposed *= view.illumination[..., None]
    exposed += (view.glare * np.float32(CURVE_STEPS))[..., None]
    np.clip(exposed, 0, 2 * CURVE_STEPS - 1, out=exposed)
    image = Image.fromarray(_tone_curve(view.gamma)[exposed.astype(np.int16)])
    if view.monochrome:
        image = image.convert("L")
    if view.focus_sigma > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(view.focus_sigma))
    noisy = np.asarray(image.convert("RGB"), np.float32) + view.noise
    noisy += np.float32(0.5)
    np.clip(noisy, 0, 255, out=noisy)
    picture = noisy.astype(np.uint8)
    if view.jpeg_quality is None:
        return picture
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=view.jpeg_quality)
    return np.array(Image.open(buffer).convert("RGB"))
