"""The plots of a calibration as inline SVG: two kinds of scores against the threshold, and how reliable they are."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WIDTH, _MIDDLE, _TALLEST = 760.0, 110.0, 80.0  # of the distribution, in its own units
_LEFT, _RIGHT = 16.0, 744.0
_BINS = 60
_SIDE, _EDGE = 220.0, 40.0  # of the reliability plot's field


def distribution(good: Sequence[float], bad: Sequence[float], threshold: float) -> str:
    """Return the histogram of good scores above, of bad ones below an axis, with the threshold; scores are finite.

    The axis shows the part of [0, 1] where scores and threshold lie. Each kind is drawn to its own tallest column.
    """
    low, high = _range([*good, *bad, min(threshold, 1.0)])
    edges = np.linspace(low, high, _BINS + 1)

    def x(score: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (min(max(score, low), high) - low) / (high - low)

    bars = []
    for scores, kind, direction in ((good, "good", -1), (bad, "bad", 1)):
        counts = np.histogram(scores, edges)[0]
        bars += _columns(counts, kind, direction)
        tallest = f", at most {counts.max()} in a column" if counts.max() else ""
        bars.append(
            f'<text class="strong" x="{_LEFT:g}" y="{_MIDDLE + direction * (_TALLEST + 12) + 4:g}">'
            f"{len(scores)} {kind}{tallest}</text>"
        )
    at = x(threshold)
    side = "end" if at > (_LEFT + _RIGHT) / 2 else ""
    ticks = "".join(
        f'<text class="mid" x="{x(value):.1f}" y="{2 * _MIDDLE + 8:g}">{value:.3g}</text>'
        for value in np.linspace(low, high, 6)
    )
    label = (
        f"Scores from {low:.3g} to {high:.3g}: {len(good)} good parts, of which {_reaching(good, threshold)} reach the "
        f"threshold {threshold:.3f}; {len(bad)} bad parts, of which {_reaching(bad, threshold)} reach it"
    )
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH:g} {2 * _MIDDLE + 14:g}" role="img" aria-label="{label}">'
        f"{''.join(bars)}"
        f'<line class="axis-line" x1="{_LEFT:g}" x2="{_RIGHT:g}" y1="{_MIDDLE:g}" y2="{_MIDDLE:g}"/>'
        f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="6" y2="{2 * _MIDDLE - 6:g}"/>'
        f'<text class="strong {side}" x="{at + (-5 if side else 5):.1f}" y="14">threshold {threshold:.3f}</text>'
        f"{ticks}</svg>"
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the part of [0, 1] to show, on round numbers, never empty."""
    low, high = min(values), max(values)
    step = 10.0 ** math.floor(math.log10(max(high - low, 0.01)))
    low, high = math.floor(low / step - 0.05) * step, math.ceil(high / step + 0.05) * step
    return max(0.0, low), min(1.0, high)


def _columns(counts: NDArray[np.int64], kind: str, direction: int) -> list[str]:
    width = (_RIGHT - _LEFT) / _BINS
    found = []
    for index, count in enumerate(counts.tolist()):
        if count:
            height = max(2.0, _TALLEST * count / int(counts.max()))  # one part in a thousand must not vanish
            top = _MIDDLE - height if direction < 0 else _MIDDLE
            found.append(
                f'<rect class="{kind}" x="{_LEFT + index * width:.1f}" y="{top:.1f}" width="{width - 1:.1f}" '
                f'height="{height:.1f}"/>'
            )
    return found


def _reaching(scores: Sequence[float], threshold: float) -> int:
    return sum(score >= threshold for score in scores)


def reliability(points: Sequence[tuple[float, float, int]]) -> str:
    """Return mean calibrated score against share of bad pictures, with the number of pictures beside each point."""

    def place(score: float, share: float) -> tuple[float, float]:
        return _EDGE + _SIDE * score, 10 + _SIDE * (1 - share)

    placed = [place(score, share) for score, share, _ in points]
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in placed)
    counts = "".join(  # above the dot, towards the middle where there is room
        f'<text class="{"end" if x > _EDGE + _SIDE / 2 else ""}" x="{x + (-6 if x > _EDGE + _SIDE / 2 else 6):.1f}" '
        f'y="{y + (12 if y < 24 else -5):.1f}">{count}</text>'
        for (x, y), (_, _, count) in zip(placed, points, strict=True)
    )
    bottom, right = 10 + _SIDE, _EDGE + _SIDE
    ticks = "".join(
        f'<text class="mid" x="{_EDGE + _SIDE * part:g}" y="{bottom + 14:g}">{part:g}</text>'
        f'<text class="end" x="{_EDGE - 5:g}" y="{bottom - _SIDE * part + 4:g}">{part:g}</text>'
        for part in (0.0, 0.5, 1.0)
    )
    said = "; ".join(f"score {score:.2f}: {share:.0%} of {count} bad" for score, share, count in points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    return (
        f'<svg class="plot" viewBox="0 0 {right + 40:g} {bottom + 36:g}" role="img" aria-label="Reliability. {said}" '
        f'style="max-width:{right + 40:g}px"><rect class="field" x="{_EDGE:g}" y="10" width="{_SIDE:g}" '
        f'height="{_SIDE:g}"/><line class="even" x1="{_EDGE:g}" y1="{bottom:g}" x2="{right:g}" y2="10"/>'
        f'<polyline class="line" points="{line}"/>{dots}{counts}{ticks}'
        f'<text class="mid" x="{_EDGE + _SIDE / 2:g}" y="{bottom + 30:g}">calibrated score (threshold at 0.5)</text>'
        f'<text class="mid" x="10" y="{10 + _SIDE / 2:g}" transform="rotate(-90 10 {10 + _SIDE / 2:g})">'
        "share bad</text></svg>"
    )
