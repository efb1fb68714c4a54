"""The settings and the DeepSpeed file that come with the package."""

import json
from pathlib import Path

import pytest
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from torch import nn
from transformers import TrainingArguments
from transformers.integrations import deepspeed

from genau.model.backbones.catalog import known_checkpoints
from genau.training.live.settings import LiveSettings
from genau.training.settings import parse_settings, read_values

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs" / "large").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_large_configs_are_the_recipe_at_an_effective_batch_of_eight(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVTEC", "/data/mvtec")
    settings = parse_settings(read_values(path, []), str(path), LiveSettings)
    assert settings.per_step == 8
    assert (settings.lora_rank, settings.lora_alpha, settings.lora_dropout) == (64, 128, 0.05)
    assert (settings.decoder_learning_rate, settings.warmup, settings.epochs) == (2e-5, 0.03, 1)
    assert settings.base in known_checkpoints()
    assert f"configs/large/{path.name}" in path.read_text()
    if settings.deepspeed:
        assert (ROOT / settings.deepspeed).is_file()


def test_there_is_one_config_for_each_way_to_train() -> None:
    assert [path.stem for path in CONFIGS] == ["ddp-8gpu", "fsdp-8gpu", "one-gpu-24gb", "zero3-8gpu"]


class Reader(deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):  # type: ignore[misc]
    """The framework's own reader of the file, for where DeepSpeed is not installed."""

    def __init__(self, path: Path) -> None:
        HfDeepSpeedConfig.__init__(self, str(path))
        self._dtype = None
        self.mismatches: list[str] = []


def test_what_the_deepspeed_file_leaves_open_is_filled_from_the_settings(tmp_path: Path) -> None:
    read = Reader(ROOT / "configs" / "large" / "deepspeed-zero3.json")
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=2, use_cpu=True
    )
    read.trainer_config_process(args)
    read.trainer_config_finalize(args, nn.Linear(1, 1), num_training_steps=10)  # knows no size of a model, as ours
    filled = read.config
    assert (filled["train_micro_batch_size_per_gpu"], filled["gradient_accumulation_steps"]) == (1, 2)
    assert filled["train_batch_size"] == 2
    assert filled["gradient_clipping"] == args.max_grad_norm
    assert filled["zero_optimization"]["stage"] == 3
    assert read.mismatches == []
    assert "auto" not in json.dumps(filled)
