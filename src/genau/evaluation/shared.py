"""What several finished runs have in common: the same pictures, and measures of them in all runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genau.errors import UsageError
from genau.evaluation.legend import Measure, measures_of
from genau.evaluation.pairing import (
    PIXELS,
    Pictures,
    Rows,
    counted_alike,
    pair,
    read_pixels,
    resample_pixels,
    tables_of,
)
from genau.evaluation.resampling import Family, Outcome, Paired, resample
from genau.metrics import PixelBootstrap

Place = tuple[str, int]  # data set, reference pictures
Entry = Mapping[str, Any]  # of "runs" in metrics.json
_TYPED = "type_"  # how the measures begin that depend on the types asked for
_FAMILIES: dict[Family, str] = {
    "score": "image measures and calibration",
    "verdict": "verdict measures",
    "overlap": "pixel IoU",
    "rejection": "rejection",
    "types": "measures of defect types",
}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder, as far as a comparison needs it."""

    name: str
    folder: Path
    entries: dict[Place, dict[int, Entry]]  # by place and seed
    rows: Rows | None  # of images.jsonl; None: not in the folder


@dataclass(frozen=True, eq=False)
class Shared:
    """What all runs have of one data set and number of references."""

    place: Place
    seeds: list[int]
    entries: list[list[Entry]]  # by run, by seed
    categories: list[str]  # that no model was trained on

    @property
    def every(self) -> list[Entry]:
        """All runs and seeds."""
        return [entry for of_run in self.entries for entry in of_run]

    @property
    def types(self) -> str:
        """The types asked for, in the word of --types."""
        words = {str(entry["protocol"].get("types") or "none") for entry in self.every}
        return words.pop() if len(words) == 1 else "differ"

    @property
    def same_types(self) -> bool:
        """Whether all runs asked for the same types of every category."""
        asked = [entry["protocol"].get("candidates") for entry in self.every]
        if not any(asked):  # then the word must do
            return self.types != "differ"
        return all(len({tuple(sorted((of or {}).get(c) or ())) for of in asked}) == 1 for c in self.categories)

    def candidates(self, category: str) -> list[str]:
        """The types that the first run asked for."""
        return list((self.every[0]["protocol"].get("candidates") or {}).get(category) or ())

    def records(self, category: str) -> list[list[Mapping[str, Any]]]:
        """Return what metrics.json has of a category, by run, by seed."""
        return [[entry["per_category"][category] for entry in of_run] for of_run in self.entries]

    def measures(self, notes: list[str]) -> list[Measure]:
        """Return what can be compared; `notes` gets what cannot, though a run has it."""
        of_runs = [[e["per_category"][c] for e in of_run for c in self.categories] for of_run in self.entries]
        some = measures_of(record for records in of_runs for record in records)
        if not self.same_types and any(found.key.startswith(_TYPED) for found in some):
            notes.append(f"{words(self.place)}: {_FAMILIES['types']} left out: the runs were asked for other types.")
            some = [found for found in some if not found.key.startswith(_TYPED)]
        return [found for found in some if all(any(found.key in record for record in records) for records in of_runs)]


def find_shared(place: Place, runs: Sequence[Run], notes: list[str]) -> Shared | None:
    """Return what can be compared, or None where nothing is left; `notes` gets what was left out.

    Raises:
        UsageError: the runs saw different pictures.
    """
    entries = [run.entries[place] for run in runs]
    seeds = sorted(set(entries[0]).intersection(*entries))
    if not seeds:
        notes.append(f"{words(place)}: the runs share no seed, so they are not compared.")
        return None
    if only := sorted(set().union(*entries) - set(seeds)):
        notes.append(f"{words(place)}: seed {', '.join(map(str, only))} left out, because not all runs have it.")
    kept = [[of_run[seed] for seed in seeds] for of_run in entries]
    _check_same_pictures(place, runs, kept)
    every = sorted(kept[0][0]["per_category"])
    trained = [c for c in every if any(e["per_category"][c].get("trained_on") for of_run in kept for e in of_run)]
    if trained:
        notes.append(f"{place[0]}: {', '.join(trained)} left out of all means, because a model was trained on it.")
    categories = [name for name in every if name not in trained]
    if not categories:
        notes.append(f"{words(place)}: no category is left to compare.")
        return None
    return Shared(place, seeds, kept, categories)


def resample_shared(
    shared: Shared, runs: Sequence[Run], keys: Collection[str], notes: list[str]
) -> dict[str, dict[str, Outcome]]:
    """Return of every category those of the measures `keys` that can be resampled alike for all runs.

    `notes` gets what was left out, and why pixel measures cannot be resampled.

    Raises:
        UsageError: the runs saw different pictures. DataError: a file is damaged.
    """
    rows = [run.rows for run in runs if run.rows is not None]
    if len(rows) < len(runs):
        return {category: {} for category in shared.categories}
    dataset, references = shared.place
    lost = dict.fromkeys(_FAMILIES, 0)
    found: dict[str, dict[str, Outcome]] = {}
    unlike: list[str] = []  # categories
    pixels = bool(set(PIXELS).intersection(keys))
    for category in shared.categories:
        units = [(dataset, references, seed, category) for seed in shared.seeds]
        tables = tables_of([run.name for run in runs], rows, units)
        families = _families(shared, category, tables)
        for family, paired in families.items():
            lost[family] += paired.left_out
        found[category] = resample(families, keys, f"{dataset}/{category}")
        if pixels and (counts := _counts(shared, runs, category, notes)):
            alike = resample_pixels(counts, shared.records(category)) if counted_alike(tables) else None
            found[category] |= alike or {}
            unlike += [category] if alike is None else []
    for family, count in lost.items():
        if count:
            notes.append(
                f"{words(shared.place)}: {count} pictures left out of {_FAMILIES[family]}; not every run has a value."
            )
    if unlike:
        notes.append(
            f"{words(shared.place)}: pixel measures have no interval: the runs counted different pictures of "
            f"{', '.join(unlike)}, because some failed. See error and mask_error in images.jsonl."
        )
    return found


def _families(shared: Shared, category: str, tables: Sequence[Sequence[Pictures]]) -> dict[Family, Paired]:
    candidates = shared.candidates(category) if shared.same_types else []
    return {family: pair(family, tables, candidates) for family in _FAMILIES if family != "types" or candidates}


def _counts(shared: Shared, runs: Sequence[Run], category: str, notes: list[str]) -> list[list[PixelBootstrap]]:
    """Return the pixel counts of a category, by run, by seed; [] where a folder lacks them."""
    keys = [[str(e["units"][category]) for e in of_run if category in e.get("units", {})] for of_run in shared.entries]
    n_seeds = len(shared.seeds)
    if older := [run.name for run, of_run in zip(runs, keys, strict=True) if len(of_run) < n_seeds]:
        notes.append(
            f"Pixel measures have no interval: metrics.json of {', '.join(older)} is older and names no counts below "
            "units/. Run `genau eval` again for them."
        )
        return []
    counts = [
        [one for key in of_run if (one := read_pixels(run.folder, key)) is not None]
        for run, of_run in zip(runs, keys, strict=True)
    ]
    if any(len(of_run) < n_seeds for of_run in counts):
        notes.append(
            "Pixel measures have no interval: the counts below units/ are not in all folders. Copy units/ beside each "
            "metrics.json, or run `genau eval` again."
        )
        return []
    return counts


def _check_same_pictures(place: Place, runs: Sequence[Run], entries: Sequence[Sequence[Entry]]) -> None:
    """Refuse runs whose split, choice or number of pictures differ."""

    def pictures(entry: Entry) -> dict[str, object]:
        counts = {c: (r.get("n_normal"), r.get("n_defect")) for c, r in entry["per_category"].items()}
        chosen = {key: entry["protocol"].get(key) for key in ("split", "most")}
        return {"categories": sorted(counts), **chosen, "pictures of each category": counts}

    first = pictures(entries[0][0])
    for run, of_run in zip(runs, entries, strict=True):
        for other in map(pictures, of_run):
            if differing := next((key for key in first if first[key] != other[key]), None):
                raise UsageError(
                    f"{runs[0].name} and {run.name} saw different pictures of {place[0]}: their {differing} differ. "
                    "Run `genau eval` with the same data, --category and --most, and with --reserve where references "
                    "differ."
                )


def words(place: Place) -> str:
    """Name a place."""
    dataset, references = place
    return f"{dataset}, {references} references"
