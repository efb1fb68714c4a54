"""The tables of the page: escaped text, numbers with what surrounds them, footnotes for what is undefined."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import groupby
from typing import Any

from genau.evaluation.legend import Measure, measures_of

_WIDE = 4  # columns that half of the page holds
_NO_REASON = "Not defined for these pictures."


@dataclass(frozen=True)
class Line:
    """A row of a table: its heading and the numbers that it has."""

    heading: str  # HTML
    values: Mapping[str, Any]
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)  # 95 %
    spreads: Mapping[str, Any] = field(default_factory=dict)  # standard deviations
    undefined: Mapping[str, str] = field(default_factory=dict)  # why a value is None
    detail: str = ""  # below the heading, HTML, in the first table of several
    emphasis: str = ""  # class of the row


class Notes:
    """Numbers the reasons of a section, each once, in the order in which they come up."""

    def __init__(self) -> None:
        self._reasons: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        """Return `n/a` with the number of its reason, which is also its title."""
        number = self._reasons.setdefault(reason, len(self._reasons) + 1)
        return f'<abbr title="{text(reason)}">n/a</abbr><sup>{number}</sup>'

    def render(self) -> str:
        """Return the list of the reasons."""
        if not self._reasons:
            return ""
        items = "".join(f"<li>{text(reason)}</li>" for reason in self._reasons)
        return f'<div class="notes"><h4>n/a means</h4><ol>{items}</ol></div>'


def text(value: object) -> str:
    """Escape foreign text; bytes of a file name that are no UTF-8 become question marks."""
    return escape(str(value).encode(errors="replace").decode())


def number(value: object) -> str:
    """Return a share with three decimals, a count without, foreign values as escaped text; never NaN."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return text(value)


def measure_tables(lines: Sequence[Line], foot: Sequence[Line], notes: Notes, first: str) -> str:
    """Return a table for each group of measures that any line has; `first` heads the column of headings."""
    wanted = measures_of(line.values for line in [*lines, *foot])
    tables: list[str] = []
    for group, members in groupby(wanted, key=lambda found: found.group):
        columns = list(members)
        shown = [replace(line, detail="") for line in lines] if tables else lines
        wide = " wide" if len(columns) > _WIDE else ""
        body = measure_table(columns, shown, foot, notes, first)
        tables.append(f'<div class="panel{wide}"><h3>{group}</h3>{body}</div>')
    return f'<div class="groups">{"".join(tables)}</div>'


def measure_table(
    columns: Sequence[Measure], lines: Sequence[Line], foot: Sequence[Line], notes: Notes, first: str
) -> str:
    """Return one table of measures; lines that have none of them are left out."""
    heads = [_head(column) for column in columns]

    def rows(of: Iterable[Line]) -> str:
        return "".join(_row(line, columns, notes) for line in of if any(c.key in line.values for c in columns))

    return table([f'<th scope="col">{first}</th>', *heads], rows(lines), rows(foot))


def table(heads: Sequence[str], body: str, foot: str = "") -> str:
    """Return a table of ready rows that scrolls by itself where it is too wide."""
    bottom = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{body}</tbody>{bottom}</table></div>"
    )


def definitions(pairs: Mapping[str, object], show: Callable[[object], str] = text) -> str:
    """Return names and values as a list of definitions."""
    return f"<dl>{''.join(f'<div><dt>{text(k)}</dt><dd>{show(v)}</dd></div>' for k, v in pairs.items())}</dl>"


def _head(column: Measure) -> str:
    title = f' title="{text(column.says)}"' if column.says else ""
    lower = "<small>lower is better</small>" if column.better == "lower" else ""
    return f'<th scope="col" class="n"{title}>{text(column.name)}{lower}</th>'


def _row(line: Line, columns: Sequence[Measure], notes: Notes) -> str:
    emphasis = f' class="{line.emphasis}"' if line.emphasis else ""
    detail = f"<small>{line.detail}</small>" if line.detail else ""
    cells = "".join(_cell(line, column.key, notes) for column in columns)
    return f'<tr{emphasis}><th scope="row">{line.heading}{detail}</th>{cells}</tr>'


def _cell(line: Line, key: str, notes: Notes) -> str:
    if key not in line.values:
        return '<td class="n">–</td>'
    value = line.values[key]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return f'<td class="n">{notes.mark(line.undefined.get(key) or _NO_REASON)}</td>'
    around = ""
    interval, spread = line.intervals.get(key), line.spreads.get(key)
    if interval is not None and all(isinstance(end, int | float) for end in interval) and len(interval) == 2:
        around = f"<small>{number(float(interval[0]))} – {number(float(interval[1]))}</small>"
    elif isinstance(spread, int | float):
        around = f"<small>± {number(float(spread))}</small>"
    order = f' data-value="{value}"' if isinstance(value, int | float) else ""
    return f'<td class="n"{order}>{number(value)}{around}</td>'
