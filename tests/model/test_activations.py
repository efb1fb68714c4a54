"""The formula of a layer's activations against what autograd really saves."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from genau.model.activations import DecoderSizes, Reading, kept_bytes, layer_bytes, memory_bytes, saved_bytes

FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaModel),
    "qwen2": (Qwen2Config, Qwen2Model),
    "qwen3": (Qwen3Config, Qwen3Model),
}
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
RANK, ROWS, NEW, BEFORE = 4, 2, 40, 30


def measured(family: str, layers: int, dtype: str, dropout: float) -> int:
    """Bytes saved by a decoder with LoRA that reads on after a memory, padding among its words."""
    torch.manual_seed(0)
    config_class, model_class = FAMILIES[family]
    decoder = model_class(config_class(**SIZES, num_hidden_layers=layers))
    lora = LoraConfig(r=RANK, lora_alpha=8, lora_dropout=dropout, target_modules=ALL_LINEAR)
    model: Any = get_peft_model(decoder, lora).train()
    if dtype == "bfloat16":  # as training keeps large decoders
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.requires_grad:
                module.to(torch.bfloat16)
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
    keys = torch.randn(ROWS, 2, BEFORE, 16, dtype=getattr(torch, dtype))
    cache = DynamicCache([(keys, keys.clone()) for _ in range(layers)])
    mask = torch.ones(ROWS, BEFORE + NEW, dtype=torch.long)
    mask[0, -5:] = 0
    words = torch.randn(ROWS, NEW, SIZES["hidden_size"], requires_grad=True)

    def read() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return model(inputs_embeds=words, attention_mask=mask, past_key_values=cache, use_cache=True)

    return saved_bytes(read, model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "dropout"), [("float32", 0.0), ("float32", 0.1), ("bfloat16", 0.0)])
def test_the_formula_is_within_two_per_cent_of_what_autograd_saves(family: str, dtype: str, dropout: float) -> None:
    one_layer = measured(family, 3, dtype, dropout) - measured(family, 2, dtype, dropout)
    config = FAMILIES[family][0](**SIZES, num_hidden_layers=3)
    mask = 4 if dropout else 0  # a CPU keeps numbers
    told = layer_bytes(DecoderSizes.of(config), Reading(ROWS, NEW, BEFORE + NEW), dtype, RANK, mask)
    assert told == pytest.approx(one_layer, rel=0.02)


def sizes(layers: int = 10) -> DecoderSizes:
    return DecoderSizes.of(LlamaConfig(**SIZES, num_hidden_layers=layers))


def test_checkpointing_keeps_the_input_of_each_layer_and_the_whole_of_one() -> None:
    reading = Reading(ROWS, NEW, NEW)
    layer = layer_bytes(sizes(), reading, "bfloat16", RANK)
    assert kept_bytes(sizes(), reading, "bfloat16", RANK, checkpointing=False) == 10 * layer
    assert kept_bytes(sizes(), reading, "bfloat16", RANK, checkpointing=True) == 10 * 4 * ROWS * NEW * 64 + layer


def test_a_memory_holds_keys_and_values_of_every_layer() -> None:
    keys = torch.zeros(3, 2, 7, 16)
    cache = DynamicCache([(keys, keys) for _ in range(10)])
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)  # type: ignore[union-attr, misc]
    assert memory_bytes(sizes(), 3, 7, "float32") == held
    assert memory_bytes(sizes(), 3, 7, "bfloat16") == held // 2


def test_what_autograd_saves_counts_a_storage_once_and_no_weights() -> None:
    layer = nn.Linear(5, 3)
    x = torch.randn(7, 5, requires_grad=True)
    assert saved_bytes(lambda: layer(x).exp(), layer) == 4 * (7 * 5 + 7 * 3)
    assert saved_bytes(lambda: layer(x) * layer(x).detach(), layer) == 4 * (7 * 5 + 7 * 3)
