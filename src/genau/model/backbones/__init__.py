"""What a vision-language model must offer to become a GenAU backbone: one small adapter file per family.

Shapes: B pictures, N visual tokens, T words, L remembered tokens, D the decoder's width, C_l and (h_l, w_l) a level.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sight:
    """What the vision side gives for a batch of pictures.

    The pyramid is in raster order and covers the whole canvas, whatever windows, blocks or crops the family sees it
    in. Visual tokens are in the order in which the decoder reads them; where they lie is said by `token_cells`.
    """

    visual_tokens: Tensor  # (B, N, D), zeros after a picture's own
    token_counts: Tensor  # (B,), how many are its own
    token_cells: Tensor  # (B, N), each token's cell of `token_grid` in raster order; -1: it stands for no one place
    token_grid: tuple[int, int]  # (h, w) over the whole canvas
    pyramid: tuple[Tensor, ...]  # (B, C_l, h_l, w_l), finest level first
    deep_tokens: tuple[Tensor, ...] = ()  # (B, N, D) each: what the decoder's first layers add to the visual tokens
    grids_hw: Tensor | None = None  # (B, 2), rows and columns of the visual tokens where positions follow them

    @classmethod
    def of_grid(cls, visual_tokens: Tensor, token_grid: tuple[int, int], pyramid: tuple[Tensor, ...]) -> "Sight":
        """Return the sight of a family whose tokens (B, h * w, D) always cover the canvas in raster order."""
        batch, count = visual_tokens.shape[:2]
        counts = torch.full((batch,), count, device=visual_tokens.device)
        cells = torch.arange(count, device=visual_tokens.device).expand(batch, -1)
        return cls(visual_tokens, counts, cells, token_grid, pyramid)


@dataclass(frozen=True)
class Shown:
    """Where the visual tokens of a batch stand among the words that are read with them."""

    at: Tensor  # (B, T) bool
    sight: Sight


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


@dataclass(frozen=True)
class Habits:
    """What follows from a base's own configuration: for the model, and for the processor that prepares its input."""

    image_size: int  # side of the square canvas, pixels
    layout: dict[str, Any]  # see `genau.layouts`
    mean: tuple[float, float, float]  # of 8-bit values, by channel
    scale: tuple[float, float, float]
    chat_format: str  # of `genau.prompts.CHAT_FORMATS`
    context_scales: tuple[tuple[tuple[int, ...], int, int], ...]  # as in GenAUConfig
    upsample: int  # as in GenAUConfig


class Backbone(Protocol):
    """The three things the rest needs: visual tokens, a feature pyramid, decode steps with a memory.

    Everything that it returns is fp32, whatever its own weights are. Module names begin the names of tensors in
    checkpoints: `decoder` is what LoRA adapts, and `own_parts` are trained and saved with the adapter; all else is the
    base's.
    """

    decoder: Any  # the PreTrainedModel that LoRA adapts
    hidden_size: int  # D
    level_channels: tuple[int, ...]  # C_l
    own_parts: tuple[str, ...]  # prefixes of trained tensors within the backbone, as "projector."

    def look(self, pixel_values: Tensor, content_hw: Tensor) -> Sight:
        """Read canvases (B, 3, S, S) whose top left (B, 2) canvas pixels are the pictures."""
        ...

    def embed(self, input_ids: Tensor) -> Tensor:
        """Return word embeddings (B, T, D); ids that are not of the base vocabulary give zeros."""
        ...

    def positions(self, mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        """Return position ids (B, T), or (B, T, 3), of words (B, T) from `start` (B,) on, and the next free (B,)."""
        ...

    def read(
        self, embeddings: Tensor, mask: Tensor, memory: Memory | None, shown: Shown | None = None
    ) -> tuple[Tensor, Memory]:
        """Read on: (B, T, D) with mask (B, T), False where right padding -> last hidden states (B, T, D), memory.

        `shown` tells which of the words are visual tokens, where there are any.
        """
        ...

    def read_whole(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, shown: Shown) -> Tensor:
        """Read whole sequences (B, L, D) without a memory -> last hidden states (B, L, D).

        `allowed` (B, L, L) bool: what each word sees; `positions` (B, L) or (B, L, 3) as `positions` makes them. Only
        training reads so: checkpointed layers keep no memory, and nothing is read twice.
        """
        ...

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        """Return fp32 logits (..., V) of hidden states (..., D), over all words or over `word_ids` only."""
        ...


def word_positions(mask: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return one-dimensional position ids (B, T) of words (B, T) from `start` (B,) on, and the next free (B,)."""
    steps = mask.long().cumsum(1)
    return start[:, None] + (steps - 1).clamp_min(0), start + steps[:, -1]


def first_position(mask: Tensor, memory: Memory | None) -> Tensor:
    """Return the position id (B,) at which the words (B, T) after a memory begin."""
    if memory is not None:
        return memory.next_position
    return torch.zeros(mask.shape[0], dtype=torch.long, device=mask.device)
