"""A run's folder read back: which images it holds, and each one's result as it was written."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from genau.errors import UsageError, suggest
from genau.report.run import FACTS, RESULTS, TABLE
from genau.results import Inspection


@dataclass(frozen=True, eq=False)
class Entry:
    """One image of a run."""

    number: int  # its line in results.jsonl, from 1
    line: bytes  # that line, without its end
    result: Inspection  # without picture, map and masks
    overlay: str | None  # path relative to the run's folder; None where nothing was drawn


class FinishedRun:
    """Reads a folder that a `RunWriter` closed; images are read one by one.

    Raises `UsageError` for a folder that holds no run, or one that was killed before its end.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / RESULTS).is_file():
            raise UsageError(
                f"{str(folder)!r} holds no {RESULTS}, so it is no run. Give the folder that "
                "`genau inspect … -o FOLDER` wrote."
            )
        if not (self.folder / TABLE).is_file():
            raise UsageError(
                f"{str(folder)!r} holds {RESULTS} but no {TABLE}: the run was killed before its end, or the file was "
                "deleted. Run `genau inspect` again with --overwrite."
            )
        self.facts = self._facts()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the images in the order of the run."""
        with (
            (self.folder / RESULTS).open("rb") as lines,
            (self.folder / TABLE).open(encoding="utf-8", newline="") as table,
        ):
            for number, (line, cells) in enumerate(zip(lines, csv.DictReader(table), strict=False), start=1):
                yield self._entry(number, line.removesuffix(b"\n"), cells)

    def find(self, image: str) -> Entry:
        """Return the image of this path; the end of its path is enough where only one image ends so.

        Raises `UsageError` if the run holds none, or several.
        """
        found, names = [], []
        for entry in self:
            if entry.result.image == image:
                return entry
            names.append(entry.result.image)
            if ends_with(entry.result.image, image):
                found.append(entry)
        if not found:
            near = suggest(PurePath(image).name, [PurePath(name).name for name in names]) or suggest(image, names)
            raise UsageError(
                f"The run in {str(self.folder)!r} holds no image {image!r}; it holds {len(names)} images, see "
                f"{TABLE}.{near}"
            )
        if len(found) > 1:
            several = ", ".join(repr(entry.result.image) for entry in found[:3])
            raise UsageError(f"{len(found)} images of the run end in {image!r}: {several}. Give more of the path.")
        return found[0]

    def _facts(self) -> dict[str, Any]:
        """Return what the run says of itself; nothing for a run of before there was such a file."""
        file = self.folder / FACTS
        try:
            facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError as error:
            raise UsageError(f"{str(file)!r} is damaged ({error}). Delete it, or run the inspection again.") from error
        return facts if isinstance(facts, dict) else {}

    def _entry(self, number: int, line: bytes, cells: dict[str, str]) -> Entry:
        try:
            result = Inspection.from_dict(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"Line {number} of {self.folder / RESULTS} is no result ({error}). The file was changed or damaged; "
                "run the inspection again."
            ) from error
        if cells["image"] != result.image.encode(errors="backslashreplace").decode():  # as the table was written
            raise UsageError(
                f"Line {number} of {RESULTS} is {result.image!r}, but row {number} of {TABLE} is {cells['image']!r}. "
                "One of the files was changed; run the inspection again."
            )
        return Entry(number, line, result, cells["overlay"] or None)


def ends_with(image: str, path: str) -> bool:
    """Return whether an image's path ends in all parts of `path`: "line1/a.png" does in "a.png", not in "1/a.png"."""
    parts = PurePath(path).parts
    return bool(parts) and PurePath(image).parts[-len(parts) :] == parts
