"""What the decoder reads in a question by itself, no picture before it: one half of every query of the map.

Shapes: Q questions, T words, D the decoder's width.
"""

import torch
from torch import Tensor

from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor

AT_ONCE = 32
MOST_KEPT = 4096  # wordings; 4.6 kB each with nano


class WordReader:
    """Reads each wording once, without gradients or dropout; `forget` them when the decoder has changed."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor) -> None:
        self.model, self.processor = model, processor
        self._read: dict[tuple[int, ...], Tensor] = {}

    def forget(self) -> None:
        """Read everything anew from here on."""
        self._read = {}

    @torch.no_grad()
    def states(self, asked_ids: Tensor, asked_mask: Tensor) -> Tensor:
        """Return the hidden states of the two query tokens (Q, 2, D) of questions (Q, T)."""
        keys = [tuple(ids[mask].tolist()) for ids, mask in zip(asked_ids, asked_mask, strict=True)]
        if len(self._read) + len(set(keys) - self._read.keys()) > MOST_KEPT:
            self.forget()
        read = self._read  # another thread may forget
        new = {key: row for row, key in enumerate(keys) if key not in read}
        if new:
            read |= self._states(new, asked_ids, asked_mask)
        return torch.stack([read[key] for key in keys])

    def _states(
        self, rows: dict[tuple[int, ...], int], asked_ids: Tensor, asked_mask: Tensor
    ) -> dict[tuple[int, ...], Tensor]:
        training = self.model.training
        self.model.eval()
        found: dict[tuple[int, ...], Tensor] = {}
        instruction = self.model.read_instruction(self.processor.instruction_ids().to(asked_ids.device))
        for start in range(0, len(rows), AT_ONCE):
            chunk = torch.tensor(list(rows.values())[start : start + AT_ONCE], device=asked_ids.device)
            states = self.model.read_questions(instruction, asked_ids[chunk], asked_mask[chunk])
            found |= dict(zip(list(rows)[start : start + AT_ONCE], states, strict=True))
        self.model.train(training)
        return found
