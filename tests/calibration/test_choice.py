"""Thresholds keep what they promise: bounds are exact, choices optimal, unseen pictures judged by strangers."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from genau.calibration import (
    METHODS,
    NEVER,
    Method,
    choose,
    cross_validated,
    good_needed,
    outcomes,
    share_interval,
    upper_bound,
)
from genau.calibration.choice import SAME_SCORE, allowed_false_alarms
from genau.errors import UsageError

NONE: NDArray[np.float64] = np.array([])
GOOD = np.array([0.1, 0.2, 0.3, 0.6, 0.15, 0.25])
BAD = np.array([0.5, 0.7, 0.8, 0.9])


@pytest.mark.parametrize(
    ("rate", "confidence", "n"),
    [(0.01, 0.95, 299), (0.05, 0.95, 59), (0.1, 0.95, 29), (0.001, 0.95, 2995), (0.5, 0.75, 2), (0.01, 0.99, 459)],
)
def test_the_number_of_good_pictures_is_the_smallest_that_keeps_the_rate(
    rate: float, confidence: float, n: int
) -> None:
    assert good_needed(rate, confidence) == n
    assert (1 - rate) ** n <= 1 - confidence + 1e-12 < (1 - rate) ** (n - 1)


@pytest.mark.parametrize("n", [5, 60, 299])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
def test_a_bound_is_the_rate_at_which_so_few_alarms_become_unlikely(n: int, share: float) -> None:
    k = int(share * n)
    assert binom.cdf(k, n, upper_bound(k, n, 0.95)) == pytest.approx(0.05)
    low, high = share_interval(k, n, 0.95)
    assert binom.cdf(k, n, high) == pytest.approx(0.025)
    assert low == 0 if k == 0 else binom.sf(k - 1, n, low) == pytest.approx(0.025)


def test_all_or_nothing_is_bounded_by_everything() -> None:
    assert upper_bound(3, 3, 0.95) == 1
    assert share_interval(0, 0, 0.95) == (0, 1)
    assert share_interval(3, 3, 0.95) == pytest.approx((0.025 ** (1 / 3), 1))


@pytest.mark.parametrize("n", [20, 59, 100, 400])
def test_the_promised_rate_is_kept_as_often_as_the_confidence_says(n: int) -> None:
    # The score of a good part is its own quantile here, so the true rate above a threshold t is 1 - t.
    rng = np.random.default_rng(n)
    method = Method(target_false_alarms=0.1, confidence=0.9)
    bound = upper_bound(allowed_false_alarms(n, method) or 0, n, 0.9)
    kept = [1 - choose(rng.random(n), NONE, method) <= bound for _ in range(600)]
    assert np.mean(kept) >= 0.9 - 0.025
    assert bound <= 0.1 if n >= good_needed(0.1, 0.9) else bound > 0.1


def test_more_pictures_allow_some_of_them_to_alarm() -> None:
    method = Method(target_false_alarms=0.05)
    allowed = [allowed_false_alarms(n, method) for n in (58, 59, 92, 93, 124)]
    assert allowed == [None, 0, 0, 1, 2]
    scores = np.linspace(0, 0.93, 94)
    threshold = choose(scores, NONE, method)
    assert outcomes(scores, NONE, threshold) == (1, 0)
    assert threshold == pytest.approx((scores[-1] + scores[-2]) / 2)


def test_with_few_pictures_the_threshold_lies_just_above_the_largest_score() -> None:
    assert choose(GOOD, NONE, Method()) == 0.6 + SAME_SCORE
    assert choose(np.array([0.2, 1.0]), NONE, Method()) == NEVER


def test_equal_scores_never_make_more_alarms_than_allowed() -> None:
    scores = np.array([0.1] * 60 + [0.4] * 40)
    method = Method(target_false_alarms=0.05)
    assert allowed_false_alarms(100, method) == 1
    assert outcomes(scores, NONE, choose(scores, NONE, method)) == (0, 0)


@pytest.mark.parametrize(
    ("method", "threshold"),
    [
        (Method("f1"), 0.4),  # finds 4 of 4 with one false alarm: F1 8/9; above 0.6 finds 3 of 4: F1 6/7
        (Method("balanced"), 0.4),
        (Method("cost", miss_cost=10), 0.4),
        (Method("cost", miss_cost=0.5), 0.65),
        (Method("recall", recall=0.75), 0.65),
        (Method("recall", recall=0.76), 0.4),
    ],
)
def test_a_threshold_lies_halfway_between_the_scores_that_it_parts(method: Method, threshold: float) -> None:
    assert choose(GOOD, BAD, method) == pytest.approx(threshold)


def loss(name: str, good: NDArray[np.float64], bad: NDArray[np.float64], threshold: float) -> float:
    """The same by hand, one threshold at a time."""
    alarms, misses = (good >= threshold).sum(), (bad < threshold).sum()
    found = bad.size - misses
    if name == "recall":
        return float(alarms) if found >= 0.9 * bad.size else np.inf
    losses = {
        "f1": -2 * found / (2 * found + alarms + misses),
        "cost": 3 * misses + alarms,
        "balanced": misses / bad.size + alarms / good.size,
    }
    return float(losses[name])


@pytest.mark.parametrize("name", [name for name in METHODS if name != "false-alarms"])
def test_no_other_threshold_is_better(name: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        good, bad = rng.beta(2, 4, 17).round(2), rng.beta(4, 2, 11).round(2)
        best = loss(name, good, bad, choose(good, bad, Method(name, miss_cost=3, recall=0.9)))
        assert best == pytest.approx(min(loss(name, good, bad, t) for t in np.linspace(0, 1.01, 2021)))


def test_neighbouring_numbers_are_parted_all_the_same() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    assert outcomes(
        np.array([low, low]), np.array([high]), choose(np.array([low, low]), np.array([high]), Method("f1"))
    ) == (
        0,
        0,
    )


def test_held_out_pictures_have_no_part_in_their_threshold() -> None:
    # One bad picture lies among the good ones: whoever learns from it finds it, a stranger does not.
    good = np.array([0.1, 0.2, 0.3, 0.4])
    bad = np.array([0.25, 0.8, 0.85, 0.9])
    method = Method("recall", recall=1.0)
    assert outcomes(good, bad, choose(good, bad, method)) == (2, 0)
    assert cross_validated(good, bad, method)[1] == 1


def test_cross_validation_does_not_depend_on_the_order_of_the_pictures() -> None:
    rng = np.random.default_rng(3)
    good, bad = rng.random(23), 0.2 + 0.8 * rng.random(14)
    first = cross_validated(good, bad, Method("f1"))
    assert first == cross_validated(good[::-1], rng.permutation(bad), Method("f1"))


def test_cross_validation_sees_every_picture_once() -> None:
    good, bad = np.full(7, 0.9), np.full(3, 0.1)  # upside down: all are judged wrong, by any threshold between
    assert cross_validated(good, bad, Method("cost", miss_cost=1e9)) == (7, 0)
    assert cross_validated(good, bad, Method("cost", miss_cost=1e-9)) == (0, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "recal"}, "'recal' is no method of calibration. Did you mean 'recall'? There are false-alarms, f1"),
        ({"target_false_alarms": 0.0}, "rate=0.0 is not between 0 and 1. Use for example 0.01"),
        ({"target_false_alarms": 1.0}, "rate=1.0 is not between 0 and 1"),
        ({"confidence": 1.0}, "confidence=1.0 is not between 0 and 1"),
        ({"recall": 0.0}, "recall=0.0 is not above 0 and at most 1. Use for example 0.99"),
        ({"miss_cost": -1.0}, "miss_cost=-1.0 is not above 0. Say how many false alarms one missed defect costs"),
        ({"folds": 1}, "folds=1 must be at least 2"),
    ],
)
def test_a_method_that_cannot_be_meant_is_refused_in_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Method(**options)  # type: ignore[arg-type]
    assert words in str(caught.value)
