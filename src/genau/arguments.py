"""What a caller may pass to an `Inspector`, checked before any picture is touched."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genau.errors import ImageError, UsageError
from genau.images import Picture
from genau.reading import read_mask

Types = Sequence[str] | Mapping[str, str | None]


def check_device(device: str) -> torch.device:
    """Return the device.

    Raises:
        UsageError: it is not known or not there.
    """
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"{device!r} is not a device. Use cpu, cuda or cuda:N.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{device} was asked for, but this machine offers no CUDA device. Use --device cpu.")
    return chosen


def check_types(types: Types | None) -> dict[str, str | None]:
    """Return candidate types as {name: description or None}, names stripped.

    Raises:
        UsageError: a name is empty or given twice.
    """
    if types is None:
        return {}
    if isinstance(types, str):
        raise UsageError(f"types={types!r} is one string. Give a list of names: [{types!r}].")
    pairs = list(types.items()) if isinstance(types, Mapping) else [(name, None) for name in types]
    checked: dict[str, str | None] = {}
    for position, (name, description) in enumerate(pairs, start=1):
        if not name.strip():
            raise UsageError(f"Type number {position} is empty. Name it, or leave it out.")
        if name.strip() in checked:
            raise UsageError(f"The type {name.strip()!r} is given twice. Name each type once.")
        checked[name.strip()] = description
    return checked


def read_roi(roi: str | Path | NDArray[np.bool_], picture: Picture) -> NDArray[np.bool_]:
    """Return the region of interest (H, W) of a picture; anything but 0 is inside.

    Raises:
        ImageError: its size is not the picture's, or nothing is inside.
    """
    mask = np.asarray(roi) != 0 if isinstance(roi, np.ndarray) else read_mask(roi) != 0
    if mask.shape != (picture.height, picture.width):
        raise ImageError(
            f"The region of interest is {mask.shape[1]}x{mask.shape[0]} pixels, but {picture.name} is "
            f"{picture.width}x{picture.height}. Draw it on a picture of that size."
        )
    if not mask.any():
        raise ImageError("The region of interest is empty: every pixel is 0. Paint what is to be inspected white.")
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
