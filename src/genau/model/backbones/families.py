"""Names to families: a new one is one line here and one file beside nano's."""

from genau.errors import CheckpointError
from genau.model.backbones import Backbone
from genau.model.configuration import GenAUConfig

MODEL_TYPES = {  # of a base's own configuration -> backbone
    "llava_onevision": "llava-onevision",
    "qwen2_5_vl": "qwen-vl",
    "qwen3_vl": "qwen-vl",
    "smolvlm": "smolvlm",
    "idefics3": "smolvlm",
}


def build_backbone(config: GenAUConfig) -> Backbone:
    """Build the named backbone with random weights.

    Raises:
        CheckpointError: no such backbone here.
    """
    sizes = config.backbone_config or {}
    match config.backbone:
        case "llava-onevision":
            from genau.model.backbones.llava_onevision import LlavaOnevisionBackbone

            return LlavaOnevisionBackbone.from_config(sizes, config.image_size)
        case "smolvlm":
            from genau.model.backbones.smolvlm import SmolVLMBackbone

            return SmolVLMBackbone.from_config(sizes, config.image_size)
        case "qwen-vl":
            from genau.model.backbones.qwen_vl import QwenVLBackbone

            return QwenVLBackbone.from_config(sizes, config.image_size)
        case "nano":
            from genau.model.backbones.nano import NanoBackbone

            return NanoBackbone.from_config(sizes)
    raise CheckpointError(f"This version of genau cannot build backbone {config.backbone!r}. Install a newer one.")
