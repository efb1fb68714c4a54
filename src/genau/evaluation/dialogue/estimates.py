"""Means with their spread over resampled pictures, and means of those.

N pictures, R resamples. Questions about one picture are answered from the same look at it, so pictures are resampled
whole, and good and defective ones apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genau.metrics import Figure, UndefinedMetricError, interval, resample_indices

RESAMPLES, SEED = 1000, 0


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value with its replicates, or why there is none."""

    value: float | None
    spread: NDArray[np.float64]  # (R,); empty where there is no value
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str) -> "Estimate":
        """Return what stands for a value that is not there."""
        return cls(None, np.empty(0), reason)

    def figure(self) -> Figure:
        """Return value and 95 % interval, within [0, 1]; the value alone where too many resamples are undefined."""
        if self.value is None:
            return Figure(None, reason=self.reason)
        try:
            return Figure(self.value, *interval(self.spread, self.value, clip=(0.0, 1.0)))
        except UndefinedMetricError:
            return Figure(self.value)


def mean_of(estimates: Sequence[Estimate], what: str) -> Estimate:
    """Return the plain mean of those that are defined."""
    defined = [one for one in estimates if one.value is not None]
    if not defined:
        return Estimate.undefined(f"No {what} has a value. See their reasons.")
    values = [one.value for one in defined if one.value is not None]
    return Estimate(float(np.mean(values)), np.mean([one.spread for one in defined], axis=0))


class Pictures:
    """The pictures of one group, resampled once for all measures, so that their replicates belong together."""

    def __init__(self, names: Sequence[str], good: Sequence[bool], resamples: int = RESAMPLES) -> None:
        """Take the picture of each question and whether it is of a good part; both (number of questions,)."""
        self._place = {name: place for place, name in enumerate(dict.fromkeys(names))}
        labels = np.zeros(len(self._place), np.int64)
        for name, is_good in zip(names, good, strict=True):
            labels[self._place[name]] = int(not is_good)
        self._indices = resample_indices(labels, resamples, SEED)  # (R, N)

    def sums(self, names: Sequence[str], values: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Return the sum of the questions' values, and (R,) that of every resample."""
        per_picture = np.zeros(len(self._place))
        np.add.at(per_picture, [self._place[name] for name in names], np.asarray(values, np.float64))
        return float(per_picture.sum()), per_picture[self._indices].sum(axis=1)

    def ratio(self, names: Sequence[str], above: ArrayLike, below: ArrayLike, reason: str) -> Estimate:
        """Return the sum of `above` by the sum of `below`, undefined for `reason` where that is 0."""
        (top, tops), (bottom, bottoms) = self.sums(names, above), self.sums(names, below)
        if bottom == 0:
            return Estimate.undefined(reason)
        with np.errstate(invalid="ignore", divide="ignore"):
            return Estimate(top / bottom, np.where(bottoms > 0, tops / bottoms, np.nan))

    def mean(self, names: Sequence[str], values: ArrayLike, reason: str) -> Estimate:
        """Return the mean over the questions."""
        return self.ratio(names, values, np.ones(len(names)), reason)
