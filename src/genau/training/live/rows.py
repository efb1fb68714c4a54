"""The samples of a run, read when asked for: annotated pictures, synthetic scenes, conversations."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from genau.datasets.sample import Sample
from genau.errors import DataError
from genau.instruct import Conversation
from genau.prompts import IMAGE_TOKEN
from genau.reading import read_picture
from genau.training.examples import MOST_REFERENCES, Example, ExampleSource, Rgb, describe_appearance, turn
from genau.training.live.schedule import Schedule, Ticket

log = logging.getLogger(__name__)


class Talks(Protocol):
    """Conversations by number, as `instruct.StreamedConversations` has them."""

    @property
    def total(self) -> int:
        """How many there are."""

    def __getitem__(self, number: int, /) -> Conversation:
        """Return one."""


@dataclass(frozen=True, eq=False)
class Talk:
    """One conversation about a picture that is shown before it."""

    rgb: Rgb  # (H, W, 3)
    turns: tuple[tuple[str, str], ...]  # question and answer


@dataclass(frozen=True, eq=False)
class Row:
    """One sample, and what is drawn by chance about it."""

    seed: tuple[int, ...]  # what is asked of a picture follows from it
    step: int  # what is asked of all pictures of a step alike follows from it
    sample: Example | Talk


@dataclass(frozen=True)
class Pictures:
    """What an epoch shows: annotated pictures first, then scenes."""

    samples: tuple[Sample, ...]
    scenes: int
    references: float  # share of pictures that come with good parts
    seed: int

    def __len__(self) -> int:
        """Return the number of pictures per epoch."""
        return len(self.samples) + self.scenes

    def example(self, ticket: Ticket) -> Example:
        """Return the picture that a ticket names; a scene is another one in every epoch."""
        if ticket.number >= len(self.samples):
            seed = int(np.random.default_rng((self.seed, ticket.epoch)).integers(2**31))
            source = ExampleSource(self.scenes, (), synthetic=1.0, references=self.references, seed=seed)
            return source[ticket.number - len(self.samples)]
        rng = np.random.default_rng((self.seed, ticket.epoch, ticket.number))
        sample = self.samples[ticket.number]
        rgb = read_picture(sample.image).rgb
        masks = {name: mask for name, mask in sample.read_masks((rgb.shape[0], rgb.shape[1])).items() if mask.any()}
        appearances = {name: describe_appearance(rgb, mask) for name, mask in masks.items()}
        references = self._references(sample, rng) if rng.random() < self.references else ()
        return turn(Example(rgb, masks, sample.product, appearances, references), rng)

    def _references(self, sample: Sample, rng: np.random.Generator) -> tuple[Rgb, ...]:
        """Read good parts of the same product that are not the same physical part."""
        others = [
            other
            for other in self.samples
            if not other.label
            and other.image != sample.image
            and (other.dataset, other.category) == (sample.dataset, sample.category)
            and (sample.group is None or other.group != sample.group)
        ]
        chosen = rng.permutation(len(others))[: int(rng.integers(1, MOST_REFERENCES + 1))]
        return tuple(read_picture(others[int(at)].image).rgb for at in chosen)


class Rows(Dataset[Row]):
    """All samples of a run in the order in which they are trained."""

    def __init__(self, schedule: Schedule, pictures: Pictures, talks: Talks | None, places: NDArray[np.int64]) -> None:
        self.schedule, self.pictures, self.talks, self.places = schedule, pictures, talks, places

    def __len__(self) -> int:
        """Return the number of samples of the whole run."""
        return len(self.places)

    def __getitem__(self, index: int) -> Row:
        """Return one sample."""
        ticket = self.schedule.ticket(int(self.places[index]))
        seed, step = (self.schedule.seed, ticket.place), index // self.schedule.per_step
        if ticket.talk:
            assert self.talks is not None
            return Row(seed, step, talk_of(self.talks[ticket.number]))
        return Row(seed, step, self.pictures.example(ticket))


class ChosenTalks:
    """Those of all conversations that can be trained: exactly one picture is shown, in the first question."""

    def __init__(self, talks: Talks, *, skip_missing: bool = False) -> None:
        """Read every conversation once. Raises `DataError` for one with a fault, unless `skip_missing`."""
        self.talks = talks
        self.numbers: list[int] = []
        self.missing = 0
        for number in range(talks.total):
            try:
                if usable(talks[number]):
                    self.numbers.append(number)
            except DataError:
                if not skip_missing:
                    raise
                self.missing += 1
        self.total = len(self.numbers)
        if self.total < talks.total:
            others = talks.total - self.total - self.missing
            log.info(
                "Left out: %d conversations that show other than one picture, %d without theirs", others, self.missing
            )

    def __getitem__(self, number: int) -> Conversation:
        """Return one of them."""
        return self.talks[self.numbers[number]]


def usable(conversation: Conversation) -> bool:
    """Whether exactly one picture is shown, in the first question."""
    return len(conversation.images) == 1 and IMAGE_TOKEN in conversation.turns[0].text


def talk_of(conversation: Conversation) -> Talk:
    """Read the picture of a usable conversation; raises `ImageError` if it cannot be read."""
    texts = [turn.text.replace(IMAGE_TOKEN, "").strip() for turn in conversation.turns]
    return Talk(read_picture(conversation.images[0]).rgb, tuple(zip(texts[::2], texts[1::2], strict=True)))


def annotated(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the samples whose pixels are annotated; the others cannot teach a map.

    Raises:
        DataError: there are samples, but none of them is annotated.
    """
    kept = tuple(sample for sample in samples if sample.has_mask)
    if samples and not kept:
        raise DataError(f"None of {len(samples)} samples has a mask, so maps cannot be trained. Add masks to the data.")
    if len(kept) < len(samples):
        log.info("%d defective samples without a mask are left out.", len(samples) - len(kept))
    return kept
