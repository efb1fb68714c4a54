"""Tiny random models of the real classes, and pictures with something painted on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import pre_tokenizers
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
)

from genau.baselines.clip_tower import ClipTower
from genau.baselines.vision_tower import VisionTower
from genau.images import Picture
from genau.model.backbones.efficientnet_lite import EfficientNetLite
from genau.model.modeling import GenAUModel

Tower = Callable[[str], VisionTower]
Draw = Callable[..., Picture]
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
SIZES |= {"image_size": 112, "patch_size": 7}


@pytest.fixture(scope="session")
def clip_tokenizer() -> CLIPTokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


@pytest.fixture
def clip_tower(clip_tokenizer: CLIPTokenizer) -> ClipTower:
    """Return 8 random blocks over 5 x 5 patches; its texts have at most 75 letters, as every letter is a token."""
    ends = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    blocks = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**blocks, **ends, "num_hidden_layers": 2, "vocab_size": 514, "max_position_embeddings": 77},
        vision_config={**blocks, "num_hidden_layers": 8, "image_size": 40, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = CLIPModel(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim:  # as they are initialised, attention and positions hardly count
                weights.add_(torch.randn_like(weights) * 0.2)
    return ClipTower(model, clip_tokenizer)


@pytest.fixture
def averaging_encoder(model: GenAUModel) -> EfficientNetLite:
    """nano's tiny encoder with random averages for filters: what changes in the picture changes there, nowhere else."""
    encoder: EfficientNetLite = model.backbone.encoder
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for conv in encoder.modules():
            if isinstance(conv, torch.nn.Conv2d):
                weight = torch.rand(conv.weight.shape, generator=generator)
                conv.weight.copy_(weight / weight.sum((1, 2, 3), keepdim=True))
    return encoder


@pytest.fixture
def tower(averaging_encoder: EfficientNetLite) -> Tower:
    """Tiny random towers of the real classes; the pictures that they see are never square."""

    def build(name: str) -> VisionTower:
        if name == "nano":
            return VisionTower.of_nano(averaging_encoder, 256)
        torch.manual_seed(0)
        if name == "clip":
            clip = CLIPVisionModel(CLIPVisionConfig(**SIZES, intermediate_size=48))
            return VisionTower.of_transformer(clip, CLIPImageProcessorPil(), name)
        return VisionTower.of_transformer(Dinov2Model(Dinov2Config(**SIZES)), BitImageProcessorPil(), name)

    return build


@pytest.fixture
def textured() -> Draw:
    """Draw noise, with a blue square of a tenth of the longer side at (row, column) if `at` is given."""

    def draw(height: int = 90, width: int = 150, at: tuple[int, int] | None = None, seed: int = 0) -> Picture:
        rng = np.random.default_rng(seed)
        rgb = rng.normal(200, 8, (height, width, 3)).clip(0, 255).astype(np.uint8)
        if at is not None:
            side = max(height, width) // 10
            rgb[at[0] : at[0] + side, at[1] : at[1] + side] = (20, 10, 220)
        return Picture(rgb, f"{height}x{width}")

    return draw


@pytest.fixture
def off_by() -> Callable[[NDArray[np.float32], tuple[int, int]], int]:
    """Measure how far the largest value (H, W) is from the painted square at (row, column), in pixels; 0 is inside."""

    def measure(values: NDArray[np.float32], at: tuple[int, int]) -> int:
        peak, side = np.unravel_index(int(values.argmax()), values.shape), max(values.shape) // 10
        gaps: list[int] = [
            max(start - int(here), int(here) - (start + side - 1), 0) for here, start in zip(peak, at, strict=True)
        ]
        return max(gaps)

    return measure
