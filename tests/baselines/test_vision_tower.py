"""Patch features of several real families: where they lie, what is dropped, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import (
    AutoImageProcessor,
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ResNetConfig,
    ResNetModel,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
)

from genau.baselines.vision_tower import VisionTower
from genau.errors import UsageError, WeightsError
from genau.images import Picture
from genau.model.backbones.efficientnet_lite import EfficientNetLite
from genau.model.modeling import GenAUModel
from genau.processor import LetterboxImageProcessor

Tower = Callable[[str], VisionTower]
Draw = Callable[..., Picture]
OffBy = Callable[[NDArray[np.float32], tuple[int, int]], int]
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
BUILDERS: dict[str, tuple[Any, Any, Any, dict[str, int]]] = {
    "clip": (CLIPVisionModel, CLIPVisionConfig, CLIPImageProcessorPil, {"image_size": 56, "patch_size": 7}),
    "dinov2": (Dinov2Model, Dinov2Config, BitImageProcessorPil, {"image_size": 70, "patch_size": 7}),
    "registers": (
        Dinov2WithRegistersModel,
        Dinov2WithRegistersConfig,
        BitImageProcessorPil,
        {"image_size": 56, "patch_size": 7, "num_register_tokens": 3},
    ),
    # 8 patches of 7 pixels cover 56 of 60: the last 4 belong to no cell.
    "siglip": (SiglipVisionModel, SiglipVisionConfig, SiglipImageProcessorPil, {"image_size": 60, "patch_size": 7}),
}
every_tower = pytest.mark.parametrize("name", ["nano", "clip", "dinov2", "registers", "siglip"])


def build_transformer(name: str) -> tuple[Any, Any]:
    """Return a random model and its image processor."""
    model_class, config_class, processor_class, sizes = BUILDERS[name]
    wide = {} if name in {"dinov2", "registers"} else {"intermediate_size": 48}
    torch.manual_seed(0)
    return model_class(config_class(**SIZES, **sizes, **wide)).eval(), processor_class()


@pytest.fixture
def tower(averaging_encoder: EfficientNetLite) -> Tower:
    def build(name: str) -> VisionTower:
        if name == "nano":
            return VisionTower.of_nano(averaging_encoder, 128)
        return VisionTower.of_transformer(*build_transformer(name), name)

    return build


@every_tower
def test_features_have_unit_length_and_padding_is_marked(name: str, tower: Tower, textured: Draw) -> None:
    patches = tower(name).patches([textured(60, 120), textured(150, 50)])
    assert patches.features.dtype == torch.float32
    assert torch.allclose(patches.features[patches.valid].norm(dim=-1), torch.ones(int(patches.valid.sum())), atol=1e-5)
    h, w = patches.valid.shape[1:]
    assert patches.valid[0].any(1).sum() == pytest.approx(h / 2, abs=1)
    assert patches.valid[0].any(0).all()
    assert patches.valid[1].any(0).sum() == pytest.approx(w / 3, abs=1)
    assert patches.valid[1].any(1).all()


@every_tower
@pytest.mark.parametrize(
    ("size_hw", "at"), [((90, 150), (4, 130)), ((90, 150), (70, 60)), ((160, 70), (120, 4)), ((160, 70), (0, 52))]
)
def test_what_changes_in_the_picture_changes_at_its_place_in_the_original_frame(
    name: str, size_hw: tuple[int, int], at: tuple[int, int], tower: Tower, textured: Draw, off_by: OffBy
) -> None:
    other = textured(61, 60)  # another size in the batch has another way back
    patches = tower(name).patches([other, textured(*size_hw), textured(*size_hw, at=at)])
    change = (1 - (patches.features[1] * patches.features[2]).sum(-1)).numpy()
    drawn = patches.to_original(2, change)
    assert drawn.shape == size_hw
    assert off_by(drawn, at) <= 6  # a third of a cell; at the edge of the picture the map is level


@every_tower
def test_a_picture_alone_has_the_features_that_it_has_in_a_batch_of_other_sizes(
    name: str, tower: Tower, textured: Draw
) -> None:
    eyes, pictures = tower(name), [textured(40, 90), textured(120, 50, seed=1), textured(33, 34, seed=2)]
    together = eyes.patches(pictures)
    for row, picture in enumerate(pictures):
        alone = eyes.patches([picture])
        assert torch.allclose(alone.features[0], together.features[row], atol=1e-5)
        assert torch.equal(alone.valid[0], together.valid[row])


def test_nano_compares_what_genau_itself_compares(tower: Tower, model: GenAUModel, textured: Draw) -> None:
    eyes, picture = tower("nano"), textured(70, 120)
    batch = LetterboxImageProcessor(128)([picture.rgb])
    (expected,) = model.patches(model.backbone.look(batch["pixel_values"]).pyramid, batch["content_hw"])
    found = eyes.patches([picture])
    assert torch.allclose(found.features[0].permute(2, 0, 1), expected.features[0], atol=1e-6)  # its smallest patches
    assert torch.equal(found.valid[0], expected.valid[0])


@pytest.mark.parametrize(("name", "before"), [("clip", 1), ("dinov2", 1), ("registers", 4), ("siglip", 0)])
def test_class_and_register_tokens_are_dropped_and_two_middle_depths_stand_side_by_side(
    name: str, before: int, textured: Draw
) -> None:
    model, processor = build_transformer(name)
    eyes = VisionTower.of_transformer(model, processor, name)
    picture = textured(eyes.size - 20, eyes.size)  # already of the canvas's size: nothing is scaled
    canvas = np.empty((eyes.size, eyes.size, 3), np.uint8)
    canvas[:] = eyes.fill
    canvas[: picture.height] = picture.rgb
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    pixels = F.pad((torch.from_numpy(canvas).permute(2, 0, 1) / 255 - mean) / std, (0, model.config.image_size % 7) * 2)
    with torch.inference_mode():
        states = model(pixel_values=pixels[None], output_hidden_states=True).hidden_states
    tokens = [F.normalize(states[depth][0, before:], dim=-1) for depth in (2, 3)]  # 1/2 and 3/4 of four layers
    side = eyes.size // 7
    expected = (torch.cat(tokens, 1) / 2**0.5).reshape(side, side, -1)
    assert torch.allclose(eyes.patches([picture]).features[0], expected, atol=1e-5)


def test_a_folder_gives_the_tower_that_was_saved_there(tmp_path: Path, textured: Draw) -> None:
    model, processor = build_transformer("dinov2")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = VisionTower.from_pretrained(str(tmp_path))
    expected = VisionTower.of_transformer(model, processor, "dinov2").patches([textured()])
    assert torch.allclose(loaded.patches([textured()]).features, expected.features, atol=1e-6)
    assert loaded.fill == (123, 117, 104)  # its mean colour


def test_of_a_model_of_pictures_and_words_the_vision_tower_is_taken(textured: Draw) -> None:
    vision, processor = build_transformer("clip")
    words = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    both = CLIPModel(CLIPConfig(text_config=words, vision_config=vision.config.to_dict(), projection_dim=8))
    found = VisionTower.of_transformer(both, processor, "both").patches([textured()])
    expected = VisionTower.of_transformer(both.vision_model, processor, "vision").patches([textured()])
    assert torch.equal(found.features, expected.features)


def test_a_model_without_one_grid_is_refused(textured: Draw) -> None:
    processor = build_transformer("clip")[1]
    sizes: dict[str, Any] = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
    swin = SwinModel(SwinConfig(image_size=32, patch_size=4, **sizes))
    with pytest.raises(
        UsageError, match=r"swin gives hidden states .* a 8x8 grid of patches needs 64 or 65 tokens.*ViT"
    ):
        VisionTower.of_transformer(swin, processor, "swin").patches([textured()])


def test_a_model_without_square_patches_is_refused() -> None:
    resnet = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1]))
    with pytest.raises(UsageError, match=r"image_size=None and patch_size=None; both must be one number. Use a plain"):
        VisionTower.of_transformer(resnet, build_transformer("clip")[1], "resnet")


def test_weights_that_cannot_be_fetched_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", offline)
    with pytest.raises(WeightsError, match=r"connect to the hub.*`hf download some/model --local-dir FOLDER`.*--base"):
        VisionTower.from_pretrained("some/model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config.json. Give the folder of a vision transformer"):
        VisionTower.from_pretrained(str(tmp_path))


def test_an_incomplete_folder_is_named(tmp_path: Path) -> None:
    model, processor = build_transformer("clip")
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"is not complete .*safetensors.*copy it again"):
        VisionTower.from_pretrained(str(tmp_path))


def test_an_unknown_device_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="is not a device"):
        VisionTower.from_pretrained("some/model", "gpu")


def test_smoothing_neither_bleeds_in_from_the_padding_nor_leaves_the_range(tower: Tower, textured: Draw) -> None:
    patches = tower("nano").patches([textured(50, 120)])
    grid = np.full(patches.valid.shape[1:], 0.25, np.float32)
    grid[~patches.valid[0].numpy()] = 9.0
    assert np.allclose(patches.to_original(0, grid, smoothing_px=4.0), 0.25, atol=1e-6)
    grid[:, :] = 0.0
    grid[0, 0] = 1.0
    smooth, sharp = patches.to_original(0, grid, smoothing_px=4.0), patches.to_original(0, grid)
    assert smooth.shape == sharp.shape == (50, 120)
    assert 0 <= smooth.min() <= smooth.max() < sharp.max() <= 1
    assert smooth.argmax() == 0  # the top left corner
