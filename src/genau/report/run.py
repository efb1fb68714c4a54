"""Writes a run while it runs: a line and its pictures per image at once, the table and the page at the end."""

import io
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from genau.errors import UsageError
from genau.report.files import Place, Places, disk_errors, safe_relative, write_bytes
from genau.report.formats import FORMAT_FILES, FORMAT_FOLDERS, FORMATS, check_formats
from genau.report.overlay import draw_overlay
from genau.report.page import Page
from genau.report.table import write_table
from genau.results import Inspection

RESULTS, TABLE, REPORT, FACTS = "results.jsonl", "results.csv", "report.html", "run.json"
_OTHER_FILES = (TABLE, REPORT, FACTS, *FORMAT_FILES)
_PICTURE_FOLDERS = ("masks", "overlays", *FORMAT_FOLDERS)
_JPEG_LIMIT_PX = 65_500


class RunWriter:
    """Writes results into `folder` as they come; use it as a context manager.

    `results.jsonl` holds one `Inspection.to_dict()` per image, in the order of arrival, and is flushed after each, so
    that a killed run keeps what it had. `masks/<relative>.png` is the general mask, `masks/<relative>.<type>.png` each
    type's, 0 or 255 at the original's size; `overlays/<relative>.jpg` is `draw_overlay`. Closing writes `results.csv`,
    `run.json` and `report.html`, also after an exception in the body. `max_cards` bounds the images with a card.
    `formats` names further outputs, see `report.formats`; `fingerprint` tells the model from others in `run.json`.

    Raises `UsageError` if the folder cannot be written, or holds a run already and `overwrite` is False. With
    `overwrite`, files of this run replace those of equal name, and nothing else is deleted.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        title: str = "GenAU inspection",
        model: str = "nano",
        settings: Mapping[str, str] = {},
        overwrite: bool = False,
        max_cards: int = 300,
        formats: Iterable[str] = (),
        fingerprint: str | None = None,
    ) -> None:
        if max_cards < 0:
            raise UsageError(f"max_cards={max_cards} is negative. Use 0 for a page without pictures.")
        self.folder, asked = Path(folder), check_formats(formats)
        self._page = Page(title, model, settings, max_cards)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        self._facts = {"model": model, "fingerprint": fingerprint, "settings": dict(settings), "started": started}
        self._places = Places()
        self._placed: list[Place | None] = []
        self._type_names: dict[str, None] = {}  # an ordered set
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not overwrite:
                self._refuse_a_used_folder()
            self._formats = [FORMATS[name](self.folder) for name in asked]
            # A run killed from here on must not leave the old run's table and page beside new lines.
            for name in _OTHER_FILES:
                (self.folder / name).unlink(missing_ok=True)
            # A lone surrogate, from a file name that is no UTF-8, becomes its JSON escape.
            self._lines = (self.folder / RESULTS).open(
                "w" if overwrite else "x", encoding="utf-8", errors="backslashreplace", newline="\n"
            )

    def add(self, result: Inspection, relative: PurePosixPath | None = None) -> dict[str, Any]:
        """Write one result and return its JSON object.

        `relative` is the image's path below the inspected folder, mirrored by its masks and overlay; without it, it
        follows from `result.image`. Raises `UsageError` if it leaves the folder or the disk refuses.
        """
        if self._lines.closed:
            raise UsageError(f"The run in {str(self.folder)!r} is closed. Open a new RunWriter on another folder.")
        row = result.to_dict()
        path = safe_relative(result.image, relative)
        line = result_line(row)
        self._placed.append(None)
        with disk_errors(self.folder):
            self._lines.write(line + "\n")
            self._lines.flush()
            self._type_names |= dict.fromkeys(result.types)
            overlay, place = None, None
            if result.error is None and result.picture.size:
                overlay = draw_overlay(result)
                self._placed[-1] = place = self._write_pictures(result, overlay, path)
            for output in self._formats:
                output.add(result, place)
        self._page.add(result, overlay, place)
        return row

    def close(self, stopped: str = "") -> Path:
        """Write the table and the page and return the page's path; later calls do nothing.

        `stopped` says, on the page, why the run ended before its end.
        """
        report = self.folder / REPORT
        if self._lines.closed:
            return report
        with disk_errors(self.folder):
            self._lines.close()
            write_table(self.folder / RESULTS, self.folder / TABLE, self._placed, list(self._type_names))
            write_bytes(self.folder / FACTS, (json.dumps(self._facts, indent=2) + "\n").encode())
            write_bytes(report, self._page.render(stopped).encode())
            for output in self._formats:
                output.close(self.folder / RESULTS, self._placed)
        return report

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; the exception of the body is the one that is raised, a failure to close is noted on it."""
        if error is None:
            self.close()
            return
        try:
            self.close(f"{type(error).__name__}: {error}".removesuffix(": ") + ".")
        except UsageError as closing:
            error.add_note(str(closing))

    def _refuse_a_used_folder(self) -> None:
        used = [name for name in (RESULTS, *_OTHER_FILES) if (self.folder / name).exists()]
        for name in _PICTURE_FOLDERS:  # perhaps somebody's ground truth
            pictures = self.folder / name
            if pictures.is_dir() and next(pictures.iterdir(), None):
                used.append(f"{name}/")
        if used:
            raise UsageError(
                f"The output folder {str(self.folder)!r} already holds {', '.join(used)}. Choose another folder "
                "with -o, or replace that run with --overwrite (in Python: overwrite=True)."
            )

    def _write_pictures(self, result: Inspection, overlay: Image.Image, path: PurePosixPath) -> Place:
        masks = {name: mask for name, mask in result.type_masks.items() if mask.size}
        fits_jpeg = max(overlay.size) <= _JPEG_LIMIT_PX
        place = self._places.take(path, masks, overlay_suffix=".jpg" if fits_jpeg else ".png")
        for name, mask in zip([place.mask, *place.type_masks], [result.pred_mask, *masks.values()], strict=True):
            if mask.size:
                write_bytes(self.folder / name, _encoded(Image.fromarray(mask.astype(np.uint8) * 255), "PNG"))
        write_bytes(self.folder / place.overlay, _encoded(overlay, "JPEG" if fits_jpeg else "PNG"))
        return place if result.pred_mask.size else Place("", place.overlay, place.type_masks)


def write_run(
    results: Iterable[Inspection],
    folder: str | Path,
    *,
    title: str = "GenAU inspection",
    model: str = "nano",
    settings: Mapping[str, str] = {},
    overwrite: bool = False,
    formats: Iterable[str] = (),
) -> Path:
    """Write all results into `folder` as `RunWriter` does and return the path of the page."""
    with RunWriter(folder, title=title, model=model, settings=settings, overwrite=overwrite, formats=formats) as run:
        for result in results:
            run.add(result)
    return run.folder / REPORT


def result_line(row: Mapping[str, Any]) -> str:
    """Return a result's JSON object as it stands in `results.jsonl`, without the end of the line."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "JPEG":
        # Subsampled colour would blur the thin outlines; in a tiny picture every pixel is one of them.
        image.save(buffer, kind, quality=90 if max(image.size) > 256 else 98, subsampling=0)
    else:
        image.save(buffer, kind)
    return buffer.getvalue()


def _plain(value: object) -> object:
    """Turn a numpy scalar into the Python number that JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no JSON form.")
