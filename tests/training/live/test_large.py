"""Runs on tiny bases of the large families, as transformers saves them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from genau import checkpoints
from genau.training.live.run import run
from genau.training.live.settings import LiveSettings

TEXT = {
    "vocab_size": 640,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TOWER = {"hidden_size": 24, "intermediate_size": 32}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
BASES: dict[str, dict[str, Any]] = {
    "qwen3_vl": {
        "text_config": TEXT | {"head_dim": 8, "rope_parameters": ROPE},
        "vision_config": TOWER
        | {"depth": 4, "num_heads": 2, "out_hidden_size": 32, "patch_size": 8, "num_position_embeddings": 64}
        | {"spatial_merge_size": 2, "deepstack_visual_indexes": [1]},
    },
    "llava_onevision": {
        "text_config": TEXT | {"model_type": "qwen2", "tie_word_embeddings": True},
        "vision_config": TOWER
        | {"model_type": "siglip_vision_model", "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 32}
        | {"patch_size": 8, "vision_use_head": False},
        "tie_word_embeddings": True,
    },
}


def save_base(folder: Path, kind: str, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **BASES[kind], image_token_id=600, image_token_index=600)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", BASES)
def test_a_large_base_in_bf16_trains_is_saved_and_comes_back(
    kind: str, settings: Callable[..., LiveSettings], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = save_base(tmp_path / "base", kind, tokenizer)
    asked = settings(start=None, base=str(base), image_size=64, bf16=True, gradient_checkpointing=True, steps=3)
    output = run(asked, tmp_path / "run")
    losses = [line["loss"] for line in json.loads((output / "log.json").read_text()) if "loss" in line]
    assert len(losses) == 3
    assert all(loss > 0 for loss in losses)
    lora = load_file(output / "adapter" / "adapter" / "adapter_model.safetensors")
    own = load_file(output / "adapter" / "genau.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in (*lora.values(), *own.values()))
    assert all(tensor.abs().max() > 0 for name, tensor in lora.items() if "lora_B" in name)
    assert any(name.startswith("backbone.") for name in own)  # the pretrained projector trains and is ours
    loaded = checkpoints.load(output / "adapter")
    assert loaded.model.config.base == str(base)
    assert torch.equal(loaded.model.mask_head.query.weight, own["mask_head.query.weight"])
