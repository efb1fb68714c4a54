"""Measures of pictures, and the same measures of many resamples of those pictures at once.

R resamples, N pictures, C types, K bins. Each resample has as many pictures of every truth as the data.
`weights` (R, N) say how often each counts a picture. A measure that is a mean over pictures is asked of every picture
once; one that depends on the order of scores is counted by bins: both are what `genau.metrics` gives for each resample
by itself, in a small part of the time.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from genau.metrics import auroc, average_precision, bootstrap, brier, f1_max, measured, reliability, types, verdict
from genau.metrics.counts import best_f1, binned_average_precision, operating_bins

RESAMPLES = 1000
Family = Literal["score", "verdict", "overlap", "rejection", "types"]  # measures over the same pictures
Answers = NDArray[Any]  # (N,) or (N, C), of one run
Truth = NDArray[np.int64]  # (N,) 1: defective, 0: good; or the index of a type
Weights = NDArray[np.int64]
Replicates = NDArray[np.float64]
Metric = Callable[[Answers, Truth], float]
Again = Callable[[Answers, Truth, Weights], Replicates]


@dataclass(frozen=True, eq=False)
class Paired:
    """One family of measures of one category, over the pictures that all runs and seeds answered."""

    truth: Truth  # (N,)
    answers: list[list[Answers]]  # by run, by seed: (N,) or (N, C)
    left_out: int  # pictures that not all runs answered


@dataclass(frozen=True, eq=False)
class Outcome:
    """A measure of one category in all runs, a mean over the seeds: they saw the same pictures."""

    values: NDArray[np.float64]  # (runs,)
    replicates: Replicates  # (runs, R): column r is of the same pictures in all runs


@dataclass(frozen=True)
class Resampled:
    """A measure: of some pictures, and (R,) of their resamples."""

    family: Family
    value: Metric
    again: Again


def draw(truth: Truth, name: str) -> Weights:
    """Return how often (R, N) each resample counts each picture; each `name` (of a category) draws by itself."""
    indices = bootstrap.resample_indices(truth, RESAMPLES, seed=crc32(name.encode(errors="surrogateescape")))
    places = indices + np.arange(len(indices))[:, None] * truth.size
    return np.bincount(places.ravel(), minlength=indices.size).reshape(indices.shape)


def _means(metric: Metric) -> Again:
    """Of a measure that is the mean of itself over those single pictures that define it; NaN where none does."""

    def again(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
        of_kind: dict[tuple[bytes, int], float] = {}  # words are few
        single = np.empty(truth.size)
        for k in range(truth.size):
            kind = answers[k].tobytes(), int(truth[k])
            if kind not in of_kind:
                value = measured(partial(metric, answers[k : k + 1], truth[k : k + 1])).value
                of_kind[kind] = np.nan if value is None else value
            single[k] = of_kind[kind]
        defined = np.isfinite(single)
        total = (weights[:, defined] @ np.ones(int(defined.sum()))).astype(np.float64)  # (R,)
        total[total == 0] = np.nan
        return (weights[:, defined] @ single[defined]) / total

    return again


def _binned(of_bins: Callable[[Weights, Weights], float]) -> Again:
    """Of a measure that depends on the order of scores only; every distinct score is a bin."""

    def again(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
        good, bad = _bins(answers, truth, weights)
        return np.array([of_bins(*rows) for rows in zip(good, bad, strict=True)], np.float64)

    return again


def _bins(answers: Answers, truth: Truth, weights: Weights) -> tuple[Weights, Weights]:
    """Return the good and the defective pictures (R, K) of each distinct score, lowest first."""
    order = np.argsort(answers, kind="stable")
    starts = np.flatnonzero(np.diff(answers[order], prepend=-np.inf))  # of the bins
    good, bad = (np.where(truth[order] == kind, weights[:, order], 0) for kind in (0, 1))
    return np.add.reduceat(good, starts, axis=1), np.add.reduceat(bad, starts, axis=1)


def _aurocs(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
    """As `binned_auroc`, for all resamples at once: types make it the commonest measure by far."""
    good, bad = _bins(answers, truth, weights)
    wins = (bad * (np.cumsum(good, axis=1) - good / 2)).sum(axis=1)
    return np.asarray(wins / good.sum(axis=1) / bad.sum(axis=1))


def _calibration_errors(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
    """As `expected_calibration_error`: a bin's pictures times the distance of its means is |sum of the distances|."""
    order = np.argsort(answers, kind="stable")
    sizes = [count for _, _, count in reliability.reliability_points(answers, truth)]
    starts = np.cumsum([0, *sizes[:-1]])  # the bins are runs of the sorted scores
    distances = np.add.reduceat(weights[:, order] * (answers - truth)[order], starts, axis=1)  # (R, bins)
    return np.asarray(np.abs(distances).sum(axis=1) / truth.size)


def _counted(metric: Metric) -> Again:
    """Of a measure that depends only on how often each answer was given: every set of counts is measured once."""

    def again(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
        kinds = np.unique(np.rec.fromarrays([answers, truth]))
        is_kind = np.stack([(answers == kind[0]) & (truth == kind[1]) for kind in kinds])  # (kinds, N)
        counts, which = np.unique(weights @ is_kind.T.astype(np.int64), axis=0, return_inverse=True)
        values = [measured(partial(metric, *_repeated(kinds, row))).value for row in counts]
        return np.array([np.nan if value is None else value for value in values])[which.ravel()]

    return again


def _repeated(kinds: NDArray[Any], counts: NDArray[np.int64]) -> tuple[Answers, Truth]:
    every = np.repeat(kinds, counts)
    return every["f0"], every["f1"]


def _balanced_accuracies(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
    halves = [_means(metric)(answers, truth, weights) for metric in (verdict.recall, verdict.specificity)]
    return np.asarray(np.mean(halves, axis=0))


def _each(metric: Metric) -> Again:
    """Of any measure, resample by resample."""

    def again(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
        rows = np.arange(truth.size)
        return np.array([metric(answers[(drawn := np.repeat(rows, row))], truth[drawn]) for row in weights], np.float64)

    return again


def _macro_recalls(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
    """The mean over types of the accuracy among their pictures, for the types of which `macro_recall` finds enough."""
    of_types = []
    for kind in np.unique(truth):
        own = truth == kind
        if measured(partial(types.macro_recall, answers[own], truth[own])).value is not None:
            of_types.append(_means(types.top1_accuracy)(answers[own], truth[own], weights[:, own]))
    return np.asarray(np.mean(of_types, axis=0))


def _macro_aurocs(answers: Answers, truth: Truth, weights: Weights) -> Replicates:
    """The mean over the types present of each type's AUROC against the rest, as `macro_auroc` has it."""
    of_types = [_aurocs(answers[:, kind], (truth == kind).astype(np.int64), weights) for kind in np.unique(truth)]
    return np.asarray(np.mean(of_types, axis=0))


def _mean(answers: Answers, _: Truth) -> float:
    return float(answers.mean())


def _unreadable(answers: Answers, _: Truth) -> float:
    return verdict.unreadable_share(answers)


MEASURES: dict[str, Resampled] = {
    "image_auroc": Resampled("score", auroc, _aurocs),
    "image_ap": Resampled("score", average_precision, _binned(binned_average_precision)),
    "image_f1_max": Resampled(
        "score", lambda s, y: f1_max(s, y)[0], _binned(lambda good, bad: best_f1(*operating_bins(good, bad)[:2])[0])
    ),
    "brier": Resampled("score", brier, _means(brier)),
    "ece": Resampled("score", reliability.expected_calibration_error, _calibration_errors),
    "verdict_balanced_accuracy": Resampled("verdict", verdict.verdict_balanced_accuracy, _balanced_accuracies),
    "verdict_precision": Resampled("verdict", verdict.precision, _means(verdict.precision)),
    "verdict_recall": Resampled("verdict", verdict.recall, _means(verdict.recall)),
    "verdict_specificity": Resampled("verdict", verdict.specificity, _means(verdict.specificity)),
    "verdict_f1": Resampled("verdict", verdict.f1, _counted(verdict.f1)),
    "unreadable": Resampled("verdict", _unreadable, _means(_unreadable)),
    "pixel_iou": Resampled("overlap", _mean, _means(_mean)),
    "rejection": Resampled("rejection", _mean, _means(_mean)),
    "type_accuracy": Resampled("types", types.top1_accuracy, _means(types.top1_accuracy)),
    "type_macro_recall": Resampled("types", types.macro_recall, _macro_recalls),
    "type_macro_f1": Resampled("types", types.macro_f1, _each(types.macro_f1)),
    "type_macro_auroc": Resampled("types", types.macro_auroc, _macro_aurocs),
}


def resample(families: Mapping[Family, Paired], keys: Collection[str], name: str) -> dict[str, Outcome]:
    """Return those of the measures `keys` that all runs and seeds define in a category of this name."""
    found = {}
    for family, paired in families.items():
        wanted = {key: one for key, one in MEASURES.items() if one.family == family and key in keys}
        truth = paired.truth
        if not wanted or not truth.size:
            continue
        weights = draw(truth, name)
        for key, one in wanted.items():
            exact = [[measured(partial(one.value, said, truth)).value for said in of_run] for of_run in paired.answers]
            if any(value is None for of_run in exact for value in of_run):
                continue
            again = [np.mean([one.again(said, truth, weights) for said in of_run], axis=0) for of_run in paired.answers]
            found[key] = Outcome(np.mean(np.array(exact, np.float64), axis=1), np.array(again))
    return found
