"""Runs side by side: what each measures, how far it is from the first, and whether that could be chance.

Every value is a mean over the same categories of the same pictures, and over the seeds that all runs have.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.errors import DataError, UsageError
from genau.evaluation.comparison import Comparison, Row, as_csv, as_dict, as_markdown, as_text
from genau.evaluation.finished import read_metrics
from genau.evaluation.pairing import PIXELS, read_rows
from genau.evaluation.resampling import MEASURES
from genau.evaluation.shared import Entry, Place, Run, Shared, find_shared, resample_shared, words
from genau.metrics import Figure, UndefinedMetricError, bootstrap

__all__ = ["Comparison", "Row", "as_csv", "as_dict", "as_markdown", "as_text", "compare"]

_UNPAIRED = (
    "Differences have no interval: images.jsonl, the rows of single pictures, is not in all folders. Copy it beside "
    "each metrics.json, or run `genau eval` again."
)


def compare(folders: Sequence[Path], baseline: int = 0) -> Comparison:
    """Compare finished runs wherever data set and number of references agree.

    Categories that any of the models was trained on are left out for all. What images.jsonl holds is measured again
    over the pictures that all runs have a value for. These measures and those of pixels get paired bootstrap intervals
    of the differences. Measures of defect types are compared where all runs were asked for the same.

    Raises:
        UsageError: the folders cannot be compared; it says why. DataError: a file is damaged.
    """
    _check_arguments(folders, baseline)
    metrics = [read_metrics(folder) for folder in folders]
    names = _names(folders, metrics)
    _check_schema(names, metrics)
    of_runs = [_by_place(found) for found in metrics]
    places = sorted(set(of_runs[0]).intersection(*of_runs))
    if not places:
        contents = "; ".join(f"{name} has {_listed(found)}" for name, found in zip(names, of_runs, strict=True))
        raise UsageError(
            f"The runs have nothing in common: {contents}. Run `genau eval` with the same data set and --references "
            "for all."
        )
    runs = [Run(name, at, found, read_rows(at)) for name, at, found in zip(names, folders, of_runs, strict=True)]
    notes = [_UNPAIRED] if any(run.rows is None for run in runs) else []
    if only := set().union(*of_runs) - set(places):
        notes.append(f"Not in all runs, so not compared: {_listed(only)}.")
    rows: list[Row] = []
    for place in places:
        shared = find_shared(place, runs, notes)
        rows += _rows(shared, runs, baseline, notes) if shared else []
    without = dict.fromkeys(row.name for row in rows if row.better and row.measure not in {*MEASURES, *PIXELS})
    if without and _UNPAIRED not in notes:
        notes.append(f"No intervals are made for: {', '.join(without)}.")
    return Comparison(tuple(names), baseline, tuple(rows), tuple(dict.fromkeys(notes)))


def _rows(shared: Shared, runs: Sequence[Run], baseline: int, notes: list[str]) -> list[Row]:
    measures = shared.measures(notes)
    outcomes = resample_shared(shared, runs, {measure.key for measure in measures}, notes)
    rows = []
    for measure in measures:
        key = measure.key
        used, values = _means(key, shared)
        resampled = [name for name in shared.categories if key in outcomes[name]]
        again: Sequence[NDArray[np.float64] | None] = [None] * len(runs)
        if resampled and (key in MEASURES or resampled == used):
            used = resampled
            values = [Figure(float(mean)) for mean in np.mean([outcomes[name][key].values for name in used], axis=0)]
            again = list(np.mean([outcomes[name][key].replicates for name in used], axis=0))  # (R,) of each run
        if 0 < len(used) < len(shared.categories):
            few = f"{len(used)} of {len(shared.categories)} categories, those where all runs define it"
            notes.append(f"{words(shared.place)}: {measure.name} is a mean over {few}.")
        differences = [
            None if run == baseline else _difference(values[run], values[baseline], again[run], again[baseline])
            for run in range(len(runs))
        ]
        if again[0] is not None and any(found is not None and found.low is None for found in differences):
            notes.append(f"{words(shared.place)}: {measure.name} has too few pictures for an interval.")
        known = (*shared.place, shared.types, tuple(shared.seeds), tuple(used), key, measure.name, measure.better)
        rows.append(Row(*known, tuple(values), tuple(differences)))
    return rows


def _means(key: str, shared: Shared) -> tuple[list[str], list[Figure]]:
    """Return the categories that define a measure in all runs and seeds, and each run's mean over them."""

    def value(entry: Entry, category: str) -> float | None:
        found = entry["per_category"][category].get(key)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    used = [name for name in shared.categories if all(value(entry, name) is not None for entry in shared.every)]
    if not used:
        records = [entry["per_category"][name] for entry in shared.every for name in shared.categories]
        reasons = [record.get("undefined", {}).get(key) for record in records]
        reason = next((str(found) for found in reasons if found), "No category has it in all runs.")
        return [], [Figure(None, reason=reason)] * len(shared.entries)
    return used, [
        Figure(fmean(found for entry in of_run for name in used if (found := value(entry, name)) is not None))
        for of_run in shared.entries
    ]


def _difference(
    value: Figure, baseline: Figure, again: NDArray[np.float64] | None, of_baseline: NDArray[np.float64] | None
) -> Figure:
    """Return how far a run is from the baseline, with an interval where there are replicates (R,) of both."""
    if value.value is None or baseline.value is None:
        return Figure(None, reason=value.reason or baseline.reason)
    difference = value.value - baseline.value
    if again is None or of_baseline is None:
        return Figure(difference)
    try:
        return Figure(difference, *bootstrap.interval(again - of_baseline, difference))
    except UndefinedMetricError:  # too many resamples do not define it
        return Figure(difference)


def _by_place(metrics: Mapping[str, Any]) -> dict[Place, dict[int, Entry]]:
    places: dict[Place, dict[int, Entry]] = {}
    for run in metrics["runs"]:
        protocol = run["protocol"]
        references, seed = (protocol.get(key) or 0 for key in ("references", "seed"))
        if not (isinstance(references, int) and isinstance(seed, int)):
            raise DataError(f"A run has references {references!r} and seed {seed!r}, not whole numbers. Make it again.")
        places.setdefault((str(run["dataset"]), references), {})[seed] = run
    return places


def _check_arguments(folders: Sequence[Path], baseline: int) -> None:
    if len(folders) < 2:
        raise UsageError(f"{len(folders)} run cannot be compared. Name the folders of two or more finished runs.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("The same folder is named twice; a run does not differ from itself. Name each folder once.")
    if not 0 <= baseline < len(folders):
        raise UsageError(f"baseline={baseline} is not one of the {len(folders)} runs. Use 0 to {len(folders) - 1}.")


def _check_schema(names: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> None:
    versions = [str(found["schema_version"]) for found in metrics]
    if len(set(versions)) > 1:
        have = ", ".join(f"{name} has {version}" for name, version in zip(names, versions, strict=True))
        raise UsageError(
            f"The runs have different schema versions ({have}), so a measure may not mean the same in all. Run "
            "`genau eval` again for the older ones."
        )


def _names(folders: Sequence[Path], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the models' names, or the folders' where those are not all different, or their paths."""
    choices = [
        [str((found.get("model") or {}).get("name")) for found in metrics],
        [folder.resolve().name for folder in folders],
    ]
    return next((names for names in choices if len(set(names)) == len(names)), [str(folder) for folder in folders])


def _listed(places: Iterable[Place]) -> str:
    return "; ".join(map(words, sorted(places))) or "no runs"
