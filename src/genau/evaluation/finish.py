"""The end of an evaluation: all figures, tables, curves and pictures into the run folder."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from genau.detection import Detector
from genau.errors import UsageError, suggest
from genau.evaluation import failures, published
from genau.evaluation.journal import Journal, write_json, write_text, writing
from genau.evaluation.measures import Measured, Rows, measure
from genau.evaluation.page import render
from genau.evaluation.plan import Run, Settings, Unit
from genau.evaluation.run import STEPS
from genau.evaluation.summary import SCHEMA_VERSION, Table, category_csv, over_seeds, run_table, type_csv
from genau.evaluation.tally import Tally
from genau.metrics import UndefinedMetricError, image, reliability


def finish(
    detector: Detector,
    settings: Settings,
    runs: Sequence[Run],
    journal: Journal,
    *,
    draw: failures.Draw,
    command: str = "",
    with_published: bool = False,
) -> Table:
    """Write everything that follows from the rows and counts, and return what `metrics.json` holds."""
    tables, curves = [], []
    for run in runs:
        measured, drawn, seconds = [], {}, dict.fromkeys(STEPS, 0.0)
        for unit in run.units:
            figures, unit_curves, unit_seconds = _unit(unit, journal)
            measured.append(figures)
            drawn[unit.category] = unit_curves
            seconds = {step: round(seconds[step] + unit_seconds[step], 2) for step in STEPS}
        tables.append(run_table(run, settings, measured, detector) | {"seconds": seconds})
        curves.append(drawn)
    metrics: Table = {
        "schema_version": SCHEMA_VERSION,
        "genau_version": version("genau"),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "model": {
            "name": detector.name,
            "trained_products": list(detector.trained_products),
            "trained_data": list(detector.trained_data),
            "settings": dict(detector.settings),
        },
        "runs": tables,
        "over_seeds": over_seeds(tables),
        "published": [],
    }
    if with_published:
        metrics["published"] = published.rows(tables, metrics["model"])
    folder = journal.folder
    listed = failures.collect(detector, runs, journal, draw)
    with writing(folder):
        (folder / "metrics.json").unlink(missing_ok=True)
        write_json(folder / "curves.json", {"runs": curves})
        write_text(folder / "per_category.csv", category_csv(tables))
        write_text(folder / "per_type.csv", type_csv(tables))
        journal.join([unit.key for run in runs for unit in run.units])
        write_json(folder / "failures.json", listed)
        write_json(folder / "metrics.json", metrics)  # last: it says that the run is finished
        write_text(folder / "report.html", render(folder))
    return metrics


def missed_gates(metrics: Table, gates: Mapping[str, float]) -> list[str]:
    """Return in words which means are below what was asked for; an undefined one is missed.

    Raises:
        UsageError: a gate names no measure of this evaluation.
    """
    said = []
    for run in metrics["runs"]:
        for name, least in gates.items():
            if name not in run["mean"]:
                known = [key for key, value in run["mean"].items() if isinstance(value, float | None)]
                raise UsageError(f"There is no measure {name!r}.{suggest(name, known)} Known: {', '.join(known)}.")
            value = run["mean"][name]
            over, count = run["mean"]["over"][name], run["mean"]["n_categories"]
            if value is None or value < least or over < count:
                protocol = run["protocol"]
                shown = "n/a" if value is None else f"{value:.4f}"
                shown += f" over {over} of {count} categories" if 0 < over < count else ""
                where = f"{run['dataset']}, {protocol['references']} references, seed {protocol['seed']}"
                said.append(f"{name} of {where} is {shown}, at least {least:g} was asked for")
    return said


def _unit(unit: Unit, journal: Journal) -> tuple[Measured, dict[str, Any], dict[str, float]]:
    candidates = list(unit.task.types)
    _, arrays = journal.load(unit.key)
    seconds = dict(zip(STEPS, arrays.pop("seconds").tolist(), strict=True))
    tally = Tally.from_arrays(candidates, arrays)
    rows = Rows.of(journal.rows(unit.key), candidates)
    return measure(rows, tally, candidates, f"{unit.dataset}/{unit.category}"), _curves(rows, tally), seconds


def _curves(rows: Rows, tally: Tally) -> dict[str, Any]:
    ok = rows.inspected
    scores, labels = rows.scores[ok], rows.labels[ok]
    makers: dict[str, Callable[[], Sequence[tuple[float, ...]]]] = {
        "image_roc": lambda: image.roc_points(scores, labels),
        "image_pr": lambda: image.precision_recall_points(scores, labels),
        "reliability": lambda: reliability.reliability_points(scores, labels),
        "pixel_roc": tally.pixels.roc_points,
        "pixel_pr": tally.pixels.precision_recall_points,
        "pro": tally.pixels.pro_points,
    }
    curves = {}
    for name, make in makers.items():
        try:
            curves[name] = np.round(np.array(make(), np.float64), 5).tolist()
        except UndefinedMetricError:
            continue  # the table says why
    return curves
