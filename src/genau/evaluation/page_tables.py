"""The sections of the page that are tables: summary, categories, types, seeds, published numbers, time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from string import ascii_lowercase
from typing import Any

from genau.evaluation.legend import COUNT, Measure, measures_of
from genau.evaluation.literature import trained_on_words
from genau.evaluation.markup import Line, Notes, measure_table, measure_tables, table, text
from genau.evaluation.published import ALL_CATEGORIES, BESIDE_ALL, MEAN, MEAN_ALL

_TRAINED = "†"
_LEFT_OUT = "‡"
_FACTS = (  # of a published method, beside its figures
    Measure("trained_on", "Trained on", "", "", "The data set on whose annotated test split the method was trained."),
    Measure("image_size", "Input", "", "", "Side in pixels of the square that the method looks at."),
)


def summary(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean over categories of every run, with intervals."""
    lines = []
    for index, run in enumerate(runs):
        trained, left_out = _marks(run)
        marks = (_TRAINED if trained else "") + (_LEFT_OUT if left_out else "")
        heading = f'<a href="#run-{index}">{text(run["dataset"])}</a>{_sup(marks)}<small>{_setting(run)}</small>'
        lines.append(_line(heading, run["mean"], detail=_scope(run)))
    notes = Notes()
    body = measure_tables(lines, [], notes, "Data set")
    explained = dict.fromkeys(_mark_note(f"{text(run['dataset'])}: ", *_marks(run)) for run in runs)
    return f"{body}{''.join(explained)}{notes.render()}"


def categories(run: Mapping[str, Any]) -> str:
    """Return a table for each group of measures: a row per category, the mean at the foot."""
    trained, left_out = _marks(run)
    lines = []
    for name, record in run["per_category"].items():
        mark = _TRAINED if name in trained else _LEFT_OUT if name in left_out else ""
        lines.append(_line(f"{text(name)}{_sup(mark)}", record, "outside" if mark else "", _counts(record)))
    n_categories = run["mean"].get("n_categories")
    of = f"<small>of {_categories(n_categories)}</small>" if isinstance(n_categories, int) else ""
    notes = Notes()
    body = measure_tables(lines, [_line(f"Mean{of}", run["mean"])], notes, "Category")
    remarks = "".join(
        f'<p class="mark">{text(name)}: {text(remark)}</p>'
        for name, record in run["per_category"].items()
        for remark in record.get("notes") or []
    )
    return f"{body}{_mark_note('', trained, left_out)}{remarks}{notes.render()}"


def types(run: Mapping[str, Any]) -> str:
    """Return the measures of every defect type, or nothing if types were not asked for."""
    rows = [
        Line(f'{text(name)} <span class="of">{text(category)}</span>', record)
        for category, of_types in (run.get("per_type") or {}).items()
        for name, record in of_types.items()
    ]
    if not rows:
        return ""
    columns = sorted(measures_of(row.values for row in rows), key=lambda found: found.group != "One type")
    notes = Notes()
    return f'<div class="panel">{measure_table(columns, rows, [], notes, "Defect type")}</div>{notes.render()}'


def by_text_weight(run: Mapping[str, Any]) -> str:
    """Return the image AUROC with the words' probability weighed in at w, or nothing if that was not measured."""
    tables = run.get("image_auroc_by_text_weight") or {}
    weights = dict.fromkeys(weight for values in tables.values() for weight in values)
    if not weights:
        return ""
    notes = Notes()
    lines = [Line(text(category), values) for category, values in tables.items()]
    columns = [Measure(weight, f"w = {weight}", "", "") for weight in weights]
    body = measure_table(columns, lines, [], notes, "Category")
    return (
        f'<div class="panel"><p class="says">Image AUROC of (1 − w) · map + w · words.</p>{body}</div>{notes.render()}'
    )


def over_seeds(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return mean ± standard deviation over the seeds, or nothing without entries."""
    lines = []
    for entry in entries:
        seeds = entry.get("seeds") or []
        heading = (
            f"{text(entry.get('dataset'))}<small>{references(entry.get('references'))}, "
            f"{len(seeds)} seeds: {text(', '.join(map(str, seeds)))}</small>"
        )
        both = {k: v if isinstance(v, Mapping) else {"mean": v} for k, v in (entry.get("mean") or {}).items()}
        means = {key: value.get("mean") for key, value in both.items()}
        lines.append(Line(heading, means, spreads={key: value.get("std") for key, value in both.items()}))
    if not lines:
        return ""
    notes = Notes()
    return measure_tables(lines, [], notes, "Data set") + notes.render()


def published(
    entries: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    model: str,
    trained_data: Sequence[str] = (),
) -> str:
    """Return published numbers with ours above them, a table per data set and number of references, or nothing.

    Runs in which pictures failed are left out. `trained_data` names the data sets that our weights were trained on.
    """

    def setting(entry: Mapping[str, Any]) -> tuple[str, int]:
        return str(entry.get("dataset")), int(entry.get("references") or 0)

    parts, own = [], {"trained_on": ", ".join(map(str, trained_data))} if trained_data else {}
    for (dataset, shots), members in groupby(sorted(entries, key=setting), key=setting):
        group = list(members)
        wanted = {str(entry.get("metric")): entry.get("value") for entry in group}
        which = str(group[0].get("compared_with") or MEAN)
        means = [
            (run, run.get(which) or run[MEAN])
            for run in runs
            if (run["dataset"], run["protocol"].get("references") or 0) == (dataset, shots)
        ]
        remark = f"; {ALL_CATEGORIES}" if which == MEAN_ALL else ""
        ours = [
            _line(
                f"{text(model)}<small>this run, {_setting(run)}{remark}</small>", own | _only(mean, set(wanted)), "ours"
            )
            for run, mean in means
            if not mean.get("n_failed")
        ]
        marks: dict[str, str] = {}
        theirs = _methods(group, marks)
        columns = [fact for fact in _FACTS if any(fact.key in line.values for line in theirs)] + measures_of([wanted])
        notes = Notes()
        body = measure_table(columns, ours + theirs, [], notes, "Method")
        said = "".join(f'<p class="mark">{_sup(mark)} {text(note)}</p>' for note, mark in marks.items())
        parts.append(
            f'<div class="panel"><h3>{text(dataset)}, {references(shots)}</h3>{body}</div>{said}{notes.render()}'
        )
    return "".join(parts)


def seconds(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return where the time of each run went, in seconds, and how long one picture took; nothing if not measured."""
    steps = list(dict.fromkeys(step for run in runs for step in run.get("seconds") or {}))
    if not steps:
        return ""
    rows = "".join(_seconds_row(run, steps) for run in runs if run.get("seconds"))
    heads = [*steps, "total", "per picture"]
    first = ['<th scope="col">Run</th>', '<th scope="col" class="share">Shares</th>']
    legend = "".join(f'<span><i class="step-{i % 5}"></i>{text(step)}</span>' for i, step in enumerate(steps))
    body = table([*first, *(f'<th scope="col" class="n">{text(name)}</th>' for name in heads)], rows)
    return f'<div class="panel"><p class="key">{legend}</p>{body}</div>'


def references(count: object) -> str:
    """Return the number of reference pictures in words."""
    if not count:
        return "zero-shot"
    return f"{text(count)} reference picture{'' if count == 1 else 's'}"


def _seconds_row(run: Mapping[str, Any], steps: Sequence[str]) -> str:
    spent = {step: float(run["seconds"].get(step) or 0) for step in steps}
    total = sum(spent.values())
    pictures = sum(_count(record, key) for record in run["per_category"].values() for key in ("n_normal", "n_defect"))
    each = f"{1000 * total / pictures:,.0f} ms" if pictures else "–"
    bar = "".join(
        f'<i class="step-{i % 5}" style="width:{100 * spent[step] / (total or 1):.2f}%"></i>'
        for i, step in enumerate(steps)
    )
    cells = "".join(f'<td class="n" data-value="{value}">{value:,.1f} s</td>' for value in [*spent.values(), total])
    return (
        f'<tr><th scope="row">{text(run["dataset"])}<small>{_setting(run)}</small></th>'
        f'<td class="share"><span class="bar" aria-hidden="true">{bar}</span></td>{cells}<td class="n">{each}</td></tr>'
    )


def _line(heading: str, record: Mapping[str, Any], emphasis: str = "", detail: str = "") -> Line:
    return Line(
        heading,
        record,
        intervals=record.get("intervals") or {},
        undefined=record.get("undefined") or {},
        detail=detail,
        emphasis=emphasis,
    )


def _methods(entries: Sequence[Mapping[str, Any]], marks: dict[str, str]) -> list[Line]:
    """Return a line per published method and source; `marks` takes each note once, with a letter for it."""
    lines: dict[tuple[str, str], Line] = {}
    for entry in entries:
        name, source = str(entry.get("method")), str(entry.get("source") or "")
        note = str(entry.get("note") or "").removesuffix(BESIDE_ALL).strip()
        mark = marks.setdefault(note, _letter(len(marks))) if note else ""
        facts = {fact.key: entry[fact.key] for fact in _FACTS if entry.get(fact.key) is not None}
        if "trained_on" in facts:
            facts["trained_on"] = trained_on_words(str(facts["trained_on"]))
        line = lines.setdefault((name, source), Line(f"{text(name)}{_sup(mark)}<small>{text(source)}</small>", facts))
        lines[name, source] = replace(line, values={**line.values, str(entry.get("metric")): entry.get("value")})
    return list(lines.values())


def _letter(index: int) -> str:
    """Return a, b, …, z, aa, bb, …: numbers already mark why a figure is not defined."""
    return ascii_lowercase[index % 26] * (1 + index // 26)


def _only(record: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key in keys or key in ("intervals", "undefined")}


def _marks(run: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the categories that the model was trained on, and those left out of the mean for other reasons."""
    trained = [name for name, record in run["per_category"].items() if record.get("trained_on")]
    return trained, [name for name in run["mean"].get("left_out") or [] if name not in trained]


def _mark_note(of: str, trained: Sequence[str], left_out: Sequence[str]) -> str:
    notes = ""
    if trained:
        names = text(", ".join(trained))
        said = f"{_TRAINED} {of}the model was trained on {names}: not zero-shot, left out of the mean."
        notes += f'<p class="mark">{said}</p>'
    if left_out:
        notes += f'<p class="mark">{_LEFT_OUT} {of}left out of the mean: {text(", ".join(left_out))}.</p>'
    return notes


def _sup(mark: str) -> str:
    return f"<sup>{mark}</sup>" if mark else ""


def _setting(run: Mapping[str, Any]) -> str:
    protocol = run["protocol"]
    return f"{references(protocol.get('references'))}, seed {text(protocol.get('seed', 0))}"


def _scope(run: Mapping[str, Any]) -> str:
    asked = run["protocol"].get("types") or "none"
    types_asked = "" if asked == "none" else f", types {text(asked)}"
    return f"{_categories(len(run['per_category']))}{types_asked}"


def _categories(count: int) -> str:
    return f"{count} categor{'y' if count == 1 else 'ies'}"


def _counts(record: Mapping[str, Any]) -> str:
    named = {"n_normal": "good", "n_defect": "defective", "n_failed": "failed", "n_typed": "of one known type"}
    named["n_mask_errors"] = "masks that could not be used"
    named["n_type_unanswered"] = "without an answer to every type"
    words = [
        f"{_count(record, key):,} {text(named.get(key, key.removeprefix(COUNT)))}"
        for key in [*named, *(key for key in record if key.startswith(COUNT) and key not in named)]
        if _count(record, key) or key in ("n_normal", "n_defect")
    ]
    return ", ".join(words)


def _count(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key)
    return value if isinstance(value, int) else 0
