"""What an estimate says, by hand-made sums, and against a map head that really runs."""

import dataclasses
import json

import pytest
import torch

from genau.errors import UsageError
from genau.model.activations import head_bytes, saved_bytes
from genau.model.backbones.catalog import build_config, known
from genau.model.configuration import GenAUConfig
from genau.model.context import PicturePatches, Scale, compare, context_patches
from genau.model.estimate import GIB, Estimate, Memory, Workload, estimate
from genau.model.mask_head import MaskHead

SMALL = "HuggingFaceTB/SmolVLM-256M-Instruct"


def of(name: str = SMALL, **work: object) -> Estimate:
    return estimate(build_config(known(name).config, name), Workload(**work))  # type: ignore[arg-type]


def test_weights_are_counted_by_dtype_and_only_the_decoders_linear_layers_are_quantised() -> None:
    found, base, linear = of(), 256_484_928, 30 * (576 * (2 * 576 + 2 * 192) + 3 * 576 * 1536)
    assert found.weights["float32"] == 4 * base
    assert found.weights["bfloat16"] == 2 * base
    assert found.weights["int8"] == 2 * (base - linear) + linear
    assert found.weights["nf4"] == 2 * (base - linear) + linear * (0.5 + 4 / 64)


def test_adamw_keeps_two_moments_of_what_trains_and_no_more() -> None:
    found = of()
    trains = found.parameters.lora + found.parameters.projector + found.parameters.own
    for memory in found.training.values():
        assert memory.gradients == 4 * trains
        assert memory.optimizer == 8 * trains
    assert found.inspection.optimizer == found.inspection.gradients == 0


def test_the_keys_and_values_of_a_picture_are_layers_times_heads_times_width_times_two() -> None:
    found = of()
    instruction = 40
    assert found.visual_tokens == 5 * 64  # four crops and the whole picture
    assert found.keys_values_per_picture == (found.visual_tokens + instruction) * 30 * 3 * 64 * 2 * 2


@pytest.mark.parametrize(
    ("name", "canvas", "tokens"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", 784, 28 * 28),
        ("Qwen/Qwen3-VL-2B-Instruct", None, 32 * 32),
        ("HuggingFaceTB/SmolVLM-256M-Instruct", 512, 64),
        ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", 756, 729 + 54 * 55),
    ],
)
def test_a_picture_costs_visual_tokens_as_its_family_makes_them(name: str, canvas: int | None, tokens: int) -> None:
    assert of(name, canvas=canvas).visual_tokens == tokens


def test_checkpointing_costs_less_and_more_pictures_cost_more() -> None:
    one, four = of(), of(batch_size=4)
    assert one.training["checkpointing"].activations < one.training["plain"].activations / 2
    assert four.training["plain"].activations == pytest.approx(4 * one.training["plain"].activations, rel=0.1)
    assert four.inspection.keys_values == 4 * one.inspection.keys_values
    assert of(questions=3).inspection.keys_values > one.inspection.keys_values


def test_sharding_divides_weights_and_optimizer_but_not_activations() -> None:
    one, eight = of(gpus=1).training["checkpointing"], of(gpus=8).sharded["fsdp"]
    assert eight.weights == one.weights / 8
    assert eight.gradients == one.gradients / 8
    assert eight.optimizer == one.optimizer / 8
    assert eight.activations == one.activations
    assert eight.gathered == 2 * 2 * of().parameters.layer  # bf16, this layer and the next


def test_ddp_holds_the_gradients_twice_and_divides_nothing() -> None:
    one, eight = of(gpus=1).training["plain"], of(gpus=8).training["plain"]
    assert eight == dataclasses.replace(one, gathered=one.gradients)


def test_quantised_weights_are_not_sharded() -> None:
    assert of(dtype="nf4", gpus=8).sharded == {}


def test_a_7b_fits_where_people_train_it() -> None:
    seven = of("Qwen/Qwen2.5-VL-7B-Instruct")
    assert seven.inspection.fits() == {24: True, 40: True, 80: True}
    assert seven.training["plain"].fits() == {24: False, 40: True, 80: True}
    assert of("Qwen/Qwen2.5-VL-72B-Instruct").inspection.fits()[80] is False


def test_a_gpu_is_never_filled_to_the_last_byte() -> None:
    assert Memory(weights=0.93 * 24 * GIB, activations=0, keys_values=0).fits()[24] is False
    assert Memory(weights=0.91 * 24 * GIB, activations=0, keys_values=0).fits()[24] is True


def test_an_estimate_is_plain_json() -> None:
    told = of().to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["training"]["fsdp"]["fits"] == {"24 GiB": True, "40 GiB": True, "80 GiB": True}
    assert told["workload"]["canvas"] == 1024


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"'bfloat' is not one of float32, bfloat16, int8, nf4\. Did you mean 'bfloat16'"
    ):
        Workload(dtype="bfloat")
    with pytest.raises(UsageError, match="gpus is 0; it must be at least 1"):
        Workload(gpus=0)


@pytest.mark.parametrize(("channels", "upsample"), [(64, 1), (64, 4), (256, 2)])
def test_the_map_head_keeps_what_the_formula_says(channels: int, upsample: int) -> None:
    height = width = 16
    config = GenAUConfig(image_size=256, upsample=upsample, context_scales=(((1, 2), 16, 1), ((1, 2), 32, 1)))
    head = MaskHead(config, (channels,) * 4, 96)
    pyramid = tuple(torch.randn(1, channels, height, width) for _ in range(4))
    scales = [Scale(*scale) for scale in config.context_scales]
    patches = tuple(
        context_patches([pyramid[level] for level in scale.levels], (256 // scale.stride,) * 2)[0] for scale in scales
    )
    valid = tuple(torch.ones(patch.shape[-2:], dtype=torch.bool) for patch in patches)
    context = compare([PicturePatches(patches, valid)], [None], scales, neighbours=3, temperature=0.02)
    asked = torch.randn(1, 2, 96, requires_grad=True)

    def draw() -> object:
        features = head.project(pyramid, context)
        prior = head.unprompted(context, (features[0].shape[-2], features[0].shape[-1]))
        return features, head.draw(features, prior, head.queries(asked), torch.zeros(1, dtype=torch.long))

    assert head_bytes(height * width, channels, upsample) == pytest.approx(saved_bytes(draw, head), rel=0.1)
