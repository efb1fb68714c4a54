"""Joint training end to end on a handful of pictures, with tiny real parts."""

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.datasets.synthetic import DEFECT_TYPES
from genau.inspector import Inspector
from genau.model.backbones import Memory
from genau.model.configuration import GenAUConfig
from genau.model.context import Context
from genau.model.mask_head import pooled
from genau.model.modeling import GenAUModel
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.prompts import Query
from genau.results import Verdict
from genau.training import batches, words
from genau.training.batches import BatchMaker
from genau.training.examples import Example
from genau.training.features import EncodedExamples
from genau.training.losses import image, segmentation
from genau.training.rates import SCALAR_RATE
from genau.training.run import LORA_TARGETS, freeze, keep_frozen_in_bf16, training_arguments
from genau.training.settings import TrainSettings
from genau.training.trainer import JointTrainer, loss_terms
from genau.words import WordReader

TYPES = tuple(sorted(DEFECT_TYPES))


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a joint stage begin quickly."""
    monkeypatch.setattr(words, "VOCABULARY_WORDS", 5)


def settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {"stage": "joint", "steps": 4, "batch_size": 4, "learning_rate": 1e-2, "lora_dropout": 0.0}
    values |= {
        "decoder_learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "bf16": False,
        "log_every": 1,
        "save_every": 3,
        "analysis": 0.0,
    }
    return TrainSettings(**(values | changes))


def maker(processor: GenAUProcessor, options: TrainSettings) -> BatchMaker:
    words: Literal["questions", "nothing"] = "questions" if options.words else "nothing"
    return BatchMaker(processor, "pictures" if options.stage == "joint" else words, options.analysis, TYPES)


def trainer(
    model: GenAUModel, processor: GenAUProcessor, examples: list[Example], folder: Path, options: TrainSettings
) -> JointTrainer:
    set_seed(options.seed)
    freeze(model, options)
    return JointTrainer(
        options,
        processor,
        EncodedExamples(examples, model, processor, folder / "features"),
        TYPES,
        model=model,
        args=training_arguments(options, folder),
        data_collator=maker(processor, options),
    )


def with_lora(model: GenAUModel) -> GenAUModel:
    model.backbone.decoder = get_peft_model(model.backbone.decoder, LoraConfig(r=4, target_modules=LORA_TARGETS))
    return model


def test_overfitting_a_handful_finds_the_defects_and_leaves_good_parts_calm(
    model: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model.mask_head.gain.data.fill_(1.0)  # a head start: the first hundred steps only let it grow
    options = settings(
        steps=150, batch_size=8, log_every=20, save_every=1000, learning_rate=5e-3, head_learning_rate=3e-3
    )
    run = trainer(model, processor, examples, tmp_path, options)
    for parameter in model.backbone.decoder.parameters():  # two random layers have nothing that LoRA could adapt
        parameter.requires_grad = True
    run.train()
    losses = [row["loss"] for row in run.state.log_history if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    parts = {
        "language",
        "verdict",
        "type",
        "focal",
        "dice_defect",
        "empty",
        "dice_normal",
        "image",
        "typed_image",
    }
    assert {f"loss_{name}" for name in parts} <= set(run.state.log_history[0])
    assert run.first is not None
    run.first.realign(model)
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


STAGES = pytest.mark.parametrize(
    "stage",
    [{"stage": "joint"}, {"stage": "head"}, {"stage": "head", "words": False}],
    ids=["joint", "words", "static"],
)


@STAGES
def test_one_batch_of_eight_and_four_of_two_give_the_same_gradient(
    stage: dict[str, Any],
    trained_looking: GenAUModel,
    processor: GenAUProcessor,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "wordings", lambda types, rng: [Query(name) for name in types])  # drawn once per batch
    model = with_lora(trained_looking)
    gradients, parts = [], []
    for accumulation in (1, 4):
        options = settings(**stage, accumulation=accumulation, batch_size=8 // accumulation, analysis=0.5)
        run = trainer(model, processor, examples, tmp_path, options)
        model.zero_grad()
        model.train()
        whole, size = [run.examples[k] for k in range(8)], options.batch_size
        pieces = [maker(processor, options)(whole[start : start + size]) for start in range(0, 8, size)]
        run.get_batch_samples(iter(pieces), accumulation, torch.device("cpu"))
        for batch in pieces:
            run.compute_loss(model, batch).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        parts.append({name: sum(values) for name, values in run._parts.items()})
    one, four = gradients
    assert one.keys() == four.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, four[name], atol=1e-5, rtol=1e-3), name
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    assert parts[0] == pytest.approx(parts[1], rel=1e-4)
    expected = {"focal", "dice_defect", "empty", "dice_normal", "image", "typed_image"}
    expected |= {"language", "verdict"} if stage["stage"] == "joint" else set()
    expected |= {"type"} if "words" not in stage else set()
    assert parts[0].keys() == expected
    assert all(value > 0 or (name == "typed_image" and "words" in stage) for name, value in parts[0].items())


@pytest.mark.parametrize("stage", ["head", "joint"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    stage: str, config: GenAUConfig, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    ends: list[dict[str, torch.Tensor]] = []
    for name in ("whole", "broken"):
        set_seed(0)
        model = GenAUModel(config)
        model.backbone.decoder = get_peft_model(model.backbone.decoder, LoraConfig(r=4, target_modules=LORA_TARGETS))
        folder = tmp_path / name
        options = settings(stage=stage, steps=6, save_every=3)
        tokens = model.seg_tokens.embeddings.detach().clone()
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
            model.seg_tokens.embeddings.data = (
                tokens  # ... and what a resumed run starts from again: its first readings
            )
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


@pytest.mark.parametrize("words", [True, False])
def test_a_head_stage_trains_the_head_and_nothing_else(
    words: bool, learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    run = trainer(learner, processor, examples, tmp_path, settings(stage="head", words=words))
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("mask_head.") for name in trained)
    run.train()
    changed = {key for key, value in learner.state_dict().items() if not torch.equal(value, before[key])}
    assert {"mask_head.gain", "mask_head.evidence.out.weight", "mask_head.level_in.0.into.weight"} <= changed
    assert ("mask_head.query.weight" in changed) == words
    assert "mask_head.query_seen.weight" not in changed  # no picture is read
    assert all(name.startswith("mask_head.") for name in changed)
    assert {"loss_language", "loss_type"} & set(run.state.log_history[0]) == ({"loss_type"} if words else set())


def test_without_words_the_decoder_sleeps_and_with_them_it_reads_each_wording_once(
    learner: GenAUModel,
    processor: GenAUProcessor,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    wake = learner.backbone.read

    def count(embeddings: Tensor, mask: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        read.append(len(embeddings))
        found: tuple[Tensor, Memory] = wake(embeddings, mask, memory)
        return found

    monkeypatch.setattr(learner.backbone, "read", count)
    static = trainer(learner, processor, examples, tmp_path, settings(stage="head", words=False))
    rows = [static.examples[k] for k in range(4)]
    loss_terms(learner, maker(processor, static.settings)(rows), processor, static.reader)
    assert not read
    run = trainer(learner, processor, examples, tmp_path, settings(stage="head"))
    batch = maker(processor, run.settings)(rows)
    loss_terms(learner, batch, processor, run.reader)
    first = sum(read)
    assert first > len(TYPES)
    loss_terms(learner, batch, processor, run.reader)
    assert sum(read) == first


@torch.no_grad()
def test_what_is_read_without_pictures_is_drawn_by_its_words_or_by_the_prior_alone(
    trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model, options = trained_looking, settings(stage="head")
    run = trainer(model, processor, examples, tmp_path, options)
    batch = maker(processor, options)([run.examples[k] for k in range(8)])
    terms = loss_terms(model, batch, processor, run.reader)
    index, general = batch["image_index"], batch["general"]
    assert 0 < batch["unworded"].sum() < general.sum()
    instruction = model.read_instruction(processor.instruction_ids())
    states = model.read_questions(instruction, batch["asked_ids"], batch["asked_mask"])
    states[batch["unworded"]] = 1.0  # a constant is normalised to nothing: the prior alone
    features, unprompted = model.project(batch["pyramid"], context_of(model, batch))
    valid = model.valid_cells(batch["content_hw"], batch["pyramid"][0])
    margin, score = model.draw_unread(features, unprompted, valid, model.mask_head.queries(states), index)
    expected = segmentation(margin, batch["targets"], valid[index])
    expected["image"] = image(score[general], batch["defective"][general])
    expected["typed_image"] = image(score[~general], batch["defective"][~general])
    assert terms["type"].count == 4
    assert terms["type"].total.item() == pytest.approx(types_by_hand(model, processor, batch, features), rel=1e-3)
    assert terms.keys() - {"type"} == expected.keys()
    for name, term in expected.items():
        assert terms[name].count == term.count, name
        assert terms[name].total.item() == pytest.approx(term.total.item(), rel=1e-3), name


def types_by_hand(
    model: GenAUModel, processor: GenAUProcessor, batch: dict[str, Any], features: tuple[Tensor, ...]
) -> float:
    """Return the summed loss of types, region by region, from their wordings alone."""
    instruction = model.read_instruction(processor.instruction_ids())
    types = model.mask_head.queries(model.read_questions(instruction, batch["type_ids"], batch["type_mask"]))
    unit = torch.nn.functional.normalize(types, dim=-1)
    total = 0.0
    for region, at, wanted, rivals in zip(
        batch["regions"], batch["region_image"], batch["region_type"], batch["region_rivals"], strict=True
    ):
        mean = pooled(tuple(level[at : at + 1] for level in features), region[None].float(), torch.tensor([0]))[0]
        logits = [float(model.mask_head.scale * (mean @ defect - mean @ normal)) for defect, normal in unit]
        rest = [math.exp(logit) for logit, rival in zip(logits, rivals, strict=True) if rival]
        total += math.log(sum(rest)) - logits[int(wanted)]
    return total


@torch.no_grad()
def test_words_verdicts_and_types_of_a_joint_batch_are_those_of_its_questions_one_by_one(
    trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model, options = trained_looking, settings(analysis=0.5)
    run = trainer(model, processor, examples, tmp_path, options)
    batch = maker(processor, options)([run.examples[k] for k in range(8)])
    terms = loss_terms(model, batch, processor, run.reader)
    instruction = model.read_instruction(processor.instruction_ids())
    sight = model.backbone.look_again(batch["pyramid"])
    seen = model.see(
        sight,
        context_of(model, batch),
        batch["content_hw"],
        **processor.picture_ids(batch["content_hw"]),
        instruction=instruction,
    )
    asked = model.read_questions(instruction, batch["asked_ids"], batch["asked_mask"])
    ids = processor.token_ids()
    words, verdicts, margins = [], [], []
    for row, at in enumerate(batch["verdict_at"].tolist()):
        one = [batch[name][row : row + 1] for name in ("query_ids", "query_mask", "verdict_at", "image_index")]
        answer = model.ask(seen, asked[row : row + 1], *one)
        margins.append(answer.margin[0])
        logits = model.backbone.logits(answer.hidden[0])
        said = [logits[at, ids[name]].item() for name in ("normal_word_id", "defect_word_id")]
        right = int(batch["defective"][row])
        verdicts.append(math.log(1 + math.exp(said[1 - right] - said[right])))
        labels = batch["labels"][row].tolist()
        chances = logits.log_softmax(-1)
        words += [-chances[place, label].item() for place, label in enumerate(labels) if label != IGNORED_LABEL]
    assert terms["verdict"].count == len(verdicts) < terms["language"].count == len(words)
    assert terms["verdict"].total.item() == pytest.approx(sum(verdicts), rel=1e-3)
    assert terms["language"].total.item() == pytest.approx(sum(words), rel=1e-3)
    assert terms["type"].count == 4
    assert terms["type"].total.item() == pytest.approx(types_by_hand(model, processor, batch, seen.features), rel=1e-3)
    valid = model.valid_cells(batch["content_hw"], batch["pyramid"][0])[batch["image_index"]]
    for name, term in segmentation(torch.stack(margins), batch["targets"], valid).items():
        assert terms[name].total.item() == pytest.approx(term.total.item(), rel=1e-3), name


@torch.no_grad()
def test_a_joint_stage_starts_from_the_maps_that_the_first_stage_has_learned(
    trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model = with_lora(trained_looking)
    options = settings()
    run = trainer(model, processor, examples, tmp_path, options)
    batch = maker(processor, options)([run.examples[k] for k in range(8)])
    first = {name: value for name, value in batch.items() if name != "labels"}  # the same questions, pictures unread
    first["unworded"] = torch.zeros(len(batch["targets"]), dtype=torch.bool)
    before = loss_terms(model, first, processor, run.reader)
    listening = loss_terms(model, batch, processor, run.reader)
    model.mask_head.query_seen.weight.zero_()  # as the first stage leaves it
    begun = loss_terms(model, batch, processor, run.reader)
    assert begun.keys() == before.keys() | {"language", "verdict"}
    for name, term in before.items():
        assert begun[name].count == term.count, name
        assert begun[name].total.item() == pytest.approx(term.total.item(), rel=1e-5), name
    assert listening["focal"].total.item() != pytest.approx(before["focal"].total.item(), rel=1e-3)
    assert listening["type"].total.item() == pytest.approx(before["type"].total.item(), rel=1e-5)  # questions alone


def test_a_joint_stage_goes_on_asking_the_map_what_it_asked_before_the_decoder_changed(
    trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model = with_lora(trained_looking)
    model.mask_head.query_seen.weight.data.zero_()  # the map changes by the question itself or not at all
    run = trainer(model, processor, examples, tmp_path, settings())
    batch = maker(processor, run.settings)([run.examples[k] for k in range(8)])
    with torch.no_grad():
        before = loss_terms(model, batch, processor, run.reader)
        for name, parameter in model.backbone.decoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        after = loss_terms(model, batch, processor, run.reader)
        anew = loss_terms(model, batch, processor, WordReader(model, processor))
    for name in ("focal", "type"):
        assert after[name].total.item() == pytest.approx(before[name].total.item(), rel=1e-6), name
        assert anew[name].total.item() != pytest.approx(before[name].total.item(), rel=1e-3), name
    assert after["language"].total.item() != pytest.approx(before["language"].total.item(), rel=1e-3)


def test_a_joint_stage_teaches_the_head_by_both_readings_and_the_decoder_by_the_second(
    trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model = with_lora(trained_looking)
    run = trainer(model, processor, examples, tmp_path, settings())
    batch = maker(processor, run.settings)([run.examples[k] for k in range(8)])
    parameters = dict(model.named_parameters())
    lora = next(name for name in parameters if "lora_B" in name)
    names = ["mask_head.query.weight", "mask_head.query_seen.weight", "seg_tokens.embeddings", lora]

    def reached(term: str) -> list[bool]:
        loss = loss_terms(model, batch, processor, run.reader)[term].mean
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names], allow_unused=True)
        return [gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients]

    assert reached("focal") == [True, True, True, True]
    assert reached("type") == [True, False, False, False]  # wordings are read without gradients
    assert reached("verdict") == [False, False, True, True]
    model.mask_head.query_seen.weight.data.zero_()
    assert reached("focal") == [True, True, False, False]  # a zero matrix learns first, then the decoder through it


def context_of(model: GenAUModel, batch: dict[str, Any]) -> Context:
    valid = model.valid_cells(batch["content_hw"], batch["scalars"])
    return Context(batch["scalars"], batch["residual"], batch["from_references"], valid)


@STAGES
@pytest.mark.parametrize("kind", ["good", "bad"])
def test_a_batch_of_only_good_or_only_bad_parts_has_finite_terms_and_gradients(
    stage: dict[str, Any],
    kind: str,
    trained_looking: GenAUModel,
    processor: GenAUProcessor,
    examples: list[Example],
    tmp_path: Path,
) -> None:
    model = with_lora(trained_looking)
    options = settings(**stage)
    run = trainer(model, processor, examples, tmp_path, options)
    batch = maker(processor, options)([run.examples[k] for k in range(8) if bool(k % 2) == (kind == "good")])
    assert batch["targets"].any() == (kind == "bad")
    run.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    loss = run.compute_loss(model, batch)
    loss.backward()
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert max(gradient.abs().max() for gradient in gradients) > 0
    if "type" in run._parts:
        assert (run._parts["type"] == [0.0]) == (kind == "good")


@torch.no_grad()
def test_questions_of_different_lengths_are_read_apart_and_the_loss_does_not_notice(
    trained_looking: GenAUModel,
    processor: GenAUProcessor,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = settings(analysis=0.5)
    run = trainer(trained_looking, processor, examples, tmp_path, options)
    batch = maker(processor, options)([run.examples[k] for k in range(8)])
    lengths = batch["query_mask"].sum(1)
    shortest, middle, longest = (int(found) for found in (lengths.min(), lengths.median(), lengths.max()))
    assert shortest < middle < longest
    terms = []
    for bounds in ((0, longest), (0, middle, longest), (0, 1, shortest, middle - 1, middle, 10_000)):
        monkeypatch.setattr("genau.training.trainer.LENGTHS", bounds)
        terms.append(loss_terms(trained_looking, batch, processor, run.reader))
    for name, term in terms[0].items():
        for other in terms[1:]:
            assert term.count == other[name].count, name
            assert term.total.item() == pytest.approx(other[name].total.item(), rel=1e-3), name


def test_every_trained_tensor_has_one_rate_the_heads_few_scalars_the_largest(
    learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    options = settings(learning_rate=1e-4, head_learning_rate=2e-4, decoder_learning_rate=3e-4)
    groups = trainer(learner, processor, examples, tmp_path, options).create_optimizer().param_groups
    names = {id(parameter): name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    rates = {
        names[id(parameter)]: (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(names)
    for name in ("gain", "log_tau", "log_distance_gain", "distance_offset"):
        assert rates[f"mask_head.{name}"] == (pytest.approx(2e-4 * SCALAR_RATE), 0)
    assert rates["mask_head.query.weight"] == rates["mask_head.query_seen.weight"] == (2e-4, 0.01)
    assert rates["mask_head.level_in.0.into.bias"] == (2e-4, 0)
    assert rates["context_token.weight"] == rates["seg_tokens.embeddings"] == (1e-4, 0.01)
    assert {rate for name, (rate, _) in rates.items() if "lora_" in name} == {3e-4}


@pytest.mark.parametrize("stage", ["head", "joint"])
def test_in_bf16_the_loss_stays_close_and_its_gradients_are_in_fp32(
    stage: str, trained_looking: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    model = with_lora(trained_looking)
    run = trainer(model, processor, examples, tmp_path, settings(stage=stage))
    batch = maker(processor, run.settings)([run.examples[k] for k in range(8)])
    run.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    with torch.no_grad():
        exact = run.compute_loss(model, batch)
    model.mask_head.bf16 = model.backbone.bf16_decoder = True
    if stage == "joint":
        keep_frozen_in_bf16(model)
        layer = model.backbone.decoder.base_model.model.layers[0].self_attn.q_proj
        assert layer.base_layer.weight.dtype is torch.bfloat16
    assert all(parameter.dtype is torch.float32 for parameter in model.parameters() if parameter.requires_grad)
    rough = run.compute_loss(model, batch)
    assert rough.dtype is torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
    rough.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.dtype is torch.float32, name
            assert parameter.grad.isfinite().all(), name


def test_a_head_stage_with_words_learns_which_type_a_region_shows(
    learner: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    with torch.no_grad():
        learner.mask_head.gain.fill_(1.0)
        for name, parameter in learner.backbone.decoder.named_parameters():
            if "proj" in name:
                parameter.mul_(10)  # a random decoder hardly tells words apart
    options = settings(stage="head", steps=40, batch_size=8, log_every=10, save_every=1000, head_learning_rate=1e-2)
    run = trainer(learner, processor, examples, tmp_path, options)
    run.train()
    losses = [row["loss_type"] for row in run.state.log_history if "loss_type" in row]
    assert losses[0] > 0.8 * math.log(len(TYPES))
    assert losses[-1] < 0.6 * losses[0]
