"""SmolVLM, SmolVLM2 and Idefics3: a SigLIP sees crops and the whole picture, SmolLM2 or Llama 3 speaks.

Shapes as in `backbones` and `crops`; t tokens across a crop, of patches that are shuffled together.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText

from genau.layouts import SmolVLMLayout, layout_settings
from genau.model.backbones import Habits, Memory, Shown, Sight, first_position, reading, word_positions
from genau.model.backbones.crops import Cutting, level_blocks, look_through, sight_of

MOST_ACROSS = 4  # of the published processors
GREY = 127.5  # mean and scale of SigLIP's pictures, of 8-bit values
LLAMA3_WORDS = 128_000  # Idefics3-8B speaks by Llama 3, whose texts begin with another word than SmolLM2's


class SmolVLMBackbone(nn.Module):
    """The tokens of each crop with content, row by row, then those of the whole picture."""

    own_parts: tuple[str, ...] = ("projector.",)

    def __init__(self, model: Any, image_size: int) -> None:  # noqa: ANN401 - SmolVLMForConditionalGeneration
        super().__init__()
        parts, config = model.model, model.config
        self.cutting = cutting_of(config, image_size)
        self.tower: Any = parts.vision_model.requires_grad_(False)
        self.projector: Any = parts.connector.float()
        self.decoder: Any = parts.text_model
        self.output: Any = None if config.tie_word_embeddings else model.lm_head
        self.hidden_size: int = config.text_config.hidden_size
        self.levels = level_blocks(config.vision_config.num_hidden_layers)
        self.level_channels: tuple[int, ...] = (config.vision_config.hidden_size,) * len(self.levels)
        self.crop_side = self.cutting.cells // config.scale_factor  # t

    @classmethod
    def from_config(cls, sizes: dict[str, Any], image_size: int) -> "SmolVLMBackbone":
        """Build with random weights: `sizes` is the base's whole configuration."""
        config = AutoConfig.for_model(**sizes)
        return cls(AutoModelForImageTextToText.from_config(config, dtype=torch.get_default_dtype()), image_size)

    @classmethod
    def from_model(cls, model: Any, image_size: int) -> "SmolVLMBackbone":  # noqa: ANN401
        """Take the parts of a loaded `SmolVLMForConditionalGeneration` or `Idefics3ForConditionalGeneration`."""
        return cls(model, image_size)

    @classmethod
    def from_base(
        cls,
        where: str | Path,
        image_size: int,
        **loading: Any,  # noqa: ANN401 - of transformers' from_pretrained
    ) -> "SmolVLMBackbone":
        """Load a published base from a hub id or a folder."""
        return cls(AutoModelForImageTextToText.from_pretrained(where, **loading), image_size)

    def look(self, pixel_values: Tensor, content_hw: Tensor) -> Sight:
        """See (B, 3, S, S) in one pass of the tower; t * t tokens of each view, in the published order.

        A picture of a single crop is that crop; of any other the tokens of the whole stand for no one place.
        """
        places, side = self.cutting.places(content_hw), self.crop_side
        total = sum(places.counts)
        cut = [picture for picture, count in enumerate(places.counts) if count > 1]  # is also seen as a whole
        views = [self.cutting.cut(pixel_values, places)]
        if cut:
            views.append(self.cutting.whole(pixel_values[cut], content_hw[cut]))
        seen = torch.cat(views).to(self.tower.dtype)
        full = torch.ones(len(seen), self.cutting.cells, self.cutting.cells, dtype=torch.bool, device=seen.device)
        embedded = self.tower.embeddings(pixel_values=seen, patch_attention_mask=full)
        states = look_through(self.tower, embedded, self.levels)
        pyramid = tuple(self.cutting.stitch(states[block][:total], places) for block in self.levels)
        features = self.tower.post_layernorm(states[self.levels[-1]])
        projected = self.projector(features.to(next(self.projector.parameters()).dtype))  # (n + whole ones, t * t, D)
        placed = self.cutting.cells_of(places, side)
        nowhere = torch.full_like(placed[0], -1)
        tokens, cells = [], []
        crops, crop_cells = projected[:total].split(places.counts), placed.split(places.counts)
        for picture, (own, own_cells) in enumerate(zip(crops, crop_cells, strict=True)):
            seen_whole = picture in cut
            whole = projected[total + cut.index(picture), None] if seen_whole else projected[:0]
            tokens.append(torch.cat([own, whole]).flatten(0, 1))
            cells.append(torch.cat([own_cells.flatten(), nowhere[: seen_whole * len(nowhere)]]))
        grid = self.cutting.across * side
        return sight_of(tokens, cells, (grid, grid), pyramid)

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


def cutting_of(config: Any, image_size: int | None) -> Cutting:  # noqa: ANN401 - SmolVLMConfig or Idefics3Config
    """Return how a canvas is cut for a base; raises CheckpointError where `image_size` does not fit."""
    return Cutting.of(image_size, config.vision_config.image_size, config.vision_config.patch_size, MOST_ACROSS)


def habits(base: dict[str, Any], image_size: int | None = None) -> Habits:
    """Return what follows from a base's configuration; the canvas is of the usual size unless `image_size` says.

    Raises:
        CheckpointError: `image_size` does not fit.
    """
    config = AutoConfig.for_model(**base)
    cutting = cutting_of(config, image_size)
    crop_tokens = (cutting.cells // config.scale_factor) ** 2
    return Habits(
        image_size=cutting.canvas,
        layout=layout_settings(SmolVLMLayout(cutting.crop, crop_tokens)),
        mean=(GREY, GREY, GREY),
        scale=(GREY, GREY, GREY),
        chat_format="idefics3" if config.text_config.vocab_size > LLAMA3_WORDS else "smolvlm",
        context_scales=cutting.context_scales,
        upsample=4,
    )
