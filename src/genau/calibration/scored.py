"""Scores of pictures that were inspected earlier: a results.jsonl read back for calibration."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genau.errors import UsageError


@dataclass(frozen=True)
class Scored:
    """What calibration needs of one inspected picture."""

    image: str  # the path that was given
    score: float  # pred_score in [0, 1]; NaN: it could not be inspected
    types: Mapping[str, float] = field(default_factory=dict)  # score of each type that was asked for
    error: str | None = None


def read_results(path: Path) -> list[Scored]:
    """Read what `genau inspect --jsonl` printed, or the results.jsonl of its output folder.

    Raises:
        UsageError: a line is no such result.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text ({error.reason}). Give a results.jsonl of `genau inspect`."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_read_line(line, f"Line {number} of {path}"))
    if not rows:
        raise UsageError(f"{path} holds no results. Give a results.jsonl of `genau inspect`, or a folder of pictures.")
    return rows


def _read_line(line: str, where: str) -> Scored:
    try:
        row: Any = json.loads(line)
        types = {str(name): _number(score) for name, score in row["types"].items()}
        return Scored(str(row["image"]), _number(row["pred_score"]), types, row["error"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{where} is no result of an inspection ({type(error).__name__}: {error}). Give what "
            "`genau inspect --jsonl` prints, or the results.jsonl of its output folder."
        ) from error


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
