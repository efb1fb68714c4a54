"""Stored values -> pixels: 8-bit RGB for the model, whole numbers for masks.

The way from stored values to 8 bits never depends on the content: a scaling per picture would make scores incomparable.
Colour profiles are not applied.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.errors import ImageError

MAX_MEGAPIXELS = 110  # a 100-megapixel camera and a little; beyond it a header is rather a decompression bomb
STRIP_PIXELS = 4_000_000  # converted at a time, so that 100 megapixels need little more than their result

# What Pillow raises for damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error)
_DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION_TAG = 274
_WHITE_IS_ZERO = 0  # value of TIFF tag 262


def check_size(height: int, width: int, name: str) -> None:
    """Raise ImageError if a picture of H x W pixels is empty or larger than `MAX_MEGAPIXELS`."""
    if height < 1 or width < 1:
        raise ImageError(f"{name!r} is {height} x {width} pixels (H x W): there is nothing to see. Check its source.")
    if height * width > MAX_MEGAPIXELS * 1_000_000:
        raise ImageError(
            f"{name!r} has {height} x {width} pixels (H x W), {height * width / 1e6:.0f} megapixels; "
            f"at most {MAX_MEGAPIXELS} are read. Cut it into tiles, or scale it down."
        )


def load(image: Image.Image, name: str) -> None:
    """Decode all pixels, or raise ImageError: a truncated picture is not filled."""
    try:
        image.load()
    except DAMAGED as error:
        raise ImageError(
            f"{name!r} is truncated or damaged ({error}). Copy or export it again; nothing of it is inspected."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name!r} is beyond Pillow's own limit ({error}). Raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, that is still to be applied; 1 where it is missing or nonsense."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except DAMAGED:  # a broken EXIF block does not make the pixels unreadable
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of the stored pixels (H, W, ...) the way the camera was held (EXIF 2.32, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _raw_mode(image: Image.Image) -> tuple[str, int]:
    """Return how the decoder finds the pixels in the file, for example ("L;4", 0); for PGM with its largest value."""
    tiles = getattr(image, "tile", None) or []
    args: Any = tiles[0][3] if tiles else ""
    raw_mode = args if isinstance(args, str) else str(args[0]) if args else ""
    is_pgm = bool(tiles) and tiles[0][0].startswith("ppm") and isinstance(args, tuple) and isinstance(args[-1], int)
    largest = args[-1] if is_pgm else 0
    return raw_mode, largest


def _is_inverted(image: Image.Image) -> bool:
    # Pillow turns "white is zero" TIFFs round for 8 bits, but not for deeper ones.
    tags = getattr(image, "tag_v2", {})
    return image.mode in _DEEP_MODES and tags.get(262) == _WHITE_IS_ZERO


def image_to_rgb(image: Image.Image, name: str, bit_depth: int | None) -> NDArray[np.uint8]:
    """Return the upright 8-bit RGB (H, W, 3) of a Pillow image; see `genau.reading.read_picture` for the rules."""
    check_size(image.height, image.width, name)
    if bit_depth is not None and image.mode not in _DEEP_MODES and ";16" in _raw_mode(image)[0]:
        raise ImageError(
            f"{name!r} is a 16-bit colour file, of which Pillow keeps the upper 8 bits: bit_depth={bit_depth} cannot "
            "be applied. Read it with another library and pass a uint16 array, or leave bit_depth out."
        )
    inverted = _is_inverted(image)
    load(image, name)
    orientation = orientation_of(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for rows in _strips(image.height, image.width):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        rgb[rows] = _strip_to_rgb(strip, name, bit_depth)
    if inverted:
        np.subtract(255, rgb, out=rgb)
    return np.ascontiguousarray(upright(rgb, orientation))


def _strip_to_rgb(strip: Image.Image, name: str, bit_depth: int | None) -> NDArray[np.uint8]:
    if strip.mode in _DEEP_MODES:
        values = np.asarray(strip)
        full = None if strip.mode == "F" else 65535  # Pillow keeps 16 bits in mode I, too
        return _scaled(values, name, bit_depth, full)[..., None]
    try:
        if strip.has_transparency_data:
            return _on_white(np.asarray(strip.convert("RGBA")))
        return np.asarray(strip.convert("RGB"))
    except ValueError as error:
        raise ImageError(f"{name!r} has the colour mode {strip.mode!r} ({error}). Convert it to RGB.") from error


def array_to_rgb(array: NDArray[Any], name: str, bit_depth: int | None) -> NDArray[np.uint8]:
    """Return 8-bit RGB (H, W, 3) of an array, always a copy; see `genau.reading.read_picture` for the rules."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in {1, 3, 4}:
        channels_first = array.ndim == 3 and array.shape[0] in {1, 3, 4}
        raise ImageError(
            f"{name!r} has shape {array.shape}; it must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). "
            + ("The channels come first: use array.transpose(1, 2, 0)." if channels_first else "Pass one picture.")
        )
    if array.dtype not in (np.uint8, np.uint16, np.bool_) and array.dtype.kind != "f":
        raise ImageError(
            f"{name!r} holds {array.dtype}; it must be uint8, uint16, bool, or float in [0, 1]. Convert it with astype."
        )
    check_size(array.shape[0], array.shape[1], name)
    rgb = np.empty((*array.shape[:2], 3), np.uint8)
    for rows in _strips(*array.shape[:2]):
        values = array[rows]
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * np.uint8(255)
        if values.dtype != np.uint8:
            values = _scaled(values, name, bit_depth, None if values.dtype.kind == "f" else 65535)
        rgb[rows] = _on_white(values) if values.shape[2] == 4 else values
    return rgb


def _strips(height: int, width: int) -> Iterator[slice]:
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(height, top + step))


def _scaled(values: NDArray[Any], name: str, bit_depth: int | None, full: int | None) -> NDArray[np.uint8]:
    """Return deep values on 0..255, where `bit_depth`, or else `full` (None: 1.0), is white."""
    white = 2**bit_depth - 1 if bit_depth is not None else full or 1
    low, high = values.min(), values.max()
    tolerance = 1e-3 if values.dtype.kind == "f" else 0  # resampling overshoots; NaN fails both comparisons
    if not (low >= -tolerance * white and high <= white * (1 + tolerance)):
        given = f"bit_depth={bit_depth}" if bit_depth is not None else "it"
        raise ImageError(
            f"{name!r} holds values from {low:g} to {high:g}, but {given} allows 0 to {white}. "
            "Name the camera's bit depth (bit_depth=...), or scale the values to that range."
        )
    if values.dtype == np.uint16:
        table = (np.arange(65536, dtype=np.int64) * 510 + white) // (2 * white)  # rounded
        return np.asarray(table.clip(0, 255).astype(np.uint8)[values])
    return np.clip(values.astype(np.float64) * (255 / white) + 0.5, 0, 255).astype(np.uint8)


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3): what a viewer shows of (H, W, 4) on white; colour hidden under alpha 0 does not come out."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def stored_integers(mask: Image.Image, name: str) -> NDArray[np.int32]:
    """Return the whole numbers (H, W) that a mask stores, upright; see `genau.reading.read_mask` for the rules."""
    raw_mode, largest = _raw_mode(mask)
    load(mask, name)
    values = np.asarray(mask)
    if values.ndim == 3:
        n_colours = 1 if mask.mode in {"LA", "PA"} else 3
        colours, alpha = values[..., :n_colours], values[..., n_colours:]
        if mask.mode not in {"LA", "PA", "RGB", "RGBA"} or (colours != colours[..., :1]).any() or ";16" in raw_mode:
            raise ImageError(
                f"Mask {name!r} is a colour picture ({raw_mode or mask.mode}); its values must be grey or palette "
                "indices. Save it as an 8- or 16-bit grey PNG, one value per label."
            )
        if alpha.size and ((alpha[..., 0] == 0) & (colours[..., 0] != 0)).any():
            raise ImageError(
                f"Mask {name!r} hides labels under full transparency, so what it means is open. Save it without alpha."
            )
        values = colours[..., 0]
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise ImageError(f"Mask {name!r} holds fractions; it must hold whole numbers. Save it as an 8- or 16-bit PNG.")
    integers = values.astype(np.int32)
    # Pillow stretches grey of less than 8 bits to 0..255 (and PGM to the next full range): undo it.
    if mask.mode == "L":
        integers //= {"L;2": 85, "L;4": 17}.get(raw_mode, 1)
    if largest:
        white = 65535 if mask.mode == "I" else 255
        integers = np.round(integers.astype(np.float64) * largest / white).astype(np.int32)
    return np.ascontiguousarray(upright(integers, orientation_of(mask)))
