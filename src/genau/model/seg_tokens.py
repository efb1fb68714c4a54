"""Put visual tokens into a sequence of words, and take the two query states out; every count is checked.

Paper: `[SEG_defect]` and `[SEG_normal]`, whose last hidden states query the picture. Ours: their two embeddings are
a small table of their own, so that the base vocabulary stays untouched and tied embeddings stay tied.
Shapes: Q sequences, T words, N visual tokens, D the decoder's width.
"""

import torch
from torch import Tensor, nn


class SegTokens(nn.Module):
    """The trained embeddings of the two query tokens."""

    def __init__(self, hidden_size: int, defect_id: int, normal_id: int) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.empty(2, hidden_size).normal_(std=0.02))
        self.ids = (defect_id, normal_id)

    def place(self, embeddings: Tensor, input_ids: Tensor, told: Tensor | None = None) -> Tensor:
        """Return word embeddings (Q, T, D) with the two query tokens' own put at their places in (Q, T).

        `told` (Q, D) is added to both.
        """
        for row, token_id in enumerate(self.ids):
            own = self.embeddings[row] if told is None else (self.embeddings[row] + told)[:, None]
            embeddings = torch.where((input_ids == token_id)[..., None], own, embeddings)
        return embeddings

    def take(self, hidden: Tensor, input_ids: Tensor) -> Tensor:
        """Return the hidden states (Q, 2, D) at `[SEG_defect]` and `[SEG_normal]`.

        Raises:
            ValueError: a sequence does not hold each of them exactly once.
        """
        states = []
        for name, token_id in zip(("[SEG_defect]", "[SEG_normal]"), self.ids, strict=True):
            at = input_ids == token_id
            counts = at.sum(1)
            if (counts != 1).any():
                raise ValueError(f"Each sequence must hold {name} exactly once; found {counts.tolist()}.")
            states.append(hidden[torch.arange(len(hidden), device=hidden.device), at.long().argmax(1)])
        return torch.stack(states, 1)


def place_visual_tokens(embeddings: Tensor, at: Tensor, visual_tokens: Tensor, counts: Tensor) -> Tensor:
    """Return embeddings (Q, T, D) with each row's first `counts` (Q,) of (Q, N, D) put in order where `at` (Q, T) says.

    Raises:
        ValueError: placeholders and visual tokens do not agree, in either direction.
    """
    placeholders = at.sum(1)
    if (placeholders != counts).any():
        raise ValueError(
            f"The sequences have {placeholders.tolist()} image placeholders for {counts.tolist()} visual tokens: "
            "processor and model must come from the same checkpoint."
        )
    own = torch.arange(visual_tokens.shape[1], device=counts.device) < counts[:, None]  # (Q, N)
    return embeddings.masked_scatter(at[..., None], visual_tokens[own].to(embeddings.dtype))
