"""A curve as a small inline SVG: axes with names, the line of chance, the curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from genau.metrics.pixel import AUPRO_FPR_LIMIT

_WIDTH, _HEIGHT = 180.0, 164.0
_LEFT, _TOP, _SIDE = 30.0, 6.0, 126.0  # of the square that holds the curve


@dataclass(frozen=True)
class _Kind:
    title: str
    x: str
    y: str
    right: float = 1.0  # largest x
    line: str = "chance"  # what the dashed line shows
    dots: bool = False


KINDS = {
    "image_roc": _Kind("Image ROC", "false positive rate", "true positive rate"),
    "image_pr": _Kind("Image precision and recall", "recall", "precision"),
    "pixel_roc": _Kind("Pixel ROC", "false positive rate", "true positive rate"),
    "pixel_pr": _Kind("Pixel precision and recall", "recall", "precision"),
    "pro": _Kind("Per-region overlap", "false positive rate", "overlap", right=AUPRO_FPR_LIMIT),
    "reliability": _Kind("Reliability", "score", "share defective", line="perfect", dots=True),
}


def title(kind: str) -> str:
    """Return what curves of this kind are called; an unknown kind keeps its name."""
    return KINDS[kind].title if kind in KINDS else kind


def svg(points: Sequence[Sequence[float | None]], kind: str, label: str) -> str:
    """Return the curve through `points`, (x, y) in [0, 1] and what else there is, as an SVG; `label` is read aloud.

    Dashed is chance: the diagonal, or for precision its value where everything is called defective; for reliability
    it is the perfect line. Points that are not finite are left out.
    """
    form = KINDS.get(kind, _Kind(kind, "", "", line=""))
    finite = [(float(p[0]), float(p[1])) for p in points if all(v is not None and math.isfinite(v) for v in p[:2])]  # type: ignore[arg-type]
    name = escape(f"{form.title}, {label}", quote=True)
    body = [_axes(form)]
    if finite:
        if form.line:
            body.append(_reference(kind, form, finite))
        placed = [f"{_x(x, form):.1f},{_y(y):.1f}" for x, y in finite]
        body.append(f'<polyline class="line" points="{" ".join(placed)}"/>')
        if form.dots:
            body += [f'<circle class="dot" cx="{_x(x, form):.1f}" cy="{_y(y):.1f}" r="2.2"/>' for x, y in finite]
    else:
        body.append(f'<text class="mid" x="{_LEFT + _SIDE / 2}" y="{_TOP + _SIDE / 2}">no curve</text>')
    return (
        f'<svg class="curve" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{''.join(body)}</svg>"
    )


def _axes(form: _Kind) -> str:
    bottom, right = _TOP + _SIDE, _LEFT + _SIDE
    middle = _LEFT + _SIDE / 2
    ticks = "".join(
        f'<text class="mid" x="{_LEFT + _SIDE * part:g}" y="{bottom + 10:g}">{form.right * part:g}</text>'
        f'<text class="end" x="{_LEFT - 3:g}" y="{_y(part) + 3:g}">{part:g}</text>'
        for part in (0.0, 0.5, 1.0)
    )
    grid = f"M{middle:g} {_TOP:g}V{bottom:g}M{_LEFT:g} {_y(0.5):g}H{right:g}"
    names = (
        f'<text class="mid" x="{middle:g}" y="{bottom + 22:g}">{escape(form.x)}</text>'
        f'<text class="mid" x="8" y="{_y(0.5):g}" transform="rotate(-90 8 {_y(0.5):g})">{escape(form.y)}</text>'
    )
    return (
        f'<rect class="field" x="{_LEFT:g}" y="{_TOP:g}" width="{_SIDE:g}" height="{_SIDE:g}"/>'
        f'<path class="grid" d="{grid}"/>{ticks}{names}'
    )


def _reference(kind: str, form: _Kind, points: Sequence[tuple[float, float]]) -> str:
    ends = ((0.0, 0.0), (form.right, form.right))
    if kind.endswith("_pr"):
        full_recall = max(x for x, _ in points)
        share = min(y for x, y in points if x == full_recall)  # the laxest threshold: all that is called defective
        ends = ((0.0, share), (1.0, share))
    (x1, y1), (x2, y2) = ends
    place = f'x1="{_x(x1, form):.1f}" y1="{_y(y1):.1f}" x2="{_x(x2, form):.1f}" y2="{_y(y2):.1f}"'
    return f'<line class="chance" {place}><title>{form.line}</title></line>'


def _x(value: float, form: _Kind) -> float:
    return _LEFT + _SIDE * min(1.0, max(0.0, value / form.right))


def _y(value: float) -> float:
    return _TOP + _SIDE * (1 - min(1.0, max(0.0, value)))
