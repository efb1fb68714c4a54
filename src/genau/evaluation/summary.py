"""The tables of a finished evaluation: `metrics.json`, `per_category.csv`, `per_type.csv`, and a few lines of text."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genau.detection import Detector
from genau.evaluation.measures import Measured, with_interval
from genau.evaluation.plan import Run, Settings, Unit
from genau.metrics import Figure

SCHEMA_VERSION = "1.0"
SHOWN = (  # in the table on the terminal
    ("image_auroc", "image AUROC"),
    ("image_ap", "AP"),
    ("image_f1_max", "F1-max"),
    ("pixel_auroc", "pixel AUROC"),
    ("pixel_ap", "AP"),
    ("pixel_aupro", "AUPRO"),
)
Table = dict[str, Any]


def is_trained_on(unit: Unit, detector: Detector) -> bool:
    """Whether the detector's weights have seen this product: then it is no zero-shot figure."""
    known = {" ".join(name.lower().split()) for name in detector.trained_products}
    return any(" ".join(word.lower().split()) in known for word in (unit.task.product or "", unit.category))


def run_table(run: Run, settings: Settings, measured: Sequence[Measured], detector: Detector) -> Table:
    """Return one run as `metrics.json` keeps it: every category, and the mean over those never trained on."""
    trained = [is_trained_on(unit, detector) for unit in run.units]
    fair = [result for result, seen in zip(measured, trained, strict=True) if not seen]
    names = list(dict.fromkeys(name for result in measured for name in result.figures))
    mean = _mean(fair, names)
    mean["left_out"] = [unit.category for unit, seen in zip(run.units, trained, strict=True) if seen]
    return {
        "dataset": run.dataset,
        "format": run.format,
        "folder": run.folder.name,
        "model": detector.name,
        "protocol": {
            "references": run.references,
            "seed": run.seed,
            "types": settings.types,
            "most": settings.most,
            "split": run.split,
            "categories": [unit.category for unit in run.units],
            "all_categories": run.all_categories,
            "candidates": {unit.category: list(unit.task.types) for unit in run.units},
        },
        "per_category": {
            unit.category: _figures(result.figures) | result.counts | {"trained_on": seen, "notes": result.notes}
            for unit, result, seen in zip(run.units, measured, trained, strict=True)
        },
        "per_type": {
            unit.category: result.per_type for unit, result in zip(run.units, measured, strict=True) if result.per_type
        },
        "image_auroc_by_text_weight": {
            unit.category: result.by_text_weight
            for unit, result in zip(run.units, measured, strict=True)
            if result.by_text_weight
        },
        "mean": mean,
        **({"mean_all": _mean(measured, names)} if mean["left_out"] else {}),
        "units": {unit.category: unit.key for unit in run.units},
    }


def over_seeds(runs: Sequence[Table]) -> list[Table]:
    """Return mean and standard deviation (of the sample) over the seeds of runs that are equal otherwise."""
    groups: dict[tuple[str, int], list[Table]] = {}
    for run in runs:
        groups.setdefault((run["dataset"], run["protocol"]["references"]), []).append(run)
    tables = []
    for (dataset, references), members in groups.items():
        if len(members) < 2:
            continue
        names = [k for k, v in members[0]["mean"].items() if isinstance(v, float)]
        spread = {}
        for name in names:
            values = [run["mean"].get(name) for run in members]
            if all(value is not None for value in values):
                spread[name] = {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}
        seeds = [run["protocol"]["seed"] for run in members]
        types = members[0]["protocol"]["types"]
        tables.append({"dataset": dataset, "references": references, "types": types, "seeds": seeds, "mean": spread})
    return tables


def category_csv(runs: Sequence[Table]) -> str:
    """Return one line per run and category, and one per run for the mean; undefined cells are `n/a`."""
    keys = ("dataset", "references", "seed", "category")
    lines = []
    for run in runs:
        place = {
            "dataset": run["dataset"],
            "references": run["protocol"]["references"],
            "seed": run["protocol"]["seed"],
        }
        for category, table in run["per_category"].items():
            lines.append(place | {"category": category} | _plain(table))
        lines.append(place | {"category": "mean"} | _plain(run["mean"]))
    return _csv(keys, lines)


def type_csv(runs: Sequence[Table]) -> str:
    """Return one line per run, category and type."""
    keys = ("dataset", "references", "seed", "category", "type")
    lines = [
        {"dataset": run["dataset"], "references": run["protocol"]["references"], "seed": run["protocol"]["seed"]}
        | {"category": category, "type": name}
        | _plain(table)
        for run in runs
        for category, types in run["per_type"].items()
        for name, table in types.items()
    ]
    return _csv(keys, lines)


def text_table(runs: Sequence[Table]) -> str:
    """Return the main figures in aligned columns, for a terminal."""
    head = ["data set", "references", "seed", "category", "good", "bad", *(name for _, name in SHOWN)]
    rows = [head]
    for run in runs:
        place = [run["dataset"], str(run["protocol"]["references"]), str(run["protocol"]["seed"])]
        for category, table in run["per_category"].items():
            mark = f"{category} †" if table["trained_on"] else category
            rows.append([*place, mark, str(table["n_normal"]), str(table["n_defect"]), *map(_cell(table), SHOWN)])
        if len(run["per_category"]) > 1:
            rows.append([*place, "mean", "", "", *map(_cell(run["mean"]), SHOWN)])
    for spread in over_seeds(runs):
        place = [spread["dataset"], str(spread["references"]), f"{len(spread['seeds'])} seeds", "mean ± std", "", ""]
        cells = [spread["mean"].get(name) for name, _ in SHOWN]
        rows.append([*place, *("n/a" if c is None else f"{c['mean']:.3f} ± {c['std']:.3f}" for c in cells)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = []
    if any(table["trained_on"] for run in runs for table in run["per_category"].values()):
        notes.append("† trained on this product: not zero-shot, left out of the mean")
    for run in runs:
        count = run["mean"]["n_categories"]
        some = sorted({over for name, _ in SHOWN if 0 < (over := run["mean"]["over"].get(name, count)) < count})
        if some:
            notes.append(f"{run['dataset']}: some means are over {some[0]} of {count} categories, see per_category.csv")
    tables = [table for run in runs for table in run["per_category"].values()]
    reasons = {table["undefined"][name] for table in tables for name, _ in SHOWN if name in table["undefined"]}
    notes += [f"n/a: {reason}" for reason in sorted(reasons)]
    return "\n".join([*lines, *notes])


def _cell(table: Table) -> Any:  # noqa: ANN401 - a function of a column
    return lambda column: "n/a" if table.get(column[0]) is None else f"{table[column[0]]:.3f}"


def _figures(figures: Mapping[str, Figure]) -> Table:
    """Return figures as JSON keeps them: values, intervals and reasons apart."""
    table: Table = {name: figure.value for name, figure in figures.items()}
    table["intervals"] = {name: [f.low, f.high] for name, f in figures.items() if f.low is not None}
    table["undefined"] = {name: f.reason for name, f in figures.items() if f.value is None}
    return table


def _mean(measured: Sequence[Measured], names: Sequence[str]) -> Table:
    """Return the plain mean of every figure over the categories that define it, with the interval of that mean.

    `over` says of how many categories each is the mean, where it is not all of them.
    """
    figures: dict[str, Figure] = {}
    over: dict[str, int] = {}
    for name in names:
        values = [result.figures[name].value for result in measured if name in result.figures]
        defined = [value for value in values if value is not None]
        over[name] = len(defined)
        if not defined:
            reasons = [r.figures[name].reason for r in measured if name in r.figures]
            reason = reasons[0] if reasons else "Every category was trained on: there is no zero-shot mean."
            figures[name] = Figure(None, reason=reason)
            continue
        figures[name] = Figure(float(np.mean(defined)))
        again = [result.replicates[name] for result in measured if name in result.replicates]
        if len(again) == len(defined):
            figures[name] = with_interval(figures[name], np.mean(again, axis=0))
    counts = {name: sum(result.counts[name] for result in measured) for name in ("n_normal", "n_defect", "n_failed")}
    return _figures(figures) | counts | {"n_categories": len(measured), "over": over}


def _plain(table: Table) -> Table:
    """Return the cells of a table that fit into a CSV, with the ends of intervals beside their value."""
    cells: Table = {}
    for name, value in table.items():
        if isinstance(value, dict | list):
            continue
        cells[name] = "n/a" if value is None else value
        if name in table.get("intervals", {}):
            cells[f"{name}_low"], cells[f"{name}_high"] = table["intervals"][name]
    return cells


def _csv(keys: Sequence[str], lines: Sequence[Table]) -> str:
    columns = [*keys, *dict.fromkeys(name for line in lines for name in line if name not in keys)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
