"""Real processes: two with half of a batch each learn what one learns with all of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from genau.training.live.run import run
from genau.training.live.settings import LiveSettings

SECONDS = 240


def genau_train(folder: Path, values: dict[str, Any], *program: str) -> "subprocess.Popen[str]":
    """Start a training in two processes as a user would, on the CPU."""
    folder.mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values | {"gpus": 2, "batch_size": 1, "accumulation": 2}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, *program, "train", "-c", str(config), "-o", str(folder / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said[-4000:]
    return said


def trained(run: Path) -> dict[str, Tensor]:
    """Return what the last step left."""
    last = run / "checkpoint-2"
    return load_file(last / "genau.safetensors") | load_file(last / "adapter" / "adapter_model.safetensors")


def logged(run: Path) -> list[dict[str, float]]:
    lines = json.loads((run / "log.json").read_text())
    return [
        {name: line[name] for name in line if name.startswith(("loss", "grad"))} for line in lines if "loss" in line
    ]


def check_same(one: Path, two: Path) -> None:
    """Hold two runs against each other: every trained tensor, every term of the loss, the length of the gradient."""
    expected, found = trained(one), trained(two)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-5), name
    assert len(logged(one)) == 2
    for line, other in zip(logged(one), logged(two), strict=True):
        assert line == pytest.approx(other, rel=1e-4), "of the terms and the gradient before it is clipped"


def test_two_processes_learn_what_one_learns_with_whole_weights_and_with_divided_ones(
    settings: Callable[..., LiveSettings], values: dict[str, Any], tmp_path: Path
) -> None:
    """Each has its own half of a batch, and now and then nothing but a conversation."""
    one = run(settings(), tmp_path / "one")
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    said = wait(genau_train(whole, values, "-m", "genau.cli"))
    check_same(one, whole / "run")
    assert said.count(str(whole / "run")) == 1  # only the first process says where it is
    assert said.count("'loss_focal'") == 2
    wait(genau_train(divided, values | {"sharding": "fsdp"}, str(Path(__file__).parent / "fsdp_on_cpu.py")))
    check_same(one, divided / "run")
    assert (divided / "run" / "checkpoint-2" / "optimizer.bin").is_file()
    finished = load_file(divided / "run" / "adapter" / "genau.safetensors")
    assert finished["mask_head.gain"].shape == ()
    assert finished.keys() == load_file(one / "adapter" / "genau.safetensors").keys()
