"""SmolVLM and Idefics3 at their published sizes: habits, layout, pixels; what they compute is in test_crop_families."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE, get_image_prompt_string
from transformers.utils.chat_template_utils import render_jinja_template

from genau.errors import CheckpointError
from genau.layouts import SmolVLMLayout, layout_of
from genau.model.backbones.crops import Cutting
from genau.model.backbones.smolvlm import SmolVLMBackbone, habits
from genau.processor import LetterboxImageProcessor
from genau.prompts import CHAT_FORMATS

SMALL: dict[str, Any] = {  # SmolVLM2-256M-Video-Instruct
    "model_type": "smolvlm",
    "scale_factor": 4,
    "text_config": {
        "model_type": "llama",
        "vocab_size": 49280,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "pad_token_id": 2,
    },
    "vision_config": {"hidden_size": 768, "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
}
MIDDLE: dict[str, Any] = {  # the sizes that shape the input of SmolVLM-Instruct
    "model_type": "idefics3",
    "scale_factor": 3,
    "text_config": {"model_type": "llama", "vocab_size": 49155},
    "vision_config": {"image_size": 384, "patch_size": 14},
}
LARGE: dict[str, Any] = {  # and of Idefics3-8B-Llama3
    "model_type": "idefics3",
    "scale_factor": 2,
    "text_config": {"model_type": "llama", "vocab_size": 128259},
    "vision_config": {"image_size": 364, "patch_size": 14},
}


@pytest.mark.parametrize(
    ("base", "size", "layout", "chat"),
    [
        (SMALL, 1024, SmolVLMLayout(512, 64), "smolvlm"),
        (MIDDLE, 756, SmolVLMLayout(378, 81), "smolvlm"),
        (LARGE, 728, SmolVLMLayout(364, 169), "idefics3"),
    ],
)
def test_the_habits_of_the_published_bases(base: dict[str, Any], size: int, layout: SmolVLMLayout, chat: str) -> None:
    found = habits(base)
    assert found.image_size == size
    assert layout_of(found.layout) == layout
    assert found.mean == found.scale == (127.5, 127.5, 127.5)
    assert found.chat_format == chat
    assert found.upsample == 4
    patch = base["vision_config"]["patch_size"]
    assert [stride for _, stride, _ in found.context_scales] == [patch, 2 * patch]


def test_a_canvas_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(CheckpointError, match=r"image_size=640 .*crops of 512 pixels.*Use 512, 1024, 1536 or 2048"):
        habits(SMALL, 640)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 1), (3, 4)])
def test_a_picture_is_written_as_published(rows: int, columns: int) -> None:
    split = (rows, columns) if rows * columns > 1 else (0, 0)
    expected = get_image_prompt_string(*split, 5, "<fake_token_around_image>", "<image>", "<global-img>")
    pieces = SmolVLMLayout(512, 5).pieces((512 * rows, 512 * columns))
    assert "".join(piece if isinstance(piece, str) else piece * "<image>" for piece in pieces) == expected


def test_a_crop_that_the_picture_reaches_into_counts_whole() -> None:
    layout = SmolVLMLayout(512, 64)
    assert layout.pieces((513, 1024)) == layout.pieces((1024, 1024))
    assert sum(piece for piece in layout.pieces((100, 1024)) if isinstance(piece, int)) == 3 * 64


def chat_of(name: str) -> str:
    chat = CHAT_FORMATS[name]
    assert chat.before_answer.startswith(chat.end_of_turn)
    return f"{chat.before_instruction}I{chat.before_picture}<image>{chat.before_question}Q{chat.before_answer}"


def test_the_chat_of_smolvlm_is_rendered_by_its_published_template() -> None:
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": "I"}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]},
    ]
    rendered: Any = render_jinja_template(
        [conversation], chat_template=DEFAULT_CHAT_TEMPLATE, add_generation_prompt=True
    )
    assert rendered[0] == [chat_of("smolvlm")]


def test_the_chat_of_idefics3_begins_as_texts_of_llama3_do() -> None:
    assert chat_of("idefics3") == (
        "<|begin_of_text|>System: I<end_of_utterance>\nUser:<image>Q<end_of_utterance>\nAssistant:"
    )


@pytest.mark.parametrize("published", [SmolVLMImageProcessorPil, Idefics3ImageProcessorPil])
def test_pixels_are_those_of_the_published_image_processor(published: Any) -> None:
    small = np.random.default_rng(0).integers(0, 256, (11, 16, 3), np.uint8)
    rgb = np.asarray(Image.fromarray(small).resize((96, 64), Image.Resampling.BICUBIC))
    theirs = published(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    *crops, whole = theirs(images=rgb, return_tensors="pt")["pixel_values"][0]
    found, cutting = habits(SMALL), Cutting(96, 32, 8)
    batch = LetterboxImageProcessor(96, found.mean, found.scale)([rgb])
    places = cutting.places(batch["content_hw"])
    assert torch.allclose(cutting.cut(batch["pixel_values"], places), torch.stack(crops), atol=1e-6)
    ours = cutting.whole(batch["pixel_values"], batch["content_hw"])[0]
    assert (ours - whole).abs().mean() < 0.02  # theirs is Lanczos, and rounded to 8 bits


def test_the_published_size_is_built() -> None:
    with torch.device("meta"):
        backbone = SmolVLMBackbone.from_config(SMALL, 1024)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 256_484_928
    assert backbone.output is not None
    assert backbone.level_channels == (768,) * 4
    assert backbone.crop_side**2 == 64
