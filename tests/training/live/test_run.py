"""A whole run in one process, and how it goes on where it was stopped."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from genau.errors import CheckpointError, UsageError
from genau.training.live import run as runs
from genau.training.live.readings import READINGS_FILE
from genau.training.live.run import run
from genau.training.live.settings import LiveSettings
from genau.training.live.trainer import LiveTrainer

Settings = Callable[..., LiveSettings]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "genau.safetensors") | load_file(folder / "adapter" / "adapter_model.safetensors")


def logged(folder: Path) -> list[float]:
    return [line["loss"] for line in json.loads((folder / "log.json").read_text()) if "loss" in line]


def test_a_run_learns_and_leaves_its_model_log_and_settings(settings: Settings, tmp_path: Path) -> None:
    asked = settings(steps=8, log_every=4, decoder_learning_rate=1e-2, head_learning_rate=1e-2)
    output = run(asked, tmp_path / "run")
    first, last = (line for line in json.loads((output / "log.json").read_text()) if "loss" in line)
    assert last["loss_image"] < 0.9 * first["loss_image"]
    assert last["loss_language"] < first["loss_language"]
    assert LiveSettings(**json.loads((output / "settings.json").read_text())) == asked
    config = json.loads((output / "adapter" / "config.json").read_text())
    assert config["trained_products"] == ["plate"]
    assert config["trained_data"] == ["mvtec, split test", "talks.jsonl"]
    assert {"scratch", "stain"} < set(config["trained_types"])
    assert config["reads_pictures"]


def test_a_run_that_is_stopped_goes_on_to_the_same_weights_bit_by_bit(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, the order of pictures and conversations, optimizer and scheduler go on where they were."""
    asked = settings(steps=5, batch_size=2, accumulation=2, lora_dropout=0.3, scenes=2, gradient_checkpointing=True)
    whole = run(asked, tmp_path / "whole")

    class PowerCut(Exception):
        pass

    step = LiveTrainer.get_batch_samples

    def fail(self: LiveTrainer, *arguments: Any) -> Any:
        if self.state.global_step == 3:
            raise PowerCut
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(LiveTrainer, "get_batch_samples", fail)
        run(asked, tmp_path / "cut")
    torch.manual_seed(99)  # another process begins in another state
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-2"]
    resumed = run(asked, tmp_path / "cut", resume=True)
    expected, found = weights(whole / "adapter"), weights(resumed / "adapter")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert logged(whole) == logged(resumed)
    assert len(logged(whole)) == 5


def test_a_finished_run_that_is_resumed_trains_no_further_step(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = run(settings(), tmp_path / "run")
    before, losses = weights(output / "adapter"), logged(output)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(LiveTrainer, "training_step", never)
    run(settings(), output, resume=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(output / "adapter").items())
    assert logged(output) == losses
    assert len(losses) == 2


def test_a_run_goes_on_under_the_settings_that_it_began_with(settings: Settings, tmp_path: Path) -> None:
    output = run(settings(), tmp_path / "run")
    with pytest.raises(UsageError, match=r"begun with seed = 0, but the settings now say 1.*Set it back"):
        run(settings(seed=1), output, resume=True)
    with pytest.raises(UsageError, match="begun with effective batch = 4, but the settings now say 2"):
        run(settings(batch_size=2), output, resume=True)
    with pytest.raises(UsageError, match="holds a run already"):
        run(settings(), output)
    (output / READINGS_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"readings\.safetensors is missing.*Start a new one"):
        run(settings(batch_size=2, accumulation=2, log_every=2), output, resume=True)


def test_too_little_memory_is_told_with_what_to_change_in_which_order(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(LiveTrainer, "training_step", full)
    with pytest.raises(UsageError) as caught:
        run(settings(lora_rank=64), tmp_path / "run")
    said = str(caught.value)
    assert "Tried to allocate 2.00 GiB" in said
    assert "more" not in said.split("Change", maxsplit=1)[0]
    order = re.findall(r"(\d)\. (\w+)=", said)
    assert order == [
        ("1", "gradient_checkpointing"), ("2", "batch_size"), ("3", "image_size"), ("4", "quantize"), ("5", "lora_rank")
    ]  # fmt: skip
    assert "gradient_checkpointing=False -> true" in said
    assert "batch_size=4 -> 1" in said


def test_knobs_that_are_turned_already_are_not_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("")

    monkeypatch.setattr(runs, "gather", full)
    with pytest.raises(torch.OutOfMemoryError):  # nothing to turn helps before the training
        run(settings(), tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setattr(LiveTrainer, "training_step", full)
    with pytest.raises(UsageError) as caught:
        run(settings(batch_size=1, gradient_checkpointing=True, lora_rank=4), tmp_path / "run")
    assert re.findall(r"\d\. (\w+)=", str(caught.value)) == ["image_size", "quantize"]


@pytest.mark.parametrize(
    ("here", "words"),
    [
        ("1", "gpus=8 processes, but 1 is running.*--nproc-per-node 8.*--set gpus=1 --set accumulation=16 keeps"),
        ("2", "gpus=8 processes, but 2 are running.*--set gpus=2 --set accumulation=8 keeps the effective batch of 16"),
        ("3", "but 3 are running.*--set gpus=3 changes the batch"),
    ],
)
def test_another_number_of_processes_is_refused_with_both_numbers_and_the_knobs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, words: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", here)
    with pytest.raises(UsageError, match=words):
        run(settings(gpus=8, batch_size=1, accumulation=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()
