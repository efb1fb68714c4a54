"""The sizes in the package against transformers' own classes, on the meta device, and against published totals."""

import json
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from genau.errors import CheckpointError, UsageError
from genau.model.backbones.catalog import build_config, family_of, known, known_checkpoints
from genau.model.backbones.families import MODEL_TYPES
from genau.model.configuration import BACKBONE_NAMES
from genau.model.lora import check_targets, linear_layers, lora_parameters, lora_targets
from genau.model.parameters import Parameters, count_parameters, decoder_of

NAMES = tuple(known_checkpoints())
SEVEN = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


def config_of(name: str) -> PreTrainedConfig:
    return build_config(known(name).config, name)


@cache
def counted(name: str) -> Parameters:
    return count_parameters(config_of(name), rank=64)


@pytest.mark.parametrize("name", NAMES)
def test_the_sizes_of_a_checkpoint_make_as_many_parameters_as_it_has(name: str) -> None:
    assert counted(name).base == known(name).parameters


@pytest.mark.parametrize(
    ("name", "parts"),
    [  # vision, projector, decoder, output, as others counted them on the loaded weights
        ("SmolVLM-500M-Instruct", (86_433_024, 11_796_480, 361_944_000, 47_308_800)),
        ("Qwen2.5-VL-7B-Instruct", (676_550_144 - 44_574_464, 44_574_464, 7_615_616_512 - 544_997_376, 544_997_376)),
    ],
)
def test_the_parts_are_as_large_as_others_counted_them(name: str, parts: tuple[int, ...]) -> None:
    found = counted(known(name).name)
    assert (found.vision, found.projector, found.decoder, found.output) == parts


def test_tied_word_embeddings_count_once() -> None:
    assert counted("Qwen/Qwen2.5-VL-3B-Instruct").output == 0
    assert counted("Qwen/Qwen2.5-VL-7B-Instruct").output > 0


@pytest.mark.parametrize("name", NAMES)
def test_lora_adapts_every_linear_layer_of_the_decoder_and_nothing_else(name: str) -> None:
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config_of(name))
    decoder = decoder_of(model)
    assert lora_targets(decoder) == SEVEN
    linear = [full for full, module in model.named_modules() if isinstance(module, nn.Linear)]
    inside = [full for full in linear if full.startswith(("model.language_model.", "model.text_model."))]
    assert len(linear_layers(decoder)) == len(inside) == 7 * len(decoder.layers)
    assert len(inside) < len(linear)  # the tower's are left alone


def test_lora_has_rank_times_in_plus_out_numbers() -> None:
    decoder = nn.ModuleDict({"q_proj": nn.Linear(5, 3), "lm_head": nn.Linear(5, 90)})
    assert lora_targets(decoder) == ("q_proj",)
    assert lora_parameters(decoder, 2) == 2 * (5 + 3)


def test_lora_refuses_a_model_that_sees() -> None:
    with pytest.raises(CheckpointError, match=r"holds vision\.q_proj, a part that sees.*the backbone's `decoder`"):
        lora_targets(nn.ModuleDict({"vision": nn.ModuleDict({"q_proj": nn.Linear(2, 2)})}))
    with pytest.raises(CheckpointError, match="no linear layers"):
        lora_targets(nn.ModuleDict())


def test_an_adapter_for_layers_that_do_not_exist_is_refused() -> None:
    decoder = nn.ModuleDict({"q_proj": nn.Linear(5, 3), "k_proj": nn.Linear(5, 3)})
    check_targets(["q_proj", "k_proj"], decoder, "x")
    check_targets(r".*\.q_proj", decoder, "x")
    with pytest.raises(
        CheckpointError, match=r"x adapts q_pro, which ModuleDict does not have.* k_proj, q_proj.*'q_proj'"
    ):
        check_targets(["k_proj", "q_pro"], decoder, "x")


def test_every_checkpoint_names_a_family_a_licence_and_how_it_was_checked() -> None:
    assert len(NAMES) == 17
    for checkpoint in known_checkpoints().values():
        assert checkpoint.family == MODEL_TYPES[checkpoint.config["model_type"]]
        assert checkpoint.family in BACKBONE_NAMES
        assert checkpoint.licence
        assert checkpoint.verified
    assert "no commercial use" in known("Qwen2.5-VL-3B-Instruct").licence_note


def test_a_checkpoint_is_found_without_its_owner_and_in_any_case() -> None:
    assert known("smolvlm-256m-instruct").name == "HuggingFaceTB/SmolVLM-256M-Instruct"
    assert known("Qwen/Qwen3-VL-4B-Instruct").family == "qwen-vl"


def test_an_unknown_checkpoint_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(
        UsageError, match=r"'Qwen3-VL-5B-Instruct'.*Did you mean 'Qwen/Qwen3-VL-.B-Instruct'\?.*Supported are: ll"
    ):
        known("Qwen3-VL-5B-Instruct")


def test_a_model_type_of_no_family_is_refused_with_the_families_and_the_page() -> None:
    with pytest.raises(
        CheckpointError, match=r"'llavaonevision1_5', which no backbone .*qwen3_vl \(qwen-vl\).*backbones\.md"
    ):
        family_of("llavaonevision1_5", "here")
    with pytest.raises(CheckpointError, match="here has model_type None"):
        build_config({"hidden_size": 3}, "here")


def test_a_config_with_a_number_of_the_wrong_kind_is_an_error_in_words() -> None:
    fields = json.loads(json.dumps(known("SmolVLM-256M-Instruct").config))
    fields["text_config"]["hidden_size"] = "wide"
    with pytest.raises(CheckpointError, match=r"here: config\.json cannot be read .*Copy it again"):
        build_config(fields, "here")


def test_the_flat_form_of_an_older_config_gives_the_same_model() -> None:
    """The hub's Qwen2.5-VL files hold the decoder's fields at the top."""
    name = "Qwen/Qwen2.5-VL-3B-Instruct"
    fields = dict(known(name).config)
    flat = fields.pop("text_config") | fields | {"model_type": "qwen2_5_vl"}
    assert count_parameters(build_config(flat, name), 64) == counted(name)
