"""The run on one self-contained page: head, summary, the worst images as cards, all others as rows."""

import base64
import hashlib
import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from itertools import chain
from string import Template

from PIL import Image

from genau.report.card import badge, file_name, number, render_card
from genau.report.files import Place
from genau.report.overlay import colour_bar
from genau.report.pictures import data_uri, link, text
from genau.results import Inspection, Verdict

_BINS = 50  # of the histogram of scores
_NOTHING = '<p class="empty">No image was inspected.</p>'


@dataclass(frozen=True)
class _Row:
    """What the page keeps of every image, cards or not: numbers and names, no picture."""

    number: int  # position in the run, from 1
    image: str
    verdict: Verdict
    pred_score: float
    threshold: float
    n_defects: int
    top_type: str
    overlay: str | None
    error: str | None

    @property
    def badness(self) -> tuple[bool, float, int]:
        """Order of the page, the worst largest: unreadable, then by score, then the earlier one."""
        score = self.pred_score if math.isfinite(self.pred_score) else 1.0
        return self.verdict is Verdict.UNREADABLE, score, -self.number


class Page:
    """Collects a run image by image; of the pictures it keeps the thumbnails of the worst `max_cards` only."""

    def __init__(self, title: str, model: str, settings: Mapping[str, str], max_cards: int) -> None:
        self._title, self._model, self._settings, self._max_cards = title, model, dict(settings), max_cards
        self._started = datetime.now().astimezone()
        self._rows: list[_Row] = []
        self._cards: list[tuple[tuple[bool, float, int], _Row, str]] = []  # a heap, the least bad first

    def add(self, result: Inspection, overlay: Image.Image | None, place: Place | None) -> None:
        """Take in one result; `overlay` is `draw_overlay(result)`, or None where there is no picture."""
        top_type = result.defects[0].type if result.defects else ""
        row = _Row(
            len(self._rows) + 1,
            result.image,
            result.verdict,
            result.pred_score,
            result.threshold,
            len(result.defects),
            top_type,
            place.overlay if place else None,
            result.error,
        )
        self._rows.append(row)
        full = len(self._cards) >= self._max_cards
        if result.error is not None or self._max_cards < 1 or (full and row.badness < self._cards[0][0]):
            return
        card = (row.badness, row, render_card(result, overlay, place, row.number))
        if full:
            heapq.heapreplace(self._cards, card)
        else:
            heapq.heappush(self._cards, card)

    def render(self, stopped: str = "") -> str:
        """Return the HTML of what was added so far; `stopped` says why a run ended before its end."""
        folder = files("genau.report")
        page = (folder / "page.html").read_text(encoding="utf-8")
        script = page.split("<script>")[1].split("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        counts = {verdict: sum(row.verdict is verdict for row in self._rows) for verdict in Verdict}
        cards = sorted(self._cards, reverse=True)
        return Template(page).substitute(
            title=text(self._title),
            script_digest=digest,
            style=(folder / "page.css").read_text(encoding="utf-8"),
            meta=self._meta(),
            banner=_banner(stopped),
            total=len(self._rows),
            **{f"n_{verdict}": count for verdict, count in counts.items()},
            rate=_rate(counts),
            proportions=_proportions(counts),
            histogram=_histogram(self._rows),
            colour_bar=data_uri(colour_bar((16, 480))),
            settings=self._settings_list(),
            failed=_failed([row for row in self._rows if row.error is not None]),
            cards="".join(html for _, _, html in cards)
            or ("" if self._rows else '<p class="empty">No image was inspected.</p>'),
            rest=self._rest({row.number for _, row, _ in cards}),
        )

    def _meta(self) -> str:
        seconds = (datetime.now().astimezone() - self._started).total_seconds()
        date = f'<time datetime="{self._started.isoformat(timespec="seconds")}">{self._started:%d %B %Y, %H:%M}</time>'
        return f"Model <b>{text(self._model)}</b> · {date} · {_duration(seconds)}"

    def _settings_list(self) -> str:
        if not self._settings:
            return ""
        rows = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in self._settings.items())
        return f'<section class="panel settings"><h2>Settings</h2><dl>{rows}</dl></section>'

    def _rest(self, shown: set[int]) -> str:
        rest = [row for row in self._rows if row.error is None and row.number not in shown]
        if not rest:
            return ""
        rest.sort(key=lambda row: row.badness, reverse=True)
        body = "".join(_rest_row(row) for row in rest)
        return (
            f'<section class="rest" aria-labelledby="rest"><h2 id="rest">The other {len(rest)} images</h2>'
            f"<p>The {len(shown)} images with the highest scores are shown above with pictures. The other {len(rest)} "
            "are listed here; their overlays and masks lie in the folders beside this page.</p>"
            '<div class="scroll"><table><thead><tr><th scope="col">Image</th><th scope="col">Verdict</th>'
            '<th scope="col" class="n">Score</th><th scope="col" class="n">Threshold</th>'
            '<th scope="col" class="n">Defects</th><th scope="col">Top type</th></tr></thead>'
            f"<tbody>{body}</tbody></table></div></section>"
        )


def _rest_row(row: _Row) -> str:
    name = file_name(row.image)
    if row.overlay:
        name = f'<a href="{link(row.overlay)}">{name}</a>'
    return (
        f'<tr data-verdict="{row.verdict}" data-name="{text(row.image.lower())}"><th scope="row">{name}</th>'
        f'<td>{badge(row.verdict)}</td><td class="n">{number(row.pred_score)}</td>'
        f'<td class="n">{number(row.threshold)}</td><td class="n">{row.n_defects}</td>'
        f"<td>{text(row.top_type)}</td></tr>"
    )


def _failed(rows: list[_Row]) -> str:
    if not rows:
        return ""
    items = "".join(
        f'<li data-verdict="{Verdict.UNREADABLE}" data-name="{text(row.image.lower())}">'
        f"<h3>{file_name(row.image)}</h3><p>{text(row.error)}</p></li>"
        for row in rows
    )
    were = "1 image was" if len(rows) == 1 else f"{len(rows)} images were"
    return (
        f'<section class="failed" aria-labelledby="failed"><h2 id="failed"><span aria-hidden="true">?</span> {were} '
        f"not inspected</h2><p>They have no verdict and do not count as normal.</p><ul>{items}</ul></section>"
    )


def _banner(stopped: str) -> str:
    if not stopped:
        return ""
    return (
        f'<p class="note stopped" role="alert"><strong>The run stopped before its end.</strong> {text(stopped)} '
        "The images inspected until then are below.</p>"
    )


def _rate(counts: Mapping[Verdict, int]) -> str:
    judged = counts[Verdict.DEFECT] + counts[Verdict.NORMAL]
    if not judged:
        return "No image has a verdict."
    return f"{100 * counts[Verdict.DEFECT] / judged:.1f} % defects among the {judged:,} with a verdict"


def _proportions(counts: Mapping[Verdict, int]) -> str:
    total = sum(counts.values()) or 1
    order = (Verdict.DEFECT, Verdict.UNREADABLE, Verdict.NORMAL)
    return "".join(f'<i class="{v}" style="width:{100 * counts[v] / total:.3f}%"></i>' for v in order if counts[v])


def _histogram(rows: list[_Row]) -> str:
    """Return the distribution of scores by verdict, with the threshold where the run has one only."""
    scored = [row for row in rows if math.isfinite(row.pred_score)]
    if len(scored) < 2:
        return ""
    bins = {verdict: [0] * _BINS for verdict in Verdict}
    for row in scored:
        bins[row.verdict][min(_BINS - 1, int(row.pred_score * _BINS))] += 1
    highest = max(sum(counts) for counts in zip(*bins.values(), strict=True))
    bars = "".join(chain.from_iterable(_column(i, bins, highest) for i in range(_BINS)))
    thresholds = {row.threshold for row in scored}
    tick, note = "", "thresholds differ from image to image"
    if len(thresholds) == 1:
        (threshold,) = thresholds
        at = f"{100 * min(1, max(0, threshold)):.2f}%"
        tick, note = f'<line class="tick" x1="{at}" x2="{at}" y1="0" y2="100%"/>', f"threshold {number(threshold)}"
    return (
        f'<section class="panel"><h2>Scores <span>{note}</span></h2><svg class="histogram" role="img" '
        f'aria-label="Histogram of {len(scored)} image scores from 0 to 1, {note}">{bars}{tick}</svg>'
        '<div class="axis" aria-hidden="true"><span>0</span><span>0.5</span><span>1</span></div></section>'
    )


def _column(index: int, bins: Mapping[Verdict, list[int]], highest: int) -> list[str]:
    bars, below = [], 0.0
    for verdict in (Verdict.NORMAL, Verdict.DEFECT, Verdict.UNREADABLE):
        count = bins[verdict][index]
        height = max(2.0, 100 * count / highest) if count else 0.0  # one part in a thousand must not vanish
        below += height
        if count:
            bars.append(
                f'<rect class="{verdict}" x="{100 * index / _BINS:.2f}%" y="{100 - below:.2f}%" '
                f'width="{100 / _BINS - 0.3:.2f}%" height="{height:.2f}%"/>'
            )
    return bars


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
