"""Each answer against what is expected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genau.dialogue import Outcome
from genau.evaluation.dialogue.asking import Asked
from genau.evaluation.dialogue.choice import read_as_published, read_option, read_yes_no, yes_as_published
from genau.evaluation.dialogue.items import Item
from genau.evaluation.dialogue.visa_dr import NO, YES


@dataclass(frozen=True)
class Mark:
    """One question, how its answer is read, and whether it is right."""

    item: Item
    text: str | None
    option: str | None  # None: unreadable, unsupported, or nothing came back
    published: str | None  # as the benchmark's own script reads it; None where there is no text
    outcome: Outcome
    reason: str

    @property
    def right(self) -> bool:
        """Whether the expected option was named; what cannot be read never is."""
        return self.option == self.item.expected

    def to_dict(self) -> dict[str, Any]:
        """Return the row of `questions.jsonl`."""
        item = self.item
        row: dict[str, Any] = {"id": item.id, "picture": item.picture, "dataset": item.dataset}
        row |= {"category": item.category, "task": item.task, "good": item.good, "question": item.prompt.question}
        row |= {"options": dict(item.prompt.options), "expected": item.expected, "said": self.text}
        row |= {"option": self.option, "option_as_published": self.published}
        row["right"] = self.right if item.prompt.options else None
        return row | {"outcome": str(self.outcome), "reason": self.reason}


def mark(asked: Sequence[Asked]) -> list[Mark]:
    """Read every answer; a text that names no single option becomes unreadable."""
    return [_mark(one) for one in asked]


def _mark(asked: Asked) -> Mark:
    item, said = asked.item, asked.said
    options, text = item.prompt.options, said.text
    if text is None or not options:
        return Mark(item, text, None, None, said.outcome, said.reason)
    yes_no = options.keys() == {YES, NO}
    option = read_yes_no(text) if yes_no else read_option(text, options)
    published = yes_as_published(text) if yes_no else read_as_published(text, options)
    if option is None:
        return Mark(item, text, None, published, Outcome.UNREADABLE, "no single option can be read in the answer")
    return Mark(item, text, option, published, said.outcome, "")
