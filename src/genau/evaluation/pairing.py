"""The scores that several runs gave to the same pictures, and measures resampled alike for all of them.

A paired bootstrap: each resample draws the same pictures for every run, so that what is hard about a picture cancels
in the difference. R resamples, N pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.errors import UsageError
from genau.evaluation.finished import read_images
from genau.metrics import auroc, average_precision, bootstrap, f1_max

RESAMPLES = 1000
METRICS: dict[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "image_auroc": auroc,
    "image_ap": average_precision,
    "image_f1_max": lambda scores, labels: f1_max(scores, labels)[0],
}
Unit = tuple[str, int, int, str]  # data set, reference pictures, seed, category
Scores = dict[Unit, dict[str, tuple[bool, float | None]]]  # picture -> label, score; None: not inspected


@dataclass(frozen=True, eq=False)
class Paired:
    """One category in all runs: the pictures that every run scored with every seed."""

    labels: NDArray[np.bool_]  # (N,)
    scores: list[list[NDArray[np.float64]]]  # by run, by seed: (N,)
    left_out: int  # pictures that some run could not inspect

    @property
    def has_both_classes(self) -> bool:
        """Whether image measures are defined."""
        return bool(self.labels.any()) and not bool(self.labels.all())


def read_scores(folder: Path) -> Scores | None:
    """Return the scores of images.jsonl, or None where the folder has none.

    Raises:
        DataError: a line is damaged.
    """
    if not (folder / "images.jsonl").is_file():
        return None
    scores: Scores = {}
    for row in read_images(folder):
        unit = (row["dataset"], row["references"], row["seed"], row["category"])
        score = None if row.get("error") else row.get("pred_score")
        scores.setdefault(unit, {})[row["image"]] = bool(row["label"]), score
    return scores


def pair(names: Sequence[str], runs: Sequence[Scores], units: Sequence[Unit]) -> Paired:
    """Return one category, `units` its seeds, in the order of the pictures' names.

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
    images = sorted(first)
    kept = [image for image in images if all(table[image][1] is not None for of_run in tables for table in of_run)]
    columns = [[np.array([table[image][1] for image in kept], np.float64) for table in of_run] for of_run in tables]
    return Paired(np.array([first[image][0] for image in kept], np.bool_), columns, len(images) - len(kept))


def resample(key: str, categories: Sequence[Paired]) -> list[tuple[float, NDArray[np.float64]]]:
    """Return for each run the mean of an image measure over categories and seeds, and its replicates (R,).

    Every category must have both classes.
    """
    metric = METRICS[key]
    values = [[fmean(metric(s, one.labels) for s in of_run) for of_run in one.scores] for one in categories]
    replicates = []  # by category: (runs, R)
    for number, one in enumerate(categories):
        indices = bootstrap.resample_indices(one.labels, RESAMPLES, seed=number)  # each category drawn by itself
        of_runs = [[bootstrap.replicates(metric, s, one.labels, indices) for s in of_run] for of_run in one.scores]
        replicates.append(np.mean(of_runs, axis=1))  # over seeds: they saw the same pictures
    means, again = np.mean(values, axis=0), np.mean(replicates, axis=0)
    return [(float(mean), row) for mean, row in zip(means, again, strict=True)]


def _label(table: dict[str, tuple[bool, float | None]], image: str) -> bool | None:
    return table[image][0] if image in table else None
