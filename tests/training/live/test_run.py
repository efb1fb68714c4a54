"""A whole run in one process, and how it goes on where it was stopped."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from genau.errors import CheckpointError, DataError, UsageError
from genau.training.live import run as runs
from genau.training.live.module import LiveModule
from genau.training.live.plan import make_plan
from genau.training.live.readings import READINGS_FILE
from genau.training.live.run import run
from genau.training.live.settings import LiveSettings
from genau.training.live.trainer import LiveTrainer
from genau.training.settings import parse_settings

Settings = Callable[..., LiveSettings]
Genau = Callable[..., Any]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "genau.safetensors") | load_file(folder / "adapter" / "adapter_model.safetensors")


def logged(folder: Path) -> list[dict[str, float]]:
    lines = json.loads((folder / "log.json").read_text())
    return [{name: line[name] for name in line if name.startswith("loss")} for line in lines if "loss" in line]


def test_a_run_learns_and_leaves_its_model_log_and_settings(settings: Settings, tmp_path: Path) -> None:
    asked = settings(steps=6, log_every=3, decoder_learning_rate=5e-2, learning_rate=1e-2)
    output = run(asked, tmp_path / "run")
    first, last = (line for line in json.loads((output / "log.json").read_text()) if "loss" in line)
    assert last["loss_language"] < first["loss_language"]
    assert last["loss_image"] > 0
    assert LiveSettings(**json.loads((output / "settings.json").read_text())) == asked
    config = json.loads((output / "adapter" / "config.json").read_text())
    assert config["trained_products"] == ["plate"]
    assert config["trained_data"] == ["plates, split test", "talks.jsonl"]
    assert config["answers_freely"] is True  # it was trained on conversations
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


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_change(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, losses = LiveModule.forward, list[Tensor]()

    def broken(module: LiveModule, batch: dict[str, Any]) -> Tensor:
        found = forward(module, batch)
        if found.ndim == 1:  # the terms of the loss; wordings are read by the same door
            losses.append(found)
        return found * float("nan") if len(losses) == 2 else found

    monkeypatch.setattr(LiveModule, "forward", broken)
    with pytest.raises(UsageError, match=r"no number in step 2 \(in .*focal.*sound\. .* head_learning_rate=0\.001"):
        run(settings(steps=4), tmp_path / "run")
    assert not (tmp_path / "run" / "log.json").exists()


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


def test_weights_cannot_be_divided_among_one_process(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set gpus=1 --set accumulation=2 --set sharding=none keeps"):
        run(settings(gpus=2, batch_size=1, accumulation=1, sharding="fsdp"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"only one is running.*torchrun.*--set sharding=none"):
        run(settings(sharding="fsdp"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_rnak": 4}, r"c.yaml: lora_rnak: there is no such setting\. Did you mean 'lora_rank'\?"),
        ({"conversations": "talks.jsonl"}, r"c.yaml: conversations: this must be a list, as in \[one, two\]\."),
        ({"sharding": "zero3"}, r"c.yaml: sharding=zero3 and deepspeed=None: zero3 needs its JSON"),
    ],
)
def test_a_wrong_setting_is_told_in_words(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_settings({"stage": "live", "scenes": 1, "steps": 1} | change, "c.yaml", LiveSettings)


def test_the_plan_says_what_is_there_what_trains_and_how_long(settings: Settings) -> None:
    plan = make_plan(settings(steps=None, epochs=2, scenes=4, gpus=2, batch_size=1))
    said = "\n".join(plan.lines)
    assert "plates plate: 5 good, 3 defective (scratch 1, stain 2)" in said
    assert "conversations: 2 with one picture; left out: 1 that show other than one, 0 whose picture is missing" in said
    assert "an epoch: 12 pictures, 4 of them synthetic, and 4 conversations" in said
    assert "16 steps of 2 samples (2 processes x 1 x 1): 2.00 epochs" in said
    assert "gpus=2 processes are expected, and 1 runs now" in said
    assert "canvas 128 x 128; 64 visual tokens for each picture on average, at most 64" in said
    assert re.search(r"trains [\d,]+ of [\d,]+ parameters: LoRA [\d,]+, backbone [\d,]+, context_token", said)
    assert plan.faults == ()


def test_the_plan_of_a_base_that_is_not_there_counts_its_parameters_and_memory(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    small = {"batch_size": 1, "gradient_checkpointing": True}
    said = "\n".join(make_plan(settings(start=None, base="Qwen/Qwen3-VL-2B-Instruct", **small)).lines)
    assert "Qwen/Qwen3-VL-2B-Instruct (qwen-vl;" in said
    assert "2,127,532,032 parameters" in said
    assert re.search(r"trains [\d,]+ parameters: LoRA [\d,]+, projector [\d,]+, ours [\d,]+", said)
    assert re.search(r"memory of each GPU, estimated: [\d.]+ GiB; fits on 24 GB", said)
    assert re.search(r"canvas 1024 x 1024; \d+ visual tokens", said)


def test_the_plan_counts_all_conversations_whose_picture_is_missing(settings: Settings, tmp_path: Path) -> None:
    plan = make_plan(settings(images=str(tmp_path / "nowhere")))
    (fault,) = plan.faults
    assert re.search(r"its picture .* does not exist\. .*`images: DIR` in a config.*`skip_missing: true`", fault)
    assert fault.endswith("3 conversations have a fault: `genau data conversations FILE` names them.")
    assert "conversations: 0 with one picture; left out: 0 that show other than one, 3 whose" in "\n".join(plan.lines)


def test_pictures_that_cannot_be_read_are_named_before_the_training(settings: Settings, plates: Path) -> None:
    (plates / "plate" / "test" / "stain" / "001.png").write_bytes(b"broken")
    (plates / "plate" / "test" / "good" / "001.png").unlink()
    plan = make_plan(settings())
    with pytest.raises(DataError) as caught:
        plan.refuse_faults()
    assert "2 pictures or conversations cannot be used" in str(caught.value)
    assert "stain/001.png" in str(caught.value)
    assert "good/001.png" in str(caught.value)  # a conversation shows it
    skipped = make_plan(settings(skip_missing=True))
    assert "conversations: 1 with one picture; left out: 1 that show other than one, 1 whose" in "\n".join(
        skipped.lines
    )
    assert len(skipped.faults) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 1}, "epochs=1.0 and steps=2: give exactly one"),
        ({"data": ()}, "nothing to look at: name annotated pictures in `data`, or a number of `scenes`"),
        ({"base": "x/y"}, "give one; a checkpoint names its own base"),
        ({"sharding": "zero3"}, "zero3 needs its JSON, see configs/large/deepspeed-zero3.json"),
        ({"sharding": "fsdp", "quantize": "4bit"}, "quantised weights cannot be divided"),
        ({"talk": 1.0}, "less than 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_what_to_do(
    settings: Settings, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        settings(**changes)


def test_settings_for_a_large_base_are_refused_where_there_is_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="image_size=640 is for a large base, which `base` names"):
        run(settings(image_size=640), tmp_path / "run")
    with pytest.raises(UsageError, match="quantize=4bit is for a large base"):
        run(settings(quantize="4bit"), tmp_path / "run")


def test_what_trains_in_one_process_refuses_several(
    genau: Genau, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "head.yaml").write_text("stage: head\nsteps: 1")
    said = genau("train", "-c", tmp_path / "head.yaml", "-o", tmp_path / "run")
    assert said.code == 2
    assert "2 processes are running, but stage head trains in one" in said.err


def test_the_command_line_plans_and_trains(genau: Genau, values: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "live.yaml"
    config.write_text(yaml.safe_dump(values))
    plan = genau("train", "-c", config, "--dry-run", "-o", tmp_path / "run")
    assert plan.code == 0
    assert "2 steps of 4 samples" in plan.out
    assert not (tmp_path / "run").exists()
    done = genau("train", "-c", config, "-o", tmp_path / "run", "--set", "steps=1")
    assert done.code == 0
    assert (tmp_path / "run" / "adapter" / "genau.safetensors").is_file()
    typo = genau("train", "-c", config, "--set", "batchsize=2")
    assert typo.code == 2
    assert "Did you mean 'batch_size'?" in typo.err


def test_batches_that_other_processes_prepare_are_the_same(settings: Settings, tmp_path: Path) -> None:
    alone, helped = (run(settings(workers=workers), tmp_path / str(workers)) for workers in (0, 1))
    assert logged(alone) == logged(helped)
    assert all(torch.equal(weights(helped / "adapter")[name], one) for name, one in weights(alone / "adapter").items())
