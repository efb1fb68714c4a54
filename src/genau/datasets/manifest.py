"""Reader of our own layout, which holds several defect types in one picture.

`dataset.json` has the `name` and the list of `types`; each line of `annotations.jsonl` is an object with `image`,
`mask` (or null), `product`, `split` and `types`, and may have `category` (otherwise the product), `group`, and
`analysis`, an object of reference descriptions in words. A mask is an indexed PNG: 0 is normal, k is the k-th of the
types in `dataset.json`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genau.datasets.layout import Tell, read_text, refuse, require_files, require_layout, select
from genau.datasets.sample import ANALYSIS_KEYS, Sample
from genau.errors import DataError, suggest

_ABOUT_FILE = "dataset.json"
_ROWS_FILE = "annotations.jsonl"
_ROW_KEYS = ("image", "mask", "product", "split", "types")

# Sets whose file names tell which pictures show the same part -> the pattern whose first group is the part.
_PART_OF_NAME = {
    "paper": r"^(.+)_\d+(?:wo?)?$",  # crops of one sheet
    "ball_screw": r"^\d+_\d{12}_(\d+_\d+)_crop",  # one place of the screw (position, angle) while its pit grows
    "deeppcb": r"^(\d+)_(?:test|good)$",  # a board and its template
    "leather_typed": r"([a-z][a-z_]*_\d+)$",  # differently warped copies of one picture
    "tile_typed": r"([a-z][a-z_]*_\d+)$",
    "wood_typed": r"([a-z][a-z_]*_\d+)$",
}
# Here the number is a frame counter: six exposures of a tile follow each other 10-60 frames apart. Neighbours of one
# tile correlate with 0.9, those more than 250 frames apart with 0.4 as strangers do; merging too much is harmless.
_FRAME_OF_NAME = {"magnetic_tile": r"_num_(\d+)$"}
_MAX_FRAME_STEP = 250


def read(
    root: Path, *, categories: Sequence[str] | None = None, split: str | None = None, tell: Tell = refuse
) -> list[Sample]:
    """Return the samples of a manifest; a row with types or a mask is defective.

    Raises `DataError`, or calls `tell`, with the line for what is wrong in the annotations, also for missing files.
    """
    require_layout(root, "manifest", f"{_ABOUT_FILE} and {_ROWS_FILE}")
    about = _read_about(root / _ABOUT_FILE)
    rows = _read_rows(root / _ROWS_FILE, about["types"], tell)
    groups = _groups(about["name"], [Path(row["image"]).stem for row in rows])
    mask_types = dict(enumerate(about["types"], start=1)) or None
    samples = [
        Sample(
            image=root / row["image"],
            label=bool(row["types"]) or row["mask"] is not None,
            product=row["product"],
            category=row.get("category", row["product"]),
            dataset=about["name"],
            split=row["split"],
            types=tuple(row["types"]),
            mask=None if row["mask"] is None else root / row["mask"],
            mask_types=None if row["mask"] is None else mask_types,
            group=row.get("group", group),
            analysis=row.get("analysis"),
        )
        for row, group in zip(rows, groups, strict=True)
    ]
    return require_files(select(root, samples, categories, split), root / _ROWS_FILE, tell)


def _read_about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; the manifest layout needs it with the keys name and types. Add it.")
    about = _parse(read_text(path), str(path))
    for key, kind in (("name", str), ("types", list)):
        if key not in about:
            raise DataError(f"{path} lacks the key {key!r}.{suggest(key, about)} Add it.")
        if not isinstance(about[key], kind):
            raise DataError(f"{path}: {key} is {about[key]!r}; it must be a {'text' if kind is str else 'list'}.")
    if not all(isinstance(name, str) for name in about["types"]):
        raise DataError(f"{path}: types {about['types']} must be names in quotes. Correct it.")
    if len(set(about["types"])) != len(about["types"]):
        raise DataError(f"{path}: types {about['types']} lists a type twice. Each mask value needs its own name.")
    return about


def _read_rows(path: Path, types: list[str], tell: Tell) -> list[dict[str, Any]]:
    """Return the checked rows of the annotation file."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; the manifest layout needs it with one line per image. Add it.")
    rows = []
    line_of: dict[Path, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = _parse(line, where)
            _check_row(row, types, where)
        except DataError as error:
            tell(str(error))
            continue
        first = line_of.setdefault(Path(row["image"]), number)
        if first != number:
            tell(f"{where}: {row['image']} is listed in line {first} already. Keep one of the two rows.")
            continue
        rows.append(row)
    return rows


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno}). Correct it.") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: a JSON object in braces is needed, got {type(value).__name__}. Correct it.")
    return value


def _check_row(row: dict[str, Any], types: list[str], where: str) -> None:
    for key in _ROW_KEYS:
        if key not in row:
            raise DataError(
                f"{where}: the key {key!r} is missing.{suggest(key, row)} Needed are {', '.join(_ROW_KEYS)}."
            )
    for key in ("image", "mask", "product", "split", "category", "group"):
        value = row.get(key, "")
        if not isinstance(value, str) and not (key == "mask" and value is None):
            raise DataError(f"{where}: {key} is {value!r}; it must be a text{' or null' if key == 'mask' else ''}.")
    if Path(row["image"]).is_absolute() or ".." in Path(row["image"]).parts:
        raise DataError(f"{where}: the image {row['image']} leaves the data set. Write its path below {_ROWS_FILE}.")
    if not isinstance(row["types"], list):
        raise DataError(f"{where}: types is {row['types']!r}; it must be a list, for example ['scratch'].")
    for name in row["types"]:
        if name not in types:
            close = suggest(str(name), types)
            raise DataError(f"{where}: the type {name!r} is not among the types of {_ABOUT_FILE}, {types}.{close}")
    if row["mask"] is not None and types and not row["types"]:
        raise DataError(f"{where}: {row['image']} has a mask but no types. Name the types, or set the mask to null.")
    _check_analysis(row.get("analysis"), where)


def _check_analysis(analysis: Any, where: str) -> None:  # noqa: ANN401 - whatever the line holds
    if analysis is None:
        return
    if not isinstance(analysis, dict):
        raise DataError(f"{where}: analysis is {analysis!r}; it must be an object, for example {{'location': 'top'}}.")
    for key, value in analysis.items():
        if key not in ANALYSIS_KEYS:
            close = suggest(key, ANALYSIS_KEYS)
            raise DataError(f"{where}: analysis has the key {key!r}.{close} Known are {', '.join(ANALYSIS_KEYS)}.")
        if not isinstance(value, str):
            raise DataError(f"{where}: {key} of analysis is {value!r}; it must be a text. Put it in quotes.")


def _groups(dataset: str, stems: list[str]) -> list[str | None]:
    """Return for each file name the physical part that it shows, or None where the name does not tell."""
    if dataset in _FRAME_OF_NAME:
        return _chains([re.search(_FRAME_OF_NAME[dataset], stem) for stem in stems])
    pattern = _PART_OF_NAME.get(dataset)
    found = [re.search(pattern, stem) if pattern else None for stem in stems]
    return [match[1] if match else None for match in found]


def _chains(matches: list[re.Match[str] | None]) -> list[str | None]:
    """Return for each frame number the first number of its run without a step above `_MAX_FRAME_STEP`."""
    first_of: dict[int, int] = {}
    previous = first = -_MAX_FRAME_STEP - 1
    for frame in sorted({int(match[1]) for match in matches if match}):
        first = first if frame - previous <= _MAX_FRAME_STEP else frame
        first_of[frame] = first
        previous = frame
    return [str(first_of[int(match[1])]) if match else None for match in matches]
