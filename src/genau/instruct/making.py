"""A data set's folder to a file of conversations: read, plan, ask, write, and say in words what came out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genau import datasets
from genau.datasets.layout import read_text
from genau.errors import DataError
from genau.instruct import knowledge as words_known
from genau.instruct.building import PER_PICTURE, Plan, build, plan
from genau.instruct.facts import Facts
from genau.instruct.knowledge import UNKNOWN, Knowledge
from genau.instruct.teaching import entry_of
from genau.instruct.writing import Card, write

_ABOUT = "dataset.json"  # of a manifest: tells licence and source


@dataclass(frozen=True)
class Source:
    """A data set of which is known what will be asked."""

    root: Path
    plan: Plan
    seed: int
    about: Card  # what the data card says of the data set

    def __len__(self) -> int:
        """Return the number of pairs of pictures."""
        return len(self.plan.pairs)


def prepare(
    root: Path,
    *,
    format: str | None = None,
    categories: Sequence[str] | None = None,
    split: str | None = None,
    seed: int = 0,
) -> Source:
    """Read a data set and choose its pictures; raises `DataError` for one that cannot be used."""
    chosen = format or datasets.guess_format(root)
    if chosen is None:
        raise DataError(
            f"{root} has no layout that is recognised. Name it with --format ({', '.join(datasets.FORMATS)}), or let "
            "`genau data check` say what is missing."
        )
    samples = datasets.read(root, chosen, categories=categories, split=split)
    about: Card = {"data": sorted({sample.dataset for sample in samples}), "layout": chosen, "split": split}
    about["categories"] = sorted({sample.category for sample in samples})
    if chosen == "manifest":
        told = json.loads(read_text(root / _ABOUT))
        about |= {key: told[key] for key in ("licence", "source") if key in told}
    return Source(root, plan(samples, seed=seed), seed, about)


@dataclass(frozen=True)
class Made:
    """What was written."""

    card: Card
    lines: tuple[str, ...]  # what it holds, in words
    notes: tuple[str, ...]  # what to know of it


def make(
    source: Source,
    output: Path,
    *,
    per_picture: int = PER_PICTURE,
    knowledge: Path | None = None,
    done: Callable[[], None] = lambda: None,
) -> Made:
    """Write a data set's conversations and their data card; `done` is called after each pair of pictures.

    Raises `DataError` and `ImageError` for files that cannot be read, `UsageError` where nothing can be written.
    """
    known = Knowledge() if knowledge is None else words_known.load(knowledge)
    asked = build(source.plan, source.root, seed=source.seed, per_picture=per_picture, knowledge=known, done=done)
    origins = _origins(source.plan, known)
    about = source.about | {"seed": source.seed, "per_picture": per_picture, "left_out": source.plan.left_out}
    about |= {"knowledge": None if knowledge is None else knowledge.name, "words_known_from": origins}
    card = write(asked, output, source.root, about)
    return Made(card, tuple(_lines(output, card)), tuple(_notes(source.plan, card)))


def _origins(chosen: Plan, known: Knowledge) -> dict[str, list[str]]:
    """Return the types by where what is said of them comes from: a file, the taxonomy, or nowhere."""
    found: dict[str, list[str]] = {}
    for category, names in chosen.types.items():
        sample = next((bad for bad, _ in chosen.pairs if bad.category == category), None)
        if sample is None:
            continue
        for name in names:
            entry = entry_of(Facts(sample, (name,), (), None, {}), known)
            found.setdefault(entry.origin, []).append(f"{category}: {name}")
    return found


def _lines(output: Path, card: Card) -> list[str]:
    counts: dict[str, Any] = card["counts"]
    pictures = counts["pictures"]
    lines = [
        f"{output} holds {counts['conversations']:,} conversations about {pictures['defective']:,} defective and "
        f"{pictures['good']:,} good pictures."
    ]
    for kind, sides in counts["kinds"].items():
        lines.append(f"{kind}: " + ", ".join(f"{count:,} {side}" for side, count in sorted(sides.items())) + ".")
    return lines


def _notes(chosen: Plan, card: Card) -> list[str]:
    notes = [f"Left out: {words}." for words in chosen.left_out]
    asked: dict[str, dict[str, int]] = card["counts"]["types_asked"]
    if never := [name for name, sides in asked.items() if not sides["present"]]:
        notes.append(
            f"{', '.join(never)}: asked for only where absent, since the data set has none. Train together with sets "
            "that have them, or their names alone will mean no."
        )
    if unknown := card["words_known_from"].get(UNKNOWN):
        notes.append(f"Nothing is known in words of {', '.join(unknown)}. Tell causes and advice with --knowledge.")
    return notes
