"""The files of a run in words, and its table on the terminal."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genau.evaluation.dialogue.marks import Mark
from genau.evaluation.dialogue.mmad_scores import AVERAGE, Cell
from genau.evaluation.dialogue.visa_dr_scores import MEAN, MEASURES, Held, Scores
from genau.evaluation.journal import write_json, write_text, writing
from genau.metrics import Figure

METRICS, QUESTIONS = "metrics.json", "questions.jsonl"
SHORT = {
    "Anomaly Detection": "detection",
    "Defect Classification": "defect class",
    "Defect Localization": "location",
    "Defect Description": "description",
    "Defect Analysis": "analysis",
    "Object Classification": "object class",
    "Object Analysis": "object",
    AVERAGE: "average",
}


def write_mmad(
    folder: Path,
    about: Mapping[str, Any],
    marks: Sequence[Mark],
    cells: Mapping[str, Mapping[str, Cell]],
    detection: Mapping[str, Mapping[str, Figure]],
) -> None:
    """Write `metrics.json`, `per_subtask.csv`, `per_dataset.csv` and `questions.jsonl`."""
    table = {name: {task: cell.to_dict() for task, cell in row.items()} for name, row in cells.items()}
    verdicts = {name: {key: figure_dict(one) for key, one in row.items()} for name, row in detection.items()}
    subtasks = [{"task": task} | cell.to_dict() for task, cell in cells[AVERAGE].items()]
    columns = list(cells[AVERAGE])
    datasets = [
        {"dataset": name}
        | {task: row[task].accuracy.value for task in columns}
        | {f"{task}, as published": row[task].as_published for task in columns}
        for name, row in cells.items()
    ]
    with writing(folder):
        write_json(folder / METRICS, dict(about) | {"table": table, "detection": verdicts})
        write_text(folder / "per_subtask.csv", _csv(subtasks))
        write_text(folder / "per_dataset.csv", _csv(datasets))
        _write_questions(folder, marks)


def mmad_table(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Return the averages over data sets, one line per subtask, and one line per data set."""
    rows = [
        ["", "accuracy", "of answered", "chance", "constant", "as published", "questions", "unreadable", "unsupported"]
    ]
    for task, cell in cells[AVERAGE].items():
        constant = "n/a" if cell.constant is None else f"{cell.constant:.3f} ({cell.letter})"
        numbers = [_three(cell.of_answered), _three(cell.chance), constant, _three(cell.as_published)]
        rows.append(
            [task, str(cell.accuracy), *numbers, *map(str, (cell.questions, cell.unreadable, cell.unsupported))]
        )
    names = [["data set", *(SHORT[task] for task in cells[AVERAGE])]]
    names += [[name, *(_three(cell.accuracy.value) for cell in row.values())] for name, row in cells.items()]
    return f"{_aligned(rows)}\n\n{_aligned(names)}"


def write_visa_dr(
    folder: Path, about: Mapping[str, Any], marks: Sequence[Mark], held: Held | None, reasoning: Scores | None
) -> None:
    """Write `metrics.json`, `per_class.csv` and `questions.jsonl`."""
    content = dict(about)
    rows: dict[str, dict[str, Any]] = {}
    if held is not None:
        content["detection"] = scores_dict(held.ours)
        content["detection_against"] = {name: scores_dict(scores) for name, scores in held.against.items()}
    if reasoning is not None:
        content["reasoning"] = scores_dict(reasoning)
    for scores in (held.ours if held else {}, reasoning or {}):
        for name, row in scores.items():
            rows.setdefault(name, {"class": name}).update({key: one.value for key, one in row.items()})
    with writing(folder):
        write_json(folder / METRICS, content)
        write_text(folder / "per_class.csv", _csv(list(rows.values())))
        _write_questions(folder, marks)


def visa_dr_table(held: Held | None, reasoning: Scores | None) -> str:
    """Return the classes' figures, their mean, and what it must be held against."""
    tables = []
    if held is not None:
        rows = [["detection", *MEASURES]]
        rows += [[name, *(str(row[key]) for key in MEASURES)] for name, row in held.ours.items()]
        rows += [[name, *(str(scores[MEAN][key]) for key in MEASURES)] for name, scores in held.against.items()]
        tables.append(_aligned(rows))
    if reasoning is not None:
        keys = list(reasoning[MEAN])
        rows = [["reasoning", *(key.replace("_", " ") for key in keys)]]
        rows += [[name, *(str(row[key]) for key in keys)] for name, row in reasoning.items()]
        tables.append(_aligned(rows))
    return "\n\n".join(tables)


def figure_dict(figure: Figure) -> dict[str, Any]:
    """Return plain JSON types."""
    return {"value": figure.value, "low": figure.low, "high": figure.high, "reason": figure.reason}


def scores_dict(scores: Scores) -> dict[str, dict[str, Any]]:
    """Return plain JSON types."""
    return {name: {key: figure_dict(one) for key, one in row.items()} for name, row in scores.items()}


def _write_questions(folder: Path, marks: Sequence[Mark]) -> None:
    lines = (json.dumps(one.to_dict(), ensure_ascii=False, allow_nan=False) for one in marks)
    write_text(folder / QUESTIONS, "".join(f"{line}\n" for line in lines))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _three(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
