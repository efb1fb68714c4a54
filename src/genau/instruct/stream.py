"""Conversations of any number as a stream: shuffled, shared among processes, and resumed where it was stopped.

Of each record only its place in its file is kept (16 bytes); it is read when its turn comes. Shuffling needs a bounded
number of places, so that records that lie together are read together. The order follows from seed and epoch alone;
each of `parts` processes takes every `parts`-th record of the same order.
"""

import logging
import random
from array import array
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

from genau.datasets.layout import Tell, refuse
from genau.errors import DataError, UsageError
from genau.instruct import llava, records
from genau.instruct.conversation import Conversation
from genau.instruct.pictures import PictureFolder, Skipped

BUFFER = 10_000  # places among which the next one is drawn
_LOG = logging.getLogger(__name__)


class StreamedConversations:
    """An iterable over the conversations of JSON, JSONL and tar shards; iterating once is one epoch.

    `skipped` counts the conversations that were left out so far because a picture of theirs is missing.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        images: str | Path | None = None,
        seed: int = 0,
        shuffle: bool = True,
        buffer: int = BUFFER,
        skip_missing: bool = False,
        tell: Tell = refuse,
    ) -> None:
        """Read the places of all records; the files themselves stay on disk.

        `images` is as in `instruct.read`. A missing picture raises `DataError` unless `skip_missing`; every other
        fault goes to `tell`, whose default raises it. Raises `UsageError` for an impossible buffer.
        """
        if buffer < 1:
            raise UsageError(f"buffer={buffer} must be at least 1: records are drawn from so many. Use {BUFFER}.")
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        self.shards = [shard for path in named for shard in records.shards(Path(path), llava.SUFFIXES)]
        self.places = [_flat(shard) for shard in self.shards]
        self.seed, self.shuffle, self.buffer, self.tell = seed, shuffle, buffer, tell
        self.skipped = Skipped() if skip_missing else None
        missing = self.skipped or tell
        self.folders = [PictureFolder(Path(images or llava.picture_folder(shard)), missing) for shard in self.shards]
        self.part, self.parts = 0, 1
        self.epoch, self.consumed = 0, 0

    @property
    def total(self) -> int:
        """The number of records in all shards."""
        return sum(len(flat) // 2 for flat in self.places)

    def __len__(self) -> int:
        """Return how many records this part takes per epoch: the same number for every part."""
        return self.total // self.parts

    def __getitem__(self, number: int) -> Conversation:
        """Return the conversation of a record by its position in the shards, wherever it lies.

        Raises `IndexError` for no such position and `DataError` where the record cannot be used.
        """
        if not 0 <= number < self.total:
            raise IndexError(f"There are {self.total} records, numbered from 0; {number} is none of them.")
        found = self._load(*self._place(number))
        if found is None:
            raise DataError(f"Record {number} has no picture that could be read. Check the set first.")
        return found

    def split(self, part: int, parts: int) -> "StreamedConversations":
        """Return the share of one of `parts` processes, which starts where this stream stands.

        A share can be split again, for the workers that load for a process. Raises `UsageError` for no such part.
        """
        if not 0 <= part < parts:
            raise UsageError(f"part={part} of parts={parts} does not exist. Parts are numbered from 0 to {parts - 1}.")
        share = copy(self)
        share.part, share.parts = self.part + self.parts * part, self.parts * parts
        share.consumed = self.consumed // parts
        return share

    def __iter__(self) -> Iterator[Conversation]:
        """Yield the rest of the epoch; then the next epoch stands at its beginning."""
        for position, number in enumerate(self._order(self.epoch)):
            mine = position % self.parts == self.part and position // self.parts < len(self)
            if not mine or position // self.parts < self.consumed:
                continue
            try:
                conversation = self._load(*self._place(number))
            except DataError as error:
                self.tell(str(error))
                conversation = None
            self.consumed += 1  # counted before it is handed out: a state that is saved meanwhile has it
            if conversation is not None:
                yield conversation
        self.epoch, self.consumed = self.epoch + 1, 0
        if self.skipped is not None and self.skipped.count:
            _LOG.warning("%d conversations were left out so far: a picture is missing.", self.skipped.count)

    def state_dict(self) -> dict[str, int]:
        """Return where the stream stands, as numbers that JSON holds."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "consumed": self.consumed,
            "parts": self.parts,
            "total": self.total,
            "buffer": self.buffer if self.shuffle else 0,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a stream over the same records stood; with another number of parts it is shared anew.

        Then no record is lost, and fewer than `parts` come twice. Raises `DataError` if the records or the order are
        not the same.
        """
        own = self.state_dict()
        for key in ("total", "seed", "buffer"):
            if state.get(key) != own[key]:
                raise DataError(
                    f"The stream was saved with {key}={state.get(key)}, but this one has {key}={own[key]}: it would "
                    "go on in another order. Use the same files and settings, or start a new epoch."
                )
        self.epoch = state["epoch"]
        self.consumed = state["consumed"] * state["parts"] // self.parts

    def _order(self, epoch: int) -> Iterator[int]:
        """Yield the positions of all records in the order of an epoch."""
        if not self.shuffle:
            yield from range(self.total)
            return
        draw = random.Random(f"{self.seed} {epoch}")
        starts = [0]
        for flat in self.places:
            starts.append(starts[-1] + len(flat) // 2)
        shards = draw.sample(range(len(self.places)), len(self.places))
        waiting: list[int] = []
        for shard in shards:
            for number in range(starts[shard], starts[shard + 1]):
                if len(waiting) < self.buffer:
                    waiting.append(number)
                    continue
                chosen = draw.randrange(self.buffer)
                yield waiting[chosen]
                waiting[chosen] = number
        draw.shuffle(waiting)
        yield from waiting

    def _place(self, number: int) -> tuple[int, int]:
        """Return the shard of a record, and which of its records it is."""
        for shard, flat in enumerate(self.places):
            if number < len(flat) // 2:
                return shard, number
            number -= len(flat) // 2
        raise IndexError(number)

    def _load(self, shard: int, record: int) -> Conversation | None:
        start, length = self.places[shard][2 * record : 2 * record + 2]
        return llava.load(self.shards[shard], start, length, record + 1, self.folders[shard])


def _flat(shard: Path) -> "array[int]":
    """Return the places of a shard's records: first byte and length in turns."""
    flat = array("Q")
    for place in llava.places(shard):
        flat.extend(place)
    return flat
