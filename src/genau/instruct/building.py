"""From an annotated data set to instruction conversations: which pictures, which questions, in which numbers.

Good and defective pictures come in pairs of the same category, and both of a pair are asked the same kinds of
question, so that neither product nor question tells the verdict. Questions about one type are as often about an
absent type as about a present one; of the absent ones half are asked of defective pictures, about a type that
resembles what is there, and half of good ones, about types that the data set has.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genau.datasets.layout import Tell, refuse, words
from genau.datasets.sample import Sample
from genau.datasets.synthetic import DEFECT_TYPES
from genau.errors import DataError, ImageError, UsageError
from genau.instruct.conversation import Conversation, Turn
from genau.instruct.facts import Facts, facts_of, type_names
from genau.instruct.knowledge import LOOK_ALIKE, Knowledge, Rng, means_exactly, recognise
from genau.instruct.teaching import KINDS, PRESENCE, answer_of, possible, question_text
from genau.prompts import IMAGE_TOKEN

PER_PICTURE = 3


@dataclass
class Plan:
    """Which pictures are asked, in pairs, and what had to be left out."""

    pairs: list[tuple[Sample, Sample]]  # defective, good; of one category
    types: dict[str, tuple[str, ...]]  # by category, all types that its pictures have
    left_out: list[str] = field(default_factory=list)  # in words


def plan(samples: Sequence[Sample], *, seed: int) -> Plan:
    """Pair defective with good pictures of the same category; what has no partner is left out and told.

    Raises `DataError` if no category has both.
    """
    rng = np.random.default_rng(_seed(seed))
    result = Plan([], {})
    for category in sorted({sample.category for sample in samples}):
        own = [sample for sample in samples if sample.category == category]
        bad, good = ([s for s in own if s.label is label] for label in (True, False))
        count = min(len(bad), len(good))
        result.types[category] = tuple(sorted({name for sample in bad for name in type_names(sample)}))
        drawn = ([side[int(k)] for k in rng.permutation(len(side))[:count]] for side in (bad, good))
        result.pairs += list(zip(*drawn, strict=True))
        if not count:
            lacking = "good" if bad else "defective"
            result.left_out.append(
                f"{category}: all {len(own)} pictures, since none is {lacking} and every verdict would be the same"
            )
        elif len(bad) != len(good):
            more, many = ("defective", len(bad)) if len(bad) > count else ("good", len(good))
            result.left_out.append(f"{category}: {many - count} of {many} {more} pictures, so that verdicts are even")
    if not result.pairs:
        raise DataError(
            f"No category has both good and defective pictures ({'; '.join(result.left_out)}). Add the others, or "
            "name another split."
        )
    order = rng.permutation(len(result.pairs))
    result.pairs = [result.pairs[int(k)] for k in order]
    return result


def build(
    chosen: Plan,
    root: Path,
    *,
    seed: int,
    per_picture: int = PER_PICTURE,
    knowledge: Knowledge | None = None,
    tell: Tell = refuse,
    done: Callable[[], None] = lambda: None,
) -> Iterator[Conversation]:
    """Yield `per_picture` conversations for each picture of the plan, of one question and answer each.

    Every second question about a present type brings one about an absent type of the same picture, which is asked in
    place of one of its partner. Pictures get names below `root`. A pair whose masks cannot be read goes to `tell`,
    whose default raises `DataError`. `done` is called after each pair. Raises `UsageError` for an impossible number.
    """
    if not 1 <= per_picture <= len(KINDS):
        raise UsageError(f"per_picture={per_picture} must be from 1 to {len(KINDS)}, the kinds of question.")
    maker = _Maker(chosen, root, knowledge or Knowledge())
    for number, pair in enumerate(chosen.pairs):
        rng = np.random.default_rng((_seed(seed), number))
        try:
            yield from maker.conversations(*pair, per_picture, rng)
        except (DataError, ImageError) as error:
            tell(str(error))
        done()


def _seed(seed: int) -> int:
    if seed < 0:
        raise UsageError(f"seed={seed} must not be negative. Use 0 or another whole number.")
    return seed


class _Maker:
    """Draws questions so that kinds, and present and absent types, come equally often over the whole set."""

    def __init__(self, chosen: Plan, root: Path, knowledge: Knowledge) -> None:
        self.chosen, self.root, self.knowledge = chosen, root, knowledge
        self.kinds: Counter[str] = Counter()
        self.surplus: Counter[tuple[str, str]] = Counter()  # by category and type: asked where present minus absent

    def conversations(self, bad: Sample, good: Sample, count: int, rng: Rng) -> list[Conversation]:
        """Return the conversations about a pair."""
        sides = facts_of(bad), facts_of(good)
        open_kinds = possible(sides[0])
        drawn = [open_kinds[int(k)] for k in rng.permutation(len(open_kinds))]
        drawn = sorted(drawn, key=lambda kind: self.kinds[kind])[:count]
        made = []
        for kind in drawn:
            self.kinds[kind] += 1
            if kind == PRESENCE:
                made += self._presence(*sides, rng)
            else:
                made += [self._make(facts, kind, rng) for facts in sides]
        return made

    def _presence(self, bad: Facts, good: Facts, rng: Rng) -> list[Conversation]:
        """Return a question about a present type and one about an absent type, of one picture or of both."""
        category = bad.sample.category
        present = str(rng.choice(bad.types))
        self.surplus[category, present] += 1
        made = [self._make(bad, PRESENCE, rng, present)]
        alike = self._absent_of_defective(bad, rng) if self.kinds[PRESENCE] % 2 else None
        if alike is not None:
            self.surplus[category, alike] -= 1
            return [*made, self._make(bad, PRESENCE, rng, alike)]
        absent = self._most_due(category, self.chosen.types[category], rng)
        self.surplus[category, absent] -= 1
        return [*made, self._make(good, PRESENCE, rng, absent)]

    def _absent_of_defective(self, facts: Facts, rng: Rng) -> str | None:
        """Draw a type that a defective part surely does not have, look-alikes first; None if there is none.

        Types of the data set that are not annotated are absent. A type of the taxonomy is so only where all that is
        there has an exact meaning in it: a "leak" might be what it calls a stain, an "impurity" a thread.
        """
        category = facts.sample.category
        meant = [recognise(name) for name in facts.types]
        similar = {other for name in meant if name for other in DEFECT_TYPES[name].look_alikes} - set(meant)
        own = [
            name
            for name in self.chosen.types[category]
            if name not in facts.types and (recognise(name) is None or recognise(name) not in meant)
        ]
        alike = [name for name in own if recognise(name) in similar]
        if alike:
            return self._most_due(category, alike, rng)
        if similar and all(means_exactly(name) for name in facts.types) and (not own or rng.random() < LOOK_ALIKE):
            return str(rng.choice(sorted(similar)))
        return self._most_due(category, own, rng) if own else None

    def _most_due(self, category: str, names: Sequence[str], rng: Rng) -> str:
        """Return the type that was asked most often where present, compared with where absent."""
        shuffled = [names[int(k)] for k in rng.permutation(len(names))]
        return max(shuffled, key=lambda name: self.surplus[category, name])

    def _make(self, facts: Facts, kind: str, rng: Rng, asked: str | None = None) -> Conversation:
        sample = facts.sample
        question = question_text(kind, sample.product, rng, asked)
        answer = answer_of(kind, facts, self.knowledge, rng, asked)
        numbered = sample.mask_types
        return Conversation(
            id=f"{sample.image.relative_to(self.root).as_posix()}#{kind}{'' if asked is None else f'-{asked}'}",
            images=(sample.image,),
            turns=(Turn("user", f"{IMAGE_TOKEN}\n{question}"), Turn("assistant", answer)),
            source=f"{sample.dataset}, {sample.category}",
            product=sample.product,
            kind=kind,
            defective=sample.label,
            types=facts.types,
            asked=asked,
            masks=sample.masks,
            mask_types=None if numbered is None else {value: words(name).lower() for value, name in numbered.items()},
        )
