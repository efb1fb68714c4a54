"""What a vision-language model must offer to become a GenAU backbone: one small adapter file per family.

Shapes: B pictures, N visual tokens, T words, L remembered tokens, D the decoder's width, C_l and (h_l, w_l) a level.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sight:
    """What the vision side gives for a batch of pictures, in raster order."""

    visual_tokens: Tensor  # (B, N, D)
    token_grid: tuple[int, int]  # (h, w) with h * w == N: where on the canvas each visual token lies
    pyramid: tuple[Tensor, ...]  # (B, C_l, h_l, w_l), finest level first


@dataclass(frozen=True)
class Memory:
    """What a decoder has read so far; never changed in place, so that every question starts from the same state.

    The position state lies here and not on the module: what one picture left behind must not touch the next.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]  # per layer (B, heads, L, D_head) twice
    seen: Tensor  # (B, L) bool, False where padding
    next_position: Tensor  # (B,) position id of the next word

    def take(self, index: Tensor) -> "Memory":
        """Return the memory of the rows `index` (Q,), each as often as named."""
        layers = tuple((keys[index], values[index]) for keys, values in self.keys_values)
        return Memory(layers, self.seen[index], self.next_position[index])


class Backbone(Protocol):
    """The three things the rest needs: visual tokens, a feature pyramid, decode steps with a memory."""

    decoder: Any  # the PreTrainedModel that LoRA adapts
    hidden_size: int  # D
    level_channels: tuple[int, ...]  # C_l

    def look(self, pixel_values: Tensor) -> Sight:
        """Read pictures (B, 3, H, W)."""
        ...

    def embed(self, input_ids: Tensor) -> Tensor:
        """Return word embeddings (B, T, D); ids that are not of the base vocabulary give zeros."""
        ...

    def read(self, embeddings: Tensor, mask: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Read on: (B, T, D) with mask (B, T), False where right padding -> last hidden states (B, T, D), memory."""
        ...

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        """Return fp32 logits (..., V) of hidden states (..., D), over all words or over `word_ids` only."""
        ...


def positions_after(memory: Memory | None, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return one-dimensional position ids (B, T) of new words after a memory, and the next free position (B,)."""
    start = torch.zeros(mask.shape[0], dtype=torch.long, device=mask.device) if memory is None else memory.next_position
    steps = mask.long().cumsum(1)
    return start[:, None] + (steps - 1).clamp_min(0), start + steps[:, -1]
