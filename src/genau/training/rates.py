"""How fast each part learns."""

from collections import defaultdict
from typing import Any, Protocol

from torch import nn

SCALAR_RATE = 10
DECAY = 0.01


class Rates(Protocol):
    """The rates of a stage's settings."""

    @property
    def learning_rate(self) -> float:
        """Of the backbone's own parts, query tokens and what is told of the map."""

    @property
    def head_learning_rate(self) -> float:
        """Of the map head."""

    @property
    def decoder_learning_rate(self) -> float:
        """Of LoRA."""


def parameter_groups(model: nn.Module, rates: Rates) -> list[dict[str, Any]]:
    """Return the trained parameters with a rate for each kind of part; no decay for what is not a matrix.

    The head's few scalars (gain, temperature, offsets) move by about the rate in each step, whatever their gradient:
    they get a larger one, or the gain would take a thousand steps to grow.
    """
    rate_of = {
        "lora": rates.decoder_learning_rate,
        "scalar": rates.head_learning_rate * SCALAR_RATE,
        "head": rates.head_learning_rate,
        "rest": rates.learning_rate,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[_part_of(name), parameter.ndim > 1].append(parameter)
    return [
        {"params": found, "lr": rate_of[part], "weight_decay": DECAY if matrix else 0.0}
        for (part, matrix), found in groups.items()
    ]


def _part_of(name: str) -> str:
    """Return which learning rate a parameter has."""
    name = name.replace("parametrizations.", "").removesuffix(".original")  # as `live.sharding` may call it
    if "lora_" in name:
        return "lora"
    if not name.startswith("mask_head."):
        return "rest"
    return "scalar" if name.endswith(("gain", "log_tau", "distance_offset")) else "head"
