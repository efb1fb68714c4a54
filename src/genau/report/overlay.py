"""The picture with its anomaly map and outlines drawn on it; one colour scale for all pictures, never stretched.

Shapes: H, W the original picture's height and width, N a number of pixels. H before W.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.errors import UsageError
from genau.results import UNKNOWN_TYPE, Inspection

RGB = tuple[int, int, int]

MASK_LEVEL = 0.5  # the map value above which a pixel belongs to the mask, unless the caller chose otherwise
_VISIBLE_FROM = 0.25  # a good part stays below this and must look untouched
_ALPHA_TOP = 0.6  # the defect stays visible under the strongest heat
# Darker with every step, so that the order survives colour blindness and a black-and-white print; it ends in magenta
# and not in dark red, because rust, copper, leather and wood are red already.
_HEAT: tuple[tuple[float, RGB], ...] = (
    (0.0, (255, 238, 120)),
    (_VISIBLE_FROM, (255, 226, 80)),
    (MASK_LEVEL, (255, 140, 30)),
    (1.0, (222, 0, 98)),
)
# Okabe and Ito's palette (jfly.uni-koeln.de/color), those farthest from the heat's colours first; black is the casing.
_TYPE_PALETTE: tuple[RGB, ...] = (
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (230, 159, 0),
    (204, 121, 167),
    (213, 94, 0),
)
_UNKNOWN: RGB = (170, 170, 170)
_WHITE: RGB = (255, 255, 255)
_BLACK: RGB = (20, 20, 20)


def draw_overlay(result: Inspection) -> Image.Image:
    """Return the picture, (H, W) as the original, with its map as heat and the outlines of its masks.

    The general mask has a white line outside and a black one inside its edge, so that one of them shows on any ground;
    each type's line, in the colour of `type_colours`, runs inside the edge of its own mask, striped where types share
    an edge. Raises `UsageError` for a result without a picture.
    """
    if result.error is not None:
        raise UsageError(
            f"{result.image!r} could not be inspected ({result.error}), so there is no overlay to draw. "
            "Check `result.error is None` first."
        )
    if not result.picture.size:
        raise UsageError(
            f"The result of {result.image!r} holds no picture: results that are read back from JSON have none. "
            "Inspect the image again, or open the overlay file of its run."
        )
    canvas = np.array(_with_heat(Image.fromarray(result.picture), result.anomaly_map))  # (H, W, 3)
    width = _line_width(result)
    if result.pred_mask.any():
        canvas[_line(result.pred_mask, width, outside=True)] = _WHITE
        canvas[_line(result.pred_mask, width, outside=False)] = _BLACK
    _draw_types(canvas, result, width)
    return Image.fromarray(canvas)


def type_colours(result: Inspection) -> dict[str, RGB]:
    """Return the outline colour of each type, fixed by the order in which the types were asked for.

    The eighth type has the colour of the first again; `unknown` is always grey.
    """
    asked = [*result.types, *result.type_masks, *(defect.type for defect in result.defects)]
    names = [name for name in dict.fromkeys(asked) if name != UNKNOWN_TYPE]
    colours = {name: _TYPE_PALETTE[i % len(_TYPE_PALETTE)] for i, name in enumerate(names)}
    return colours | {UNKNOWN_TYPE: _UNKNOWN}


def colour_bar(size_hw: tuple[int, int] = (14, 256), *, tick: float | None = MASK_LEVEL) -> Image.Image:
    """Return the map's scale from 0 (left) to 1 (right) as it looks on mid-grey, with a line at `tick`, in [0, 1]."""
    height, width = size_hw
    if height < 1 or width < 2:
        raise UsageError(f"size_hw={size_hw} is too small for a colour bar. Use at least (1, 2).")
    if tick is not None and not 0 <= tick <= 1:
        raise UsageError(f"tick={tick} is not on the scale. Use a map value in [0, 1], or None for no line.")
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    bar = np.array(_with_heat(Image.new("RGB", (width, height), (128, 128, 128)), ramp))
    if tick is not None:
        column = round(tick * (width - 1))
        bar[:, max(0, column - 1) : column + 2] = _WHITE
        bar[:, column] = _BLACK
    return Image.fromarray(bar)


def _with_heat(picture: Image.Image, anomaly_map: NDArray[np.float32]) -> Image.Image:
    """Blend the map, (H, W), over the picture; undefined map values stay transparent."""
    if not anomaly_map.size:
        return picture
    colours, alphas = _heat_table()
    level = np.rint(np.clip(np.nan_to_num(anomaly_map), 0, 1) * 255).astype(np.uint8)  # (H, W)
    return Image.composite(Image.fromarray(colours[level]), picture, Image.fromarray(alphas[level]))


@cache
def _heat_table() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return colours (256, 3) and alphas (256,), both in 0..255, for map values from 0 to 1."""
    values = np.linspace(0, 1, 256)
    stops = [value for value, _ in _HEAT]
    channels = [np.interp(values, stops, [colour[c] for _, colour in _HEAT]) for c in range(3)]
    alphas = _ALPHA_TOP * np.clip((values - _VISIBLE_FROM) / (1 - _VISIBLE_FROM), 0, 1)
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8), np.rint(255 * alphas).astype(np.uint8)


def _line_width(result: Inspection) -> int:
    """Pixels; about 1.5 when the picture is shown as a thumbnail, whatever its size."""
    return max(1, round(max(result.width, result.height) / 400))


def _draw_types(canvas: NDArray[np.uint8], result: Inspection, width: int) -> None:
    """Draw each type's line into `canvas`, (H, W, 3); where k lines share a pixel, stripes of the k colours."""
    colours = type_colours(result)
    lines = {name: _line(mask, width, outside=False) for name, mask in result.type_masks.items() if mask.any()}
    sharing = np.zeros(canvas.shape[:2], np.uint8)  # how many lines run through a pixel
    for line in lines.values():
        sharing[line] += 1
    drawn = np.zeros_like(sharing)
    stripe = 6 * width
    for name, (rows, cols) in lines.items():
        turn = (rows + cols) // stripe % sharing[rows, cols] == drawn[rows, cols]
        canvas[rows[turn], cols[turn]] = colours[name]
        drawn[rows, cols] += 1


def _line(mask: NDArray[np.bool_], width: int, *, outside: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns, (N,) each, of the band along the edge of a non-empty mask, (H, W).

    `width` is in pixels, outside or inside the edge. What lies beyond the picture counts as not masked, so that a mask
    which touches the border is closed there.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = rows[0], cols[0]
    crop = np.pad(mask[top : rows[-1] + 1, left : cols[-1] + 1], width)
    band = _grow(crop, width) & ~crop if outside else crop & _grow(~crop, width)
    band_rows, band_cols = np.nonzero(band)
    band_rows, band_cols = band_rows + top - width, band_cols + left - width
    height, length = mask.shape
    kept = (band_rows >= 0) & (band_rows < height) & (band_cols >= 0) & (band_cols < length)
    return band_rows[kept], band_cols[kept]


def _grow(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Dilate by `steps` pixels; crosses and squares in turn make an octagon, so slanted lines are as thick as straight.

    Whole-array shifts: a 24-megapixel mask takes a tenth of the time of a distance transform.
    """
    grown = mask
    for step in range(steps):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        source = wider.copy() if step % 2 else grown
        wider[:, 1:] |= source[:, :-1]
        wider[:, :-1] |= source[:, 1:]
        grown = wider
    return grown
