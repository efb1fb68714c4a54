"""How many bytes a decoder keeps for the backward pass, and how many a forward pass needs at once.

Counted tensor by tensor over one layer, as Korthikanti et al. do in *Reducing Activation Recomputation in Large
Transformer Models* (arXiv 2205.05198, section 4.1). Ours differs from their `s b h (34 + 5 a s / h)`: frozen weights
keep no input of their own, LoRA keeps one, scaled-dot-product attention keeps no s x s scores but its mask, and there
are gated feed-forward layers and grouped keys. Tests hold it against the tensors that autograd really saves.

Letters: T new tokens of a row, K tokens that they look at (memory included), D width, I inner width, H heads, G heads
of keys, E width of a head, R rank of LoRA, b bytes of a product, f = 4 bytes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

FP32 = 4
PRODUCT_BYTES = {"float32": 4, "bfloat16": 2}
NORMS_PER_LAYER = 2


@dataclass(frozen=True)
class DecoderSizes:
    """What of a decoder decides its activations."""

    layers: int
    width: int  # D
    inner: int  # I
    heads: int  # H
    key_heads: int  # G
    head_width: int  # E
    vocabulary: int
    head_norms: bool  # whether queries and keys are normalised, as in Qwen3

    @classmethod
    def of(cls, config: Any) -> "DecoderSizes":  # noqa: ANN401 - any text configuration
        """Read them from a decoder's configuration."""
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            inner=config.intermediate_size,
            heads=config.num_attention_heads,
            key_heads=config.num_key_value_heads,
            head_width=head,
            vocabulary=config.vocab_size,
            head_norms=config.model_type.startswith("qwen3"),
        )

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of one layer's linear layers: q, k, v, o, gate, up, down."""
        asked, kept = self.heads * self.head_width, self.key_heads * self.head_width
        attention = ((self.width, asked), (self.width, kept), (self.width, kept), (asked, self.width))
        return (*attention, (self.width, self.inner), (self.width, self.inner), (self.inner, self.width))


@dataclass(frozen=True)
class Reading:
    """One pass of the decoder: `rows` x `new` tokens that look at `keys` tokens each, themselves included."""

    rows: int
    new: int
    keys: int


def layer_bytes(sizes: DecoderSizes, reading: Reading, dtype: str, rank: int, dropout_mask: int = 1) -> int:
    """Return what one layer saves for the backward pass, in bytes; LoRA of rank `rank` on all linear layers.

    `dtype` float32, or bfloat16: products under autocast, frozen weights stored in it, the residual stream and LoRA
    in fp32. `dropout_mask` bytes per number that LoRA's dropout keeps: 1 on a GPU, 4 on a CPU, 0 without dropout.
    """
    b, tokens = PRODUCT_BYTES[dtype], reading.rows * reading.new
    asked, kept = sizes.heads * sizes.head_width, sizes.key_heads * sizes.head_width
    norms = NORMS_PER_LAYER * FP32 * tokens * (sizes.width + 1)  # x and 1 / rms, always fp32
    if sizes.head_norms:
        norms += FP32 * tokens * (asked + kept + sizes.heads + sizes.key_heads)
    attention = 2 * b * tokens * asked  # queries and result
    attention += (
        2 * b * reading.rows * reading.keys * asked
    )  # keys and values, repeated for every head: there is a mask
    attention += b * tokens * reading.keys + FP32 * tokens * sizes.heads  # the mask as numbers; log-sum-exp
    gated = 3 * b * tokens * sizes.inner  # gate, its activation, up
    return norms + attention + gated + _lora_bytes(sizes, tokens, dtype, rank, dropout_mask)


def _lora_bytes(sizes: DecoderSizes, tokens: int, dtype: str, rank: int, dropout_mask: int) -> int:
    b, linears = PRODUCT_BYTES[dtype], sizes.linears
    kept = b * tokens * rank * len(linears)  # what A gives and B reads
    if dtype == "bfloat16":
        kept += b * rank * sum(into + out for into, out in linears)  # autocast's copies of A and B
    if dropout_mask:
        return kept + (b + dropout_mask) * tokens * sum(into for into, _ in linears)  # a copy of its own for each
    shared = 2 if dtype == "float32" else 5  # autocast makes of the two norms' results a copy for q, k, v, gate and up
    return kept + b * tokens * (shared * sizes.width + sizes.inner)  # o reads attention's result, which is kept anyway


def kept_bytes(sizes: DecoderSizes, reading: Reading, dtype: str, rank: int, *, checkpointing: bool) -> int:
    """Return what all layers keep; with gradient checkpointing the input of each layer and the whole of one."""
    layer = layer_bytes(sizes, reading, dtype, rank)
    if not checkpointing:
        return sizes.layers * layer
    return sizes.layers * FP32 * reading.rows * reading.new * sizes.width + layer


def memory_bytes(sizes: DecoderSizes, rows: int, tokens: int, dtype: str) -> int:
    """Return the keys and values of `rows` x `tokens`: layers x 2 x G x E x bytes for each token."""
    return sizes.layers * 2 * sizes.key_heads * sizes.head_width * PRODUCT_BYTES[dtype] * rows * tokens


def passing_bytes(sizes: DecoderSizes, reading: Reading, dtype: str) -> int:
    """Return the most that one layer holds at once when nothing is kept: the larger of attention and feed-forward."""
    b, tokens = PRODUCT_BYTES[dtype], reading.rows * reading.new
    asked = sizes.heads * sizes.head_width
    stream = 2 * FP32 * tokens * sizes.width  # residual and its norm
    attention = b * (3 * tokens * asked + 2 * reading.rows * reading.keys * asked + tokens * reading.keys)
    return stream + max(attention, 3 * b * tokens * sizes.inner)


def head_bytes(cells: int, channels: int, upsample: int, width: int = 64) -> int:
    """Return what the map head keeps of a picture for the backward pass, four levels of `cells` x `channels`.

    Numbers for a cell, measured and so only for heads like ours: 10 x channels, that is each level, its normalised
    copy and the residuals of two; 20 x width on three levels; 6 x width on each of the cells that the finest becomes.
    """
    return FP32 * cells * (10 * channels + width * (20 + 6 * upsample**2))


def saved_bytes(work: Any, weights: nn.Module) -> int:  # noqa: ANN401 - any call without arguments
    """Return the bytes that autograd saves while `work()` runs, storages once, the parameters of `weights` left out.

    The measurement that `layer_bytes` is held against; on the meta device storages have no address and count singly.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in weights.parameters()}
    storages: dict[int, tuple[int, torch.Tensor]] = {}  # the tensor is kept, so that its address is not used again

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = work()
    del result
    return sum(size for size, _ in storages.values())
