"""Both checkpoint forms of a tiny nano; its tiny base stands in for the real one."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor

from genau import checkpoints, weights
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import CheckpointError, UsageError
from genau.inspector import Inspector
from genau.model.backbones.nano import NanoBackbone
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.passport import describe
from genau.processor import GenAUProcessor

THRESHOLDS = Thresholds(0.3, 0.4, 0.6, "largest F1", "held-out products")


def base_of(model: GenAUModel) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if checkpoints.is_base(model, k)}


@pytest.fixture
def with_lora(trained_looking: GenAUModel, monkeypatch: pytest.MonkeyPatch) -> GenAUModel:
    """A tiny model with LoRA that matters, and its base in place of the real one."""
    base, sizes = base_of(trained_looking), trained_looking.config.backbone_config or {}

    def from_base(_: Path) -> NanoBackbone:
        backbone = NanoBackbone.from_config(sizes)
        backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in base.items()}, strict=False)
        return backbone

    monkeypatch.setattr(NanoBackbone, "from_base", from_base)
    monkeypatch.setattr(weights, "ensure_base", lambda: Path("tiny"))
    trained_looking.config.base_fingerprint = weights.fingerprint()
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    torch.manual_seed(2)
    trained_looking.backbone.decoder = get_peft_model(trained_looking.backbone.decoder, lora)
    for name, parameter in trained_looking.backbone.decoder.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    trained_looking.eval()
    return trained_looking


@pytest.fixture
def adapter(with_lora: GenAUModel, processor: GenAUProcessor, tmp_path: Path) -> Path:
    checkpoints.save_adapter(tmp_path / "adapter form", with_lora, processor, THRESHOLDS)
    return tmp_path / "adapter form"


@pytest.fixture
def merged(config: GenAUConfig, processor: GenAUProcessor, tmp_path: Path) -> Path:
    torch.manual_seed(4)
    checkpoints.save_merged(tmp_path / "merged form", GenAUModel(config), processor, THRESHOLDS)
    return tmp_path / "merged form"


@pytest.fixture
def rgb(picture: Any) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = picture(3, spot=True)
    return drawn


def assert_same(one: Checkpoint, other: Checkpoint, rgb: NDArray[np.uint8]) -> None:
    a, b = (Inspector(checkpoint).inspect(rgb, types=["scratch"], analysis=False) for checkpoint in (one, other))
    assert a.pred_score == pytest.approx(b.pred_score, abs=1e-4)
    assert a.text_score == pytest.approx(b.text_score, abs=1e-4)
    assert a.types["scratch"] == pytest.approx(b.types["scratch"], abs=1e-4)
    np.testing.assert_allclose(a.anomaly_map, b.anomaly_map, atol=1e-4)


def test_the_adapter_form_comes_back_equal_merged_or_not(
    adapter: Path, with_lora: GenAUModel, processor: GenAUProcessor, rgb: NDArray[np.uint8]
) -> None:
    saved = Checkpoint("saved", with_lora, processor, THRESHOLDS)
    for merge in (True, False):
        loaded = checkpoints.load(adapter, merge=merge)
        assert loaded.thresholds == THRESHOLDS
        assert hasattr(loaded.model.backbone.decoder, "peft_config") is not merge
        assert_same(saved, loaded, rgb)
    trainable = [name for name, p in loaded.model.backbone.decoder.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)


def test_lora_changes_what_the_model_says(adapter: Path, rgb: NDArray[np.uint8]) -> None:
    with_it = Inspector(checkpoints.load(adapter)).inspect(rgb, analysis=False)
    lora = load_file(adapter / "adapter" / "adapter_model.safetensors")
    save_file({k: torch.zeros_like(v) for k, v in lora.items()}, adapter / "adapter" / "adapter_model.safetensors")
    without = Inspector(checkpoints.load(adapter)).inspect(rgb, analysis=False)
    assert abs(with_it.text_score - without.text_score) > 1e-3


def test_the_merged_form_comes_back_equal(
    tmp_path: Path, trained_looking: GenAUModel, processor: GenAUProcessor, rgb: NDArray[np.uint8]
) -> None:
    checkpoints.save_merged(tmp_path / "form", trained_looking, processor, THRESHOLDS)
    loaded = checkpoints.load(tmp_path / "form")
    assert loaded.thresholds == THRESHOLDS
    assert_same(Checkpoint("saved", trained_looking, processor, THRESHOLDS), loaded, rgb)


def test_an_adapter_loaded_and_saved_merged_says_the_same(
    adapter: Path, tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    first = checkpoints.load(adapter)
    checkpoints.save_merged(tmp_path / "again", first.model, first.processor, first.thresholds)
    assert_same(first, checkpoints.load(tmp_path / "again"), rgb)


def test_a_decoder_with_lora_is_not_saved_merged(
    with_lora: GenAUModel, processor: GenAUProcessor, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"carries LoRA layers\. Save the adapter form, load it"):
        checkpoints.save_merged(tmp_path / "no", with_lora, processor)
    assert not (tmp_path / "no").exists()


def test_no_pickle_is_written(adapter: Path, merged: Path) -> None:
    files = [path for folder in (adapter, merged) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md"}
    assert not any(path.read_bytes().startswith((b"\x80", b"PK\x03\x04")) for path in files)


def test_the_adapter_form_holds_nothing_of_the_base(adapter: Path, with_lora: GenAUModel) -> None:
    own = load_file(adapter / "genau.safetensors")
    lora = load_file(adapter / "adapter" / "adapter_model.safetensors")
    assert not [key for key in own if checkpoints.is_base(with_lora, key)]
    assert all("lora_" in key for key in lora)


def test_another_base_is_refused(adapter: Path) -> None:
    change(adapter / "config.json", base_fingerprint="feedfeedfeedfeed")
    with pytest.raises(CheckpointError, match=r"trained on base feedfeedfeedfeed, but this version .* the model card"):
        checkpoints.load(adapter)


def change(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def edit(file: Path, **tensors: torch.Tensor | None) -> None:
    """Replace (or, by None, remove) the tensors whose names end as given."""
    state = load_file(file)
    for ending, value in tensors.items():
        for key in [key for key in state if key.endswith(ending)]:
            del state[key]
            if value is not None:
                state[key] = value
    save_file(state, file, metadata={"format": "pt"})


WEIGHT_FILES = [("adapter", "genau.safetensors"), ("merged", "model.safetensors")]


@pytest.fixture(params=WEIGHT_FILES, ids=[form for form, _ in WEIGHT_FILES])
def weights_file(request: pytest.FixtureRequest) -> Iterator[Path]:
    form, name = request.param
    folder: Path = request.getfixturevalue(form)
    yield folder / name


def test_a_missing_tensor_is_never_replaced_by_a_random_one(weights_file: Path) -> None:
    edit(weights_file, query_prior=None)
    with pytest.raises(CheckpointError, match=r"1 tensor missing \(mask_head\.query_prior\).*same `genau train` run"):
        checkpoints.load(weights_file.parent)


def test_a_tensor_of_another_size_is_refused(weights_file: Path) -> None:
    edit(weights_file, query_prior=torch.zeros(3, 5))
    with pytest.raises(CheckpointError, match=r"1 tensor of another size \(mask_head\.query_prior\)"):
        checkpoints.load(weights_file.parent)


def test_a_truncated_weights_file_is_an_error_in_words(weights_file: Path) -> None:
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint \(.*\)\. Save or copy it again"):
        checkpoints.load(weights_file.parent)


def test_a_missing_weights_file_is_an_error_in_words(weights_file: Path) -> None:
    weights_file.unlink()
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint .* Save or copy it again"):
        checkpoints.load(weights_file.parent)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", "thresholds.json"])
def test_a_damaged_small_file_is_an_error_in_words(merged: Path, name: str) -> None:
    (merged / name).write_text((merged / name).read_text()[:40])
    with pytest.raises(CheckpointError, match=r"Save or copy it again|Restore it"):
        checkpoints.load(merged)


def test_a_missing_tokenizer_is_an_error_in_words(merged: Path) -> None:
    (merged / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        checkpoints.load(merged)


def test_a_number_of_the_wrong_kind_in_the_config_is_an_error_in_words(merged: Path) -> None:
    change(merged / "config.json", image_size="large")
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint \(.*\)\. Save or copy it again"):
        checkpoints.load(merged)


def test_a_lost_adapter_folder_is_noticed(adapter: Path) -> None:
    (adapter / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks adapter/adapter_model\.safetensors, its decoder's LoRA"):
        checkpoints.load(adapter)


def test_a_model_without_thresholds_decides_at_one_half(merged: Path) -> None:
    (merged / "thresholds.json").unlink()
    assert checkpoints.load(merged).thresholds == Thresholds()


def test_an_unknown_model_name_gets_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nano").mkdir()
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path)
    with pytest.raises(UsageError, match=r"no model 'nanno'.*shipped one \(nano\).*Did you mean 'nano'\?"):
        checkpoints.resolve("nanno")
    assert checkpoints.resolve("nano") == tmp_path / "nano"


def test_a_copy_without_shipped_models_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path / "absent")
    with pytest.raises(UsageError, match=r"no model 'nano'.*\(this copy has none\)"):
        checkpoints.resolve("nano")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config\.json\. Give a folder that `genau train` wrote"):
        checkpoints.resolve(tmp_path)
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "adapter" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"run is a whole run of `genau train`; its model is in .*adapter\. Give that"):
        checkpoints.resolve(tmp_path / "run")


def test_transformers_knows_our_classes_after_a_load_and_says_nothing(
    merged: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        checkpoints.load(merged)
    assert "instantiate a model of type" not in caplog.text + "".join(capfd.readouterr())
    assert type(AutoConfig.from_pretrained(merged)).__name__ == "GenAUConfig"
    assert type(AutoProcessor.from_pretrained(merged)).__name__ == "GenAUProcessor"
    assert type(AutoModel.from_pretrained(merged)).__name__ == "GenAUModel"


def test_a_model_describes_itself(adapter: Path, merged: Path) -> None:
    said = describe(adapter)
    assert json.loads(json.dumps(said)) == said
    assert said["form"] == "adapter"
    assert said["folder"] == str(adapter)
    assert said["backbone"] == "nano"
    assert said["base"]["fingerprint"] == weights.fingerprint()
    assert said["base"]["fits_this_version"] is True
    assert said["image_size"] == 128
    assert said["thresholds"]["method"] == "largest F1"
    assert said["text_weight"] == 0.5
    assert said["answers"]["analysis"] == {"can": False, "why": "not trained to write: null"}
    assert describe(merged)["form"] == "merged"


def test_parameters_are_counted_from_the_files(adapter: Path, with_lora: GenAUModel) -> None:
    sizes = {name: p.numel() for name, p in with_lora.named_parameters()}
    own = sum(n for name, n in sizes.items() if not checkpoints.is_base(with_lora, name) or "lora_" in name)
    assert describe(adapter)["parameters"] == {"total": sum(sizes.values()), "ours": own}


def test_a_trained_model_says_what_it_can_answer(merged: Path) -> None:
    change(merged / "config.json", trained_types=["scratch", "dent"], writes_analysis=True, text_weight=0.25)
    answers = describe(merged)["answers"]
    assert answers["types"]["can"] is True
    assert "2 types" in answers["types"]["why"]
    assert answers["analysis"]["can"] is True
    assert "weight 0.25" in answers["score"]["why"]


def test_a_description_of_another_base_says_that_it_does_not_fit(adapter: Path) -> None:
    change(adapter / "config.json", base_fingerprint="feedfeedfeedfeed")
    assert describe(adapter)["base"]["fits_this_version"] is False


def test_a_fingerprint_is_that_of_weights_and_settings_but_not_of_thresholds(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "genau.safetensors", "thresholds.json", "README.md"):
        (folder / name).write_text("{}")
    before = checkpoints.fingerprint(folder)
    assert len(before) == 16
    for name in ("thresholds.json", "README.md"):
        (folder / name).write_text("other")
    assert checkpoints.fingerprint(folder) == before
    (folder / "genau.safetensors").write_text("other")
    weights_changed = checkpoints.fingerprint(folder)
    (folder / "config.json").write_text('{"image_size": 64}')
    assert len({before, weights_changed, checkpoints.fingerprint(folder)}) == 3
