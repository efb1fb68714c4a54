"""The run as a table: one row per image, for a spreadsheet or a data frame."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from genau.report.files import Place, replacing

COLUMNS = (
    "image",
    "verdict",
    "pred_score",
    "calibrated_score",  # the same with the threshold at 0.5
    "threshold",
    "map_score",
    "text_score",
    "text_verdict",
    "contradiction",
    "n_defects",
    "top_type",  # the type of the defect with the largest score
    "defect_area_fraction",  # of the original image, all defects together
    "width",
    "height",
    "mask",  # paths relative to the run's folder
    "overlay",
    "total_ms",
    "error",
)


def write_table(jsonl: Path, table: Path, places: Iterable[Place | None], type_names: Sequence[str]) -> None:
    """Write `table` (CSV) from the rows of `jsonl`, read again one by one so that long runs need no memory.

    `places` are the images' files in the order of the rows, None where there are none. Undefined values are empty
    cells. Raises `OSError`.
    """
    with (
        replacing(table) as temporary,
        jsonl.open(encoding="utf-8") as rows,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, *(f"type:{name}" for name in type_names)])
        for row, place in zip(whole_rows(rows), places, strict=False):
            cells = _cells(row, place)
            writer.writerow([*(cells[name] for name in COLUMNS), *(row["types"].get(name) for name in type_names)])


def whole_rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines, up to the first that is not whole: the disk was full."""
    for line in lines:
        if not line.endswith("\n"):
            return
        yield json.loads(line)


def _cells(row: dict[str, Any], place: Place | None) -> dict[str, Any]:
    defects = row["defects"]
    return row | {
        "n_defects": len(defects),
        "top_type": defects[0]["type"] if defects else None,
        "defect_area_fraction": sum(defect["area_fraction"] for defect in defects) if row["error"] is None else None,
        "mask": place and place.mask,
        "overlay": place and place.overlay,
        "total_ms": total_ms(row["timing_ms"]),
    }


def total_ms(timing_ms: dict[str, float]) -> float | None:
    """Return the wall time of an inspection: its `total` where it has one, else the sum of its steps."""
    return timing_ms.get("total", sum(timing_ms.values())) if timing_ms else None
