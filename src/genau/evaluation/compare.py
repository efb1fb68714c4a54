"""Runs side by side: what each measures, how far it is from the first, and whether that could be chance.

Every value is a mean over the same categories of the same pictures, and over the seeds that all runs have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.errors import UsageError
from genau.evaluation.comparison import Comparison, Row, as_csv, as_dict, as_markdown, as_text
from genau.evaluation.finished import read_metrics
from genau.evaluation.legend import measures_of
from genau.evaluation.pairing import METRICS, Paired, Scores, pair, read_scores, resample
from genau.metrics import bootstrap
from genau.metrics.figure import Figure

__all__ = ["Comparison", "Row", "as_csv", "as_dict", "as_markdown", "as_text", "compare"]

Place = tuple[str, int, str]  # data set, reference pictures, types asked
Seeds = dict[int, Mapping[str, Any]]  # seed -> entry of metrics.json
_UNPAIRED = (
    "Differences have no interval: images.jsonl, the scores of single pictures, is not in all folders. Copy it beside "
    "each metrics.json, or run `genau eval` again."
)
_OTHERS = "Only image measures have an interval: of the others no values of single pictures are kept."


@dataclass(frozen=True, eq=False)
class _Place:
    """What all runs have of one data set and protocol."""

    place: Place
    seeds: list[int]
    tables: list[list[Mapping[str, Any]]]  # by run, by seed: category -> record
    categories: list[str]  # that no model was trained on
    paired: dict[str, Paired]  # category -> scores; {}: not at hand


def compare(folders: Sequence[Path], baseline: int = 0) -> Comparison:
    """Compare finished runs wherever data set, number of references and types agree.

    Categories that any of the models was trained on are left out for all. Image measures are taken from images.jsonl,
    over the pictures that all runs scored; their differences get paired bootstrap intervals.

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
            f"The runs have nothing in common: {contents}. Run `genau eval` with the same data set, --references and "
            "--types for all."
        )
    read = [read_scores(folder) for folder in folders]
    scores = [found for found in read if found is not None]
    notes = [_OTHERS]
    if len(scores) < len(read):
        scores, notes = [], [_UNPAIRED]
    if only := set().union(*of_runs) - set(places):
        notes.append(f"Not in all runs, so not compared: {_listed(only)}.")
    rows: list[Row] = []
    for place in places:
        shared = _shared(place, names, [of_run[place] for of_run in of_runs], scores, notes)
        rows += _rows(shared, baseline, notes) if shared else []
    return Comparison(tuple(names), baseline, tuple(rows), tuple(dict.fromkeys(notes)))


def _shared(
    place: Place, names: Sequence[str], entries: Sequence[Seeds], scores: Sequence[Scores], notes: list[str]
) -> _Place | None:
    """Return what can be compared, or None where nothing is left; `notes` gets what was left out."""
    seeds = sorted(set(entries[0]).intersection(*entries))
    if not seeds:
        notes.append(f"{_words(place)}: the runs share no seed, so they are not compared.")
        return None
    if only := sorted(set().union(*entries) - set(seeds)):
        notes.append(f"{_words(place)}: seed {', '.join(map(str, only))} left out, because not all runs have it.")
    _check_same_pictures(place, names, entries, seeds)
    tables = [[of_run[seed]["per_category"] for seed in seeds] for of_run in entries]
    every = sorted(tables[0][0])
    trained = [name for name in every if any(t[name].get("trained_on") for of_run in tables for t in of_run)]
    if trained:
        notes.append(f"{place[0]}: {', '.join(trained)} left out of all means, because a model was trained on it.")
    categories = [name for name in every if name not in trained]
    if not categories:
        notes.append(f"{_words(place)}: no category is left to compare.")
        return None
    paired = {}
    if scores:
        dataset, references, _ = place
        paired = {c: pair(names, scores, [(dataset, references, seed, c) for seed in seeds]) for c in categories}
        if lost := sum(one.left_out for one in paired.values()):
            notes.append(f"{_words(place)}: {lost} pictures left out of image measures; not every run scored them.")
    return _Place(place, seeds, tables, categories, paired)


def _rows(shared: _Place, baseline: int, notes: list[str]) -> list[Row]:
    of_runs = [[table[name] for table in of_run for name in shared.categories] for of_run in shared.tables]
    rows = []
    for measure in measures_of(of_runs[baseline]):
        if not all(any(measure.key in record for record in records) for records in of_runs):
            continue  # some run was not asked for it
        both = [name for name, one in shared.paired.items() if one.has_both_classes]
        if measure.key in METRICS and both:
            used = both
            measured = resample(measure.key, [shared.paired[name] for name in used])
            values = [Figure(mean) for mean, _ in measured]
            differences = [
                None if run == baseline else _paired_difference(*measured[run], *measured[baseline])
                for run in range(len(measured))
            ]
        else:
            used, values = _means(measure.key, shared)
            differences = [
                None if run == baseline else _difference(value, values[baseline]) for run, value in enumerate(values)
            ]
        if 0 < len(used) < len(shared.categories):
            few = f"{len(used)} of {len(shared.categories)} categories, those where all runs define it"
            notes.append(f"{_words(shared.place)}: {measure.name} is a mean over {few}.")
        known = (*shared.place, tuple(shared.seeds), tuple(used), measure.key, measure.name, measure.better)
        rows.append(Row(*known, tuple(values), tuple(differences)))
    return rows


def _means(key: str, shared: _Place) -> tuple[list[str], list[Figure]]:
    """Return the categories that define a measure in all runs and seeds, and each run's mean over them."""

    def value(table: Mapping[str, Any], category: str) -> float | None:
        found = table[category].get(key)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    every = [table for of_run in shared.tables for table in of_run]
    used = [name for name in shared.categories if all(value(table, name) is not None for table in every)]
    if not used:
        reasons = [table[name].get("undefined", {}).get(key) for table in every for name in shared.categories]
        reason = next((str(found) for found in reasons if found), "No category has it in all runs.")
        return [], [Figure(None, reason=reason)] * len(shared.tables)
    return used, [
        Figure(fmean(found for table in of_run for name in used if (found := value(table, name)) is not None))
        for of_run in shared.tables
    ]


def _difference(value: Figure, baseline: Figure) -> Figure:
    if value.value is None or baseline.value is None:
        return Figure(None, reason=value.reason or baseline.reason)
    return Figure(value.value - baseline.value)


def _paired_difference(
    mean: float, replicates: NDArray[np.float64], baseline: float, of_baseline: NDArray[np.float64]
) -> Figure:
    difference = mean - baseline
    return Figure(difference, *bootstrap.interval(replicates - of_baseline, difference))


def _by_place(metrics: Mapping[str, Any]) -> dict[Place, Seeds]:
    places: dict[Place, Seeds] = {}
    for run in metrics["runs"]:
        protocol = run["protocol"]
        place = (str(run["dataset"]), int(protocol.get("references") or 0), str(protocol.get("types") or "none"))
        places.setdefault(place, {})[int(protocol.get("seed") or 0)] = run
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


def _check_same_pictures(place: Place, names: Sequence[str], entries: Sequence[Seeds], seeds: Sequence[int]) -> None:
    """Refuse runs whose split, choice or number of pictures differ."""

    def pictures(run: Mapping[str, Any]) -> dict[str, object]:
        counts = {c: (r.get("n_normal"), r.get("n_defect")) for c, r in run["per_category"].items()}
        chosen = {key: run["protocol"].get(key) for key in ("split", "most")}
        return {"categories": sorted(counts), **chosen, "pictures of each category": counts}

    first = pictures(entries[0][seeds[0]])
    for name, of_run in zip(names, entries, strict=True):
        for seed in seeds:
            other = pictures(of_run[seed])
            if differing := next((key for key in first if first[key] != other[key]), None):
                raise UsageError(
                    f"{names[0]} and {name} saw different pictures of {place[0]}: their {differing} differ. Run "
                    "`genau eval` with the same data, --category and --most, and with --reserve where references "
                    "differ."
                )


def _names(folders: Sequence[Path], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the models' names, or the folders' where those are not all different, or their paths."""
    choices = [
        [str((found.get("model") or {}).get("name")) for found in metrics],
        [folder.resolve().name for folder in folders],
    ]
    return next((names for names in choices if len(set(names)) == len(names)), [str(folder) for folder in folders])


def _listed(places: Iterable[Place]) -> str:
    return "; ".join(map(_words, sorted(places))) or "no runs"


def _words(place: Place) -> str:
    dataset, references, types = place
    return f"{dataset}, {references} references, types {types}"
