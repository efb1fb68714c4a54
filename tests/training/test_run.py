"""A head stage from settings to folder, on synthetic pictures and a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genau.checkpoints import OWN_FILE
from genau.datasets.synthetic import DEFECT_TYPES
from genau.training import run as running
from genau.training.batches import BatchMaker
from genau.training.settings import TrainSettings
from genau.training.trainer import JointTrainer


@pytest.mark.parametrize("changes", [{}, {"words": False, "bf16": False}], ids=["words in bf16", "static"])
def test_a_head_stage_runs_from_settings_to_a_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    trained: list[JointTrainer] = []

    def finish(trainer: JointTrainer, *rest: Any) -> Path:
        trained.append(trainer)
        return kept(trainer, *rest)

    kept = running.finish
    monkeypatch.setattr(running, "finish", finish)
    values: dict[str, Any] = {"stage": "head", "start": str(folder), "examples": 4, "cache": tmp_path / "features"}
    values |= {"steps": 2, "batch_size": 2, "log_every": 1, "lam": 1.0}
    output = running.run(TrainSettings(**(values | changes)), tmp_path / "out")
    (trainer,) = trained
    words = changes.get("words", True)
    head = trainer.trained.mask_head
    assert head.bf16 is changes.get("bf16", True)
    assert not trainer.trained.backbone.bf16_decoder  # what is read once is read exactly
    maker = trainer.data_collator
    assert isinstance(maker, BatchMaker)
    assert maker.reads == ("questions" if words else "nothing")
    assert set(DEFECT_TYPES) <= set(maker.types)
    assert all(parameter.dtype is torch.float32 for parameter in trainer.trained.parameters())
    lines = json.loads((output / "log.json").read_text())
    assert ("loss_type" in lines[0]) == words
    assert (lines[0]["loss_typed_image"] > 0) == words
    assert json.loads((output / "adapter" / "config.json").read_text())["reads_pictures"] is False
    assert json.loads((output / "settings.json").read_text())["words"] is words
    assert (output / "adapter" / OWN_FILE).is_file()
    assert len(list((tmp_path / "features").glob("*/*.safetensors"))) == 4


def test_a_finished_head_stage_that_is_resumed_trains_no_further_step(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"stage": "head", "start": str(folder), "examples": 4, "cache": tmp_path / "features"}
    values |= {"steps": 2, "batch_size": 2, "log_every": 1, "save_every": 2, "words": False}
    output = running.run(TrainSettings(**values), tmp_path / "out")
    before, log = load_file(output / "adapter" / OWN_FILE), json.loads((output / "log.json").read_text())

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(JointTrainer, "training_step", never)
    running.run(TrainSettings(**values), output, resume=True)
    after = load_file(output / "adapter" / OWN_FILE)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    losses = [line["loss"] for line in log if "loss" in line]
    assert [line["loss"] for line in json.loads((output / "log.json").read_text()) if "loss" in line] == losses
    longer = TrainSettings(**(values | {"steps": 3}))
    with pytest.raises(AssertionError, match="nothing is left"):  # a longer run has one to train
        running.run(longer, output, resume=True)
