"""Real processes: two with half of a batch each learn what one learns with all of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

SECONDS = 240


def genau_train(folder: Path, values: dict[str, Any], processes: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start a training of the command line as a user would, on the CPU."""
    folder.mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values | {"gpus": processes}))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = [*(launch if processes > 1 else []), "-m", "genau.cli", "train", "-c", str(config), "-o"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *start, str(folder / "run"), *arguments], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said[-4000:]
    return said


def trained(folder: Path) -> dict[str, Tensor]:
    adapter = folder / "run" / "adapter"
    return load_file(adapter / "genau.safetensors") | load_file(adapter / "adapter" / "adapter_model.safetensors")


@pytest.fixture
def alone_and_together(values: dict[str, Any], tmp_path: Path) -> tuple[Path, Path, str]:
    one = genau_train(tmp_path / "one", values, 1)
    two = genau_train(tmp_path / "two", values | {"batch_size": 1, "accumulation": 2, "save_every": 1}, 2)
    wait(one)
    return tmp_path / "one", tmp_path / "two", wait(two)


def test_two_processes_learn_what_one_learns(alone_and_together: tuple[Path, Path, str]) -> None:
    one, two, said = alone_and_together
    expected, found = trained(one), trained(two)
    assert found.keys() == expected.keys()
    moved = 0.0
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-5), name
        moved = max(moved, float(tensor.abs().max()))
    assert moved > 0
    assert said.count(str(two / "run")) == 1  # only the first process prints where it is
    assert {path.name for path in (two / "run").glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}
