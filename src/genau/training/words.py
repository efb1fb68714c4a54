"""How types are worded, and how the joint stage keeps what a question by itself asks of the map.

The first stage builds the queries of the map on what the decoder reads in bare questions. LoRA teaches it to read
after a picture, and on the way it reads bare questions differently from step to step. So the joint stage goes on with
the readings that it began with, and at its end the head's matrix is fitted to those of the finished decoder.
Shapes: K types, N wordings, T words, D the decoder's width, W the head's.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.datasets.synthetic import DEFECT_TYPES
from genau.instruct.knowledge import info_of
from genau.model.mask_head import MaskHead
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.words import WordReader

VOCABULARY_WORDS = 1000  # of the tokenizer's words, read as if they were types, at least
# Of the decoder's width. With about as many states as dimensions the fit hits its questions and misses other words: of
# nano the mean cosine of unseen ones was 0.82 at 0.8 states per dimension.
WORDS_PER_DIMENSION = 1.7
IMPORTANT = 10.0  # weight of a question of the training beside such a word
GENERAL = 1000.0  # weight of the question that every picture is asked
# Times the mean square of the states. A few of their dimensions are huge, and words differ in the small ones.
RIDGE = 1e-7


def words_to_fit(width: int) -> int:
    """Return how many words of the vocabulary the matrix of a decoder of this width D is fitted to."""
    return max(VOCABULARY_WORDS, round(WORDS_PER_DIMENSION * width))


def wordings(types: Sequence[str], rng: np.random.Generator) -> list[Query]:
    """Draw one wording of each type (K): its name or a synonym, with or without its description."""
    drawn = []
    for name in types:
        info = info_of(name)
        asked = name
        if info and name in DEFECT_TYPES and rng.random() < 0.5:
            asked = str(rng.choice(info.synonyms))
        drawn.append(Query(asked, info.description if info and rng.random() < 0.5 else None))
    return drawn


def all_wordings(types: Sequence[str]) -> list[Query]:
    """Return every question that can be asked of these types, the general one first."""
    asked = [Query()]
    for name in types:
        info = info_of(name)
        names = (name, *info.synonyms) if info and name in DEFECT_TYPES else (name,)
        descriptions = (None, info.description) if info else (None,)
        asked += [Query(one, description) for one in names for description in descriptions]
    return asked


class FirstReading:
    """What the decoder reads in bare questions before the joint stage: all that are asked in it, and many words."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor, types: Sequence[str]) -> None:
        self.processor = processor
        asked = all_wordings(types)
        self.important = len(asked)
        self.queries = asked + [
            Query(word) for word in vocabulary_words(processor, words_to_fit(model.backbone.hidden_size))
        ]
        self.reader = WordReader(model, processor)
        self.states = self._read(self.reader)  # (N, 2, D)

    def _read(self, reader: WordReader) -> Tensor:
        batch = self.processor.questions(self.queries)
        device = reader.model.device
        return reader.states(batch["asked_ids"].to(device), batch["asked_mask"].to(device)).float()

    def realign(self, model: GenAUModel) -> float:
        """Fit the head's matrix to what the trained model reads: bare questions give the queries that they gave.

        Returns the mean cosine of `fit_queries`.
        """
        return fit_queries(model.mask_head, self.states, self._read(WordReader(model, self.processor)), self.important)


@torch.no_grad()
def fit_queries(head: MaskHead, first: Tensor, present: Tensor, important: int) -> float:
    """Set the head's matrix so that the present states (N, 2, D) of questions give the queries that the first gave.

    Weighted ridge regression; the first `important` questions weigh more. Returns the mean cosine between the first
    and the fitted directions h_d - h_n, over words of the vocabulary that the fit did not see.
    """
    device = head.query.weight.device
    wanted = head.query(head.state_norm(first.to(device))).double()  # (N, 2, W)
    now = head.state_norm(present.to(device)).double()  # (N, 2, D)
    rows = torch.arange(len(now), device=device)
    unseen = (rows >= important) & (rows % 10 == 0)
    weight = torch.where(rows < important, IMPORTANT, 1.0).to(now)
    weight[0] = GENERAL
    fitted = ridge(now[~unseen], wanted[~unseen], weight[~unseen])
    before, after = (
        head.directions(queries + head.query_prior.double()) for queries in (wanted[unseen], now[unseen] @ fitted.T)
    )
    head.query.weight.copy_(ridge(now, wanted, weight))
    return F.cosine_similarity(before, after, dim=-1).mean().item()


def ridge(states: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the matrix (W, D) that maps states (N, 2, D) to what is wanted (N, 2, W), rows weighted by (N,)."""
    x, y = states.flatten(0, 1), wanted.flatten(0, 1)
    w = weight.repeat_interleave(2)[:, None]
    gram = x.T @ (w * x)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution: Tensor = torch.linalg.solve(gram, x.T @ (w * y))
    return solution.T


def vocabulary_words(processor: GenAUProcessor, count: int) -> list[str]:
    """Return up to `count` of the tokenizer's own whole words, spread over its vocabulary; always the same."""
    known = sorted(processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [token[1:] for token, _ in known if token[:1] in "Ġ▁" and token[1:].isascii() and token[1:].isalpha()]
    words = sorted({word.lower() for word in words if len(word) > 3})
    return words[:: max(1, len(words) // count)][:count]
