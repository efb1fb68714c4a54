"""The encoder: TensorFlow's padding, the published names, and every place where it belongs."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model.backbones.efficientnet_lite import (
    BATCH_NORM_EPS,
    LITE2_STAGES,
    EfficientNetLite,
    SameConv2d,
    StageSpec,
    convert_lite2_state,
)
from genau.model.backbones.nano import TOKEN_GRID
from genau.model.modeling import GenAUModel

STRIDES = (2, 4, 8, 16, 16, 32, 32)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size_hw", [(7, 12), (8, 5), (1, 2), (9, 9 + 2)])
def test_the_output_grid_is_the_input_over_the_stride_rounded_up(
    kernel: int, stride: int, size_hw: tuple[int, int]
) -> None:
    conv = SameConv2d(1, 2, kernel, stride)
    found = conv(torch.zeros(1, 1, *size_hw))
    assert found.shape == (1, 2, *(math.ceil(side / stride) for side in size_hw))


@pytest.mark.parametrize(
    ("kernel", "size_hw", "left_right_top_bottom"),
    [
        (3, (6, 9), (1, 1, 0, 1)),  # even side: nothing before, one after; odd side: one on both
        (3, (9, 6), (0, 1, 1, 1)),
        (5, (6, 9), (2, 2, 1, 2)),
        (5, (7, 8), (1, 2, 2, 2)),
    ],
)
@torch.no_grad()
def test_an_odd_remainder_is_padded_at_the_bottom_and_right(
    kernel: int, size_hw: tuple[int, int], left_right_top_bottom: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(2, 4, kernel, stride=2, groups=2, bias=False)
    x = torch.randn(1, 2, *size_hw)
    expected = F.conv2d(F.pad(x, left_right_top_bottom), conv.weight, stride=2, groups=2)
    assert torch.allclose(conv(x), expected)


@torch.no_grad()
def test_the_stages_lie_at_their_strides_with_the_published_channels() -> None:
    trunk = EfficientNetLite().eval()
    height, width = 65, 96
    outputs = trunk(torch.zeros(1, 3, height, width))
    assert [output.shape[1] for output in outputs] == [16, 24, 48, 88, 120, 208, 352]
    assert trunk.stage_channels == (16, 24, 48, 88, 120, 208, 352)
    assert [tuple(o.shape[2:]) for o in outputs] == [(math.ceil(height / s), math.ceil(width / s)) for s in STRIDES]


def published_state(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make a published checkpoint for our shapes: convolutions without bias, each with its batch normalisation."""
    first_of_stage = [sum(spec.blocks for spec in LITE2_STAGES[:stage]) for stage in range(len(LITE2_STAGES))]
    plain = {"0": ("_depthwise_conv", "_bn1"), "2": ("_project_conv", "_bn2")}
    expanded = {"0": ("_expand_conv", "_bn0"), "2": ("_depthwise_conv", "_bn1"), "4": ("_project_conv", "_bn2")}
    published = {}
    for key, value in ours.items():
        if not key.endswith(".weight"):
            continue
        convolution, norm = "_conv_stem", "_bn0"
        if found := re.fullmatch(r"stages\.(\d)\.(\d)\.layers\.(\d)\.weight", key):
            stage, block, layer = found.groups()
            names = expanded if LITE2_STAGES[int(stage)].expand > 1 else plain
            number = first_of_stage[int(stage)] + int(block)
            convolution, norm = (f"_blocks.{number}.{name}" for name in names[layer])
        channels = value.shape[0]
        published[f"{convolution}.weight"] = torch.randn_like(value)
        published[f"{norm}.weight"] = torch.rand(channels) + 0.5
        published[f"{norm}.bias"] = torch.randn(channels)
        published[f"{norm}.running_mean"] = torch.randn(channels)
        published[f"{norm}.running_var"] = torch.rand(channels) + 0.1
        published[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return published


def test_every_published_tensor_finds_its_place_and_the_classifier_is_left_out() -> None:
    torch.manual_seed(0)
    ours = EfficientNetLite().state_dict()
    published = published_state(ours)
    assert published["_blocks.20._bn2.running_mean"].shape == (352,)
    assert len(published) == len(ours) // 2 * 6
    classifier = {"_conv_head.weight": 1, "_bn1.weight": 2, "_bn1.running_var": 2, "_fc.weight": 3, "_fc.bias": 3}
    converted = convert_lite2_state(published | {key: torch.zeros(n) for key, n in classifier.items()})
    assert set(converted) == set(ours)
    EfficientNetLite().load_state_dict(converted)


@pytest.mark.parametrize(
    ("ours", "convolution", "norm", "groups"),
    [
        ("stem.0", "_conv_stem", "_bn0", 1),
        ("stages.0.0.layers.0", "_blocks.0._depthwise_conv", "_bn1", 32),
        ("stages.6.0.layers.4", "_blocks.20._project_conv", "_bn2", 1),
    ],
)
@torch.no_grad()
def test_a_folded_convolution_is_convolution_and_batch_normalisation(
    ours: str, convolution: str, norm: str, groups: int
) -> None:
    torch.manual_seed(0)
    published = published_state(EfficientNetLite().state_dict())
    converted = convert_lite2_state(published)
    norm = f"{convolution.rpartition('.')[0]}.{norm}".removeprefix(".")
    weight = published[f"{convolution}.weight"]
    x = torch.randn(2, weight.shape[1] * groups, 5, 7)
    mean, variance = published[f"{norm}.running_mean"], published[f"{norm}.running_var"]
    gamma, beta = published[f"{norm}.weight"], published[f"{norm}.bias"]
    plain = F.conv2d(x, weight, groups=groups)
    expected = F.batch_norm(plain, mean, variance, gamma, beta, training=False, eps=BATCH_NORM_EPS)
    found = F.conv2d(x, converted[f"{ours}.weight"], converted[f"{ours}.bias"], groups=groups)
    assert torch.allclose(found, expected, atol=1e-3, rtol=1e-4)


def test_a_block_keeps_its_input_only_where_the_shape_is_kept() -> None:
    trunk = EfficientNetLite((StageSpec(3, 3, 2, 2, 8), StageSpec(1, 3, 1, 1, 8), StageSpec(1, 3, 1, 1, 6)))
    skips = [[block.skip for block in stage] for stage in trunk.stages]  # type: ignore[attr-defined, union-attr]
    assert skips == [[False, True, True], [True], [False]]


@pytest.mark.parametrize(("y", "x"), [(16, 120), (80, 24), (60, 88)])
@torch.no_grad()
def test_a_lit_patch_of_a_wide_picture_shows_at_its_place_on_every_level(model: GenAUModel, y: int, x: int) -> None:
    dark = torch.zeros(1, 3, 96, 160)
    lit = dark.clone()
    lit[:, :, y : y + 8, x : x + 8] = 1.0
    before, after = model.backbone.look(dark), model.backbone.look(lit)
    assert [tuple(level.shape[2:]) for level in after.pyramid] == [(24, 40), (12, 20), (6, 10), (3, 5)]
    for level, (one, other) in enumerate(zip(before.pyramid, after.pyramid, strict=True)):
        change = (other - one).abs().sum(1)[0]
        row, column = divmod(int(change.argmax()), change.shape[1])
        stride = 4 * 2**level
        assert abs(row - (y + 4) / stride + 0.5) <= 1.5
        assert abs(column - (x + 4) / stride + 0.5) <= 1.5


@pytest.mark.parametrize(("y", "x"), [(16, 200), (200, 16), (100, 232)])
@torch.no_grad()
def test_visual_tokens_are_in_raster_order(model: GenAUModel, y: int, x: int) -> None:
    dark = torch.zeros(1, 3, 256, 256)  # the finest canvas on which each token has a cell of its own
    lit = dark.clone()
    lit[:, :, y : y + 16, x : x + 16] = 1.0
    before, after = model.backbone.look(dark), model.backbone.look(lit)
    assert after.token_grid == TOKEN_GRID
    assert after.visual_tokens.shape == (1, 64, 32)
    pooled = (after.pyramid[-1] - before.pyramid[-1]).abs().sum(1)[0]  # (8, 8)
    change = (after.visual_tokens - before.visual_tokens).abs().sum(2)[0]  # (64,)
    assert torch.equal(change > 0, pooled.flatten() > 0)
    rows, columns = (change > 0).reshape(TOKEN_GRID).nonzero().float().mean(0).tolist()
    assert abs(rows - (y + 8) / 32 + 0.5) <= 1.5
    assert abs(columns - (x + 8) / 32 + 0.5) <= 1.5


def test_the_encoder_keeps_its_batch_statistics_in_training(model: GenAUModel) -> None:
    model.train()
    assert model.backbone.decoder.training
    before = {key: value.clone() for key, value in model.backbone.encoder.state_dict().items()}
    model.backbone.look(torch.randn(2, 3, 64, 96))
    after = model.backbone.encoder.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
