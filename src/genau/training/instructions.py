"""From an example to questions and answers: general and by type, present and absent, in several phrasings.

All facts in an answer follow from the masks: types, 3x3 location, severity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genau.datasets.synthetic import DEFECT_TYPES
from genau.instruct.knowledge import NORMAL_APPEARANCE, UNKNOWN_ADVICE, UNKNOWN_CAUSE, absent_type, info_of
from genau.prompts import DEFECT_WORD, NORMAL_ADVICE, NORMAL_WORD, NOTHING, Query, answer_text
from genau.regions import find_regions, locations, severity
from genau.training.examples import Example

Rng = np.random.Generator
NAMED_PRODUCT = 0.5  # share of questions that say what the part is
NAMED_SYNONYM = 0.3
DESCRIBED_TYPE = 0.5
FORMS = 4


def texts_of(types: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return by type what an answer about a defective part may recommend, and what it may name as the likely cause."""
    known = {name: info_of(name) for name in types}
    return (
        {name: info.recommendations if info else (UNKNOWN_ADVICE,) for name, info in known.items()},
        {name: info.causes if info else (UNKNOWN_CAUSE,) for name, info in known.items()},
    )


@dataclass(frozen=True)
class Facts:
    """What is true of one example, small enough to keep beside its features."""

    product: str
    types: tuple[str, ...]  # present, largest area first
    location: str
    severity: str
    appearance: str  # of the largest

    @property
    def defective(self) -> bool:
        """Whether any type is present."""
        return bool(self.types)


@dataclass(frozen=True)
class Question:
    """One training question with its answer and the mask that it asks for."""

    query: Query
    form: int
    answer: str
    target: str | None  # type whose mask is wanted; None: the union of all
    defective: bool  # whether what was asked for is there


def facts_of(example: Example) -> Facts:
    """Derive the facts of an example from its masks."""
    if not example.masks:
        return Facts(example.product, (), NOTHING, NOTHING, NORMAL_APPEARANCE)
    union: NDArray[np.bool_] = np.logical_or.reduce(list(example.masks.values()))
    types = tuple(sorted(example.masks, key=lambda name: -int(example.masks[name].sum())))
    where = locations(find_regions(union)) if union.any() else NOTHING
    return Facts(example.product, types, where, severity(float(union.mean())), example.appearances[types[0]])


def ask(facts: Facts, rng: Rng, *, analysis: float, type_questions: bool = True) -> list[Question]:
    """Return the general question and, for a defective part, one about a present and one about an absent type."""
    product = facts.product if rng.random() < NAMED_PRODUCT else None
    lines = analysis_lines(facts, rng) if rng.random() < analysis else None
    word = DEFECT_WORD if facts.defective else NORMAL_WORD
    general = Question(
        Query(product=product), int(rng.integers(FORMS)), answer_text(word, lines), None, facts.defective
    )
    if not type_questions:
        return [general]
    questions = [general]
    if facts.types:
        questions.append(_about(str(rng.choice(facts.types)), facts, product, rng))
    if not facts.types or rng.random() < 0.5 or len(questions) == 2:
        questions.append(_about(absent_type(facts.types, rng), facts, product, rng))
    return questions


def _about(name: str, facts: Facts, product: str | None, rng: Rng) -> Question:
    info = info_of(name)
    asked = name
    if info and name in DEFECT_TYPES and rng.random() < NAMED_SYNONYM:
        asked = str(rng.choice(info.synonyms))
    description = info.description if info and rng.random() < DESCRIBED_TYPE else None
    present = name in facts.types
    answer = answer_text(DEFECT_WORD if present else NORMAL_WORD)
    return Question(Query(asked, description, product), int(rng.integers(FORMS)), answer, name, present)


def analysis_lines(facts: Facts, rng: Rng) -> Mapping[str, str]:
    """Return the lines of an analysis after the verdict."""
    lines = {"Types": ", ".join(facts.types) or NOTHING, "Location": facts.location, "Appearance": facts.appearance}
    lines["Severity"] = facts.severity
    if not facts.defective:
        return lines | {"Likely cause": NOTHING, "Recommendation": NORMAL_ADVICE}
    info = info_of(facts.types[0])
    return lines | {
        "Likely cause": str(rng.choice(info.causes)) if info else UNKNOWN_CAUSE,
        "Recommendation": str(rng.choice(info.recommendations)) if info else UNKNOWN_ADVICE,
    }
