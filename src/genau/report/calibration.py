"""The page of a calibration: scores of good and bad parts, how far to trust them, what other settings would do."""

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from genau.calibration import Method, Thresholds, WhatIf, calibrated_score, percent, summary, what_if
from genau.metrics.reliability import reliability_points
from genau.report.files import disk_errors, write_bytes
from genau.report.pictures import text
from genau.report.plots import distribution, reliability

_BINS = 10  # of the reliability plot


def write_page(
    path: Path,
    good: Sequence[float],
    bad: Sequence[float],
    thresholds: Thresholds,
    method: Method,
    title: str = "GenAU calibration",
) -> None:
    """Write the page of thresholds that `calibrate` made from these image scores, complete in itself.

    Scores that are not finite are counted in words and drawn nowhere.

    Raises:
        UsageError: the file cannot be written.
    """
    with disk_errors(path.parent):
        write_bytes(path, render(good, bad, thresholds, method, title).encode())


def render(good: Sequence[float], bad: Sequence[float], thresholds: Thresholds, method: Method, title: str) -> str:
    """Return the page as HTML; arguments as in `write_page`."""
    good, bad = ([score for score in scores if math.isfinite(score)] for scores in (good, bad))
    folder = files("genau.report")
    style = "".join((folder / name).read_text(encoding="utf-8") for name in ("page.css", "calibration.css"))
    rows = what_if(good, bad, thresholds, method)
    return Template((folder / "calibration.html").read_text(encoding="utf-8")).substitute(
        title=text(title),
        style=style,
        meta=f"{text(thresholds.date)} · <b>{len(good)}</b> good, <b>{len(bad)}</b> bad",
        words="".join(f"<p>{text(line)}</p>" for line in summary(thresholds)),
        distribution=distribution(good, bad, thresholds.image),
        reliability=_reliability(good, bad, thresholds.image),
        facts="".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in _facts(thresholds).items()),
        n=len(good) + len(bad),
        rows="".join(_row(row) for row in rows),
    )


def _facts(thresholds: Thresholds) -> dict[str, str]:
    facts = {"method": thresholds.method, "pictures": thresholds.data, "image": f"{thresholds.image:.4f}"}
    facts |= {"mask": f"{thresholds.pixel:.4f}", "types": f"{thresholds.type:.4f}"}
    return facts | {f"type {name}": f"{value:.4f}" for name, value in thresholds.types.items()}


def _reliability(good: Sequence[float], bad: Sequence[float], threshold: float) -> str:
    """Return the plot's panel; nothing without bad parts, where no share can be told."""
    if not bad:
        return ""
    scores = [calibrated_score(score, threshold) for score in (*good, *bad)]
    points = reliability_points(scores, [False] * len(good) + [True] * len(bad), _BINS)
    return (
        '<section class="panel reliability"><h2>Reliability <span>numbers: pictures in each bin</span></h2>'
        f"{reliability(points)}"
        '<p class="none">The share is that of these pictures. Where bad parts are rarer on the line than here '
        f"({percent(len(bad) / len(scores))}), it is lower at every score.</p></section>"
    )


def _row(row: WhatIf) -> str:
    chosen = ' class="chosen"' if row.chosen else ""
    return (
        f'<tr{chosen}><th scope="row">{text(row.setting)}</th><td class="n">{row.threshold:.4f}</td>'
        f'<td class="n">{row.false_alarms}</td><td class="n">{_rate(row.false_alarms, row.good)}</td>'
        f'<td class="n">{row.misses if row.bad else "–"}</td><td class="n">{_rate(row.misses, row.bad)}</td>'
        f"<td>{text(row.note)}</td></tr>\n"
    )


def _rate(count: int, total: int) -> str:
    return percent(count / total) if total else "–"
