"""A whole run, and how it goes on."""

import json
from collections.abc import Callable
from pathlib import Path

from genau.training.live.run import run
from genau.training.live.settings import LiveSettings

Settings = Callable[..., LiveSettings]


def test_a_run_learns_and_leaves_its_model_log_and_settings(settings: Settings, tmp_path: Path) -> None:
    output = run(settings(steps=12, log_every=4), tmp_path / "run")
    log = json.loads((output / "log.json").read_text())
    losses = [line["loss"] for line in log if "loss" in line]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    assert {path.name for path in (output / "adapter").iterdir()} >= {"genau.safetensors", "adapter", "config.json"}
