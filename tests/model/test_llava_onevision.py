"""LLaVA-OneVision at its published sizes: habits, layout, pixels; what it computes is in test_crop_families."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaOnevisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from genau.errors import CheckpointError
from genau.layouts import LlavaOnevisionLayout, layout_of
from genau.model.backbones.crops import Cutting
from genau.model.backbones.llava_onevision import LlavaOnevisionBackbone, habits
from genau.processor import LetterboxImageProcessor
from genau.prompts import CHAT_FORMATS

BASE: dict[str, Any] = {  # llava-onevision-qwen2-0.5b-ov-hf; its vision tower is that of every size
    "model_type": "llava_onevision",
    "text_config": {
        "model_type": "qwen2",
        "vocab_size": 152000,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


def test_the_habits_of_a_published_base() -> None:
    found = habits(BASE)
    assert found.image_size == 756
    assert layout_of(found.layout) == LlavaOnevisionLayout(729, 14)
    assert found.mean == found.scale == (127.5, 127.5, 127.5)
    assert found.chat_format == "chatml"
    assert found.upsample == 4
    assert habits(BASE, 1134).image_size == 1134


def test_a_canvas_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(CheckpointError, match=r"image_size=640 .*crops of 378 pixels.*Use 378, 756 or 1134"):
        habits(BASE, 640)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_config": {"model_type": "clip_vision_model"}}, "sees by 'clip_vision_model'"),
        ({"vision_feature_select_strategy": "default"}, "with features 'default'"),
    ],
)
def test_another_tower_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{words}.*must be 'siglip_vision_model' and 'full'.*published"):
        habits(BASE | change)


def test_pictures_of_whole_crops_have_as_many_tokens_as_published() -> None:
    published = LlavaOnevisionProcessor
    processor: Any = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=LlavaOnevisionConfig().image_grid_pinpoints),
        num_image_tokens=729,
        vision_aspect_ratio="anyres_max_9",
    )
    processor._get_unpadded_features = partial(published._get_unpadded_features, processor)
    for rows, columns in [(1, 1), (1, 3), (2, 1), (2, 3), (3, 3)]:
        expected = published._get_number_of_features(processor, 384 * rows, 384 * columns, 384, 384)
        assert LlavaOnevisionLayout(729, 14).pieces((378 * rows, 378 * columns)) == [expected]


def test_a_row_of_cells_that_the_picture_reaches_into_counts_whole() -> None:
    assert LlavaOnevisionLayout(729, 14).pieces((15, 28)) == [729 + 2 * 3]
    assert LlavaOnevisionLayout(729, 14).pieces((14, 29)) == [729 + 1 * 4]


def test_the_chat_is_written_as_the_base_was_trained() -> None:
    chat = CHAT_FORMATS[habits(BASE).chat_format]
    text = f"{chat.before_instruction}I{chat.before_picture}<image>{chat.before_question}Q{chat.before_answer}"
    assert text == "<|im_start|>system\nI<|im_end|>\n<|im_start|>user\n<image>\nQ<|im_end|>\n<|im_start|>assistant\n"


def test_pixels_are_those_of_the_published_image_processor() -> None:
    small = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    rgb = np.asarray(Image.fromarray(small).resize((84, 56), Image.Resampling.BICUBIC))
    published = LlavaOnevisionImageProcessorPil(
        size={"height": 28, "width": 28}, image_grid_pinpoints=[[56, 84]], image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    whole, *crops = published(rgb, return_tensors="pt")["pixel_values"][0]
    found, cutting = habits(BASE), Cutting(84, 28, 7)
    batch = LetterboxImageProcessor(84, found.mean, found.scale)([rgb])
    places = cutting.places(batch["content_hw"])
    assert torch.allclose(cutting.cut(batch["pixel_values"], places), torch.stack(crops), atol=1e-6)
    ours = cutting.whole(batch["pixel_values"], batch["content_hw"])[0]
    assert (ours - whole).abs().mean() < 0.01  # theirs is rounded to 8 bits


def test_the_published_size_is_built_and_looks() -> None:
    with torch.device("meta"):
        backbone = LlavaOnevisionBackbone.from_config(BASE, 756)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 893_675_552
    assert backbone.output is None  # its output layer is the table of its words
    sight = backbone.look(torch.empty(2, 3, 756, 756, device="meta"), torch.tensor([[504, 756], [756, 189]]))
    assert sight.visual_tokens.shape == (2, 729 + 36 * 55, 896)
    assert [tuple(level.shape) for level in sight.pyramid] == [(2, 1152, 54, 54)] * 4
    assert sight.token_grid == (54, 54)
