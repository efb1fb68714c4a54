"""Curves: where a point comes to lie, which line is chance, and names that cannot break out."""

import re
from xml.etree import ElementTree

import pytest

from genau.evaluation.curves import KINDS, svg, title

LEFT, TOP, SIDE = 30.0, 6.0, 126.0


def line_of(drawn: str) -> list[tuple[float, float]]:
    """Return the curve's points in [0, 1], read back from the picture."""
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    pairs = [tuple(map(float, pair.split(","))) for pair in points.split()]
    return [(round((x - LEFT) / SIDE, 2), round(1 - (y - TOP) / SIDE, 2)) for x, y in pairs]


def chance_of(drawn: str) -> list[float]:
    """Return x1, y1, x2, y2 of the dashed line in [0, 1]."""
    (tag,) = re.findall(r'<line class="chance"[^>]*>', drawn)
    x1, y1, x2, y2 = (float(re.findall(rf'{name}="([\d.]+)"', tag)[0]) for name in ("x1", "y1", "x2", "y2"))
    return [round(v, 2) for v in ((x1 - LEFT) / SIDE, 1 - (y1 - TOP) / SIDE, (x2 - LEFT) / SIDE, 1 - (y2 - TOP) / SIDE)]


def test_a_curve_goes_up_and_right_from_its_first_point() -> None:
    assert line_of(svg([[0, 0], [0.25, 0.75], [1, 1]], "image_roc", "nut")) == [(0, 0), (0.25, 0.75), (1, 1)]


def test_the_overlap_curve_fills_the_width_up_to_its_limit() -> None:
    assert line_of(svg([[0, 0], [0.15, 0.6], [0.3, 0.9]], "pro", "nut")) == [(0, 0), (0.5, 0.6), (1, 0.9)]


def test_chance_is_the_diagonal_for_rates_and_reaches_the_limit_for_overlap() -> None:
    points = [[0.0, 0.0], [0.3, 1.0]]
    assert chance_of(svg(points, "pixel_roc", "nut")) == [0, 0, 1, 1]
    assert chance_of(svg(points, "pro", "nut")) == [0, 0, 1, 0.3]


def test_chance_for_precision_is_the_share_of_defects() -> None:
    points = [[0.2, 1.0], [0.5, 0.1], [1.0, 0.7], [1.0, 0.4]]
    assert chance_of(svg(points, "image_pr", "nut")) == [0, 0.4, 1, 0.4]


@pytest.mark.parametrize("kind", [*KINDS, "<new>"])
def test_every_kind_is_well_formed_and_says_what_it_is(kind: str) -> None:
    points: list[list[float | None]] = [[0, 0, 7], [0.5, None, 2], [float("nan"), 1, 1], [1, 1, 3]]
    drawn = svg(points, kind, '<script>"&')
    root = ElementTree.fromstring(drawn)
    assert '<script>"&' in (root.get("aria-label") or "")
    assert len(line_of(drawn)) == 2
    assert "nan" not in drawn.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_both_axes_have_names_and_numbers(kind: str) -> None:
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg([[0, 0], [1, 1]], kind, "nut"))
    assert {KINDS[kind].x, KINDS[kind].y, "0.5", "1"} - {"1", "0.5"} <= set(words)
    assert f"{KINDS[kind].right:g}" in words


def test_a_point_outside_is_drawn_on_the_edge() -> None:
    assert line_of(svg([[-1, 2], [5, -3]], "image_roc", "nut")) == [(0, 1), (1, 0)]


def test_no_points_are_no_curve_and_no_chance() -> None:
    drawn = svg([], "image_pr", "nut")
    assert "no curve" in drawn
    assert "polyline" not in drawn
    assert "chance" not in drawn


def test_reliability_shows_its_bins_as_dots_and_calls_the_diagonal_perfect() -> None:
    drawn = svg([[0.1, 0.2, 5], [0.9, 0.8, 9]], "reliability", "nut")
    assert drawn.count("<circle") == 2
    assert ">perfect<" in drawn


def test_an_unknown_kind_keeps_its_name() -> None:
    assert title("pro") == "Per-region overlap"
    assert title("novel") == "novel"
