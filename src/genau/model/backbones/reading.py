"""How a decoder of transformers reads on after a memory; what the families have in common.

Shapes as in `backbones`: B sequences, T words, L remembered tokens, D the decoder's width.
"""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from genau.errors import UsageError
from genau.model.backbones import Memory


def embed(table: Tensor, input_ids: Tensor) -> Tensor:
    """Return the rows of `table` (V, D) in fp32 for ids (B, T); zeros for ids beyond it."""
    known = input_ids < table.shape[0]
    return F.embedding(input_ids.where(known, 0), table).float() * known[..., None]


def logits(table: Tensor, hidden: Tensor, word_ids: Tensor | None) -> Tensor:
    """Return hidden states (..., D) times output embeddings (V, D), or those of `word_ids` only, in fp32.

    A few words, such as the verdict's, are multiplied in fp32. The whole of a table in bf16 is not copied for it: that
    would be gigabytes at every word that is written.
    """
    if word_ids is not None:
        return F.linear(hidden.float(), table[word_ids].float())
    return F.linear(hidden.to(table.dtype), table).float()


def read_on(
    decoder: Any,  # noqa: ANN401 - a PreTrainedModel without its output layer, or peft's wrapper of one
    embeddings: Tensor,
    mask: Tensor,
    memory: Memory | None,
    positions: tuple[Tensor, Tensor],
    *,
    bf16: bool = False,
    **more: Any,  # noqa: ANN401 - what a family's decoder takes besides
) -> tuple[Tensor, Memory]:
    """Run the decoder on (B, T, D) after what `memory` holds; return hidden states (B, T, D) in fp32 and the memory.

    `positions` are the words' ids in the form that the decoder takes, and the next free one (B,); `bf16` makes the
    products of an fp32 decoder in bf16.

    Raises:
        RuntimeError: the decoder kept no memory, as where layers are checkpointed for training.
    """
    position_ids, next_position = positions
    seen = mask if memory is None else torch.cat([memory.seen, mask], 1)
    cache = DynamicCache(memory.keys_values if memory else None)  # holds the tensors; growing makes new ones
    with torch.autocast(embeddings.device.type, torch.bfloat16, enabled=bf16):
        hidden: Tensor = decoder(
            inputs_embeds=embeddings.to(decoder.dtype) if decoder.dtype != torch.float32 else embeddings,
            attention_mask=seen.long(),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            **more,
        ).last_hidden_state
    layers: Any = tuple((layer.keys, layer.values) for layer in cache.layers)  # type: ignore[union-attr]
    if not layers or layers[0][0].shape[-2] != seen.shape[1]:  # transformers drops it without an error
        raise RuntimeError(
            "The decoder kept no memory of what it read. Gradient checkpointing does that: turn it off to see and ask; "
            "training reads a picture and its questions in one pass."
        )
    return hidden.float(), Memory(layers, seen, next_position)


def read_whole(
    decoder: Any,  # noqa: ANN401 - as in `read_on`
    embeddings: Tensor,
    allowed: Tensor,
    position_ids: Tensor,
    *,
    bf16: bool = False,
    **more: Any,  # noqa: ANN401 - what a family's decoder takes besides
) -> Tensor:
    """Run the decoder on whole sequences (B, L, D) without a memory; return hidden states (B, L, D) in fp32.

    `allowed` (B, L, L) says what each word sees, `position_ids` are in the form that the decoder takes. Without `bf16`
    the caller's autocast holds.

    Raises:
        UsageError: the decoder's attention cannot keep to a mask of its own.
    """
    attention = decoder.config._attn_implementation
    mask = allowed[:, None]
    if attention == "eager":  # adds the mask to the scores
        mask = torch.zeros_like(mask, dtype=decoder.dtype).masked_fill(~mask, torch.finfo(torch.bfloat16).min)
    elif attention != "sdpa":
        raise UsageError(
            f"attn_implementation {attention!r} cannot read questions that do not see one another. Load the base with "
            "attn_implementation 'sdpa' to train it."
        )
    with torch.autocast(embeddings.device.type, torch.bfloat16) if bf16 else nullcontext():
        hidden: Tensor = decoder(
            inputs_embeds=embeddings.to(decoder.dtype) if decoder.dtype != torch.float32 else embeddings,
            attention_mask=mask,
            position_ids=position_ids,
            use_cache=False,
            **more,
        ).last_hidden_state
    return hidden.float()
