"""The tower is transformers' CLIP, seen patch by patch; its way to the square and back keeps places."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from genau.baselines.clip_tower import ClipTower, to_original
from genau.errors import CheckpointError, UsageError, WeightsError
from genau.images import Picture

Draw = Callable[..., NDArray[np.uint8]]
TEXTS = ["a photo of a bolt.", "a photo of a bent bolt."]


@pytest.fixture
def pixels(clip_tower: ClipTower, picture: Draw) -> torch.Tensor:
    return clip_tower.pixels([Picture(picture(seed, spot=True), "part") for seed in range(2)])


def test_class_token_and_texts_are_those_of_transformers(clip_tower: ClipTower, pixels: torch.Tensor) -> None:
    image = clip_tower.model.get_image_features(pixels).pooler_output
    texts = clip_tower.model.get_text_features(clip_tower.tokenize(TEXTS)).pooler_output
    torch.testing.assert_close(clip_tower.encode_pixels(pixels).image, functional.normalize(image, dim=-1))
    torch.testing.assert_close(clip_tower.encode_texts(TEXTS), functional.normalize(texts, dim=-1))


def test_patches_are_the_projected_outputs_of_the_asked_blocks(clip_tower: ClipTower, pixels: torch.Tensor) -> None:
    seen = clip_tower.encode_pixels(pixels, (6, 2))
    hidden = clip_tower.model.vision_model(pixels, output_hidden_states=True).hidden_states
    for depth, patches in zip((6, 2), seen.patches, strict=True):
        assert patches.shape == (2, 5, 5, 12)
        states = clip_tower.model.vision_model.post_layernorm(hidden[depth][:, 1:])
        expected = functional.normalize(clip_tower.model.visual_projection(states), dim=-1)
        torch.testing.assert_close(patches.flatten(1, 2), expected)


def test_at_another_size_it_is_a_clip_with_interpolated_positions(clip_tower: ClipTower, picture: Draw) -> None:
    larger = ClipTower(clip_tower.model, clip_tower.tokenizer, 56)
    pixels = larger.pixels([Picture(picture(3), "part")])
    sizes = clip_tower.model.config.to_dict()
    sizes["vision_config"]["image_size"] = 56
    config = CLIPConfig(**sizes)
    plain = CLIPModel(config).eval()
    weights = clip_tower.model.state_dict()
    name = "vision_model.embeddings.position_embedding.weight"
    grid = weights[name][1:].T.reshape(1, 16, 5, 5)
    grown = functional.interpolate(grid, size=(7, 7), mode="bicubic").reshape(16, 49).T
    plain.load_state_dict(weights | {name: torch.cat([weights[name][:1], grown])}, strict=True)
    expected = functional.normalize(plain.get_image_features(pixels).pooler_output, dim=-1)
    seen = larger.encode_pixels(pixels, (8,))
    torch.testing.assert_close(seen.image, expected)
    assert seen.grid_hw == larger.grid_hw == (7, 7)


def test_the_second_path_adds_attention_of_values_and_no_mlp(clip_tower: ClipTower, pixels: torch.Tensor) -> None:
    seen = clip_tower.encode_pixels(pixels, (1, 2, 3), vv=True)
    assert clip_tower.vv_from == 2  # a quarter of 8 blocks
    hidden = clip_tower.model.vision_model(pixels, output_hidden_states=True).hidden_states
    path = hidden[1]
    expected = [path]
    for number in (2, 3):
        block = clip_tower.model.vision_model.encoder.layers[number - 1]
        values = block.self_attn.v_proj(block.layer_norm1(hidden[number - 1]))
        heads = []
        for head in values.split(8, dim=-1):  # 16 wide, 2 heads
            heads.append((head @ head.transpose(1, 2) / 8**0.5).softmax(-1) @ head)
        path = path + block.self_attn.out_proj(torch.cat(heads, -1))
        expected.append(path)
    for patches, states in zip(seen.patches, expected, strict=True):
        torch.testing.assert_close(patches.flatten(1, 2), clip_tower.project(states[:, 1:]))
    torch.testing.assert_close(seen.image, clip_tower.encode_pixels(pixels).image)


def test_true_embeddings_give_the_text_and_gradients_reach_words_before_the_end_only(clip_tower: ClipTower) -> None:
    ids = clip_tower.tokenize(TEXTS)
    words = clip_tower.word_embeddings(ids).requires_grad_()
    encoded = clip_tower.encode_prompt_embeddings(words, ids)
    torch.testing.assert_close(encoded, clip_tower.encode_texts(TEXTS))
    encoded[:, 0].sum().backward()
    assert words.grad is not None
    end = len(TEXTS[0].replace(" ", "")) + 1
    assert int(ids[0, end]) == clip_tower.tokenizer.eos_token_id
    assert (words.grad[0, : end + 1].abs().sum(-1) > 0).all()
    assert (words.grad[0, end + 1 :] == 0).all()
    assert all(weights.grad is None for weights in clip_tower.model.parameters())


def test_a_prompt_without_an_end_is_refused(clip_tower: ClipTower) -> None:
    ids = clip_tower.tokenize(TEXTS)[:, :5]
    with pytest.raises(ValueError, match=r"no end token.*Make the ids with `tokenize`"):
        clip_tower.encode_prompt_embeddings(clip_tower.word_embeddings(ids), ids)


def test_pixels_are_stretched_and_normalised(clip_tower: ClipTower) -> None:
    rgb = np.zeros((30, 70, 3), np.uint8)
    rgb[:, 35:] = (255, 128, 0)
    pixels = clip_tower.pixels([Picture(rgb, "half")])
    assert pixels.shape == (1, 3, 40, 40)
    torch.testing.assert_close(pixels[0, :, 5, 0], torch.tensor([-1.7923, -1.7521, -1.4802]), atol=1e-3, rtol=0)
    torch.testing.assert_close(pixels[0, :, 35, 39], torch.tensor([1.9303, 0.1686, -1.4802]), atol=1e-3, rtol=0)


def test_a_lit_patch_comes_back_to_its_place_in_the_original(clip_tower: ClipTower) -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[20:40, 120:160] = 255  # row 1 and column 3 of 5 x 5
    lit = clip_tower.pixels([Picture(rgb, "lit")])[0].mean(0).unfold(0, 8, 8).unfold(1, 8, 8).mean((2, 3))
    cells = (lit > 0).float()
    assert cells.nonzero().tolist() == [[1, 3]]
    drawn = to_original(cells, (100, 200))
    assert drawn.shape == (100, 200)
    assert drawn.dtype == np.float32
    rows, columns = np.nonzero(drawn >= 0.9)
    assert (rows.min() + rows.max() + 1) / 2 == 30
    assert (columns.min() + columns.max() + 1) / 2 == 140
    assert drawn[:10].max() == drawn[60:].max() == 0


def test_a_map_finer_than_the_picture_is_averaged_and_stays_in_range() -> None:
    cells = torch.zeros(24, 24)
    cells[::2] = 1
    drawn = to_original(cells, (3, 5))
    np.testing.assert_allclose(drawn, 0.5, atol=0.1)
    assert 0 <= drawn.min() <= drawn.max() <= 1


@pytest.mark.parametrize(("size", "use"), [(44, "Use 40 or 48"), (3, "Use 8"), (0, "Use 8"), (-9, "Use 8")])
def test_an_image_size_that_the_patches_do_not_fill_is_refused(clip_tower: ClipTower, size: int, use: str) -> None:
    with pytest.raises(UsageError, match=rf"image_size={size} is not a positive multiple .* patch size 8. {use}\."):
        ClipTower(clip_tower.model, clip_tower.tokenizer, size)


@pytest.mark.parametrize("depth", [0, 9])
def test_a_block_that_there_is_not_is_refused(clip_tower: ClipTower, pixels: torch.Tensor, depth: int) -> None:
    with pytest.raises(UsageError, match=rf"depth={depth} is not a block of this CLIP. Use 1 to 8"):
        clip_tower.encode_pixels(pixels, (4, depth))


def test_a_text_that_clip_would_not_read_to_the_end_is_refused_by_name(clip_tower: ClipTower) -> None:
    with pytest.raises(UsageError, match=r"'z{90}' has 92 tokens; CLIP reads at most 77. Use a shorter name"):
        clip_tower.encode_texts(["bolt", "z" * 90])


def save(tower: ClipTower, folder: Path) -> Path:
    tower.model.save_pretrained(folder)
    tower.tokenizer.save_pretrained(folder)
    return folder


def test_a_saved_clip_comes_back_the_same_in_fp32(clip_tower: ClipTower, tmp_path: Path, pixels: torch.Tensor) -> None:
    loaded = ClipTower.from_pretrained(save(clip_tower, tmp_path), image_size=48)
    torch.testing.assert_close(loaded.encode_texts(TEXTS), clip_tower.encode_texts(TEXTS), rtol=0, atol=0)
    torch.testing.assert_close(loaded.encode_pixels(pixels).image, clip_tower.encode_pixels(pixels).image)
    assert (loaded.image_size, loaded.patch_size, loaded.depth, loaded.embed_dim) == (48, 8, 8, 12)
    assert loaded.logit_scale == pytest.approx(float(clip_tower.model.logit_scale.exp()))
    assert {weights.dtype for weights in loaded.model.parameters()} == {torch.float32}


def test_without_the_folder_and_the_network_it_says_how_to_get_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"acme/no-clip is neither a folder.*hf download acme/no-clip --local-dir"):
        ClipTower.from_pretrained("acme/no-clip")
    with pytest.raises(WeightsError, match=r"^There is no folder /no/such/clip, which must hold a CLIP\. Check"):
        ClipTower.from_pretrained("/no/such/clip")


def test_missing_weights_are_never_made_up(clip_tower: ClipTower, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save(clip_tower, tmp_path) / "model.safetensors"
    save_file({name: w for name, w in load_file(file).items() if name != "text_projection.weight"}, file)
    with pytest.raises(CheckpointError, match=r"lacks 1 weights, the first is text_projection.weight.*Copy it again"):
        ClipTower.from_pretrained(tmp_path)


def test_a_missing_tokenizer_is_never_made_up(clip_tower: ClipTower, tmp_path: Path) -> None:
    clip_tower.model.save_pretrained(tmp_path)
    with pytest.raises((CheckpointError, WeightsError), match=r"tokenizer"):
        ClipTower.from_pretrained(tmp_path)
    CLIPTokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"a tokenizer of \d words; its text tower knows 514. Copy tokenizer.json"
    ):
        ClipTower.from_pretrained(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match=r"type 'bert'; it must be 'clip'. Name a CLIP such as openai/clip-vit"):
        ClipTower.from_pretrained(tmp_path)


def test_the_published_size_gives_the_promised_shapes(clip_tokenizer: CLIPTokenizer) -> None:
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    config = CLIPConfig(
        text_config={**text, "vocab_size": 49408, "max_position_embeddings": 77},
        vision_config={**vision, "image_size": 336, "patch_size": 14},
        projection_dim=768,
    )
    with torch.device("meta"):
        model = CLIPModel(config)
    tower = ClipTower(model, clip_tokenizer)
    assert (tower.grid_hw, tower.depth, tower.embed_dim, tower.vv_from) == ((24, 24), 24, 768, 6)
    seen = tower.encode_pixels(torch.empty(2, 3, 518, 518, device="meta"), (6, 12, 18, 24), vv=True)
    assert seen.image.shape == (2, 768)
    assert [patches.shape for patches in seen.patches] == [(2, 37, 37, 768)] * 4
    ids = tower.tokenize(TEXTS)
    assert tower.word_embeddings(ids).shape == (*ids.shape, 768)
    assert tower.encode_texts(TEXTS).shape == (2, 768)
