"""How a threshold is chosen from scores: by good ones alone, or by what it gets wrong on good and bad ones.

n scores of good pictures, m of bad ones, all in [0, 1]. A picture alarms if its score reaches the threshold.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from genau.calibration.bounds import good_needed, upper_bound
from genau.calibration.thresholds import NEVER
from genau.errors import UsageError, suggest

Scores = NDArray[np.float64]
SAME_SCORE = 1e-4  # the scores of one picture differ by up to so much between batches and machines
METHODS = {
    "false-alarms": "a rate of false alarms that is kept",
    "f1": "largest F1",
    "cost": "smallest cost of misses and false alarms",
    "recall": "fewest false alarms at a share of defects that is found",
    "balanced": "largest balanced accuracy",
}


@dataclass(frozen=True)
class Method:
    """What a threshold is to achieve."""

    name: str = "false-alarms"  # one of METHODS
    target_false_alarms: float = 0.01  # share of good parts, in (0, 1)
    confidence: float = 0.95  # of all bounds and intervals, in (0, 1)
    miss_cost: float = 10.0  # of a missed defect, where a false alarm costs 1
    recall: float = 0.99  # share of bad parts to be found, in (0, 1]
    folds: int = 10  # of the cross-validation

    def __post_init__(self) -> None:
        """Refuse what no threshold can be chosen by."""
        if self.name not in METHODS:
            raise UsageError(
                f"{self.name!r} is no method of calibration.{suggest(self.name, METHODS)} "
                f"There are {', '.join(METHODS)}."
            )
        good_needed(self.target_false_alarms, self.confidence)  # checks both
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall={self.recall} is not above 0 and at most 1. Use for example 0.99.")
        if not 0 < self.miss_cost < np.inf:
            raise UsageError(
                f"miss_cost={self.miss_cost} is not above 0. Say how many false alarms one missed defect costs."
            )
        if self.folds < 2:
            raise UsageError(f"folds={self.folds} must be at least 2. Use 10.")

    @property
    def needs_bad(self) -> bool:
        """Whether bad pictures are needed for it."""
        return self.name != "false-alarms"

    @property
    def words(self) -> str:
        """What it is called in a file and on a page."""
        match self.name:
            case "false-alarms":
                return f"false alarms at most {self.target_false_alarms:.4g} with confidence {self.confidence:g}"
            case "cost":
                return f"smallest cost, a miss costing {self.miss_cost:g} false alarms"
            case "recall":
                return f"fewest false alarms at recall {self.recall:g}"
        return METHODS[self.name]


def choose(good: Scores, bad: Scores, method: Method) -> float:
    """Return the threshold of a method, halfway between neighbouring scores; `bad` (m,) may be empty for false alarms.

    Among equally good thresholds that with the fewest misses is taken. Scores: (n,), (m,), finite, not empty.
    """
    if not method.needs_bad:
        return _above_good(np.sort(good), allowed_false_alarms(good.size, method) or 0)
    good, bad = np.sort(good), np.sort(bad)
    thresholds = _candidates(np.unique(np.concatenate([good, bad])))  # (K,), lowest first, so fewest misses first
    false_alarms = good.size - np.searchsorted(good, thresholds)
    misses = np.searchsorted(bad, thresholds)
    found = bad.size - misses
    if method.name == "f1":
        loss = -2 * found / (2 * found + false_alarms + misses)
    elif method.name == "cost":
        loss = method.miss_cost * misses + false_alarms
    elif method.name == "balanced":
        loss = misses / bad.size + false_alarms / good.size
    else:
        enough = np.ceil(method.recall * bad.size - 1e-9)
        loss = np.where(found >= enough, false_alarms, np.inf)
    return float(thresholds[int(np.argmin(loss))])


def allowed_false_alarms(n: int, method: Method) -> int | None:
    """Return how many of n good pictures may alarm under the target; None if even none is too many to be sure."""
    allowed = [k for k in range(int(n * method.target_false_alarms) + 1) if _kept(k, n, method)]
    return allowed[-1] if allowed else None


def _kept(k: int, n: int, method: Method) -> bool:
    return upper_bound(k, n, method.confidence) <= method.target_false_alarms


def outcomes(good: Scores, bad: Scores, threshold: float) -> tuple[int, int]:
    """Return the numbers of false alarms and of misses at a threshold."""
    return int((good >= threshold).sum()), int((bad < threshold).sum())


def cross_validated(good: Scores, bad: Scores, method: Method) -> tuple[int, int]:
    """Return false alarms and misses of pictures that had no part in choosing their threshold.

    Stratified K-fold: good and bad pictures are dealt in a fixed random order into `method.folds` parts (leave one out
    where there are fewer); each part is judged by the threshold of the others. Needs two pictures of each kind.
    """
    folds = min(method.folds, max(good.size, bad.size))
    dealt = [np.random.default_rng(seed).permutation(np.sort(s)) for seed, s in enumerate((good, bad))]
    parts = [np.arange(scores.size) % folds for scores in dealt]
    false_alarms = misses = 0
    for fold in range(folds):
        rest = [scores[part != fold] for scores, part in zip(dealt, parts, strict=True)]
        held = [scores[part == fold] for scores, part in zip(dealt, parts, strict=True)]
        wrong = outcomes(held[0], held[1], choose(rest[0], rest[1], method))
        false_alarms, misses = false_alarms + wrong[0], misses + wrong[1]
    return false_alarms, misses


def just_above(score: float) -> float:
    """Return a threshold that this score does not reach, not even on another machine."""
    return min(score + SAME_SCORE, NEVER)


def _above_good(ordered: Scores, allowed: int) -> float:
    """Return a threshold that at most `allowed` of the good scores (n,), smallest first, reach."""
    below = float(ordered[ordered.size - 1 - allowed])
    larger = ordered[ordered > below]
    return _between(below, float(larger[0])) if larger.size else just_above(below)


def _candidates(values: Scores) -> Scores:
    """Return a threshold below, between and above the distinct scores (K - 1,), smallest first."""
    inner = [_between(float(a), float(b)) for a, b in pairwise(values)]
    return np.array([max(0.0, float(values[0]) - SAME_SCORE), *inner, just_above(float(values[-1]))])


def _between(low: float, high: float) -> float:
    middle = (low + high) / 2
    return middle if middle > low else high  # neighbouring floats have nothing between
