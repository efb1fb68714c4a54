"""Look through a set of conversations and say in words what is there, what is wrong, and what to do about it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from genau.datasets.check import Problems
from genau.errors import GenAUError, suggest
from genau.instruct import FORMATS, guess_format
from genau.instruct.conversation import Conversation
from genau.prompts import IMAGE_TOKEN

_MOST_QUESTIONS = 5
_SHOWN = 80  # characters of a question


@dataclass(frozen=True)
class Report:
    """What a look through a set found."""

    format: str | None
    lines: tuple[str, ...]  # what is there
    problems: tuple[str, ...]  # what is wrong, each with what to do

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass
class _Found:
    """Counts everything; of the conversations themselves only ids, names of pictures and wordings are kept."""

    tell: Problems = field(default_factory=Problems)
    missing: int = 0
    placeholders: int = 0
    broken: int = 0
    conversations: int = 0
    repeated: int = 0
    turns: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool | None] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    pictures: set[str | int] = field(default_factory=set)

    def fault(self, message: str) -> None:
        self.broken += 1
        self.placeholders += f"{IMAGE_TOKEN} placeholder" in message
        self.tell(message)

    def gone(self, message: str) -> None:
        self.missing += 1
        self.tell(message)

    def add(self, one: Conversation) -> None:
        self.conversations += 1
        self.turns[len(one.turns) // 2] += 1
        self.labels[one.defective] += 1
        self.masks += bool(one.masks)
        self.kinds[one.kind or ""] += 1
        self.questions[one.question[:_SHOWN]] += 1
        for turn in one.turns[1::2]:
            first = turn.text.split(maxsplit=1)[0].lower().strip(".,:;!")
            self.answers[first if first in {"yes", "no"} else ""] += 1
        self.pictures.update(str(image) if isinstance(image, Path) else hash(image) for image in one.images)
        before = self.ids.get(one.id)
        self.ids.setdefault(one.id, one.source)
        if before is not None:
            self.repeated += 1
            self.tell(f"The id {one.id!r} ({one.source}) is that of {before} too. Give each conversation its own id.")


def check(path: Path, format: str | None = None, *, images: Path | None = None) -> Report:
    """Return a report on a file or folder of conversations, as it looks or in this format; it never raises."""
    found = _Found()
    chosen = format
    try:
        if format is not None and format not in FORMATS:
            found.tell(f"Unknown format {format!r}.{suggest(format, FORMATS)} Use one of {', '.join(FORMATS)}.")
            return Report(format, (), found.tell.all())
        chosen = format or guess_format(path)
        for conversation in FORMATS[chosen](path, images, tell=found.fault, missing=found.gone):
            found.add(conversation)
    except (GenAUError, OSError) as error:
        found.tell(
            str(error) if isinstance(error, GenAUError) else f"{error}. Check the path and your rights to read it."
        )
    if not found.conversations and not found.tell.told:
        found.tell(f"{path} holds no conversations. Check the path, or name the format.")
    return Report(chosen, tuple(_lines(path, chosen, found)) if chosen else (), found.tell.all())


def _lines(path: Path, format: str, found: _Found) -> list[str]:
    lines = [
        f"{path} has the {format} layout: {found.conversations:,} usable conversations about {len(found.pictures):,} "
        "pictures."
    ]
    if found.conversations:
        turns = ", ".join(f"{number} ({count:,})" for number, count in sorted(found.turns.items()))
        lines.append(f"Questions per conversation and how many have them: {turns}.")
        lines += _asked(found)
        good, bad, unknown = (found.labels[label] for label in (False, True, None))
        lines.append(f"Verdicts: {good:,} good, {bad:,} defective, {unknown:,} not told; {found.masks:,} with a mask.")
        yes, no = found.answers["yes"], found.answers["no"]
        lines.append(f"Answers that begin with yes: {yes:,}; with no: {no:,}; others: {found.answers['']:,}.")
    lines.append(
        f"Missing pictures: {found.missing:,} conversations. Repeated ids: {found.repeated:,}. Placeholders that do "
        f"not match: {found.placeholders:,}. Other records that cannot be used: {found.broken - found.placeholders:,}."
    )
    return lines


def _asked(found: _Found) -> list[str]:
    """Return the kinds of question, or where the set names none its most frequent wordings."""
    named = {kind: count for kind, count in sorted(found.kinds.items()) if kind}
    if named:
        none = f"; no kind named: {found.kinds['']:,}" if found.kinds[""] else ""
        return [f"Kinds of question: {', '.join(f'{kind} {count:,}' for kind, count in named.items())}{none}."]
    common = "; ".join(f'"{text}" ({count:,})' for text, count in found.questions.most_common(_MOST_QUESTIONS))
    return [f"The set names no kinds of question. Most frequent: {common}."]
