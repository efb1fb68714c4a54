"""A second model that compares an answer with its reference and gives points. It sees no picture.

The wording is ours: points of another judge, or of another wording, are another measure.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from genau.dialogue import Answerer, Prompt, Turn
from genau.evaluation.dialogue.asking import ask_all
from genau.evaluation.dialogue.marks import Mark
from genau.evaluation.dialogue.record import Record

MOST_POINTS = 10
WORDS = """You compare an answer about a picture of an industrial part with a reference answer, without the picture.
Give points from 0 (contradicts the reference or says nothing of it) to {most} (says the same, in whatever words).
Length and style do not matter. Reply with the number alone.

Question: {question}
Reference: {reference}
Answer: {answer}
Points:"""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def judge(
    judging: Answerer, marks: Sequence[Mark], record: Record, step: Callable[[], None] = lambda: None
) -> list[float | None]:
    """Return each answer's points by `MOST_POINTS`, in [0, 1]; 0 for silence, None where the judge cannot be read."""
    told = [one for one in marks if one.text is not None]
    asked = ask_all(judging, [(replace(one.item, prompt=_prompt(one)),) for one in told], record, step)
    points = {id(one): read_points(answer.said.text) for one, answer in zip(told, asked, strict=True)}
    return [points[id(one)] if one.text is not None else 0.0 for one in marks]


def read_points(text: str | None) -> float | None:
    """Return the share of the points where a text holds exactly one number that can be points, else None."""
    numbers = _NUMBER.findall(text.replace(f"/{MOST_POINTS}", "")) if text else []
    if len(numbers) != 1 or not 0 <= float(numbers[0]) <= MOST_POINTS:
        return None
    return float(numbers[0]) / MOST_POINTS


def _prompt(one: Mark) -> Prompt:
    words = WORDS.format(
        most=MOST_POINTS, question=one.item.prompt.question, reference=one.item.expected, answer=one.text
    )
    return Prompt((Turn("user", (words,)),), one.item.prompt.question, task="judge")
