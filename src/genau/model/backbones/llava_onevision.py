"""LLaVA-OneVision: SigLIP sees the whole picture and crops of it, Qwen2 speaks.

Shapes as in `backbones` and `crops`; h, w the cells of the canvas that hold content.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText

from genau.errors import CheckpointError
from genau.layouts import LlavaOnevisionLayout, layout_settings
from genau.model.backbones import Habits, Memory, Shown, Sight, first_position, reading, word_positions
from genau.model.backbones.crops import Cutting, level_blocks, look_through, sight_of

MODEL_TYPE = "llava_onevision"
MOST_ACROSS = 3  # more than nine crops in all would be read shrunk ("anyres_max_9")
GREY = 127.5  # mean and scale of SigLIP's pictures, of 8-bit values


class LlavaOnevisionBackbone(nn.Module):
    """The tokens of the whole picture, then those of its crops, line by line with a newline after each."""

    own_parts: tuple[str, ...] = ("projector.", "newline")

    def __init__(self, model: Any, image_size: int) -> None:  # noqa: ANN401 - LlavaOnevisionForConditionalGeneration
        super().__init__()
        parts, config = model.model, model.config
        self.cutting = cutting_of(config, image_size)
        self.tower: Any = parts.vision_tower.requires_grad_(False)
        self.projector: Any = parts.multi_modal_projector.float()
        self.newline = nn.Parameter(parts.image_newline.detach().float())
        self.decoder: Any = parts.language_model
        self.output: Any = None if config.tie_word_embeddings else model.lm_head
        self.hidden_size: int = config.text_config.hidden_size
        self.levels = level_blocks(config.vision_config.num_hidden_layers)
        self.level_channels: tuple[int, ...] = (config.vision_config.hidden_size,) * len(self.levels)
        states = config.vision_config.num_hidden_layers + 1
        chosen = config.vision_feature_layer
        self.chosen = tuple(block % states for block in ([chosen] if isinstance(chosen, int) else chosen))

    @classmethod
    def from_config(cls, sizes: dict[str, Any], image_size: int) -> "LlavaOnevisionBackbone":
        """Build with random weights: `sizes` is the base's whole configuration."""
        config = AutoConfig.for_model(**sizes)
        return cls(AutoModelForImageTextToText.from_config(config, dtype=torch.get_default_dtype()), image_size)

    @classmethod
    def from_model(cls, model: Any, image_size: int) -> "LlavaOnevisionBackbone":  # noqa: ANN401
        """Take the parts of a loaded `LlavaOnevisionForConditionalGeneration`."""
        return cls(model, image_size)

    @classmethod
    def from_base(
        cls,
        where: str | Path,
        image_size: int,
        **loading: Any,  # noqa: ANN401 - of transformers' from_pretrained
    ) -> "LlavaOnevisionBackbone":
        """Load a published base from a hub id or a folder."""
        return cls(AutoModelForImageTextToText.from_pretrained(where, **loading), image_size)

    def look(self, pixel_values: Tensor, content_hw: Tensor) -> Sight:
        """See (B, 3, S, S) in one pass of the tower; 729 tokens of the whole and h (w + 1) of the crops, as published.

        Tokens of the whole picture and newlines stand for no one place.
        """
        places, batch = self.cutting.places(content_hw), len(pixel_values)
        views = torch.cat([self.cutting.whole(pixel_values, content_hw), self.cutting.cut(pixel_values, places)])
        embedded = self.tower.embeddings(views.to(self.tower.dtype))
        states = look_through(self.tower, embedded, [*self.levels, *self.chosen])
        pyramid = tuple(self.cutting.stitch(states[block][batch:], places) for block in self.levels)
        features = torch.cat([states[block] for block in self.chosen], -1)
        projected = self.projector(features.to(self.newline.dtype))  # (B + n, s * s, D)
        canvas = self.cutting.stitch(projected[batch:], places)  # (B, D, k s, k s)
        grid_hw = (canvas.shape[2], canvas.shape[3])
        raster = torch.arange(grid_hw[0] * grid_hw[1], device=canvas.device).view(grid_hw)
        tokens, cells = [], []
        for whole, crops, (height, width) in zip(projected[:batch], canvas, content_hw.tolist(), strict=True):
            h, w = math.ceil(height / self.cutting.patch), math.ceil(width / self.cutting.patch)
            newlines = self.newline[:, None, None].expand(-1, h, 1)
            lines = torch.cat([crops[:, :h, :w], newlines], 2)  # (D, h, w + 1)
            tokens.append(torch.cat([whole, lines.flatten(1).T]))
            nowhere = raster.new_full((len(whole) + h, 1), -1)
            placed = torch.cat([raster[:h, :w], nowhere[:h]], 1)
            cells.append(torch.cat([nowhere[h:, 0], placed.flatten()]))
        return sight_of(tokens, cells, grid_hw, pyramid)

    @property
    def _word_table(self) -> Tensor:
        table: Tensor = self.decoder.get_input_embeddings().weight
        return table

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D); zeros for ids beyond the base vocabulary."""
        return reading.embed(self._word_table, input_ids)

    def positions(self, mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        """Positions go on from word to word; a visual token is one."""
        return word_positions(mask, start)

    def read(
        self, embeddings: Tensor, mask: Tensor, memory: Memory | None, shown: Shown | None = None
    ) -> tuple[Tensor, Memory]:
        """Run the decoder on (B, T, D) after what `memory` holds."""
        positions = self.positions(mask, first_position(mask, memory), shown)
        return reading.read_on(self.decoder, embeddings, mask, memory, positions)

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        """(..., D) -> (..., V) in fp32."""
        return reading.logits(self._word_table if self.output is None else self.output.weight, hidden, word_ids)


def cutting_of(config: Any, image_size: int | None) -> Cutting:  # noqa: ANN401 - LlavaOnevisionConfig
    """Return how a canvas is cut for a base.

    Raises:
        CheckpointError: `image_size` does not fit, or the base has another tower than the published ones.
    """
    vision, features = config.vision_config, config.vision_feature_select_strategy
    if (vision.model_type, features) != ("siglip_vision_model", "full"):
        raise CheckpointError(
            f"This LLaVA-OneVision sees by {vision.model_type!r} with features {features!r}; it must be "
            "'siglip_vision_model' and 'full'. Use one of the published bases."
        )
    return Cutting.of(image_size, vision.image_size, vision.patch_size, MOST_ACROSS)


def habits(base: dict[str, Any], image_size: int | None = None) -> Habits:
    """Return what follows from a base's configuration; the canvas is of the usual size unless `image_size` says.

    Raises:
        CheckpointError: `image_size` does not fit.
    """
    config = AutoConfig.for_model(**base)
    cutting = cutting_of(config, image_size)
    return Habits(
        image_size=cutting.canvas,
        layout=layout_settings(LlavaOnevisionLayout(cutting.cells**2, cutting.patch)),
        mean=(GREY, GREY, GREY),
        scale=(GREY, GREY, GREY),
        chat_format="chatml",
        context_scales=cutting.context_scales,
        upsample=4,
    )
