"""The page of a calibration: complete in itself, every number in words too, honest without bad parts."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from genau.calibration import Method, Thresholds, calibrate
from genau.errors import UsageError
from genau.report.calibration import render, write_page
from genau.report.plots import distribution, reliability

GOOD = [k / 100 for k in range(60)]
BAD = [0.5 + k / 100 for k in range(40)]


class Nested(HTMLParser):
    """Checks that tags are nested as they must be."""

    VOID = frozenset({"meta", "rect", "line", "circle", "polyline"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(good: list[float], bad: list[float], method: Method, title: str = "Caps") -> str:
    html = render(good, bad, calibrate(good, bad, method, data="60 <b>caps</b>", date="2026-11-23"), method, title)
    Nested(html)
    return html


def test_the_page_is_written_whole_and_fetches_and_runs_nothing(tmp_path: Path) -> None:
    method = Method("f1")
    write_page(tmp_path / "new" / "c.html", GOOD, BAD, calibrate(GOOD, BAD, method), method)
    html = (tmp_path / "new" / "c.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"<script|<img|<link|src=|url\(|https?:", html)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c.html"]


def test_foreign_text_is_shown_and_never_run() -> None:
    html = page(GOOD, BAD, Method("f1"), title="<script>alert(1)</script>")
    assert "<script>" not in html
    assert "60 &lt;b&gt;caps&lt;/b&gt;" in html


def test_the_table_has_a_row_for_each_setting_and_marks_the_chosen_one() -> None:
    html = page(GOOD, BAD, Method("f1"))
    rows = re.findall(r"<tr( class=\"chosen\")?><th scope=\"row\">(.*?)</th>(.*?)</tr>", html, re.DOTALL)
    assert [name for _, name, _ in rows[:11]] == [f"sensitivity {s}" for s in range(0, 101, 10)]
    assert [name for chosen, name, _ in rows if chosen] == ["sensitivity 50"]
    cells = {name: re.findall(r"<td[^>]*>(.*?)</td>", rest) for _, name, rest in rows}
    assert cells["sensitivity 0"] == ["1.0000", "0", "0 %", "40", "100 %", ""]
    assert cells["sensitivity 100"] == ["0.0000", "60", "100 %", "0", "0 %", ""]
    assert cells["false alarms at most 1 %"][-1] == "needs 299 good pictures"


def test_without_bad_parts_nothing_is_said_of_misses() -> None:
    html = page(GOOD, [], Method())
    assert "Reliability" not in html
    assert re.findall(r"<td[^>]*>(.*?)</td>", html.split("sensitivity 50")[1])[3:5] == ["–", "–"]
    assert "there were no bad pictures" in html


def test_the_plot_says_in_words_what_it_shows() -> None:
    svg = distribution([0.1, 0.2, 0.7], [0.6, 0.9], 0.5)
    assert (
        'aria-label="Scores from 0 to 1: 3 good parts, of which 1 reach the threshold 0.500; 2 bad parts, of which 2'
        in svg
    )
    assert svg.count('<rect class="good"') == 3
    assert svg.count('<rect class="bad"') == 2


def test_good_columns_stand_above_the_axis_and_bad_ones_hang_below() -> None:
    svg = distribution([0.1], [0.9], 0.5)
    middle = float(re.findall(r'axis-line" x1="\S+" x2="\S+" y1="(\S+)"', svg)[0])
    for kind, above in (("good", True), ("bad", False)):
        top, height = map(float, re.findall(rf'class="{kind}".*? y="(\S+)".*? height="(\S+)"', svg)[0])
        assert (top + height <= middle) is above
        assert (top >= middle) is not above
    good, bad = (float(re.findall(rf'class="{kind}" x="(\S+)"', svg)[0]) for kind in ("good", "bad"))
    at = float(re.findall(r'class="threshold" x1="(\S+)"', svg)[0])
    assert good < at < bad


def test_scores_that_lie_close_together_fill_the_plot() -> None:
    svg = distribution([0.501, 0.502], [0.509], 0.505)
    columns = [float(x) for x in re.findall(r'class="(?:good|bad)" x="(\S+)"', svg)]
    assert max(columns) - min(columns) > 300
    assert distribution([0.0, 0.0], [], 1.0)
    assert distribution([1.0], [1.0], math.nextafter(1, 2))


def test_every_point_of_the_reliability_plot_has_its_count_and_words() -> None:
    svg = reliability([(0.1, 0.0, 12), (0.9, 1.0, 5)])
    assert 'aria-label="Reliability. score 0.10: 0% of 12 bad; score 0.90: 100% of 5 bad"' in svg
    assert svg.count("<circle") == 2
    assert ">12</text>" in svg
    first, second = re.findall(r'cx="(\S+)" cy="(\S+)"', svg)
    assert float(first[0]) < float(second[0])
    assert float(first[1]) > float(second[1])  # a larger share is further up


def test_a_page_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Cannot write to the output folder"):
        write_page(tmp_path / "file" / "c.html", GOOD, BAD, Thresholds(), Method())
