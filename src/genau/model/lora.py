"""Which layers of a decoder LoRA adapts, and whether those of an adapter exist in a base."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from genau.errors import CheckpointError, suggest

NEVER = ("lm_head", "embed_tokens")  # the words stay the base's


def lora_targets(decoder: nn.Module) -> tuple[str, ...]:
    """Return the names of all linear layers of a decoder, as peft's `target_modules` matches them: by their last part.

    `decoder` is the language model alone; whatever lies outside it, the vision tower first of all, is no target.

    Raises:
        CheckpointError: it has no linear layer, or a part of a vision tower.
    """
    names = {name: name.rpartition(".")[2] for name, module in linear_layers(decoder)}
    seeing = [name for name in names if any(part in name for part in ("vision", "visual", "connector", "projector"))]
    if seeing:
        raise CheckpointError(
            f"{type(decoder).__name__} holds {seeing[0]}, a part that sees: LoRA adapts the language model only. "
            "Hand in the backbone's `decoder`."
        )
    found = tuple(sorted(set(names.values()) - set(NEVER)))
    if not found:
        raise CheckpointError(f"{type(decoder).__name__} has no linear layers. Hand in the backbone's `decoder`.")
    return found


def linear_layers(decoder: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return a decoder's linear layers with their full names, quantised ones too; LoRA's own are left out."""
    wrapped: Any = decoder
    base = wrapped.get_base_model() if hasattr(decoder, "peft_config") else wrapped
    return [
        (name.removesuffix(".base_layer"), module)
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    ]


def lora_parameters(decoder: nn.Module, rank: int) -> int:
    """Return how many numbers LoRA of a rank adds: rank x (in + out) for each target."""
    targets = set(lora_targets(decoder))
    return sum(
        rank * (layer.in_features + layer.out_features)
        for name, layer in linear_layers(decoder)
        if name.rpartition(".")[2] in targets
    )


def check_targets(wanted: Iterable[str] | str, decoder: nn.Module, where: str) -> None:
    """Refuse an adapter whose target modules do not exist in the decoder.

    `wanted` are names as peft keeps them; one string is a pattern over full names, and is left to peft.

    Raises:
        CheckpointError: which are missing, and which there are.
    """
    if isinstance(wanted, str):
        return
    names = [name for name, _ in linear_layers(decoder)]
    missing = [one for one in sorted(wanted) if not any(name == one or name.endswith(f".{one}") for name in names)]
    if missing:
        there = lora_targets(decoder)
        raise CheckpointError(
            f"{where} adapts {', '.join(missing)}, which {type(decoder).__name__} does not have; its linear layers are "
            f"{', '.join(there)}.{suggest(missing[0], there)} The adapter belongs to another base: see `base` in its "
            "config.json."
        )


def merge(decoder: nn.Module) -> None:
    """Add LoRA to the layers' own weights, in place: faster to read with; `unmerge` takes it away again.

    Raises:
        CheckpointError: the decoder has no LoRA.
    """
    _wrapped(decoder).merge_adapter(safe_merge=True)


def unmerge(decoder: nn.Module) -> None:
    """Take LoRA out of the layers' own weights again, so that it trains or is left out.

    Raises:
        CheckpointError: the decoder has no LoRA, or what had it was unloaded.
    """
    _wrapped(decoder).unmerge_adapter()


def _wrapped(decoder: nn.Module) -> Any:  # noqa: ANN401 - peft's model
    if not hasattr(decoder, "peft_config"):
        raise CheckpointError(
            f"{type(decoder).__name__} carries no LoRA. Load the adapter form with merge=False to have it apart."
        )
    return decoder
