"""nano: EfficientNet-Lite2 sees, SmolLM2-135M speaks; a small projector of ours lies between them.

Shapes as in `backbones`. Both parts are Apache-2.0 and come from the package registry (see `genau.weights`).
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, PreTrainedModel

from genau.model.backbones import Memory, Shown, Sight, first_position, reading, word_positions
from genau.model.backbones.efficientnet_lite import LITE2_STAGES, EfficientNetLite, StageSpec

LEVEL_STAGES = (1, 2, 4, 6)  # strides 4, 8, 16, 32
TOKEN_GRID = (8, 8)


class NanoBackbone(nn.Module):
    """The embedded default backbone: 64 visual tokens, a pyramid at strides 4, 8, 16 and 32."""

    own_parts: tuple[str, ...] = ("projector.",)

    def __init__(self, encoder: EfficientNetLite, decoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder: Any = decoder
        self.hidden_size: int = decoder.config.hidden_size
        self.bf16_decoder = False  # training may use bf16 products in the decoder; scores are always made in fp32
        self.level_channels = tuple(encoder.stage_channels[stage] for stage in LEVEL_STAGES)
        self.projector = nn.Sequential(
            nn.LayerNorm(self.level_channels[-1]),
            nn.Linear(self.level_channels[-1], self.hidden_size),
            nn.GELU(),
            nn.Linear(self.hidden_size, self.hidden_size),
        )

    @classmethod
    def from_config(cls, sizes: dict[str, Any]) -> "NanoBackbone":
        """Build with random weights: `decoder` holds LlamaConfig fields, `stages` (optional) the encoder's stages."""
        stages = tuple(StageSpec(**stage) for stage in sizes["stages"]) if "stages" in sizes else LITE2_STAGES
        return cls(EfficientNetLite(stages), LlamaModel(LlamaConfig(**sizes["decoder"])))

    @classmethod
    def from_base(cls, folder: Path) -> "NanoBackbone":
        """Load the two pretrained parts from the folder that `genau.weights.ensure_base` built."""
        encoder = EfficientNetLite()
        encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
        return cls(encoder, LlamaModel.from_pretrained(folder / "decoder", local_files_only=True, dtype=torch.float32))

    def look(self, pixel_values: Tensor, content_hw: Tensor | None = None) -> Sight:
        """(B, 3, S, S) -> visual tokens on an 8x8 grid, padding included, and four levels."""
        return self.look_again(self.encode(pixel_values))

    def encode(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> four levels: all that depends on the encoder, so that training can keep it."""
        stages = self.encoder(pixel_values)
        return tuple(stages[stage] for stage in LEVEL_STAGES)

    def look_again(self, pyramid: tuple[Tensor, ...]) -> Sight:
        """Return what `look` gives, from its levels."""
        pooled = F.adaptive_avg_pool2d(pyramid[-1], TOKEN_GRID)  # (B, C, 8, 8)
        tokens: Tensor = self.projector(pooled.flatten(2).transpose(1, 2))  # (B, N, D)
        return Sight.of_grid(tokens, TOKEN_GRID, pyramid)

    @property
    def _word_table(self) -> Tensor:
        table: Tensor = self.decoder.get_input_embeddings().weight
        return table

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D); zeros for ids beyond the base vocabulary (the image and query tokens)."""
        return reading.embed(self._word_table, input_ids)

    def positions(self, mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        """Positions go on from word to word; a visual token is one."""
        return word_positions(mask, start)

    def read(
        self, embeddings: Tensor, mask: Tensor, memory: Memory | None, shown: Shown | None = None
    ) -> tuple[Tensor, Memory]:
        """Run the decoder on (B, T, D) after what `memory` holds."""
        positions = self.positions(mask, first_position(mask, memory), shown)
        return reading.read_on(self.decoder, embeddings, mask, memory, positions, bf16=self.bf16_decoder)

    def read_whole(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, shown: Shown) -> Tensor:
        """Run the decoder on (B, L, D) without a memory."""
        return reading.read_whole(self.decoder, embeddings, allowed, positions, bf16=self.bf16_decoder)

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        """Tied output embeddings: (..., D) -> (..., V) in fp32."""
        return reading.logits(self._word_table, hidden, word_ids)

    def initialise_projector(self, generator: torch.Generator) -> None:
        """Draw the projector so that visual tokens have the length of word embeddings."""
        word_norm = self._word_table.float().norm(dim=1).mean().item()
        for layer in self.projector:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features), generator=generator)
                nn.init.zeros_(layer.bias)
        last: nn.Linear = self.projector[-1]  # type: ignore[assignment]
        last.weight.data.mul_(word_norm / math.sqrt(0.43 * self.hidden_size))  # GELU of a unit normal: E[x²] = 0.43
