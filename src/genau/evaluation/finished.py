"""The files of a finished run folder, read back: what the page and the comparison are made of."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genau.errors import DataError, UsageError

SCHEMA_MAJOR = "1"  # of metrics.json; a later minor version only adds keys
_AGAIN = "Run `genau eval` again into a new folder."
_OF_A_RUN = {"dataset": str, "protocol": dict, "per_category": dict, "mean": dict}


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of a finished run; numbers that are not finite come back as None.

    Raises:
        UsageError: the folder is no finished run, or another version of GenAU wrote it. DataError: it is damaged.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        there = "the folder has no metrics.json" if folder.is_dir() else "there is no such folder"
        raise UsageError(
            f"{str(folder)!r} is no finished evaluation: {there}. Name a folder that `genau eval -o` has completed."
        )
    metrics = _read_json(path)
    if not isinstance(metrics, dict) or not isinstance(metrics.get("runs"), list):
        raise DataError(f"{path} is damaged: it must be an object with a list 'runs'. {_AGAIN}")
    version = str(metrics.get("schema_version"))
    if version.partition(".")[0] != SCHEMA_MAJOR:
        raise UsageError(
            f"{path} has schema version {version}; this GenAU reads version {SCHEMA_MAJOR}. Use the GenAU that wrote "
            "it, or run `genau eval` again with this one."
        )
    for index, run in enumerate(metrics["runs"]):
        for key, kind in _OF_A_RUN.items():
            if not isinstance(run, dict) or not isinstance(run.get(key), kind):
                raise DataError(f"{path} is damaged: runs[{index}] must have a {kind.__name__} {key!r}. {_AGAIN}")
        if not all(isinstance(record, dict) for record in run["per_category"].values()):
            raise DataError(f"{path} is damaged: per_category of runs[{index}] must hold objects. {_AGAIN}")
    return metrics


def read_curves(folder: Path) -> list[dict[str, dict[str, Any]]]:
    """Return curves.json: for each run, category -> kind -> points; [] where there is no such file.

    Raises:
        DataError: it is damaged.
    """
    path = folder / "curves.json"
    if not path.is_file():
        return []
    curves = _read_json(path)
    if not isinstance(curves, dict) or not isinstance(curves.get("runs"), list):
        raise DataError(f"{path} is damaged: it must be an object with a list 'runs'. {_AGAIN}")
    return list(curves["runs"])


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """Return failures.json, the pictures judged most wrongly; [] where there is no such file.

    Raises:
        DataError: it is damaged.
    """
    path = folder / "failures.json"
    if not path.is_file():
        return []
    failures = _read_json(path)
    if not isinstance(failures, list) or not all(isinstance(row, dict) for row in failures):
        raise DataError(f"{path} is damaged: it must be a list of objects. {_AGAIN}")
    return failures


def read_images(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of images.jsonl, one for each picture and run.

    Raises:
        DataError: a line is damaged; it says which.
    """
    path = folder / "images.jsonl"
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = _parse(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}, is damaged: {error}. {_AGAIN}") from error
            missing = {"dataset", "category", "references", "seed", "image", "label"} - set(row)
            if missing:
                raise DataError(f"{path}, line {number}, is damaged: it has no {sorted(missing)[0]!r}. {_AGAIN}")
            yield row


def _read_json(path: Path) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}. {_AGAIN}") from error


def _parse(text: str) -> Any:  # noqa: ANN401
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite_or_none)


def _finite_or_none(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None
