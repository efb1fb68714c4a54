"""What a caller may pass to an `Inspector`, checked before any picture is touched."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from genau.errors import ImageError, UsageError
from genau.images import Picture
from genau.paths import find_pictures
from genau.prompts import MAX_NAME_CHARACTERS
from genau.reading import ImageSource, read_mask, read_picture

Types = Sequence[str] | Mapping[str, str | None]


def check_device(device: str) -> torch.device:
    """Return the device.

    Raises:
        UsageError: it is not known or not there.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"{device!r} is not a device. Use cpu, cuda or cuda:N.")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{device} was asked for, but this machine offers no CUDA device. Use --device cpu.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UsageError(f"{device} was asked for, but the CUDA devices are cuda:0 to cuda:{last}. Use one of them.")
    return chosen


def check_types(types: Types | None) -> dict[str, str | None]:
    """Return candidate types as {name: description or None}, each on one line.

    Raises:
        UsageError: a name is empty, given twice or too long.
    """
    if types is None:
        return {}
    if isinstance(types, str):
        raise UsageError(f"types={types!r} is one string. Give a list of names: [{types!r}].")
    pairs = list(types.items()) if isinstance(types, Mapping) else [(name, None) for name in types]
    checked: dict[str, str | None] = {}
    for position, (name, description) in enumerate(pairs, start=1):
        line = check_name(name, f"Type number {position}")
        if line in checked:
            raise UsageError(f"The type {line!r} is given twice. Name each type once.")
        checked[line] = check_name(description, f"The description of {line!r}") if description else None
    return checked


def check_name(name: str, what: str) -> str:
    """Return what a user calls something, on one line; `what` is said of it in errors.

    Raises:
        UsageError: it is no text, empty, too long, or holds characters that cannot be printed.
    """
    if not isinstance(name, str):
        raise UsageError(f"{what} is {name!r}, which is no text. Give a name in quotes.")
    line = " ".join(name.split())
    if not line:
        raise UsageError(f"{what} is empty. Name it, or leave it out.")
    if len(line) > MAX_NAME_CHARACTERS:
        raise UsageError(
            f"{what} has {len(line)} characters ({line[:30]!r}…); at most {MAX_NAME_CHARACTERS} are read. Shorten it."
        )
    if not line.isprintable():
        raise UsageError(f"{what} holds characters that cannot be printed: {line!r}. Write it in plain letters.")
    return line


def check_product(product: str | None) -> str | None:
    """Return the product's name on one line.

    Raises:
        UsageError: it is empty or too long.
    """
    return None if product is None else check_name(product, "The product's name")


def picture_sources(images: ImageSource | Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Return the pictures that are meant: one picture, one folder of them, or many.

    Raises:
        UsageError: the folder holds no pictures.
    """
    if isinstance(images, str | Path):
        return [path for path, _ in find_pictures([images])]
    return [images] if isinstance(images, bytes | np.ndarray | Image.Image) else images


def read_reference(source: ImageSource) -> Picture:
    """Return a picture of a good part.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return read_picture(source)
    except ImageError as error:
        raise ImageError(f"A reference cannot be used: {error}") from error


def load_roi(roi: str | Path | NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the region of interest (H, W), read once for a whole run; anything but 0 is inside.

    Raises:
        ImageError: it cannot be read, is no mask, or nothing is inside.
    """
    try:
        mask: NDArray[np.bool_] = np.asarray(roi if isinstance(roi, np.ndarray) else read_mask(roi)) != 0
    except ImageError as error:
        raise ImageError(f"The region of interest cannot be used: {error}") from error
    if mask.ndim != 2:
        raise ImageError(f"The region of interest has shape {mask.shape}; it must be (H, W). Pass a grey mask.")
    if not mask.any():
        raise ImageError("The region of interest is empty: every pixel is 0. Paint what is to be inspected white.")
    return mask


def read_roi(roi: str | Path | NDArray[np.bool_], picture: Picture) -> NDArray[np.bool_]:
    """Return the region of interest (H, W) of a picture; anything but 0 is inside.

    Raises:
        ImageError: as `load_roi`, or its size is not the picture's.
    """
    mask = load_roi(roi)
    if mask.shape != (picture.height, picture.width):
        raise ImageError(
            f"The region of interest is {mask.shape[1]}x{mask.shape[0]} pixels, but {picture.name} is "
            f"{picture.width}x{picture.height}. Draw it on a picture of that size."
        )
    return mask


def parse_types(text: str) -> dict[str, str | None]:
    """Read candidate types of the command line, separated by commas: "scratch, dent=round hollow".

    Raises:
        UsageError: a name is empty or given twice.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in pairs]
    check_types(names)
    return {name.strip(): description.strip() or None for name, _, description in pairs}
