"""Files, bytes and arrays -> pixels: upright 8-bit RGB pictures and raw integer masks."""

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from genau.errors import ImageError, UsageError, suggest
from genau.images import Picture
from genau.pixels import DAMAGED, array_to_rgb, check_size, image_to_rgb, orientation_of, stored_integers, upright

ImageSource: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]

# Opened by signature: the extension may lie, and Pillow's other readers (one of them starts Ghostscript) stay unused.
SIGNATURES: tuple[tuple[bytes, Callable[[IO[bytes]], Image.Image]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.jpeg_factory),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"II\x2a\x00", TiffImagePlugin.TiffImageFile),
    (b"MM\x00\x2a", TiffImagePlugin.TiffImageFile),
    (b"II\x2b\x00", TiffImagePlugin.TiffImageFile),
    (b"MM\x00\x2b", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"\xff\x4f\xff\x51", Jpeg2KImagePlugin.Jpeg2KImageFile),
    (b"\x00\x00\x00\x0cjP  ", Jpeg2KImagePlugin.Jpeg2KImageFile),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
)
FORMATS = "PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000, PGM/PPM"


def read_picture(source: ImageSource, name: str | None = None, *, bit_depth: int | None = None) -> Picture:
    """Read a picture as upright 8-bit RGB (H, W, 3); of several frames the first; transparency on white.

    Sources: a path, the bytes of a file, a Pillow image, or an array of uint8, uint16, bool or float in [0, 1] and
    shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Deep data (16-bit, integer and float grey) is scaled by a fixed
    full range to 0..255: 65535 for integers, 1.0 for floats. A camera that stores 10, 12 or 14 bits in 16 needs its
    `bit_depth`: then 2 ** bit_depth - 1 is full white; 8-bit pictures are not touched by it. 16-bit *colour* files
    are decoded by Pillow to their upper 8 bits, so a `bit_depth` is refused there. Raises ImageError for whatever
    cannot be read, UsageError for an impossible `bit_depth`.
    """
    if bit_depth is not None and not 8 <= bit_depth <= 32:
        raise UsageError(
            f"bit_depth={bit_depth} must be between 8 and 32. Use the number of bits of the camera's data."
        )
    if isinstance(source, np.ndarray):
        name = name or "<array>"
        return Picture(array_to_rgb(source, name, bit_depth), name)
    if isinstance(source, Image.Image):
        name = name or getattr(source, "filename", "") or "<image>"
        return Picture(image_to_rgb(source, name, bit_depth), name)
    name = name or source_name(source)
    with _opened(source, name) as image:
        return Picture(image_to_rgb(image, name, bit_depth), name)


def read_mask(path: str | Path | bytes, image: str | Path | bytes | None = None) -> NDArray[np.int32]:
    """Read the stored integers (H, W) of a mask: palette indices, grey values, bilevel as 0 and 1.

    Colour masks must be grey in all pixels. `image` is the picture that the mask was drawn on: a mask of the upright
    picture's size is taken as it is, one of the size before its EXIF orientation is turned as the picture is, any
    other size is an ImageError. (Where both sizes are equal, the mask is taken as drawn on the upright picture.)
    """
    name = source_name(path)
    with _opened(path, name) as mask:
        values = stored_integers(mask, name)
    if image is None:
        return values
    size_hw, orientation = _stored_size(image)
    upright_hw = size_hw[::-1] if orientation >= 5 else size_hw
    if values.shape == upright_hw:
        return values
    if values.shape == size_hw:
        return np.ascontiguousarray(upright(values, orientation))
    raise ImageError(
        f"Mask {name!r} is {values.shape[0]} x {values.shape[1]} pixels (H x W), but its picture "
        f"{source_name(image)!r} is {upright_hw[0]} x {upright_hw[1]}. Export the mask at the picture's size, or "
        "check that they belong together."
    )


def read_size(path: str | Path) -> tuple[int, int]:
    """Read (H, W) of the upright picture from its file's header; the pixels may still turn out to be damaged.

    Raises:
        ImageError: the header cannot be read.
    """
    (height, width), orientation = _stored_size(path)
    return (width, height) if orientation >= 5 else (height, width)


def _stored_size(path: str | Path | bytes) -> tuple[tuple[int, int], int]:
    """Return (H, W) before the EXIF orientation is applied, and the orientation."""
    with _opened(path, source_name(path)) as picture:
        orientation = orientation_of(picture)
        width, height = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile) and orientation >= 5:
            return (width, height), orientation  # Pillow announces the upright size of a TIFF
        return (height, width), orientation


def source_name(source: object) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, str | Path):
        return str(source)
    raise ImageError(
        f"A picture cannot be read from a {type(source).__name__}. "
        "Pass a path, bytes, a Pillow image or a numpy array (H, W, 3)."
    )


@contextmanager
def _opened(source: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    """Yield the picture with its header read, its size checked and its pixels not yet decoded."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UsageError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True: Pillow would fill the missing part of a truncated picture "
            "with grey, unnoticed. Set it to False (something in this program has changed it)."
        )
    with io.BytesIO(source) if isinstance(source, bytes) else _open_file(Path(source), name) as file:
        start = file.read(16)
        if not start:
            raise ImageError(f"{name!r} is empty (0 bytes). Copy or export it again.")
        opener = next((opener for signature, opener in SIGNATURES if start.startswith(signature)), None)
        if opener is None:
            raise ImageError(
                f"{name!r} is not an image of a known format; it starts with {start!r}. Known are {FORMATS}: "
                "convert it to one of them."
            )
        file.seek(0)
        try:
            image = opener(file)
        except DAMAGED as error:
            raise ImageError(f"{name!r} has a damaged header ({error}). Copy or export it again.") from error
        check_size(image.height, image.width, name)
        yield image


def _open_file(path: Path, name: str) -> IO[bytes]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name!r} is a folder, not a picture. Name a file in it, or inspect the whole folder.")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{name!r} is a pipe or device, not a file. Save it as a file, or pass its bytes.")
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(_missing(path, name)) from error
    except PermissionError as error:
        raise ImageError(
            f"{name!r} may not be read (permission denied). Give this user the right to read it."
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name!r} cannot be opened ({error}). Check the path and its drive.") from error


def _missing(path: Path, name: str) -> str:
    if path.is_symlink():
        return (
            f"{name!r} is a link to {str(path.readlink())!r}, which does not exist. Restore the file, or fix the link."
        )
    if not path.parent.is_dir():
        return f"{name!r} does not exist, nor does its folder {str(path.parent)!r}. Check the path."
    try:
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        siblings = []
    return f"{name!r} does not exist. Check the path.{suggest(path.name, siblings)}"
