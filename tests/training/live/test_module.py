"""What a batch holds, and what the module makes of it, against seeing and asking one by one."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from genau.datasets.sample import UNTYPED
from genau.datasets.synthetic import DEFECT_TYPES
from genau.errors import UsageError
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.training.batches import BatchMaker
from genau.training.examples import Example
from genau.training.features import EncodedExamples
from genau.training.live.batches import TERMS, LiveBatchMaker
from genau.training.live.module import LiveModule
from genau.training.live.readings import read_all
from genau.training.live.rows import Row, Talk
from genau.training.live.settings import LiveSettings
from genau.training.live.start import with_lora
from genau.training.live.wordings import Wordings

Draw = Callable[..., NDArray[np.uint8]]
Settings = Callable[..., LiveSettings]


@pytest.fixture
def wordings(processor: GenAUProcessor) -> Wordings:
    return Wordings(processor, sorted(DEFECT_TYPES))


@pytest.fixture
def maker(processor: GenAUProcessor, wordings: Wordings) -> LiveBatchMaker:
    return LiveBatchMaker(processor, wordings, analysis=0.5)


@pytest.fixture
def module(
    trained_looking: GenAUModel, processor: GenAUProcessor, wordings: Wordings, settings: Settings
) -> LiveModule:
    module = LiveModule(with_lora(trained_looking, settings()), bf16=False)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    module.readings = read_all(module, wordings, processor.instruction_ids(), torch.device("cpu"))
    return module


@pytest.fixture
def rows(examples: list[Example], picture: Draw) -> list[Row]:
    """Three defective and two good plates, one with a reference, and a conversation in the middle."""
    talk = Talk(picture(7, 60, 120), (("What is this?", "A plate."), ("Is it good?", "Yes, it is.")))
    with_reference = replace(examples[0], references=(picture(8, 100, 100),))
    found: list[Example | Talk] = [with_reference, examples[1], talk, examples[2], examples[3], examples[4]]
    return [Row((0, 0, place), 0, sample) for place, sample in enumerate(found)]


@torch.no_grad()
def test_terms_are_those_of_one_picture_and_one_question_at_a_time(
    module: LiveModule, maker: LiveBatchMaker, rows: list[Row]
) -> None:
    """Padding, packing, references and what else is asked change nothing: totals add up."""
    module.eval()
    together, batch = module(maker(rows)), maker(rows)
    alone, counted = torch.zeros(len(TERMS)), torch.zeros(len(TERMS))
    for row in rows:
        one = maker([row])
        alone += module(one)
        counted += one["counts"]
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert torch.equal(batch["counts"].float(), counted)
    assert (batch["counts"] > 0).all()
    assert (together > 0).all()


@torch.no_grad()
def test_maps_and_words_are_those_of_seeing_and_asking(
    module: LiveModule, maker: LiveBatchMaker, rows: list[Row], processor: GenAUProcessor
) -> None:
    module.eval()
    model, batch = module.model, maker(rows[:2])
    totals = dict(zip(TERMS, module(batch).tolist(), strict=True))
    sight = model.backbone.look(batch["pixel_values"])
    patches = model.patches([level[2:] for level in sight.pyramid], batch["content_hw"][2:])
    content_hw = batch["content_hw"][:2]
    sight = model.backbone.look(batch["pixel_values"][:2])
    context = model.compare(sight.pyramid, content_hw, [model.remember(patches), None])
    instruction = model.read_instruction(processor.instruction_ids())
    seen = model.see(sight, context, content_hw, batch["picture_ids"], batch["picture_mask"], instruction)
    assert module.readings is not None
    asked = module.readings[batch["asked_row"]]
    answer = model.ask(seen, asked, batch["query_ids"], batch["query_mask"], batch["verdict_at"], batch["image_index"])
    said = answer.verdict_logits.log_softmax(-1)
    right = said.gather(1, batch["defective"].long()[:, None])
    assert totals["verdict"] == pytest.approx(-float(right.sum()), rel=1e-4)
    labelled = batch["labels"] != IGNORED_LABEL
    chances = model.backbone.logits(answer.hidden[labelled]).log_softmax(-1)
    words = -chances.gather(1, batch["labels"][labelled][:, None]).sum()
    assert totals["language"] == pytest.approx(float(words), rel=1e-4)
    general = batch["general"]
    score = answer.map_score[general].clamp(1e-6, 1 - 1e-6)
    wanted = batch["defective"][general]
    bce = -(score.log()[wanted].sum() + (1 - score).log()[~wanted].sum())
    assert totals["image"] == pytest.approx(float(bce), rel=1e-4)
    assert batch["reference_of"].tolist() == [0]


@torch.no_grad()
def test_masks_are_taught_as_the_first_stages_teach_them(
    module: LiveModule, maker: LiveBatchMaker, rows: list[Row], processor: GenAUProcessor, tmp_path: Any
) -> None:
    """The wanted cells of each question are those that the stages on cached features make."""
    examples = [row.sample for row in rows if isinstance(row.sample, Example)]
    encoded = EncodedExamples(examples, module.model, processor, tmp_path / "features")
    cached = [replace(encoded[number], visit=(0, place)) for number, place in enumerate((0, 1, 3, 4, 5))]
    expected = BatchMaker(processor, "pictures", 0.5, maker.wordings.types)(cached)
    batch = maker([row for row in rows if isinstance(row.sample, Example)])
    cells = torch.nn.functional.adaptive_max_pool2d(batch["masks"].float(), expected["targets"].shape[-2:])
    targets = (batch["wanted"].float() @ cells.flatten(1)).clamp_max(1).unflatten(1, cells.shape[1:])
    assert torch.equal(targets, expected["targets"])
    assert targets.any()
    for name in ("query_ids", "labels", "image_index", "general", "defective", "verdict_at"):
        assert torch.equal(batch[name], expected[name]), name
    assert torch.equal(batch["mask_rivals"], expected["region_rivals"])
    assert torch.equal(batch["mask_type"], expected["region_type"])


@pytest.mark.parametrize("kind", ["talk", "good", "bad", "all"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_trained_parameter_takes_part_in_every_batch(
    module: LiveModule, maker: LiveBatchMaker, rows: list[Row], kind: str, checkpointing: bool
) -> None:
    """Or processes would wait for one another for ever."""
    chosen = {"talk": rows[2:3], "good": rows[1:2], "bad": rows[:1], "all": rows}[kind]
    if checkpointing:
        module.model.backbone.decoder.gradient_checkpointing_enable({"use_reentrant": False})
    module.train()
    batch = maker(chosen)
    totals: Tensor = module(batch)
    totals.sum().backward()  # type: ignore[no-untyped-call]
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in trained.values() if parameter.grad is not None)
    frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    assert frozen
    assert all(parameter.grad is None for parameter in frozen)
    if kind == "talk":
        assert batch["counts"].tolist() == [int((batch["talk_labels"] != IGNORED_LABEL).sum())] + [0] * 8
        assert totals[1:].abs().max() == 0
        assert totals[0] > 0


def test_conversations_train_what_the_assistant_says_and_nothing_else(
    maker: LiveBatchMaker, rows: list[Row], processor: GenAUProcessor
) -> None:
    batch = maker(rows)
    ids, labels = batch["talk_ids"][0], batch["talk_labels"][0]
    said = processor.tokenizer.decode(labels[labels != IGNORED_LABEL])
    assert said == "A plate.<|im_end|>Yes, it is.<|im_end|>"
    whole = processor.tokenizer.decode(ids)
    assert whole == (
        "\nWhat is this?<|im_end|>\n<|im_start|>assistant\nA plate.<|im_end|>\n<|im_start|>user\nIs it good?"
        "<|im_end|>\n<|im_start|>assistant\nYes, it is."
    )
    for at in torch.nonzero(labels[:-1] != IGNORED_LABEL)[:, 0].tolist():
        assert labels[at] == ids[at + 1]
    assert batch["talk_index"].tolist() == [2]


def test_defects_without_a_name_teach_where_they_are_and_no_type(
    maker: LiveBatchMaker, examples: list[Example], module: LiveModule
) -> None:
    (mask,) = examples[0].masks.values()
    nameless = replace(examples[0], masks={UNTYPED: mask}, appearances={UNTYPED: "a mark"})
    for place in range(6):
        batch = maker([Row((0, place), 0, nameless)])
        assert batch["general"].tolist() == [True]
        assert batch["wanted"].tolist() == [[True]]
        assert batch["mask_type"].tolist() == [-1]
        assert dict(zip(TERMS, batch["counts"].tolist(), strict=True))["type"] == 0
        words = maker.processor.tokenizer.decode(batch["query_ids"][0])
        assert "Types" not in words
    assert math.isfinite(float(module(batch).sum()))


def test_a_type_that_was_not_named_before_the_run_is_refused(
    processor: GenAUProcessor, examples: list[Example]
) -> None:
    few = LiveBatchMaker(processor, Wordings(processor, ["scratch"]), 0.0)
    with pytest.raises(UsageError, match=r"a type that is not one of the 1 of this run.*before the first step"):
        for place in range(20):
            few([Row((0, place), 0, examples[1])])


def test_a_frozen_tower_does_not_train_its_statistics(module: LiveModule, config: GenAUConfig) -> None:
    module.train()
    assert module.model.backbone.decoder.training
    assert module.model.mask_head.training
    assert not any(part.training for part in module.model.backbone.encoder.modules())
    module.model.backbone.encoder.merger = torch.nn.Linear(2, 2)  # trained, inside the tower, as Qwen has it
    module.train()
    assert module.model.backbone.encoder.merger.training
    rest = [part for part in module.model.backbone.encoder.children() if list(part.parameters())][:-1]
    assert rest
    assert not any(inner.training for part in rest for inner in part.modules())
    del module.model.backbone.encoder.merger
    names = {name.split(".")[1] for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert names == {"mask_head", "seg_tokens", "context_token", "found_token", "backbone"}
    assert module._no_split_modules == ["LlamaDecoderLayer"]


def test_lora_drops_out_while_it_trains_and_not_while_wordings_are_read(
    trained_looking: GenAUModel, processor: GenAUProcessor, wordings: Wordings, settings: Settings
) -> None:
    module = LiveModule(with_lora(trained_looking, settings(lora_dropout=0.5)), bf16=False)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    module.train()
    dropped = [part for part in module.modules() if isinstance(part, torch.nn.Dropout)]
    assert dropped
    assert all(part.training for part in dropped)
    first, again = (read_all(module, wordings, processor.instruction_ids(), torch.device("cpu")) for _ in range(2))
    assert torch.equal(first, again)
    assert all(part.training for part in dropped)
