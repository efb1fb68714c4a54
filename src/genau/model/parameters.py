"""How many numbers a model of a base has, by part: counted on the meta device, which takes no memory and no weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from genau.errors import CheckpointError
from genau.model.configuration import GenAUConfig
from genau.model.lora import linear_layers, lora_parameters
from genau.model.modeling import GenAUModel

LEVELS = 4  # of a transformer: the outputs of four of its blocks
UPSAMPLE = 4  # of the finest, as large families have it
PARTS = {  # beginnings of names, the more special first
    "projector": (
        "model.multi_modal_projector.",
        "model.image_newline",
        "model.connector.",
        "model.visual.merger.",
        "model.visual.deepstack_merger_list.",
    ),
    "vision": ("model.vision_tower.", "model.vision_model.", "model.visual."),
    "decoder": ("model.language_model.", "model.text_model."),
    "output": ("lm_head.",),
}


@dataclass(frozen=True)
class Parameters:
    """Numbers of a base, and of what GenAU adds to it; tied embeddings count once."""

    vision: int
    projector: int
    decoder: int  # word embeddings included
    output: int  # 0 where it is the word embeddings
    linear: int  # those of `decoder` that lie in linear layers: what 8- and 4-bit loading quantises
    own: int  # map head, query tokens and what is told of the map
    lora: int
    layer: int  # of one layer of the decoder

    @property
    def base(self) -> int:
        """Of the base alone."""
        return self.vision + self.projector + self.decoder + self.output

    @property
    def total(self) -> int:
        """Of the whole model while it trains."""
        return self.base + self.own + self.lora

    @property
    def trainable(self) -> int:
        """Of what trains: LoRA, projector, and all of ours."""
        return self.lora + self.projector + self.own

    @property
    def trainable_share(self) -> float:
        """Of all."""
        return self.trainable / self.total


def count_parameters(config: PreTrainedConfig, rank: int) -> Parameters:
    """Count a base by its configuration, with LoRA of a rank on every linear layer of its decoder.

    Raises:
        CheckpointError: a tensor of the base belongs to no part that we know: its transformers class has changed.
    """
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    parts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        parts[_part_of(name)] += parameter.numel()
    decoder = decoder_of(model)
    return Parameters(
        **parts,
        linear=sum(layer.weight.numel() for _, layer in linear_layers(decoder)),
        own=_own_parameters(vision_width(config), config.get_text_config().hidden_size),
        lora=lora_parameters(decoder, rank),
        layer=sum(parameter.numel() for parameter in decoder.layers[0].parameters()),
    )


def _part_of(name: str) -> str:
    for part, beginnings in PARTS.items():
        if name.startswith(beginnings):
            return part
    raise CheckpointError(
        f"{name} is none of {', '.join(PARTS)}: this version of transformers names the parts of the base in another "
        "way. Use a version that pyproject.toml allows."
    )


def decoder_of(model: Any) -> Any:  # noqa: ANN401 - the framework's classes are untyped
    """Return the language model inside a vision-language model of transformers."""
    inner = model.model
    return inner.language_model if hasattr(inner, "language_model") else inner.text_model


def vision_width(config: PreTrainedConfig) -> int:
    """Return the channels of a base's vision tower."""
    width: int = config.vision_config.hidden_size
    return width


class _Outline(nn.Module):
    """As much of a backbone as its owner looks at when it is built."""

    own_parts: tuple[str, ...] = ()

    def __init__(self, level_channels: tuple[int, ...], hidden_size: int) -> None:
        super().__init__()
        self.level_channels, self.hidden_size = level_channels, hidden_size
        self.decoder = nn.Module()
        self.decoder.get_input_embeddings = lambda: None  # type: ignore[assignment]


def _own_parameters(vision: int, width: int) -> int:
    with torch.device("meta"):
        model = GenAUModel(GenAUConfig(upsample=UPSAMPLE), _Outline((vision,) * LEVELS, width))  # type: ignore[arg-type]
    return sum(parameter.numel() for parameter in model.parameters())
