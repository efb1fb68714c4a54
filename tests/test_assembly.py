"""Models on large bases: assembled, saved and loaded in both forms, with tiny bases of transformers' real classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    Idefics3Config,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)

from genau import checkpoints, shards
from genau.assembly import Loading, is_quantised, kept_whole, loading_for, untrained_on
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import CheckpointError, UsageError, WeightsError
from genau.inspector import Inspector
from genau.model.backbones.families import family
from genau.model.configuration import GenAUConfig
from genau.model.lora import lora_targets, merge, unmerge
from genau.model.modeling import GenAUModel
from genau.passport import describe
from genau.processor import GenAUProcessor

DECODER = {
    "vocab_size": 640,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1]}
SIGLIP = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
QWEN_TOWER = {"depth": 4, "hidden_size": 24, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}


def tiny_config(kind: str) -> PreTrainedConfig:
    """Return a tiny configuration by `model_type`; no canvas of theirs is larger than 128 pixels."""
    decoder: dict[str, Any] = dict(DECODER)
    if kind == "idefics3":
        vision: dict[str, Any] = SIGLIP | {"image_size": 32, "patch_size": 8}
        text = decoder | {"model_type": "llama"}
        return Idefics3Config(text_config=text, vision_config=vision, scale_factor=2, image_token_id=600)
    if kind == "llava_onevision":
        vision = {**SIGLIP, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8}
        text = decoder | {"model_type": "qwen2", "tie_word_embeddings": True}
        return LlavaOnevisionConfig(
            text_config=text,
            vision_config=vision | {"vision_use_head": False},
            image_token_index=600,
            tie_word_embeddings=True,
        )
    if kind == "qwen2_5_vl":
        tower = QWEN_TOWER | {"patch_size": 8, "spatial_merge_size": 2, "window_size": 32, "fullatt_block_indexes": [3]}
        return Qwen2_5_VLConfig(text_config=decoder | {"rope_scaling": MROPE}, vision_config=tower, image_token_id=600)
    tower = QWEN_TOWER | {"patch_size": 8, "num_position_embeddings": 64, "deepstack_visual_indexes": [1]}
    text = decoder | {"head_dim": 8, "rope_scaling": MROPE | {"mrope_interleaved": True}}
    return Qwen3VLConfig(text_config=text, vision_config=tower, image_token_id=600)


def save_tiny_base(
    folder: Path, kind: str, tokenizer: PreTrainedTokenizerBase, seed: int = 0, shard: str = "10GB"
) -> Path:
    """Write a tiny base as transformers saves a large one; `shard` is the most that a file holds."""
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(tiny_config(kind))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


CANVAS = 64  # two crops across, or four visual tokens
KINDS = ("idefics3", "llava_onevision", "qwen2_5_vl", "qwen3_vl")
THRESHOLDS = Thresholds(0.3, 0.4, 0.6, "largest F1", "held-out products")
Draw = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="module")
def bases_of(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Callable[[str], Path]:
    """Return the folder of a tiny base by its model_type, made once."""
    made: dict[str, Path] = {}

    def base_of(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_tiny_base(tmp_path_factory.mktemp("bases") / kind, kind, tokenizer)
        return made[kind]

    return base_of


def looking_trained(model: GenAUModel) -> GenAUModel:
    """Make every path matter: nothing that starts at zero is zero, and the decoder has LoRA."""
    torch.manual_seed(1)
    with torch.no_grad():
        model.mask_head.gain.fill_(0.5)
        for layer in (model.mask_head.query, model.mask_head.query_seen, model.context_token, model.found_token):
            nn.init.normal_(layer.weight, std=0.3)
    model.config.text_weight = 0.5
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=list(lora_targets(model.backbone.decoder)))
    model.backbone.decoder = get_peft_model(model.backbone.decoder, lora)
    for name, parameter in model.backbone.decoder.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    model.eval()
    return model


def trained_on(base: Path) -> tuple[GenAUModel, GenAUProcessor]:
    model, processor = untrained_on(str(base), image_size=CANVAS, head_width=16)
    return looking_trained(model), processor


@pytest.fixture(params=KINDS)
def trained(request: pytest.FixtureRequest, bases_of: Callable[[str], Path]) -> tuple[GenAUModel, GenAUProcessor]:
    return trained_on(bases_of(request.param))


@pytest.fixture(scope="module")
def saved(bases_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, processor = trained_on(bases_of("idefics3"))
    folder = tmp_path_factory.mktemp("adapters") / "adapter form"
    checkpoints.save_adapter(folder, model, processor, THRESHOLDS)
    return folder


@pytest.fixture
def smolvlm(saved: Path, bases_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """An adapter on a base of its own, which tests may damage."""
    base = shutil.copytree(bases_of("idefics3"), tmp_path / "base")
    adapter = shutil.copytree(saved, tmp_path / "adapter form")
    change(adapter / "config.json", base=str(base))
    return adapter


def change(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def says(checkpoint: Checkpoint, rgb: NDArray[np.uint8]) -> tuple[float, float, NDArray[np.float32]]:
    found = Inspector(checkpoint).inspect(rgb, types=["scratch"], analysis=False)
    return found.pred_score, found.types["scratch"], found.anomaly_map


def assert_same(one: Checkpoint, other: Checkpoint, rgb: NDArray[np.uint8]) -> None:
    a, b = says(one, rgb), says(other, rgb)
    assert a[:2] == pytest.approx(b[:2], abs=1e-4)
    np.testing.assert_allclose(a[2], b[2], atol=1e-4)


def test_an_adapter_on_a_large_base_comes_back_equal_merged_or_not(
    trained: tuple[GenAUModel, GenAUProcessor], tmp_path: Path, picture: Draw
) -> None:
    model, processor = trained
    checkpoints.save_adapter(tmp_path / "form", model, processor, THRESHOLDS)
    before = Checkpoint("saved", model, processor, THRESHOLDS)
    for merged in (True, False):
        loaded = checkpoints.load(tmp_path / "form", merge=merged)
        assert hasattr(loaded.model.backbone.decoder, "peft_config") is not merged
        assert_same(before, loaded, picture(3, spot=True))


def test_the_merged_form_of_a_large_model_comes_back_equal_without_its_base(
    trained: tuple[GenAUModel, GenAUProcessor], tmp_path: Path, picture: Draw
) -> None:
    model, processor = trained
    checkpoints.save_adapter(tmp_path / "form", model, processor, THRESHOLDS)
    first = checkpoints.load(tmp_path / "form")
    first.model.config.base = str(tmp_path / "nowhere")
    checkpoints.save_merged(tmp_path / "merged", first.model, first.processor, first.thresholds)
    assert_same(first, checkpoints.load(tmp_path / "merged"), picture(4, spot=True))


def test_the_adapter_form_holds_what_is_ours_and_nothing_of_the_base(
    trained: tuple[GenAUModel, GenAUProcessor],
) -> None:
    model, _ = trained
    own = checkpoints.own_state(model)
    assert not [key for key in own if key.startswith(("backbone.decoder.", "backbone.output."))]
    assert [key for key in own if "projector" in key or "merger" in key]
    assert sum(value.numel() for value in own.values()) < sum(p.numel() for p in model.parameters()) / 2


def test_lora_is_added_and_taken_away_again(trained: tuple[GenAUModel, GenAUProcessor], picture: Draw) -> None:
    model, processor = trained
    checkpoint = Checkpoint("x", model, processor, THRESHOLDS)
    apart = says(checkpoint, picture(5))
    weight = model.backbone.decoder.get_base_model().layers[0].mlp.up_proj.base_layer.weight
    before = weight.clone()
    merge(model.backbone.decoder)
    assert not torch.equal(weight, before)
    assert says(checkpoint, picture(5))[0] == pytest.approx(apart[0], abs=1e-4)
    unmerge(model.backbone.decoder)
    torch.testing.assert_close(weight, before)


def test_a_decoder_without_lora_has_nothing_to_merge() -> None:
    with pytest.raises(CheckpointError, match=r"ModuleDict carries no LoRA.*merge=False"):
        merge(nn.ModuleDict())


def test_an_untrained_model_starts_from_the_bases_own_projector(bases_of: Callable[[str], Path]) -> None:
    model, processor = untrained_on(str(bases_of("llava_onevision")), seed=3)
    from safetensors.torch import load_file

    base = load_file(bases_of("llava_onevision") / "model.safetensors")
    key = next(key for key in base if key.endswith("multi_modal_projector.linear_1.weight"))
    torch.testing.assert_close(model.backbone.projector.linear_1.weight, base[key])
    assert model.mask_head.gain == 0
    assert model.config.base == str(bases_of("llava_onevision"))
    assert processor.token_ids()["seg_defect_token_id"] == model.config.seg_defect_token_id
    again, _ = untrained_on(str(bases_of("llava_onevision")), seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl"])
def test_what_is_ours_stays_in_fp32_on_a_base_in_bf16(
    kind: str, bases_of: Callable[[str], Path], tmp_path: Path, picture: Draw
) -> None:
    model, processor = trained_on(bases_of(kind))
    checkpoints.save_adapter(tmp_path / "form", model, processor, THRESHOLDS)
    loaded = checkpoints.load(tmp_path / "form", loading=Loading(dtype="bfloat16"))
    kinds = {name: parameter.dtype for name, parameter in loaded.model.named_parameters()}
    ours = [name for name in kinds if not checkpoints.is_base(loaded.model, name)]
    assert {kinds[name] for name in ours} == {torch.float32}
    assert {kinds[name] for name in kinds if name not in ours} == {torch.bfloat16}
    exact = says(Checkpoint("saved", model, processor, THRESHOLDS), picture(6))
    assert says(loaded, picture(6))[0] == pytest.approx(exact[0], abs=0.05)
    checkpoints.save_merged(tmp_path / "merged", loaded.model, loaded.processor)
    again = checkpoints.load(tmp_path / "merged", loading=Loading(dtype="bfloat16"))
    assert {name: parameter.dtype for name, parameter in again.model.named_parameters()} == kinds


def test_an_adapter_for_another_base_names_both_and_the_command(
    smolvlm: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    trained = json.loads((smolvlm / "config.json").read_text())["base_fingerprint"]
    other = save_tiny_base(tmp_path / "other", "idefics3", tokenizer, seed=9)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(smolvlm, loading=Loading(base=str(other)))
    for word in (trained, shards.fingerprint(other), str(other), str(tmp_path / "base"), "`hf download"):
        assert word in str(caught.value)


def test_a_base_that_was_moved_is_found_where_it_is_said_to_be(smolvlm: Path, tmp_path: Path) -> None:
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(WeightsError, match=r"There is no folder .*base, where the base was looked for.*GENAU_BASES"):
        checkpoints.load(smolvlm)
    assert checkpoints.load(smolvlm, loading=Loading(base=str(tmp_path / "moved"))).model.config.backbone == "smolvlm"


def test_another_base_in_the_place_of_a_folder_names_no_download_of_that_folder(
    smolvlm: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "base")
    save_tiny_base(tmp_path / "base", "idefics3", tokenizer, seed=9)
    with pytest.raises(CheckpointError, match=r"another revision\. Put the files .* there again") as caught:
        checkpoints.load(smolvlm)
    assert f"hf download {tmp_path}" not in str(caught.value)


def test_a_base_that_was_given_as_a_path_from_here_is_found_from_everywhere(
    bases_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bases_of("idefics3")
    monkeypatch.chdir(folder.parent)
    model, _ = untrained_on(folder.name, image_size=CANVAS, head_width=16)
    assert model.config.base == str(folder)


def test_an_adapter_that_names_no_base_is_refused(smolvlm: Path) -> None:
    change(smolvlm / "config.json", base=None)
    with pytest.raises(CheckpointError, match=r"has backbone 'smolvlm' but names no base"):
        checkpoints.load(smolvlm)


def test_lora_for_layers_that_the_base_does_not_have_is_refused(smolvlm: Path) -> None:
    change(smolvlm / "adapter" / "adapter_config.json", target_modules=["q_proj", "wqkv"])
    with pytest.raises(
        CheckpointError, match=r"adapts wqkv, which LlamaModel does not have; its linear layers are down"
    ):
        checkpoints.load(smolvlm)


def test_a_tokenizer_without_our_tokens_is_refused(smolvlm: Path, tmp_path: Path) -> None:
    change(smolvlm / "config.json", seg_defect_token_id=7)
    with pytest.raises(CheckpointError, match=r"does not hold our tokens .*\(seg_defect_token_id\).*tokenizer's files"):
        checkpoints.load(smolvlm)


def test_a_base_is_no_checkpoint_of_ours(smolvlm: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"base is a 'idefics3' model, not one that `genau train` wrote.*as the base"
    ):
        checkpoints.load(tmp_path / "base")


def test_a_base_is_told_apart_from_a_trained_model_before_it_is_loaded(smolvlm: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"base is a 'idefics3' model.*`genau info .*base --estimate` says"):
        describe(tmp_path / "base")
    with pytest.raises(UsageError, match=r"^Qwen2\.5-VL-7B-Instruct is a base, .*`genau train`.* --estimate`"):
        checkpoints.resolve("Qwen2.5-VL-7B-Instruct")


def test_a_base_without_its_tokenizer_says_what_to_copy(smolvlm: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "base").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(WeightsError, match=r"base has no tokenizer that can be read .*copy tokenizer\.json") as caught:
        untrained_on(str(tmp_path / "base"), image_size=CANVAS)
    assert len(str(caught.value)) < 600


def test_a_lost_shard_of_the_base_is_named(smolvlm: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "base")
    save_tiny_base(tmp_path / "base", "idefics3", tokenizer, shard="60KB")
    lost = sorted((tmp_path / "base").glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(WeightsError, match=rf"lacks {lost.name} .*`hf download"):
        checkpoints.load(smolvlm)


def test_a_canvas_that_does_not_fit_the_base_is_refused(bases_of: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="image_size=50"):
        untrained_on(str(bases_of("idefics3")), image_size=50)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_decoders_linear_layers_are_ever_quantised(kind: str) -> None:
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(tiny_config(kind))
    linear = [full for full, module in model.named_modules() if isinstance(module, nn.Linear)]
    decoder = [full for full in linear if ".layers." in full and ("language_model" in full or "text_model" in full)]
    assert set(linear) - set(kept_whole(linear)) == set(decoder)
    assert "lm_head" in kept_whole(linear)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_model_of_ours_the_head_is_never_quantised(kind: str) -> None:
    config = tiny_config(kind)
    habits = family_habits(kind)
    model = GenAUModel(
        GenAUConfig(
            backbone=habits[0],
            backbone_config=config.to_dict(),
            image_size=habits[1].image_size,
            context_scales=habits[1].context_scales,
        )
    )
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    quantised = [name for name in linear if is_quantised(name)]
    assert quantised
    assert all(name.startswith("backbone.decoder.layers.") for name in quantised)
    for ours in ("mask_head.query", "context_token", "found_token", "mask_head.level_in.0.into"):
        assert ours in kept_whole(linear)


def family_habits(kind: str) -> tuple[str, Any]:
    from genau.model.backbones.families import MODEL_TYPES

    return MODEL_TYPES[kind], family(MODEL_TYPES[kind]).habits(tiny_config(kind).to_dict())


def test_bits_without_bitsandbytes_or_a_gpu_name_both() -> None:
    with pytest.raises(
        UsageError, match=r"quantize='4bit' needs bitsandbytes and a GPU, but .*`pip install bitsandbytes`"
    ):
        Loading(quantize="4bit").options(["lm_head"])


def test_on_a_gpu_the_decoder_is_quantised_and_all_else_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from genau import assembly

    monkeypatch.setattr(assembly, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("transformers.BitsAndBytesConfig.post_init", lambda self: None)
    options = Loading(quantize="4bit").options(
        ["lm_head", "model.visual.merger.mlp.0", "model.language_model.layers.0.x"]
    )
    bits = options["quantization_config"]
    assert bits.load_in_4bit
    assert bits.llm_int8_skip_modules == ["lm_head", "model.visual.merger.mlp.0"]
    assert options["dtype"] == torch.bfloat16
    assert options["device_map"] == "auto"


def test_what_does_not_exist_is_refused_with_what_does() -> None:
    with pytest.raises(UsageError, match=r"dtype 'bfloat' is not one of auto, float32, bfloat16\. Did you mean"):
        Loading(dtype="bfloat")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="quantize '3bit' is not one of 8bit, 4bit"):
        Loading(quantize="3bit")  # type: ignore[arg-type]
    assert Loading().torch_dtype == torch.float32


def test_a_large_base_goes_straight_to_its_gpu_and_nano_does_not() -> None:
    assert loading_for(GenAUConfig(backbone="qwen-vl"), "cuda:1") == Loading(device_map="cuda:1")
    assert loading_for(GenAUConfig(backbone="qwen-vl"), "cpu") == Loading()
    assert loading_for(GenAUConfig(), "cuda:1") == Loading()


def test_nano_is_not_loaded_in_other_ways(folder: Path) -> None:
    with pytest.raises(UsageError, match="always loaded in fp32 on the CPU"):
        checkpoints.load(folder, loading=Loading(dtype="bfloat16"))


def test_an_unknown_family_gets_a_suggestion() -> None:
    with pytest.raises(CheckpointError, match=r"'qwenvl' is no family of large bases: llava.*Did you mean 'qwen-vl'"):
        family("qwenvl")


def test_a_saved_adapter_has_a_card_that_a_hub_can_show(saved: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(saved / "README.md")
    assert card.data.library_name == "genau"
    assert card.data.base_model is None  # a folder on this machine means nothing elsewhere
    assert {"anomaly-detection", "lora"} <= set(card.data.tags)
    assert "the map is the plain distance" in card.text
    assert "defective from a score of 0.3 on" in card.text
    assert not (saved / "adapter" / "README.md").exists()


def test_a_model_on_a_large_base_describes_itself(smolvlm: Path, tmp_path: Path) -> None:
    said = describe(smolvlm)
    assert said["backbone"] == "smolvlm"
    assert said["base"]["name"] == str(tmp_path / "base")
    assert said["base"]["cached"] is True
    assert said["parameters"]["total"] > said["parameters"]["ours"] > 0
    change(smolvlm / "config.json", base="owner/not-here")
    assert describe(smolvlm)["base"]["cached"] is False
