"""A tiny CLIP for all baselines that run on one."""

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from genau.baselines.clip_tower import ClipTower


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
