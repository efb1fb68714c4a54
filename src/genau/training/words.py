"""What the sleeping decoder reads in a question, picture unseen: the queries of the cheap first stage.

Shapes: Q questions, T words, D the decoder's width, K types.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genau.datasets.synthetic import DEFECT_TYPES
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.training.instructions import RELATED_TYPE

AT_ONCE = 32


class WordReader:
    """Reads each wording once, without dropout; valid as long as the decoder and the query tokens do not change."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor) -> None:
        self.model, self.processor = model, processor
        self._read: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def states(self, query_ids: Tensor, query_mask: Tensor) -> Tensor:
        """Return the hidden states of the two query tokens (Q, 2, D) of questions (Q, T)."""
        keys = [tuple(ids[mask].tolist()) for ids, mask in zip(query_ids, query_mask, strict=True)]
        new = {key: row for row, key in enumerate(keys) if key not in self._read}
        training = self.model.training
        self.model.eval()
        for start in range(0, len(new), AT_ONCE):
            instruction = self.model.read_instruction(self.processor.instruction_ids().to(query_ids.device))
            rows = torch.tensor(list(new.values())[start : start + AT_ONCE], device=query_ids.device)
            found = self.model.read_questions(instruction, query_ids[rows], query_mask[rows])
            self._read |= dict(zip(list(new)[start : start + AT_ONCE], found, strict=True))
        self.model.train(training)
        return torch.stack([self._read[key] for key in keys])


def wordings(types: Sequence[str], rng: np.random.Generator) -> list[Query]:
    """Draw one wording of each type (K): its name or a synonym, with or without its description."""
    drawn = []
    for name in types:
        info = DEFECT_TYPES.get(RELATED_TYPE.get(name, name))
        asked = name
        if info and name in DEFECT_TYPES and rng.random() < 0.5:
            asked = str(rng.choice(info.synonyms))
        drawn.append(Query(asked, info.description if info and rng.random() < 0.5 else None))
    return drawn
