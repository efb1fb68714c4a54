"""Joint training end to end on a handful of pictures, with tiny real parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.inspector import Inspector
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.results import Verdict
from genau.training.batches import BatchMaker
from genau.training.examples import Example
from genau.training.features import EncodedExamples
from genau.training.run import LORA_TARGETS, freeze, training_arguments
from genau.training.settings import TrainSettings
from genau.training.trainer import JointTrainer, loss_terms

Draw = Callable[..., NDArray[np.uint8]]


def settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {"stage": "joint", "steps": 4, "batch_size": 4, "learning_rate": 1e-2, "lora_dropout": 0.0}
    values |= {"decoder_learning_rate": 1e-2, "bf16_decoder": False, "log_every": 1, "save_every": 3, "analysis": 0.0}
    return TrainSettings(**(values | changes))


@pytest.fixture
def examples(picture: Draw) -> list[Example]:
    """Two scratches (thin and bright), two stains (dark squares), and the four pictures without them."""
    made = []
    for seed in range(4):
        good = picture(seed, 90, 140)
        bad, mask = good.copy(), np.zeros((90, 140), np.bool_)
        box = (slice(20, 26), slice(30, 110)) if seed % 2 else (slice(50, 75), slice(90 - 10 * seed, 120 - 10 * seed))
        mask[box] = True
        bad[box] = (250, 250, 60) if seed % 2 else (20, 10, 90)
        kind = "scratch" if seed % 2 else "stain"
        made += [Example(bad, {kind: mask}, "plate", {kind: "a mark"}), Example(good, {}, "plate", {})]
    return made


@pytest.fixture
def learner(config: GenAUConfig) -> GenAUModel:
    set_seed(0)
    model = GenAUModel(config)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=LORA_TARGETS)
    model.backbone.decoder = get_peft_model(model.backbone.decoder, lora)
    return model


def trainer(
    model: GenAUModel, processor: GenAUProcessor, examples: list[Example], folder: Path, options: TrainSettings
) -> JointTrainer:
    set_seed(options.seed)
    freeze(model, options)
    joint = options.stage == "joint"
    return JointTrainer(
        options,
        processor,
        EncodedExamples(examples, model, processor, folder / "features"),
        model=model,
        args=training_arguments(options, folder),
        data_collator=BatchMaker(processor, joint, options.analysis),
    )


def test_overfitting_a_handful_finds_the_defects_and_leaves_good_parts_calm(
    model: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model.mask_head.gain.data.fill_(1.0)  # a head start: the first hundred steps only let it grow
    options = settings(steps=200, batch_size=8, log_every=20, save_every=1000, learning_rate=5e-3)
    run = trainer(model, processor, examples, tmp_path, options)
    for parameter in model.backbone.decoder.parameters():  # two random layers have nothing that LoRA could adapt
        parameter.requires_grad = True
    run.train()
    losses = [row["loss"] for row in run.state.log_history if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    assert {"loss_language", "loss_focal", "loss_dice_defect", "loss_empty", "loss_dice_normal", "loss_image"} <= set(
        run.state.log_history[0]
    )
    inspector = Inspector(Checkpoint("tiny", model, processor, Thresholds()))
    for example in examples:
        result = inspector.inspect(example.rgb, analysis=False)
        assert result.verdict is (Verdict.DEFECT if example.masks else Verdict.NORMAL)
        if not example.masks:
            assert result.anomaly_map.max() < 0.5
            continue
        (mask,) = example.masks.values()
        overlap = (result.pred_mask & mask).sum() / (result.pred_mask | mask).sum()
        assert overlap > 0.3  # a cell of the tiny model's finest grid is 4.4 pixels wide


@pytest.mark.parametrize("stage", ["head", "joint"])
def test_one_batch_of_eight_and_four_of_two_give_the_same_gradient(
    stage: str, learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    learner.mask_head.gain.data.fill_(0.3)
    gradients = []
    for accumulation in (1, 4):
        options = settings(stage=stage, accumulation=accumulation, batch_size=8 // accumulation)
        run = trainer(learner, processor, examples, tmp_path, options)
        learner.zero_grad()
        learner.train()
        whole = [run.examples[k] for k in range(8)]
        maker = BatchMaker(processor, stage == "joint", 0.5)
        size = options.batch_size
        batches = [maker(whole[start : start + size]) for start in range(0, 8, size)]
        run.get_batch_samples(iter(batches), accumulation, torch.device("cpu"))
        for batch in batches:
            run.compute_loss(learner, batch).backward()
        gradients.append({n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None})
    one, four = gradients
    assert one.keys() == four.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, four[name], atol=1e-5, rtol=1e-3), name
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    config: GenAUConfig, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    ends: list[dict[str, torch.Tensor]] = []
    for name in ("whole", "broken"):
        set_seed(0)
        model = GenAUModel(config)
        model.backbone.decoder = get_peft_model(model.backbone.decoder, LoraConfig(r=4, target_modules=LORA_TARGETS))
        folder = tmp_path / name
        options = settings(steps=6, save_every=3)
        run = trainer(model, processor, examples, folder, options)
        if name == "broken":
            run.add_callback(_StopAt(3))
            run.train()
            set_seed(99)
            model = GenAUModel(config)  # other random weights: all that matters must come from the checkpoint ...
            model.backbone.decoder = get_peft_model(
                model.backbone.decoder, LoraConfig(r=4, target_modules=LORA_TARGETS)
            )
            base = _frozen_state(ends[0])
            model.load_state_dict(base, strict=False)  # ... but the frozen base, which comes from the weights cache
            run = trainer(model, processor, examples, folder, options)
            run.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
        else:
            run.train()
        ends.append({key: value.clone() for key, value in model.state_dict().items()})
    whole, broken = ends
    for key, value in whole.items():
        assert torch.allclose(value, broken[key], atol=1e-6), key


def _frozen_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    base = ("backbone.encoder.", "backbone.decoder.")
    return {key: value for key, value in state.items() if key.startswith(base) and "lora_" not in key}


class _StopAt(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


def test_the_encoder_keeps_its_batch_statistics_while_training(
    learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in learner.state_dict().items() if "encoder" in key}
    trainer(learner, processor, examples, tmp_path, settings(steps=2)).train()
    after = learner.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_head_stage_trains_the_head_and_nothing_else(
    learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    run = trainer(learner, processor, examples, tmp_path, settings(stage="head"))
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("mask_head.") for name in trained)
    batch = BatchMaker(processor, False, 0.0)([run.examples[0], run.examples[1]])
    terms = loss_terms(learner, batch, processor)
    assert "language" not in terms
