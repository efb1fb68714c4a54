"""All that is asked of the map in a run, in the words of the question alone, and what the decoder first reads in them.

Each question is read once before the first step: the head's queries go on from these readings while the decoder changes
(see `training.words`), and no process has to read on its own in the middle of a step, which would make others wait.
Shapes: N questions, T words, D the decoder's width.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from genau.errors import UsageError
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.training.words import VOCABULARY_WORDS, all_wordings, vocabulary_words

AT_ONCE = 32


class Wordings:
    """Every question about these types by its row; words of the vocabulary follow, to fit the head by."""

    def __init__(self, processor: GenAUProcessor, types: Sequence[str], words: int = VOCABULARY_WORDS) -> None:
        """`words` of the vocabulary, see `training.words.words_to_fit`."""
        self.types = tuple(types)
        asked = all_wordings(types)
        self.important = len(asked)
        queries = asked + [Query(word) for word in vocabulary_words(processor, words)]
        worded = processor.questions(queries)
        self.ids, self.mask = worded["asked_ids"], worded["asked_mask"]  # (N, T)
        keys = [tuple(ids[mask].tolist()) for ids, mask in zip(self.ids, self.mask, strict=True)]
        self._row = {key: row for row, key in reversed(list(enumerate(keys)))}

    def __len__(self) -> int:
        """Return how many questions there are."""
        return len(self.ids)

    def rows(self, asked_ids: Tensor, asked_mask: Tensor) -> Tensor:
        """Return the rows (Q,) of questions (Q, T) as `GenAUProcessor.questions` words them.

        Raises:
            UsageError: one of them is about a type that was not named.
        """
        keys = [tuple(ids[mask].tolist()) for ids, mask in zip(asked_ids, asked_mask, strict=True)]
        unknown = [number for number, key in enumerate(keys) if key not in self._row]
        if unknown:
            raise UsageError(
                f"Question {unknown[0]} of a batch is about a type that is not one of the {len(self.types)} of this "
                "run. All types must be known before the first step: name them when the run is set up."
            )
        return torch.tensor([self._row[key] for key in keys], dtype=torch.long)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Yield the questions, a few at once."""
        for start in range(0, len(self.ids), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            words = int(self.mask[rows].sum(1).max())
            yield {"asked_ids": self.ids[rows, :words], "asked_mask": self.mask[rows, :words]}
