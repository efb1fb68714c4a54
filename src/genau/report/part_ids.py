"""Which part each image of a run shows, from a table that a person or a line computer wrote."""

import csv
from pathlib import Path, PurePath

from genau.errors import UsageError, suggest
from genau.report.finished import FinishedRun, ends_with

PART_IDS = "part_ids.csv"
_COLUMNS = ("image", "part_id")


def read_part_ids(file: Path | None, run: FinishedRun) -> dict[str, str]:
    """Return {image as the run names it: part id} of a CSV with the columns image and part_id.

    Without `file` it is `part_ids.csv` in the run's folder, and nothing if there is none. An image may be given by the
    end of its path. Raises `UsageError`: a missing file or column, an image that is not in the run, fits several or
    stands there twice, an empty part id. Several images may show one part.
    """
    table = file or run.folder / PART_IDS
    if file is None and not table.is_file():
        return {}
    by_name: dict[str, list[str]] = {}
    for entry in run:
        by_name.setdefault(PurePath(entry.result.image).name, []).append(entry.result.image)
    ids: dict[str, str] = {}
    for number, (given, part_id) in enumerate(_rows(table), start=2):
        where = f"Line {number} of {str(table)!r}"
        if not part_id:
            raise UsageError(f"{where} gives no part_id for {given!r}. Fill it in, or delete the line.")
        image = _image(given, by_name, where)
        if image in ids:
            raise UsageError(f"{where} names {image!r} again, which has the part_id {ids[image]!r}. Keep one of them.")
        ids[image] = part_id
    return ids


def _rows(table: Path) -> list[tuple[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{str(table)!r} has no column {' and no column '.join(missing)}; its first line must name "
                    f"{','.join(_COLUMNS)}."
                )
            return [((row["image"] or "").strip(), (row["part_id"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"The part ids cannot be read from {str(table)!r} ({error}). Give a CSV file in UTF-8 with the columns "
            f"{','.join(_COLUMNS)}."
        ) from error


def _image(given: str, by_name: dict[str, list[str]], where: str) -> str:
    alike = by_name.get(PurePath(given).name, [])
    found = [image for image in alike if image == given] or [image for image in alike if ends_with(image, given)]
    if not found:
        near = suggest(PurePath(given).name, by_name)
        raise UsageError(f"{where} names {given!r}, which is no image of the run. Correct it or delete the line.{near}")
    if len(found) > 1:
        raise UsageError(f"{where} names {given!r}, but {len(found)} images end so. Give more of the path.")
    return found[0]
