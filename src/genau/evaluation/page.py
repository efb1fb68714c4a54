"""An evaluation on one self-contained page: protocol, tables, curves, the worst mistakes, time and settings."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from genau.evaluation import curves, page_tables
from genau.evaluation.finished import read_curves, read_failures, read_metrics
from genau.evaluation.legend import measures_of
from genau.evaluation.markup import definitions, text
from genau.evaluation.page_gallery import gallery

_TYPES = {
    None: "defect types were not asked",
    "none": "defect types were not asked",
    "filtered": "asked for the defect types of each product",
    "all": "asked for all defect types of the data set",
}


def render(folder: Path) -> str:
    """Return the HTML of a finished run folder: metrics.json, and curves.json and failures.json where they are.

    Raises:
        UsageError: the folder is no finished run. DataError: one of its files is damaged.
    """
    metrics = read_metrics(folder)
    runs = metrics["runs"]
    model = metrics.get("model") or {}
    name = str(model.get("name") or "a model")
    ours = files("genau.evaluation")
    page = (ours / "page.html").read_text(encoding="utf-8")
    script = page.split("<script>")[1].split("</script>")[0]
    datasets = ", ".join(dict.fromkeys(str(run["dataset"]) for run in runs))
    return Template(page).substitute(
        title=text(f"{name} on {datasets}" if runs else f"{name}: empty evaluation"),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(ours / "page.css").read_text(encoding="utf-8"),
        meta=_meta(metrics),
        protocol=_protocol(runs),
        banner=_banner(runs),
        sections="".join(
            [
                _section("summary", "Summary", page_tables.summary(runs) if runs else ""),
                _section("seeds", "Over seeds", page_tables.over_seeds(metrics.get("over_seeds") or [])),
                _section(
                    "published",
                    "Beside published numbers",
                    page_tables.published(metrics.get("published") or [], runs, name, model.get("trained_data") or []),
                    "Published numbers are quoted, not measured here; preparations and thresholds can differ.",
                ),
                _section("runs", "Category by category", _runs(runs, read_curves(folder))),
                _section("mistakes", "The worst mistakes", gallery(folder, read_failures(folder), runs)),
                _section("time", "Where the time went", page_tables.seconds(runs)),
                _section("settings", "Command and settings", _settings(metrics, model)),
                _section("measures", "What the measures say", _measures(runs)),
            ]
        ),
    )


def _section(anchor: str, title: str, body: str, says: str = "") -> str:
    if not body:
        return ""
    intro = f'<p class="says">{says}</p>' if says else ""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-h"><h2 id="{anchor}-h">{title}</h2>{intro}{body}</section>'
    )


def _meta(metrics: Mapping[str, Any]) -> str:
    created = str(metrics.get("created") or "")
    try:
        when = text(f"{datetime.fromisoformat(created):%d %B %Y, %H:%M}")
    except ValueError:
        when = text(created)
    parts = [f'<time datetime="{text(created)}">{when}</time>'] if created else []
    parts += [f"GenAU {text(metrics['genau_version'])}"] if metrics.get("genau_version") else []
    return " · ".join(parts)


def _protocol(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return what was done, in a sentence for each data set and protocol; the seeds are gathered."""
    if not runs:
        return '<p class="empty">No data set was evaluated.</p>'
    seeds: dict[str, list[str]] = {}
    for run in runs:
        seeds.setdefault(_sentence(run), []).append(str(run["protocol"].get("seed", 0)))
    items = [
        f"<li>{sentence} Seed{'s' if len(of) > 1 else ''} {text(', '.join(dict.fromkeys(of)))}.</li>"
        for sentence, of in seeds.items()
    ]
    return f'<ul class="protocol">{"".join(items)}</ul>'


def _sentence(run: Mapping[str, Any]) -> str:
    protocol = run["protocol"]
    names = [str(name) for name in protocol.get("categories") or run["per_category"]]
    if protocol.get("all_categories"):
        which = f"all {len(names)} categories" if len(names) > 1 else "its only category"
    elif len(names) > 6:
        which = f"{len(names)} of its categories"
    else:
        which = ", ".join(names) + " only"
    split = "without splits" if protocol.get("split") == "all" else f"split {text(protocol.get('split', 'test'))}"
    given = page_tables.references(protocol.get("references"))
    shown = f"with {given} of good parts" if protocol.get("references") else "zero-shot, without reference pictures"
    most = (
        f", at most {text(protocol['most'])} good and as many defective pictures of each"
        if protocol.get("most")
        else ""
    )
    asked = protocol.get("types")
    types = _TYPES[asked] if asked is None or asked in _TYPES else f"types: {asked}"
    return f"<b>{text(run['dataset'])}</b>: {text(which)}, {split}{most}; {shown}; {text(types)}."


def _banner(runs: Sequence[Mapping[str, Any]]) -> str:
    failed = sum(int(record.get("n_failed") or 0) for run in runs for record in run["per_category"].values())
    if not failed:
        return ""
    were = "1 picture was" if failed == 1 else f"{failed:,} pictures were"
    return f'<p class="note" role="alert"><strong>{were} not inspected.</strong> images.jsonl says which, and why.</p>'


def _runs(runs: Sequence[Mapping[str, Any]], drawn: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        _run(index, run, drawn[index] if index < len(drawn) else {}, is_open=index == 0)
        for index, run in enumerate(runs)
    )


def _run(index: int, run: Mapping[str, Any], drawn: Mapping[str, Any], *, is_open: bool) -> str:
    of_types = page_tables.types(run)
    by_weight = page_tables.by_text_weight(run)
    pictures = _curves(drawn)
    return (
        f'<details id="run-{index}"{" open" if is_open else ""}><summary>{_sentence(run)} '
        f"Seed {text(run['protocol'].get('seed', 0))}.</summary>{page_tables.categories(run)}"
        f"{f'<h3>Defect types</h3>{of_types}' if of_types else ''}"
        f"{f'<h3>Weight of the words in the score</h3>{by_weight}' if by_weight else ''}"
        f"{f'<h3>Curves</h3>{pictures}' if pictures else ''}"
        "</details>"
    )


def _curves(drawn: Mapping[str, Any]) -> str:
    """Return small multiples: a block for each kind of curve with a picture for each category; of one, one block."""
    kinds = dict.fromkeys([*curves.KINDS, *(kind for of in drawn.values() for kind in of)])
    blocks = []
    for kind in kinds:
        head = text(curves.title(kind))
        dashed = f"<span>dashed: {curves.KINDS[kind].line}</span>" if kind in curves.KINDS else ""
        pictures = "".join(
            f"<figure>{curves.svg(of[kind], kind, name)}"
            f"<figcaption>{text(name) if len(drawn) > 1 else f'{head} {dashed}'}</figcaption></figure>"
            for name, of in drawn.items()
            if of.get(kind)
        )
        if pictures and len(drawn) > 1:
            pictures = f'<h4>{head} {dashed}</h4><div class="curves">{pictures}</div>'
        blocks.append(pictures)
    body = "".join(blocks)
    if body and len(drawn) == 1:
        body = f'<div class="curves">{body}</div>'
    return f'<div class="panel">{body}</div>' if body else ""


def _settings(metrics: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    products = ", ".join(map(str, model.get("trained_products") or [])) or "none that is known"
    facts = {"Model": model.get("name") or "–", "Products in its training": products, **(model.get("settings") or {})}
    command = metrics.get("command")
    line = f"<pre>{text(command)}</pre>" if command else ""
    return f'<div class="panel settings">{line}{definitions(facts)}</div>'


def _measures(runs: Sequence[Mapping[str, Any]]) -> str:
    found = measures_of(run["mean"] for run in runs)
    said = {
        measure.name: f"{measure.says} {measure.better.capitalize()} is better." if measure.better else measure.says
        for measure in found
        if measure.says
    }
    if not said:
        return ""
    return (
        '<p class="says">Means are plain means over categories. Small numbers beside a value are its 95 % interval.</p>'
        f'<div class="panel settings">{definitions(said)}</div>'
    )
