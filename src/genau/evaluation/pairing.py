"""What several runs say of the same pictures: the rows of `images.jsonl`, and the counts of pixels below `units/`.

A paired bootstrap: each resample draws the same pictures for every run, so that what is hard about a picture cancels
in the difference. R resamples, N pictures, C types.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genau.errors import DataError, UsageError
from genau.evaluation.finished import read_images
from genau.evaluation.journal import UNITS
from genau.evaluation.resampling import Family, Outcome, Paired
from genau.metrics import PixelBootstrap
from genau.metrics.bootstrap import PixelMeasure

PIXELS: dict[str, PixelMeasure] = {
    "pixel_auroc": "auroc",
    "pixel_ap": "average_precision",
    "pixel_f1_max": "f1_max",
    "pixel_aupro": "aupro",
}
Unit = tuple[str, int, int, str]  # data set, reference pictures, seed, category
Pictures = dict[str, Mapping[str, Any]]  # of a unit: name -> row of images.jsonl
Rows = dict[Unit, Pictures]
_COUNTS = "bootstrap."  # how the names of a `PixelBootstrap` begin in `Tally.arrays`


def read_rows(folder: Path) -> Rows | None:
    """Return images.jsonl, or None where the folder has none.

    Raises:
        DataError: a line is damaged.
    """
    if not (folder / "images.jsonl").is_file():
        return None
    rows: Rows = {}
    for row in read_images(folder):
        unit = (row["dataset"], row["references"], row["seed"], row["category"])
        rows.setdefault(unit, {})[row["image"]] = {key: value for key, value in row.items() if key != "analysis"}
    return rows


def tables_of(names: Sequence[str], runs: Sequence[Rows], units: Sequence[Unit]) -> list[list[Pictures]]:
    """Return by run and by seed the rows of one category, `units` its seeds.

    Raises:
        UsageError: the runs saw different pictures, or different labels of them.
    """
    tables = [[run.get(unit, {}) for unit in units] for run in runs]
    first = tables[0][0]
    for name, of_run in zip(names, tables, strict=True):
        for unit, table in zip(units, of_run, strict=True):
            if other := sorted({i for i in first.keys() | table.keys() if _label(first, i) != _label(table, i)}):
                raise UsageError(
                    f"{names[0]} and {name} saw different pictures of {unit[0]}, {unit[3]}: {len(other)} are in one "
                    f"only or labelled differently, {other[0]!r} among them. Run `genau eval` on the same data, with "
                    "the same --most, and with --reserve where references differ."
                )
    return tables


def pair(family: Family, tables: Sequence[Sequence[Pictures]], candidates: Sequence[str]) -> Paired:
    """Return what the runs answered, in the order of the pictures' names; `candidates` are the types asked for."""
    truth_of, answer_of = _READ[family]
    every = [table for of_run in tables for table in of_run]
    images = sorted(name for name in every[0] if any(truth_of(t[name], candidates) is not None for t in every))
    truths = {name: {truth_of(table[name], candidates) for table in every} for name in images}
    kept = [
        name
        for name in images
        if len(truths[name]) == 1 and all(answer_of(table[name], candidates) is not None for table in every)
    ]
    answers = [[np.array([answer_of(t[name], candidates) for name in kept]) for t in of_run] for of_run in tables]
    truth = np.array([truths[name].copy().pop() for name in kept], np.int64)
    return Paired(truth, answers, len(images) - len(kept) if kept else 0)


def counted_alike(tables: Sequence[Sequence[Pictures]]) -> bool:
    """Return whether all runs and seeds could count the pixels of the same pictures."""
    counted = [
        {name for name, row in table.items() if row.get("error") is None and row.get("mask_error") is None}
        for of_run in tables
        for table in of_run
    ]
    return all(names == counted[0] for names in counted)


def read_pixels(folder: Path, key: str) -> PixelBootstrap | None:
    """Return the resampled pixel counts of a unit, or None where the folder has none.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / UNITS / f"{key}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:  # the other counts are large, and stay on disk
            names = [name for name in file.files if name.startswith(_COUNTS)]
            return PixelBootstrap.from_arrays({name.removeprefix(_COUNTS): file[name] for name in names})
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Run `genau eval` again into a new folder.") from error


def resample_pixels(
    counts: Sequence[Sequence[PixelBootstrap]], records: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Outcome] | None:
    """Return the pixel measures that all runs and seeds of a category define; None if they counted other pictures.

    `counts` and `records`, the categories of metrics.json with the exact values, are by run, by seed. How often a
    resample counts a picture follows from its name alone, so row r of all runs counts the same pictures.
    """
    if len({_fingerprint(one) for of_run in counts for one in of_run}) > 1:
        return None
    found = {}
    for key, measure in PIXELS.items():
        exact = [[record[key] for record in of_run if record.get(key) is not None] for of_run in records]
        if any(len(values) < len(of_run) for values, of_run in zip(exact, counts, strict=True)):
            continue
        again = [
            np.mean([one.shifted_replicates(measure, v) for one, v in zip(*of_run, strict=True)], axis=0)
            for of_run in zip(counts, exact, strict=True)
        ]
        found[key] = Outcome(np.mean(np.array(exact, np.float64), axis=1), np.array(again))
    return found


def _fingerprint(counts: PixelBootstrap) -> bytes:
    """The defective and good pixels and regions of every resample: alike only for the same pictures."""
    sums = [counts.normal.sum(axis=1), counts.anomalous.sum(axis=1), counts.n_regions]
    return np.stack(sums).tobytes()


def _label(table: Pictures, image: str) -> bool | None:
    return bool(table[image]["label"]) if image in table else None


# Of a picture: its truth (None: it does not count), and what a run says of it (None: nothing).
_Reader = Callable[[Mapping[str, Any], Sequence[str]], Any]


def _defective(row: Mapping[str, Any], _: Sequence[str]) -> int:
    return int(row["label"])


def _true_type(row: Mapping[str, Any], candidates: Sequence[str]) -> int | None:
    kinds = row.get("true_types") or []
    return candidates.index(kinds[0]) if len(kinds) == 1 and kinds[0] in candidates else None  # as MultiADS


def _score(row: Mapping[str, Any], _: Sequence[str]) -> float | None:
    return None if row.get("error") else row.get("pred_score")


def _nothing_drawn(row: Mapping[str, Any], _: Sequence[str]) -> float | None:
    drawn = row.get("drawn_px")
    return None if drawn is None else float(drawn == 0)


def _type_scores(row: Mapping[str, Any], candidates: Sequence[str]) -> list[float] | None:
    scores = row.get("types") or {}
    found = [float(score) for name in candidates if (score := scores.get(name)) is not None]
    return found if len(found) == len(candidates) else None


_READ: dict[Family, tuple[_Reader, _Reader]] = {
    "score": (_defective, _score),
    "verdict": (_defective, lambda row, _: row.get("verdict")),
    "overlap": (lambda row, _: 1 if row["label"] else None, lambda row, _: row.get("iou")),
    "rejection": (lambda row, _: None if row["label"] else 0, _nothing_drawn),
    "types": (_true_type, _type_scores),
}
