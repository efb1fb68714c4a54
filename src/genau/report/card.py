"""One inspected image as a card of the page: pictures, verdict, scores, defects, words. All foreign text is escaped."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath

from PIL import Image

from genau.report.files import Place
from genau.report.overlay import RGB, type_colours
from genau.report.pictures import render_pictures, text
from genau.report.table import total_ms
from genau.results import Defect, Inspection, Verdict

_DEFECT_ROWS = 8  # a noisy mask may have hundreds; the rest is in results.jsonl
_BADGES = {
    Verdict.DEFECT: ("▲", "Defect"),
    Verdict.NORMAL: ("✓", "Normal"),
    Verdict.UNREADABLE: ("?", "Unreadable"),
}


def render_card(result: Inspection, overlay: Image.Image | None, place: Place | None, number: int) -> str:
    """Return the `<article>` of an image that was inspected; `overlay` has the size of the original.

    `number` is the image's position in the run, from 1, and makes the element ids.
    """
    colours = type_colours(result)
    pictures = "" if overlay is None else render_pictures(result, overlay, place, number)
    facts = [
        _scores(result),
        contradiction_note(result),
        defect_table(result, colours, _DEFECT_ROWS),
        _types(result.types, colours),
        _timing(result),
    ]
    return (
        f'<article class="card" id="c{number}" data-verdict="{result.verdict}" data-order="{number}" '
        f'data-name="{text(result.image.lower())}" aria-labelledby="h{number}">'
        f'<header class="card-head">{badge(result.verdict)}<h3 id="h{number}">{file_name(result.image)}</h3>'
        f'<span class="size">{result.width} × {result.height} px</span></header>'
        f'<div class="body">{pictures}<div class="facts">{"".join(facts)}</div>{analysis_list(result)}</div>'
        "</article>\n"
    )


def badge(verdict: Verdict) -> str:
    """Return the verdict as a sign and a word, so that it does not hang on its colour."""
    sign, word = _BADGES[verdict]
    return f'<span class="badge {verdict}"><span aria-hidden="true">{sign}</span> {word}</span>'


def file_name(image: str) -> str:
    """Return the path with its folder set back."""
    path = PurePath(image)
    folder = "" if str(path.parent) in {"", "."} else f"{path.parent}/".replace("//", "/")
    return f'<span class="folder">{text(folder)}</span><wbr><span class="name">{text(path.name or image)}</span>'


def _scores(result: Inspection) -> str:
    score, threshold = number(result.pred_score), number(result.threshold)
    ruler = ""
    if math.isfinite(result.pred_score) and math.isfinite(result.threshold):
        fill, tick = 100 * result.pred_score, 100 * min(1, max(0, result.threshold))
        ruler = (
            f'<svg class="ruler {result.verdict}" role="img" aria-label="Score {score} on a scale from 0 to 1, '
            f'threshold {threshold}"><rect class="track" y="5" width="100%" height="8" rx="2"/>'
            f'<rect class="fill" y="5" width="{fill:.2f}%" height="8" rx="2"/>'
            f'<line class="tick" x1="{tick:.2f}%" x2="{tick:.2f}%" y1="0" y2="18"/></svg>'
        )
    return (
        f'<div class="score"><p class="value"><b>{score}</b> <span>score</span></p>{ruler}'
        f'<dl class="inline"><div><dt>threshold</dt><dd>{threshold}</dd></div>'
        f"<div><dt>calibrated</dt><dd>{number(result.calibrated_score)}</dd></div>"
        f"<div><dt>map</dt><dd>{number(result.map_score)}</dd></div>"
        f"<div><dt>text</dt><dd>{number(result.text_score)}{_text_verdict(result)}</dd></div></dl></div>"
    )


def _text_verdict(result: Inspection) -> str:
    return f" “{result.text_verdict}”" if result.text_verdict else ""


def contradiction_note(result: Inspection) -> str:
    """Return where words and decision disagree; empty where they do not."""
    if not result.contradiction:
        return ""
    return f'<p class="note"><strong>Words and decision disagree.</strong> {text(result.contradiction)}</p>'


def defect_table(result: Inspection, colours: Mapping[str, RGB], most: int) -> str:
    """Return each defect with what speaks for it: map score, place, area and box; at most `most` of them."""
    if not result.defects:
        return '<p class="none">No defect region.</p>'
    rows = "".join(_defect_row(defect, colours) for defect in result.defects[:most])
    more = len(result.defects) - most
    note = f'<p class="none">{more} more with smaller scores, see results.jsonl.</p>' if more > 0 else ""
    return (
        f'<div class="scroll"><table><caption>Defects ({len(result.defects)})</caption><thead><tr><th scope="col">Type'
        '</th><th scope="col" class="n">Map score</th><th scope="col">Location</th>'
        '<th scope="col" class="n">Area px</th><th scope="col" class="n">Area %</th>'
        '<th scope="col" class="n box">Box x, y – x, y</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _defect_row(defect: Defect, colours: Mapping[str, RGB]) -> str:
    left, top, right, bottom = defect.bbox_xyxy
    percent = 100 * defect.area_fraction
    share = f"{percent:.2f}" if percent >= 0.005 else "&lt; 0.01"
    return (
        f'<tr><th scope="row" class="typed">{_swatch(colours[defect.type])}{text(defect.type)}{_relation(defect)}</th>'
        f'<td class="n">{number(defect.score)}</td><td>{text(defect.location)}</td>'
        f'<td class="n">{defect.area_px:,}</td><td class="n">{share}</td>'
        f'<td class="n box">{left},\u00a0{top} –\u00a0{right},\u00a0{bottom}</td></tr>'
    )


def _relation(defect: Defect) -> str:
    return f"<br><small>{text(defect.relation_words)}</small>" if defect.relation_words else ""


def _types(types: Mapping[str, float], colours: Mapping[str, RGB]) -> str:
    if not types:
        return ""
    rows = "".join(
        f'<div><dt class="typed">{_swatch(colours[name])}{text(name)}</dt><dd><svg class="mini" aria-hidden="true">'
        f'<rect class="track" width="100%" height="6" rx="2"/><rect class="fill" width="{_percent(score)}" height="6" '
        f'rx="2"/></svg><span class="n">{number(score)}</span></dd></div>'
        for name, score in sorted(types.items(), key=lambda item: -item[1] if math.isfinite(item[1]) else 1)
    )
    return f'<section><h4>Types asked for</h4><dl class="types">{rows}</dl></section>'


def analysis_list(result: Inspection) -> str:
    """Return the lines of the analysis; empty where there are no words."""
    if result.analysis is None:
        return ""
    rows = "".join(
        f"<div><dt>{key.replace('_', ' ').capitalize()}</dt><dd>{text(value)}</dd></div>"
        for key, value in asdict(result.analysis).items()
    )
    return f'<section class="words"><h4>Analysis</h4><dl class="analysis">{rows}</dl></section>'


def _timing(result: Inspection) -> str:
    total = total_ms(dict(result.timing_ms))
    if total is None:
        return ""
    steps = [f"{text(name)} {ms:,.0f} ms" for name, ms in result.timing_ms.items() if name != "total"]
    return f'<p class="timing">{" · ".join([*steps, f"<b>total {total:,.0f} ms</b>"])}</p>'


def _swatch(colour: RGB) -> str:
    fill = f"rgb{colour}".replace(" ", "")
    return f'<svg class="swatch" aria-hidden="true"><rect width="100%" height="100%" fill="{fill}"/></svg>'


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if math.isfinite(value) else "0%"


def number(value: float) -> str:
    """Return a score with three decimals, a dash where it is undefined."""
    return f"{value:.3f}" if math.isfinite(value) else "–"
