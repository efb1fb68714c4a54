"""A comparison of runs, and its forms: text for a terminal, Markdown, CSV and plain dictionaries."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genau.evaluation.legend import Better
from genau.metrics.figure import Figure

_CLEAR = "*"
_LEGEND = f"{_CLEAR} the 95 % interval of the difference leaves out 0."


@dataclass(frozen=True)
class Row:
    """One measure of one data set and protocol, in all runs."""

    dataset: str
    references: int
    types: str  # word of --types, or "differ"
    seeds: tuple[int, ...]
    categories: tuple[str, ...]  # that are in the means
    measure: str  # key of metrics.json
    name: str  # in words
    better: Better
    values: tuple[Figure, ...]  # of each run
    differences: tuple[Figure | None, ...]  # from the baseline, with a 95 % interval if paired; None: the baseline's

    def is_clear(self, run: int) -> bool:
        """Return whether the interval of a run's difference leaves out zero."""
        found = self.differences[run]
        return found is not None and found.low is not None and found.high is not None and found.low * found.high > 0


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    names: tuple[str, ...]  # of the runs, all different
    baseline: int  # index of the run that the others are compared with
    rows: tuple[Row, ...]  # sorted by data set and protocol
    notes: tuple[str, ...]  # what a reader must know, in sentences


def as_text(comparison: Comparison) -> str:
    """Return aligned columns, a block for each data set and protocol."""
    lines: list[str] = []
    for place, rows in _blocks(comparison):
        table = [["", *_heads(comparison)], *([_label(row), *_cells(row, comparison)] for row in rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
        lines += [place]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        lines += [""]
    return "\n".join([*lines, *_notes(comparison)])


def as_markdown(comparison: Comparison) -> str:
    """Return a Markdown table for each data set and protocol."""
    lines: list[str] = []
    for place, rows in _blocks(comparison):
        heads = ["Measure", *_heads(comparison)]
        lines += [f"**{_escaped(place)}**", "", _markdown_row(heads), "| --- |" + " ---: |" * (len(heads) - 1)]
        lines += [_markdown_row([_label(row), *_cells(row, comparison)]) for row in rows]
        lines += [""]
    return "\n".join([*lines, *(f"- {_escaped(note)}" for note in _notes(comparison))])


def as_csv(comparison: Comparison) -> str:
    """Return one line for each measure and run, with full precision; cells without a number are empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "dataset",
            "references",
            "types",
            "seeds",
            "n_categories",
            "measure",
            "run",
            "value",
            "difference",
            "low",
            "high",
        ]
    )
    for row in comparison.rows:
        place = [
            row.dataset,
            row.references,
            row.types,
            " ".join(map(str, row.seeds)),
            len(row.categories),
            row.measure,
        ]
        for name, value, difference in zip(comparison.names, row.values, row.differences, strict=True):
            found = difference or Figure(None)
            writer.writerow([*place, name, value.value, found.value, found.low, found.high])
    return text.getvalue()


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return plain types, as JSON keeps them."""
    return {
        "runs": list(comparison.names),
        "baseline": comparison.names[comparison.baseline],
        "rows": [
            asdict(row) | {"clear": [row.is_clear(run) for run in range(len(row.values))]} for row in comparison.rows
        ],
        "notes": list(comparison.notes),
    }


def _blocks(comparison: Comparison) -> list[tuple[str, list[Row]]]:
    blocks: dict[str, list[Row]] = {}
    for row in comparison.rows:
        shots = "zero-shot" if row.references == 0 else f"{row.references} reference{'s' if row.references > 1 else ''}"
        types = "" if row.types == "none" else f", types {row.types}"
        seeds = f"seed{'s' if len(row.seeds) > 1 else ''} {', '.join(map(str, row.seeds))}"
        blocks.setdefault(f"{row.dataset}, {shots}{types}, {seeds}", []).append(row)
    return list(blocks.items())


def _heads(comparison: Comparison) -> list[str]:
    """Return a column for every run, and one for every difference."""
    heads = []
    for run, name in enumerate(comparison.names):
        heads += [name] if run == comparison.baseline else [name, f"− {comparison.names[comparison.baseline]}"]
    return heads


def _cells(row: Row, comparison: Comparison) -> list[str]:
    cells = []
    for run, (value, difference) in enumerate(zip(row.values, row.differences, strict=True)):
        cells += ["n/a" if value.value is None else f"{value.value:.3f}"]
        if run != comparison.baseline:
            cells += [_change(difference) + (f" {_CLEAR}" if row.is_clear(run) else "")]
    return cells


def _change(difference: Figure | None) -> str:
    if difference is None or difference.value is None:
        return "n/a"
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.3f}"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _label(row: Row) -> str:
    return f"{row.name} (lower is better)" if row.better == "lower" else row.name


def _notes(comparison: Comparison) -> list[str]:
    clear = any(row.is_clear(run) for row in comparison.rows for run in range(len(row.values)))
    reasons = dict.fromkeys(
        f"{row.name} n/a: {value.reason}" for row in comparison.rows for value in row.values if value.value is None
    )
    return [*([_LEGEND] if clear else []), *comparison.notes, *reasons]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")
