"""The pictures of a card: original, overlay and a close-up of the strongest defect, as thumbnails in the page."""

import base64
import io
from html import escape
from pathlib import PurePath
from urllib.parse import quote

from PIL import Image

from genau.report.files import Place
from genau.results import Defect, Inspection

_THUMB_PX = 560  # long side
_TINY_PX = 200  # long side; shown larger than they are, so they keep their pixels and lose nothing to JPEG


def render_pictures(result: Inspection, overlay: Image.Image, place: Place | None, number: int) -> str:
    """Return the figures of an image, side by side at equal heights.

    The original and the overlay open the large view, which is this same element as the target `#v<number>`.
    `overlay` has the size of the original; `place` gives the links to the files at full size.
    """
    original = Image.fromarray(result.picture)
    name = text(PurePath(result.image).name)
    tiny = " tiny" if max(original.size) <= _TINY_PX else ""
    full = place.overlay if place else ""
    wide = result.width > 2.2 * result.height
    defect = None if wide else _worth_a_close_up(result)
    drawn = f"Anomaly map and outlines on {name}: {_found(result)}"
    view = f"v{number}"
    figures = [
        _figure(original, f"Original: {name}", "Original", opens=view),
        _figure(overlay, drawn, f"Anomaly map and mask{_file_links(place)}", opens=view, full=full),
    ]
    if defect is not None:
        where = text(f"{defect.type}, {defect.location}")
        figures.append(_figure(_close_up(original, defect), f"Close-up of {name}: {where}", f"Close-up: {where}"))
    shape = " wide" if wide else " three" if defect else ""
    aspect = f"{result.width / result.height:.3f}fr"
    return (
        f'<div class="pictures{tiny}{shape}" id="{view}" style="--columns:{aspect} {aspect} 1fr">'
        f'<a class="close" href="#c{number}">Close</a>{"".join(figures)}</div>'
    )


def data_uri(image: Image.Image, longest_px: int = _THUMB_PX) -> str:
    """Return the picture, shrunk to a thumbnail, as a data URI that the page carries."""
    thumb = image.copy()
    thumb.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(thumb.size) <= _TINY_PX:
        thumb.save(buffer, "PNG")
        kind = "png"
    else:
        thumb.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def text(value: object) -> str:
    """Escape foreign text; bytes of a file name that are no UTF-8 become question marks."""
    return escape(str(value).encode(errors="replace").decode())


def link(path: str) -> str:
    """Return a path relative to the page as an attribute's value."""
    return quote(path)


def _figure(image: Image.Image, alt: str, caption: str, *, opens: str = "", full: str = "") -> str:
    """Return one figure; `opens` is the id that a click goes to, `full` the file that is sharper than the thumbnail."""
    data = f' data-full="{link(full)}"' if full else ""
    img = (
        f'<img src="{data_uri(image)}"{data} alt="{alt}" width="{image.width}" height="{image.height}" '
        'decoding="async">'
    )
    if opens:
        img = f'<a href="#{opens}" class="zoom" title="Enlarge">{img}</a>'
    return f"<figure>{img}<figcaption>{caption}</figcaption></figure>"


def _file_links(place: Place | None) -> str:
    if place is None:
        return ""
    mask = f' · <a href="{link(place.mask)}">mask</a>' if place.mask else ""
    return f' <span class="files"><a href="{link(place.overlay)}">full size</a>{mask}</span>'


def _found(result: Inspection) -> str:
    if not result.defects:
        return "no region above the mask's level"
    first = result.defects[0]
    more = f" and {len(result.defects) - 1} more" if len(result.defects) > 1 else ""
    return text(f"{first.type}, {first.location}{more}")


def _worth_a_close_up(result: Inspection) -> Defect | None:
    """Return the defect with the largest score unless the whole picture shows it well enough."""
    if not result.defects or max(result.width, result.height) <= _TINY_PX:
        return None
    left, top, right, bottom = result.defects[0].bbox_xyxy
    small = max(right - left, bottom - top) < 0.35 * min(result.width, result.height)
    return result.defects[0] if small else None


def _close_up(original: Image.Image, defect: Defect) -> Image.Image:
    """Return the square of the untouched original around the defect, with its own size again as surroundings."""
    left, top, right, bottom = defect.bbox_xyxy
    side = min(max(2 * max(right - left, bottom - top), min(original.size) // 8, 32), *original.size)
    x = min(max(0, (left + right - side) // 2), original.width - side)
    y = min(max(0, (top + bottom - side) // 2), original.height - side)
    return original.crop((x, y, x + side, y + side))
