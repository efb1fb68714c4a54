"""The whole decision: scores of good and bad pictures in, thresholds and what to expect of them out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from genau.calibration.bounds import good_needed, share_interval, upper_bound
from genau.calibration.choice import Method, Scores, allowed_false_alarms, choose, cross_validated, outcomes
from genau.calibration.masks import PixelThreshold
from genau.calibration.thresholds import Thresholds
from genau.errors import UsageError

FEWEST = 2  # pictures of a kind; of one alone nothing can be held out


def calibrate(
    good: Sequence[float],
    bad: Sequence[float] = (),
    method: Method = Method(),  # noqa: B008 (frozen)
    *,
    types: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {},
    pixel: PixelThreshold | None = None,
    start: Thresholds = Thresholds(),  # noqa: B008 (frozen)
    data: str = "",
    date: str = "",
) -> Thresholds:
    """Return thresholds chosen from image scores, with method, data, date and what to expect of them.

    `good`, `bad`: image scores; those that are not finite are counted and not used. `types` has for each type its
    scores on pictures (with it, without it); a type with fewer than two of either keeps the common threshold.
    `pixel` replaces the mask threshold. What is not calibrated stays as in `start`. Pure: `data` and `date` are the
    caller's. `expected` holds, for pictures like these:

    false_alarm_rate, recall   shares. For "false-alarms" as counted; for all others by cross-validation, because a
                               threshold chosen on the very pictures looks better than it is
    false_alarm_rate_upper     one-sided bound at `confidence`; recall_low, recall_high: two-sided interval
    seen_false_alarm_rate, seen_recall   at the threshold itself on these same pictures
    good, bad, unused          numbers of pictures; false_alarm_target, good_needed: what was asked for

    Raises:
        UsageError: too few pictures, scores outside [0, 1], or scores that cannot be told apart.
    """
    good_scores, bad_scores = _usable(good, "good"), _usable(bad, "bad")
    _refuse_too_few(good_scores, bad_scores, method)
    image = choose(good_scores, bad_scores, method)
    own = {name: _type_threshold(*scores, method) for name, scores in types.items()}
    words = [method.words]
    if method.needs_bad:
        words.append(f"rates by {min(method.folds, max(good_scores.size, bad_scores.size))}-fold cross-validation")
    elif allowed_false_alarms(good_scores.size, method) is None:
        words.append(f"too few for that: just above the largest of {good_scores.size} good scores")
    if pixel is not None:
        words.append(f"masks: {pixel.method}")
    expected = _expected(good_scores, bad_scores, method, image)
    expected["unused"] = len(good) + len(bad) - good_scores.size - bad_scores.size
    return replace(
        start,
        image=image,
        pixel=start.pixel if pixel is None else pixel.value,
        method="; ".join(words),
        data=data,
        types={**start.types, **{name: value for name, value in own.items() if value is not None}},
        date=date,
        expected=expected,
    )


def _usable(scores: Sequence[float], kind: str) -> Scores:
    """Return the finite scores."""
    values = np.asarray(scores, np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if values.size and not 0 <= values.min() <= values.max() <= 1:
        raise UsageError(
            f"The {kind} scores run from {values.min():g} to {values.max():g}; scores lie in [0, 1]. Give `pred_score` "
            "of inspections, which does."
        )
    return values


def _refuse_too_few(good: Scores, bad: Scores, method: Method) -> None:
    needed = good_needed(method.target_false_alarms, method.confidence)
    if good.size < FEWEST:
        raise UsageError(
            f"{_pictures(good.size, 'good')} with a score; a threshold needs at least {FEWEST}, and to keep "
            f"false alarms at {method.target_false_alarms:.2%} it needs {needed}. Add good pictures."
        )
    if method.needs_bad and bad.size < FEWEST:
        raise UsageError(
            f"{_pictures(bad.size, 'bad')} with a score; the method {method.name!r} needs at least {FEWEST}. Add bad "
            "pictures (--bad), or set the threshold from good ones alone: --method false-alarms."
        )
    together = np.concatenate([good, bad])
    if np.ptp(together) == 0:
        raise UsageError(
            f"All {together.size} scores are {together[0]:g}, so no threshold follows from them. Check that the "
            "pictures are not copies of one, and that the model fits them (genau inspect shows map and score of each)."
        )


def _pictures(n: int, kind: str) -> str:
    return f"There {'is' if n == 1 else 'are'} {n or 'no'} {kind} picture{'' if n == 1 else 's'}"


def _expected(good: Scores, bad: Scores, method: Method, threshold: float) -> dict[str, float | None]:
    n, m, confidence = good.size, bad.size, method.confidence
    seen_alarms, seen_misses = outcomes(good, bad, threshold)
    if method.needs_bad:
        alarms, misses = cross_validated(good, bad, method)
        bound = upper_bound(alarms, n, confidence)
    else:  # the bound is that of the order statistic, which was fixed before the scores were seen
        alarms, misses = seen_alarms, seen_misses
        bound = upper_bound(allowed_false_alarms(n, method) or 0, n, confidence)
    low, high = share_interval(m - misses, m, confidence)
    return {
        "false_alarm_rate": alarms / n,
        "false_alarm_rate_upper": bound,
        "recall": (m - misses) / m if m else None,
        "recall_low": low if m else None,
        "recall_high": high if m else None,
        "confidence": confidence,
        "seen_false_alarm_rate": seen_alarms / n,
        "seen_recall": (m - seen_misses) / m if m else None,
        "good": n,
        "bad": m,
        "false_alarm_target": None if method.needs_bad else method.target_false_alarms,
        "good_needed": None if method.needs_bad else good_needed(method.target_false_alarms, confidence),
    }


def _type_threshold(present: Sequence[float], absent: Sequence[float], method: Method) -> float | None:
    """Return the threshold of one type, None where there is too little to choose it from.

    A type is named only on a part that alarms already, so "false-alarms" becomes "balanced" here.
    """
    with_it, without = _usable(present, "type's"), _usable(absent, "type's")
    if min(with_it.size, without.size) < FEWEST or np.ptp(np.concatenate([with_it, without])) == 0:
        return None
    return choose(without, with_it, method if method.needs_bad else replace(method, name="balanced"))
