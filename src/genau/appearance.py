"""How a defect looks, in words measured on the picture: what is painted for training and what is found are told alike.

What is painted is compared with its defect-free twin, what is found with what lies around it.
"""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt

from genau.regions import Region, keep_regions

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

# Of what is found
LINE_RATIO = 4.0  # of its standard deviations along and across: from here on a region is a line
AREA_SHARE = 0.04  # of the picture: a larger region is an area rather than a spot
PIXEL = 1 / 12  # variance within one pixel
CLEAREST = 0.25  # share of a region's pixels that tell its tone: a mask is wider than its defect
SURROUNDINGS = 0.5  # reach of what a region is compared with, share of the longer side of its box
MANY_REGIONS = 3  # are not described one by one


def appearance_of(image: Picture, good: Picture, mask: Mask, form: str) -> str:
    """Return a phrase such as 'thin dark curved line' or 'small brownish irregular blotch'.

    `good` is the same picture without the defect, `form` the last words of the phrase.
    """
    step = 1 if mask.size < MANY_PIXELS or not mask[::2, ::2].any() else 2
    inside, before = (one[::step, ::step][mask[::step, ::step]].astype(np.float32) for one in (image, good))
    return _phrase(mask, _tone(inside, before), form)


def appearance_found(image: Picture, regions: Sequence[Region]) -> str:
    """Return a phrase for the largest of the found regions (at least one) of a picture.

    Its tone is that of its clearest pixels, compared with the median around it.
    """
    largest = regions[0]
    size_hw = (image.shape[0], image.shape[1])
    reach = max(2, round(SURROUNDINGS * max(largest.inside.shape)))
    window = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in largest.box_yx)
    found, own = keep_regions(regions, size_hw)[window], keep_regions([largest], size_hw)[window]
    around = ~binary_dilation(found, iterations=2)
    pixels = image[window].astype(np.float32)
    inside = pixels[own]
    before = np.median(pixels[around] if around.any() else pixels.reshape(-1, 3), axis=0)
    apart = np.abs(inside - before).max(1)
    clearest = inside[apart >= np.quantile(apart, 1 - CLEAREST)]
    phrase = _phrase(keep_regions([largest], size_hw), _tone(clearest, before), _form(largest))
    return f"several regions, largest a {phrase}" if len(regions) >= MANY_REGIONS else phrase


def _form(region: Region) -> str:
    across, along = np.linalg.eigvalsh(np.cov(np.stack(np.nonzero(region.inside)), bias=True))  # variances
    if along + PIXEL > LINE_RATIO**2 * (across + PIXEL):
        return "line"
    return "area" if region.area_fraction > AREA_SHARE else "spot"


def _phrase(mask: Mask, tone: str, form: str) -> str:
    size = _thickness(mask) if form.rsplit(maxsplit=1)[-1] in LINES else _size(mask)
    return " ".join(word for word in (size, tone, form) if word)


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


def _tone(inside: NDArray[np.float32], before: NDArray[np.float32]) -> str:
    """Say how pixels (N, 3) look beside what they were, (N, 3) or (3,)."""
    now, was = inside.mean(0), np.atleast_2d(before).mean(0)
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
