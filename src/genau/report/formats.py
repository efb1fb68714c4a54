"""What a run can be written as besides its lines, table and page; each is asked for by name."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from genau.errors import UsageError, suggest
from genau.report.coco import COCO, CocoFile
from genau.report.files import Place
from genau.report.indexed import INDEXED, IndexedMasks
from genau.report.parquet import PARQUET, ParquetFile, require_arrow
from genau.results import Inspection


class Format(Protocol):
    """Takes in the results of a run as they come."""

    def add(self, result: Inspection, place: Place | None) -> None:
        """Take in one result; `place` names its files, None where there are none. Raises `OSError`."""

    def close(self, jsonl: Path, places: Sequence[Place | None]) -> None:
        """Finish; `jsonl` holds the run's rows, `places` their files in the same order. Raises `OSError`."""


FORMATS: dict[str, Callable[[Path], Format]] = {"coco": CocoFile, "masks": IndexedMasks, "parquet": ParquetFile}
FORMAT_FILES = (COCO, PARQUET)
FORMAT_FOLDERS = (INDEXED,)


def check_formats(names: Iterable[str]) -> list[str]:
    """Return the names of formats, each once; one text may hold several, separated by commas.

    Raises `UsageError` for a name that is not known, or whose library is missing.
    """
    asked = list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))
    for name in asked:
        if name not in FORMATS:
            raise UsageError(
                f"{name!r} is not an output format. Use {', '.join(FORMATS)}; results.jsonl and results.csv are always "
                f"written.{suggest(name, FORMATS)}"
            )
    if "parquet" in asked:
        require_arrow()  # before hours of work, not after
    return asked
