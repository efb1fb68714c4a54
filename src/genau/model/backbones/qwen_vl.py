"""Qwen2.5-VL and Qwen3-VL: a tower for pictures of any shape, whose patches are merged into visual tokens by squares.

Both towers take a picture's patches square by square, and all pictures of a batch in one row; the first reads them
window by window inside. The first layers of Qwen3-VL's decoder add features of inner blocks to the visual tokens.
Shapes as in `backbones`; r and c are the rows and columns of a picture's visual tokens, m the patches on the side of
one, p the pixels on the side of a patch, G the visual tokens on the canvas's side, P the patches of all pictures.
"""

import copy
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from genau.errors import CheckpointError
from genau.layouts import QwenLayout, layout_settings
from genau.model.backbones import Habits, Memory, Shown, Sight, first_position, reading

LEVELS = 4
# What blocks say in the pass at hand; each thread has its own.
KEPT: ContextVar[dict[nn.Module, Tensor] | None] = ContextVar("kept", default=None)
DEFAULT_SIDE = 32  # visual tokens on the canvas's side: 896 pixels of Qwen2.5-VL, 1024 of Qwen3-VL
COLOURS = {  # mean and scale of 8-bit values by which each was trained
    "qwen2_5_vl": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
    "qwen3_vl": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


def full_config(base: Mapping[str, Any]) -> PreTrainedConfig:
    """Return a base's configuration, with what its file leaves to the class.

    Raises:
        CheckpointError: of another family.
    """
    kind = base.get("model_type")
    if kind not in COLOURS:
        raise CheckpointError(
            f"The base's model_type is {kind!r}; the backbone qwen-vl reads {' and '.join(COLOURS)}. "
            "Give a Qwen2.5-VL or Qwen3-VL model, or name the backbone of the other family."
        )
    config: PreTrainedConfig = AutoConfig.for_model(**copy.deepcopy(dict(base)))  # which changes what it is given
    return config


def cell_of(config: PreTrainedConfig) -> int:
    """Return the side of a visual token in canvas pixels."""
    side: int = config.vision_config.patch_size * config.vision_config.spatial_merge_size
    return side


def check_canvas(image_size: int, cell: int) -> None:
    """Refuse a canvas whose side is not a multiple of a visual token's."""
    if image_size % cell or image_size < cell:
        near = max(1, round(image_size / cell)) * cell
        raise CheckpointError(
            f"image_size={image_size} does not fit the base: its visual tokens are {cell} pixels wide, so the side of "
            f"the canvas must be a multiple of {cell}. Use {near}."
        )


def habits(base: Mapping[str, Any], image_size: int | None = None) -> Habits:
    """Return what follows from a base's configuration.

    Raises:
        CheckpointError: of another family, or a canvas that is not a multiple of a visual token's side.
    """
    config = full_config(base)
    patch, cell = config.vision_config.patch_size, cell_of(config)
    size = DEFAULT_SIDE * cell if image_size is None else image_size
    check_canvas(size, cell)
    mean, scale = COLOURS[config.model_type]
    return Habits(
        image_size=size,
        layout=layout_settings(QwenLayout(cell)),
        mean=mean,
        scale=scale,
        chat_format="qwen-vl",
        context_scales=(((1, 2), patch, 2), ((1, 2), 2 * patch, 1)),
        upsample=4,
    )


def _keep(block: nn.Module, inputs: object, hidden: Tensor) -> None:
    """Keep what a block says for the pass at hand."""
    kept = KEPT.get()
    if kept is not None:
        kept[block] = hidden


def _in_own_dtype(merger: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Let a merger be trained in fp32 inside a tower in bf16."""
    dtype = next(merger.parameters()).dtype
    return tuple(each.to(dtype) for each in inputs)


class QwenVLBackbone(nn.Module):
    """A pretrained Qwen2.5-VL or Qwen3-VL, taken apart; the mergers of its tower are trained, the rest of it is not."""

    own_parts: tuple[str, ...] = ("tower.merger.", "tower.deepstack_merger_list.")

    tower: Any  # either family's vision model, its mergers included
    decoder: Any  # a PreTrainedModel

    def __init__(self, tower: PreTrainedModel, decoder: PreTrainedModel, output: nn.Module | None) -> None:
        """`output` is the output layer, None where it is the table of word embeddings."""
        super().__init__()
        self.tower, self.decoder = tower, decoder
        self.output = output
        self.hidden_size: int = decoder.config.hidden_size
        self.bf16_decoder = False  # training may use bf16 products in an fp32 decoder
        sizes = tower.config
        self.level_channels: tuple[int, ...] = (sizes.hidden_size,) * LEVELS
        self.levels = [-(-sizes.depth * (level + 1) // LEVELS) for level in range(LEVELS)]  # after so many blocks
        self.patch, self.merge = sizes.patch_size, sizes.spatial_merge_size
        self.cell: int = self.patch * self.merge
        self.window: int | None = sizes.window_size // self.cell if hasattr(sizes, "window_size") else None
        for name, weight in self.named_parameters():
            if name.startswith("tower.") and not name.startswith(self.own_parts):
                weight.requires_grad_(False)
        for depth in self.levels:
            self.tower.blocks[depth - 1].register_forward_hook(_keep)
        for merger in (self.tower.merger, *getattr(tower, "deepstack_merger_list", ())):
            merger.register_forward_pre_hook(_in_own_dtype)

    @classmethod
    def from_model(cls, model: Any) -> "QwenVLBackbone":  # noqa: ANN401 - either family's ForConditionalGeneration
        """Take a loaded model apart."""
        tied = model.config.tie_word_embeddings  # not by identity: inside `from_pretrained` nothing is tied yet
        return cls(model.model.visual, model.model.language_model, None if tied else model.lm_head)

    @classmethod
    def from_config(cls, sizes: Mapping[str, Any], image_size: int) -> "QwenVLBackbone":
        """Build with random weights by the whole Hugging Face configuration of a base."""
        config = full_config(sizes)
        check_canvas(image_size, cell_of(config))
        return cls.from_model(AutoModelForImageTextToText.from_config(config, dtype=torch.get_default_dtype()))

    @classmethod
    def from_base(cls, where: str | Path, image_size: int, **loading: Any) -> "QwenVLBackbone":  # noqa: ANN401
        """Load pretrained weights from a folder or the hub; `loading` goes to transformers' `from_pretrained`."""
        model: Any = AutoModelForImageTextToText.from_pretrained(where, **loading)
        check_canvas(image_size, cell_of(full_config(model.config.to_dict())))
        return cls.from_model(model)

    def look(self, pixel_values: Tensor, content_hw: Tensor) -> Sight:
        """Read canvases (B, 3, S, S), of each only the visual tokens (r, c) that its content (B, 2) reaches into."""
        check_canvas(pixel_values.shape[-1], self.cell)
        side = pixel_values.shape[-1] // self.cell  # G
        grids = -(-content_hw.to(pixel_values.device) // self.cell)  # (B, 2)
        shapes = [(int(r), int(c)) for r, c in grids.tolist()]
        patches = [self._patches(canvas, shape) for canvas, shape in zip(pixel_values, shapes, strict=True)]
        grid_thw = torch.cat([torch.ones_like(grids[:, :1]), grids * self.merge], 1)
        kept: dict[nn.Module, Tensor] = {}
        before = KEPT.set(kept)
        try:
            seen = self.tower(torch.cat(patches), grid_thw=grid_thw)
        finally:
            KEPT.reset(before)
        tokens, *deep = (
            pad_sequence(flat.float().split([r * c for r, c in shapes]), batch_first=True)
            for flat in (seen.pooler_output, *(getattr(seen, "deepstack_features", None) or ()))
        )
        own = torch.arange(side**2, device=grids.device).unflatten(0, (side, side))
        cells = pad_sequence([own[:r, :c].flatten() for r, c in shapes], batch_first=True, padding_value=-1)
        levels = [kept[self.tower.blocks[depth - 1]] for depth in self.levels]
        pyramid = tuple(self._on_canvas(level, shapes, side) for level in levels)
        return Sight(tokens, grids.prod(1), cells, (side, side), pyramid, tuple(deep), grids)

    def _patches(self, canvas: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the patches (r * c * m * m, 3 * T * p * p) of a canvas (3, S, S), square by square.

        A patch has T moments, as the towers read films too; a picture is the same at each.
        """
        (r, c), m, p = shape, self.merge, self.patch
        squares = canvas[:, : r * self.cell, : c * self.cell].reshape(3, r, m, p, c, m, p)
        moments = self.tower.config.temporal_patch_size
        still = squares.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]  # (r, c, m, m, 3, 1, p, p)
        return still.expand(-1, -1, -1, -1, -1, moments, -1, -1).reshape(r * c * m * m, -1)

    def _on_canvas(self, hidden: Tensor, shapes: Iterable[tuple[int, int]], side: int) -> Tensor:
        """Return a block's output (P, C) as a level (B, C, G * m, G * m), zero where nothing was seen."""
        m, start, level = self.merge, 0, []
        for r, c in shapes:
            squares = hidden[start : start + r * c * m * m].float().unflatten(0, (r * c, m * m))
            raster = squares[self._order(r, c, hidden.device).argsort()].reshape(r, c, m, m, -1)
            picture = raster.permute(4, 0, 2, 1, 3).reshape(-1, r * m, c * m)
            level.append(F.pad(picture, (0, (side - c) * m, 0, (side - r) * m)))
            start += r * c * m * m
        return torch.stack(level)

    def _order(self, r: int, c: int, device: torch.device) -> Tensor:
        """Return which square (r * c), in raster order, the tower's blocks hold at each place."""
        if self.window is None:
            return torch.arange(r * c, device=device)
        rows, columns = torch.arange(r, device=device)[:, None], torch.arange(c, device=device)
        return (rows // self.window * c + columns // self.window).flatten().argsort(stable=True)

    @property
    def _word_table(self) -> Tensor:
        table: Tensor = self.decoder.get_input_embeddings().weight
        return table

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D); zeros for ids beyond the table."""
        return reading.embed(self._word_table, input_ids)

    def positions(self, mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        """Return moment, row and column of each word (B, T, 3), and the next free position (B,).

        A word has all three alike and the next word one more. The visual tokens of a picture share their moment, and
        go on from it by row and by column; the words after them go on from the largest of these (Qwen2-VL, arXiv
        2409.12191, section 2.1). A sequence shows at most one picture, its tokens in one run.
        """
        at = torch.zeros_like(mask) if shown is None else shown.at & mask
        words = (mask & ~at).long().cumsum(1)  # (B, T), up to and with each word
        if shown is None or shown.sight.grids_hw is None:
            span, columns = torch.zeros_like(start), torch.ones_like(start)
        else:
            span, columns = shown.sight.grids_hw.max(1).values, shown.sight.grids_hw[:, 1]
        number = (at.long().cumsum(1) - 1).clamp_min(0)  # of each visual token among its picture's
        past = (at.long().cumsum(1) > 0) * span[:, None]
        word = start[:, None] + (words - 1).clamp_min(0) + past
        moment = start[:, None] + words
        seen = torch.stack([moment, moment + number // columns[:, None], moment + number % columns[:, None]], -1)
        return torch.where(at[..., None], seen, word[..., None]), start + words[:, -1] + past[:, -1]

    def added(self, shown: Shown | None) -> dict[str, Any]:
        """Return what the decoder takes besides words and positions: what its first layers add to visual tokens."""
        if shown is None or not shown.sight.deep_tokens:
            return {}
        counts = shown.sight.token_counts
        own = torch.arange(shown.sight.visual_tokens.shape[1], device=counts.device) < counts[:, None]  # (B, N)
        return {
            "visual_pos_masks": shown.at,
            "deepstack_visual_embeds": [deep[own] for deep in shown.sight.deep_tokens],
        }

    def read(
        self, embeddings: Tensor, mask: Tensor, memory: Memory | None, shown: Shown | None = None
    ) -> tuple[Tensor, Memory]:
        """Run the decoder on (B, T, D) after what `memory` holds."""
        places, following = self.positions(mask, first_position(mask, memory), shown)
        positions = places.permute(2, 0, 1), following  # (3, B, T)
        more = self.added(shown)
        return reading.read_on(self.decoder, embeddings, mask, memory, positions, bf16=self.bf16_decoder, **more)

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        """Return (..., V) of (..., D), in fp32."""
        table: Any = self._word_table if self.output is None else self.output.weight
        return reading.logits(table, hidden, word_ids)
