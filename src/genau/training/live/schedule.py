"""Which sample stands at which place of a run: pure arithmetic, so that a run is cut into processes and resumed freely.

A place is a number from 0 to steps * per_step - 1. Conversations are spread evenly among the pictures, each picture
comes once per epoch, and each conversation once before any comes again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

PICTURES, TALKS, STEPS = range(3)  # what is drawn by a seed


@dataclass(frozen=True)
class Ticket:
    """One sample of a run."""

    place: int
    epoch: int
    talk: bool  # whether it is a conversation
    number: int  # which picture or conversation


@dataclass(frozen=True)
class Schedule:
    """The samples of a run."""

    pictures: int  # per epoch
    talks: int  # conversations that there are
    share: float  # of conversations among the samples
    per_step: int
    seed: int

    @property
    def talks_per_epoch(self) -> int:
        """How many conversations come with the pictures of an epoch."""
        return round(self.pictures * self.share / (1 - self.share)) if self.talks else 0

    @property
    def per_epoch(self) -> int:
        """How many samples an epoch has."""
        return self.pictures + self.talks_per_epoch

    def steps(self, epochs: float) -> int:
        """Return in how many steps so many epochs are through; the last step is filled from the next epoch."""
        return ceil(round(epochs * self.per_epoch, 6) / self.per_step)

    def ticket(self, place: int) -> Ticket:
        """Return what stands at a place."""
        epoch, within = divmod(place, self.per_epoch)
        before = within * self.talks_per_epoch // self.per_epoch
        if (within + 1) * self.talks_per_epoch // self.per_epoch > before:
            cycle, number = divmod(epoch * self.talks_per_epoch + before, self.talks)
            return Ticket(place, epoch, True, int(_order(self.talks, self.seed, TALKS, cycle)[number]))
        number = int(_order(self.pictures, self.seed, PICTURES, epoch)[within - before])
        return Ticket(place, epoch, False, number)

    def grouped(self, steps: int, length_of: Callable[[Ticket], float], group: int) -> NDArray[np.int64]:
        """Return the places (steps * per_step,) in the order in which they are trained.

        Among `group` steps samples of similar length come together, so that less is padded and processes wait less for
        one another; then these steps are shuffled. Pictures change places with pictures and conversations with
        conversations only, so every step keeps its share.
        """
        places = np.arange(steps * self.per_step)
        for first in range(0, steps, group):
            window = places[first * self.per_step : (first + group) * self.per_step]
            tickets = [self.ticket(int(place)) for place in window]
            for talk in (False, True):
                slots = [at for at, ticket in enumerate(tickets) if ticket.talk == talk]
                lengths = [length_of(tickets[at]) for at in slots]
                window[slots] = window[[slots[at] for at in np.argsort(lengths, kind="stable")]]
            shuffled = np.random.default_rng((self.seed, STEPS, first)).permutation(len(window) // self.per_step)
            window[:] = window.reshape(-1, self.per_step)[shuffled].ravel()
        return places


@lru_cache(maxsize=8)
def _order(count: int, seed: int, kind: int, cycle: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, kind, cycle)).permutation(count)
