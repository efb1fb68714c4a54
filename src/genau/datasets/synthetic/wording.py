"""Words for what was painted, measured on the finished picture against its defect-free twin."""

import colorsys

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Picture = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)

SIZES = ((0.0008, "tiny"), (0.006, "small"), (0.04, ""), (1.1, "large"))  # up to which share of the picture
HUES = (
    (0.04, "reddish"),
    (0.11, "brownish"),
    (0.19, "yellowish"),
    (0.45, "greenish"),
    (0.72, "bluish"),
    (0.92, "purplish"),
    (1.01, "reddish"),
)
MANY_PIXELS = 30_000  # in a picture this large every other pixel tells its tone
LINES = ("line", "lines", "fibre", "thread", "slit")


def appearance_of(image: Picture, good: Picture, mask: Mask, form: str) -> str:
    """Return a phrase such as 'thin dark curved line' or 'small brownish irregular blotch'."""
    size = _thickness(mask) if form.rsplit(maxsplit=1)[-1] in LINES else _size(mask)
    words = [size, _tone(image, good, mask), form]
    return " ".join(word for word in words if word)


def _size(mask: Mask) -> str:
    share = float(mask.mean())
    return next(word for limit, word in SIZES if share < limit)


def _thickness(mask: Mask) -> str:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    half = float(np.percentile(distance_transform_edt(window)[window], 90))
    width_u = (2 * half - 1) / min(mask.shape) * 256
    length = max(len(rows) / mask.shape[0], len(columns) / mask.shape[1])
    thick = "thin" if width_u < 3.2 else "broad" if width_u > 7 else ""
    return " ".join(word for word in ("long" if length > 0.5 else "short" if length < 0.12 else "", thick) if word)


def _tone(image: Picture, good: Picture, mask: Mask) -> str:
    step = 1 if mask.size < MANY_PIXELS else 2
    if mask[::step, ::step].any():
        image, good, mask = image[::step, ::step], good[::step, ::step], mask[::step, ::step]
    inside, before = image[mask].astype(np.float32), good[mask].astype(np.float32)
    now, was = inside.mean(0), before.mean(0)
    apart = np.abs(inside - before)
    change = float(np.maximum(np.maximum(apart[:, 0], apart[:, 1]), apart[:, 2]).mean())
    brighter = float((now - was).mean())
    shift = now - was
    chroma = float((shift - shift.mean()).max() - (shift - shift.mean()).min())
    if chroma > 22 and float(now.max() - now.min()) > 30:
        hue = colorsys.rgb_to_hsv(*(now / 255).tolist())[0]
        tint = next(word for limit, word in HUES if hue < limit)
        return f"dark {tint}" if float(now.mean()) < 70 else tint
    if change < 14:
        return "faint"
    if abs(brighter) < 0.35 * change:
        return "shaded"
    return "bright" if brighter > 0 else "dark"
