"""The gallery of the page: the pictures that were judged most wrongly, with what was said of them."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from genau.evaluation.markup import number, text

_THUMB_PX = 800  # long side; an overlay is often two pictures side by side
_MOST = 24  # of each kind: all of them are in failures.json
_KINDS = {
    "false alarm": ("Worst false alarms", "Good pictures with the highest scores."),
    "miss": ("Worst misses", "Defective pictures with the lowest scores."),
}


def gallery(folder: Path, failures: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the worst false alarms and misses, the worst first, their overlays embedded as thumbnails."""
    parts = []
    for kind in dict.fromkeys([*_KINDS, *(str(row.get("kind")) for row in failures)]):
        rows = sorted((row for row in failures if row.get("kind") == kind), key=_badness, reverse=True)
        if not rows:
            continue
        title, says = _KINDS.get(kind, (kind.capitalize(), ""))
        shown = f" The worst {_MOST} of {len(rows)}." if len(rows) > _MOST else ""
        cards = "".join(_card(folder, row, runs) for row in rows[:_MOST])
        parts.append(f'<h3>{text(title)}</h3><p class="says">{says}{shown}</p><div class="gallery">{cards}</div>')
    return "".join(parts)


def _badness(row: Mapping[str, Any]) -> float:
    """Return how far the score lies on the wrong side of its threshold."""
    score, threshold = row.get("score"), row.get("threshold")
    if not isinstance(score, int | float):
        return 0.0
    above = score - (threshold if isinstance(threshold, int | float) else 0.0)
    return -above if row.get("kind") == "miss" else above


def _card(folder: Path, row: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    index = row.get("run")
    run = runs[index] if isinstance(index, int) and 0 <= index < len(runs) else None
    name = str(row.get("image"))
    where = [str(run["dataset"])] if run else []
    where += [str(row["category"])] if row.get("category") else []
    if run and len(runs) > 1 and run["protocol"].get("references"):
        where.append(f"{run['protocol']['references']} references")
    kind = str(row.get("kind"))
    facts = f"score {number(row.get('score'))} · threshold {number(row.get('threshold'))}"
    types = ", ".join(map(str, row.get("true_types") or []))
    truth = f"<p>True: {text(types)}</p>" if types else ""
    verdict = f"<p>Verdict: {text(row['verdict'])}</p>" if row.get("verdict") else ""
    said = f'<p class="said">{text(row["text"])}</p>' if row.get("text") else ""
    return (
        f"<figure>{_picture(folder, row.get('overlay'), f'{kind}: {name}')}<figcaption>"
        f'<h4 title="{text(name)}">{text(PurePosixPath(name).name)}</h4><p>{text(" · ".join(where))}</p>'
        f'<p class="n">{facts}</p>{verdict}{truth}{said}</figcaption></figure>'
    )


def _picture(folder: Path, overlay: object, alt: str) -> str:
    """Return the overlay as an image that the page carries, or a word that there is none."""
    if not overlay:
        return '<p class="nothing">no picture</p>'
    path = (folder / str(overlay)).resolve()
    if not path.is_relative_to(folder.resolve()):  # a page must not carry what lies outside its run
        return '<p class="nothing">the picture lies outside the run folder</p>'
    try:
        with Image.open(path) as opened:
            thumb = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return f'<p class="nothing">{text(overlay)} cannot be read</p>'
    thumb.thumbnail((_THUMB_PX, _THUMB_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    thumb.save(buffer, "JPEG", quality=82, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text(alt)}" width="{thumb.width}" height="{thumb.height}">'
