"""What thresholds mean on the line, in words and as a table of what other settings would do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genau.calibration.bounds import good_needed
from genau.calibration.choice import Method, allowed_false_alarms, choose, outcomes
from genau.calibration.thresholds import AS_CALIBRATED, Thresholds, with_sensitivity

SENSITIVITIES = tuple(range(0, 101, 10))
TARGETS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)  # shares of false alarms


@dataclass(frozen=True)
class WhatIf:
    """What one setting would have done on the pictures of the calibration."""

    setting: str
    threshold: float
    false_alarms: int
    good: int  # number of good pictures
    misses: int
    bad: int
    note: str = ""
    chosen: bool = False  # it is the setting that was calibrated


def percent(share: float) -> str:
    """Return a share as people write it: two digits that count, never a 0 or 100 that is not one."""
    value = 100 * share
    if 99 < value < 100:
        return f"{min(value, 99.9):.1f} %"
    digits = 1 if value >= 1 or value == 0 else 2
    return f"{value:.{digits}f}".removesuffix(".0").removesuffix(".00") + " %"


def summary(thresholds: Thresholds) -> list[str]:
    """Return sentences about what was calibrated; one that says so if nothing was."""
    e = {name: value for name, value in thresholds.expected.items() if value is not None}
    if "false_alarm_rate_upper" not in e:
        return [f"Threshold {thresholds.image:.3f}: {thresholds.method}."]
    sure = percent(e["confidence"])
    basis = f"{e['good']:.0f} good pictures"
    if e.get("good_needed", 0) > e["good"]:
        basis += f"; for {percent(e['false_alarm_target'])} you need {e['good_needed']:.0f}"
    lines = [
        f"Threshold {thresholds.image:.3f}: at most {percent(e['false_alarm_rate_upper'])} false alarms with {sure} "
        f"confidence ({basis})."
    ]
    checked = "good_needed" not in e
    rates = f"{percent(e['false_alarm_rate'])} of the good pictures alarm"
    if "recall" in e:
        rates += (
            f", {percent(e['recall'])} of the {e['bad']:.0f} bad ones are found "
            f"({sure} interval: {percent(e['recall_low'])} to {percent(e['recall_high'])})"
        )
    how = "Judged by thresholds that they had no part in" if checked else "On these pictures"
    lines.append(f"{how}, {rates}.")
    if checked and "recall" in e:
        lines.append(
            f"On the very pictures that it was chosen on it looks like {percent(e['seen_false_alarm_rate'])} false "
            f"alarms and {percent(e['seen_recall'])} found: do not count on that."
        )
    if "recall" not in e:
        lines.append("How many defects it finds is not known: there were no bad pictures.")
    if e.get("unused"):
        lines.append(f"Not used, because they have no score: {e['unused']:.0f} pictures.")
    return lines


def what_if(good: Sequence[float], bad: Sequence[float], thresholds: Thresholds, method: Method) -> list[WhatIf]:
    """Return what sensitivities 0 to 100 and a few targets of false alarms would have done on these pictures.

    `good`, `bad`: image scores; those that are not finite are left out. Counted on the very pictures, so for a choice
    between settings, not as a promise.
    """
    kinds = [np.asarray(scores, np.float64).reshape(-1) for scores in (good, bad)]
    n, m = (values[np.isfinite(values)] for values in kinds)

    def row(setting: str, threshold: float, note: str = "", *, chosen: bool = False) -> WhatIf:
        false_alarms, misses = outcomes(n, m, threshold)
        return WhatIf(setting, threshold, false_alarms, n.size, misses, m.size, note, chosen)

    rows = []
    for sensitivity in SENSITIVITIES:
        chosen = sensitivity == AS_CALIBRATED
        moved = with_sensitivity(thresholds, sensitivity).image
        rows.append(row(f"sensitivity {sensitivity}", moved, "as calibrated" if chosen else "", chosen=chosen))
    for target in TARGETS:
        aim = replace(method, name="false-alarms", target_false_alarms=target)
        short = n.size and allowed_false_alarms(n.size, aim) is None
        note = f"needs {good_needed(target, method.confidence)} good pictures" if short else ""
        if n.size:
            rows.append(row(f"false alarms at most {percent(target)}", choose(n, m, aim), note))
    return rows
