"""Names to families: a new one is one line here and one file beside nano's."""

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
    """Build the named backbone with random weights."""
    sizes = config.backbone_config or {}
    match config.backbone:
        case "llava-onevision":
            from genau.model.backbones.llava_onevision import LlavaOnevisionBackbone

            return LlavaOnevisionBackbone.from_config(sizes, config.image_size)
        case "smolvlm":
            from genau.model.backbones.smolvlm import SmolVLMBackbone

            return SmolVLMBackbone.from_config(sizes, config.image_size)
        case _:
            from genau.model.backbones.nano import NanoBackbone

            return NanoBackbone.from_config(sizes)
