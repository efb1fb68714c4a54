"""Where a base is loaded, and how what is trained comes together where another owns the weights."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genau.assembly import Loading
from genau.model.modeling import GenAUModel
from genau.training.live import start
from genau.training.live.settings import LiveSettings
from genau.training.live.trainer import LiveTrainer

Settings = Callable[..., LiveSettings]


def test_a_quantised_base_is_loaded_whole_on_the_gpu_of_its_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spread over all GPUs of the machine by each of four processes, it could not be trained."""
    asked: list[Loading] = []

    def stop(base: str, *, loading: Loading, **_: Any) -> None:
        asked.append(loading)
        raise InterruptedError

    monkeypatch.setattr(start, "untrained_on", stop)
    monkeypatch.setenv("LOCAL_RANK", "3")
    for quantize in ("4bit", None):
        with pytest.raises(InterruptedError):
            start.starting_point(settings(start=None, base="a/base", quantize=quantize))
    assert [loading.device_map for loading in asked] == [{"": 3}, None]


def test_weights_that_deepspeed_divided_are_brought_together_by_its_engine(trained_looking: GenAUModel) -> None:
    """Where they lie each of them is empty."""
    full = {f"model.{name}": tensor for name, tensor in trained_looking.state_dict().items()}
    for parameter in trained_looking.parameters():
        parameter.data = parameter.data.new_empty(0)
    for state in (full, None):  # None: in all but the first process
        accelerator = SimpleNamespace(get_state_dict=lambda engine, state=state: state)
        trainer: Any = SimpleNamespace(deepspeed=object(), accelerator=accelerator, trained=trained_looking)
        trainer._trained_of = lambda found, trainer=trainer: LiveTrainer._trained_of(trainer, found)
        found = LiveTrainer.whole(trainer)
        assert bool(found) == (state is not None)
        if state:
            assert torch.equal(found["mask_head.query.weight"], full["model.mask_head.query.weight"])
            assert not any(name.startswith("backbone.decoder") for name in found)


def test_weights_of_one_process_are_its_own(trained_looking: GenAUModel, tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(deepspeed=None, trained=trained_looking)
    found = LiveTrainer.whole(trainer)
    assert torch.equal(found["mask_head.query.weight"], trained_looking.mask_head.query.weight)
    assert not any(name.startswith("backbone.decoder") for name in found)
