"""Names to families: a new one is one line here and one file beside nano's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genau.errors import CheckpointError, suggest
from genau.model.backbones import Backbone, Habits
from genau.model.configuration import BACKBONE_NAMES, GenAUConfig

MODEL_TYPES = {  # of a base's own configuration -> backbone
    "llava_onevision": "llava-onevision",
    "qwen2_5_vl": "qwen-vl",
    "qwen3_vl": "qwen-vl",
    "smolvlm": "smolvlm",
    "idefics3": "smolvlm",
}


@dataclass(frozen=True)
class Family:
    """What a family of large bases brings."""

    backbone: Any  # the class, with `from_config(sizes, image_size)` and `from_base(where, image_size, **loading)`
    habits: Callable[..., Habits]  # of a base's configuration, and of the canvas's side where it is chosen


def family(name: str) -> Family:
    """Return a family of large bases by the name of its backbone.

    Raises:
        CheckpointError: no such family; nano, which has one base only, is none.
    """
    match name:
        case "llava-onevision":
            from genau.model.backbones import llava_onevision

            return Family(llava_onevision.LlavaOnevisionBackbone, llava_onevision.habits)
        case "qwen-vl":
            from genau.model.backbones import qwen_vl

            return Family(qwen_vl.QwenVLBackbone, qwen_vl.habits)
        case "smolvlm":
            from genau.model.backbones import smolvlm

            return Family(smolvlm.SmolVLMBackbone, smolvlm.habits)
    large = [known for known in BACKBONE_NAMES if known != "nano"]
    raise CheckpointError(f"{name!r} is no family of large bases: {', '.join(large)}.{suggest(name, large)}")


def build_backbone(config: GenAUConfig) -> Backbone:
    """Build the named backbone with random weights."""
    sizes = config.backbone_config or {}
    if config.backbone == "nano":
        from genau.model.backbones.nano import NanoBackbone

        return NanoBackbone.from_config(sizes)
    backbone: Backbone = family(config.backbone).backbone.from_config(sizes, config.image_size)
    return backbone
