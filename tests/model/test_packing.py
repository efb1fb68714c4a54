"""One pass over a picture and all its questions gives what reading with memories gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import Tensor

from genau.errors import UsageError
from genau.model.backbones import Memory, Shown, Sight
from genau.model.backbones.packing import Asked, Packed, pack, read_packed
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query

TOLERANCE = 1e-4
TARGETS = ["q_proj", "v_proj", "down_proj"]


class Sequences:
    """Two pictures of 5 and 2 words after an instruction of 3, with 2, 0 ... questions of 4, 1 and 3 words."""

    def __init__(self, width: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.instruction = torch.randn(1, 3, width, generator=draw)
        self.picture = torch.randn(3, 5, width, generator=draw)
        self.picture_mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] * 4 + [False]])
        self.words = torch.randn(3, 4, width, generator=draw).requires_grad_()
        self.mask = torch.tensor([[True] * 4, [True, False, False, False], [True] * 3 + [False]])
        self.index = torch.tensor([2, 0, 2])
        at = self.picture_mask.clone()
        at[:, 0] = False
        self.shown = Shown(at, Sight.of_grid(torch.zeros(3, 4, width), (2, 2), ()))

    @property
    def asked(self) -> Asked:
        return Asked(self.words, self.mask, self.index)

    def packed(self, model: GenAUModel) -> Tensor:
        return read_packed(model.backbone, self.instruction, self.picture, self.picture_mask, self.shown, self.asked)

    def with_memories(self, model: GenAUModel) -> Tensor:
        whole = torch.ones(1, 3, dtype=torch.bool)
        memory: Memory = model.backbone.read(self.instruction, whole, None)[1]
        memory = model.backbone.read(self.picture, self.picture_mask, memory.take(torch.zeros(3).long()), self.shown)[1]
        hidden: Tensor = model.backbone.read(self.words, self.mask, memory.take(self.index))[0]
        return hidden


@pytest.fixture
def learner(trained_looking: GenAUModel) -> GenAUModel:
    decoder = get_peft_model(trained_looking.backbone.decoder, LoraConfig(r=4, target_modules=TARGETS))
    for name, parameter in decoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    trained_looking.backbone.decoder = decoder
    return trained_looking


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_states_and_gradients_of_ragged_sequences_are_those_of_reading_with_memories(
    learner: GenAUModel, checkpointing: bool, attention: str
) -> None:
    decoder, sequences = learner.backbone.decoder, Sequences(learner.backbone.hidden_size)
    decoder.get_base_model().set_attn_implementation(attention)
    trained = [parameter for parameter in decoder.parameters() if parameter.requires_grad] + [sequences.words]
    weights = torch.randn(int(sequences.mask.sum()), learner.backbone.hidden_size)
    remembered = sequences.with_memories(learner)[sequences.mask]
    expected = torch.autograd.grad((remembered * weights).sum(), trained)
    if checkpointing:
        decoder.gradient_checkpointing_enable({"use_reentrant": False})
        learner.train()
        assert decoder.get_base_model().is_gradient_checkpointing
    packed = sequences.packed(learner)[sequences.mask]
    assert torch.allclose(packed, remembered, atol=TOLERANCE)
    for got, wanted in zip(torch.autograd.grad((packed * weights).sum(), trained), expected, strict=True):
        assert torch.allclose(got, wanted, atol=TOLERANCE)
    assert any(gradient.abs().max() > 0.01 for gradient in expected)


def test_questions_stand_without_gaps_and_begin_at_the_position_after_their_picture(model: GenAUModel) -> None:
    sequences = Sequences(model.backbone.hidden_size)
    packed: Packed = pack(
        model.backbone, sequences.instruction, sequences.picture, sequences.picture_mask, sequences.shown,
        sequences.asked,
    )  # fmt: skip
    assert packed.groups.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0, 2, -1, -1, -1, -1, -1],
        [0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1],
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3],
    ]
    assert packed.positions[2].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 7, 8, 9]
    assert packed.positions[0, 8] == 8
    assert packed.shown.at.sum(1).tolist() == [4, 1, 3]
    assert torch.nonzero(packed.shown.at[2])[:, 0].tolist() == [4, 5, 6]
    allowed = packed.allowed
    assert torch.nonzero(allowed[2, 12])[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 11, 12]  # not the other question
    assert torch.nonzero(allowed[2, 4])[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert torch.nonzero(allowed[1, 9])[:, 0].tolist() == [0, 1, 2, 3, 4, 9]  # padding sees something, or it is nan


def test_positions_of_several_numbers_are_carried_along(model: GenAUModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, backbone = Sequences(model.backbone.hidden_size), model.backbone
    plain = sequences.packed(model)
    one, read = backbone.positions, backbone.read_whole
    read_positions: list[Tensor] = []

    def three(mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        positions, following = one(mask, start, shown)
        return torch.stack([positions, 2 * positions, 3 * positions], -1), following

    def whole(embeddings: Tensor, allowed: Tensor, positions: Tensor, shown: Shown) -> Tensor:
        read_positions.append(positions)
        hidden: Tensor = read(embeddings, allowed, positions[..., 0], shown)
        return hidden

    monkeypatch.setattr(backbone, "positions", three)
    monkeypatch.setattr(backbone, "read_whole", whole)
    assert torch.equal(sequences.packed(model), plain)
    assert read_positions[0].shape == (3, 14, 3)
    assert torch.equal(read_positions[0][..., 2], 3 * read_positions[0][..., 0])


def test_attention_that_takes_no_mask_is_refused_with_what_to_load_instead(
    model: GenAUModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.backbone.decoder.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(UsageError, match=r"'flash_attention_2'.*attn_implementation 'sdpa'"):
        Sequences(model.backbone.hidden_size).packed(model)


def test_maps_and_verdicts_of_one_pass_are_those_of_seeing_and_asking(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Callable[..., NDArray[np.uint8]]
) -> None:
    model = trained_looking
    batch = processor.pictures([picture(1, spot=True), picture(2, 140, 60)])
    questions = processor.questions([Query(), Query("a long name of a type", "described"), Query("dent")])
    index, instruction_ids = torch.tensor([0, 1, 0]), processor.instruction_ids()
    instruction = model.read_instruction(instruction_ids)
    asked = model.read_questions(instruction, questions.pop("asked_ids"), questions.pop("asked_mask"))
    sight = model.backbone.look(batch["pixel_values"])
    context, content_hw = model.compare(sight.pyramid, batch["content_hw"], [None, None]), batch["content_hw"]
    seen = model.see(sight, context, content_hw, batch["picture_ids"], batch["picture_mask"], instruction)
    expected = model.ask(seen, asked, **questions, image_index=index)
    view, shown = (
        model.view(sight, context, content_hw),
        Shown(batch["picture_ids"] == model.config.image_token_id, sight),
    )
    ids = questions["query_ids"]
    words = Asked(model.word(view, asked, ids, index), questions["query_mask"], index)
    start, picture_words = model.backbone.embed(instruction_ids), model.show(view, shown, batch["picture_ids"])
    hidden = read_packed(model.backbone, start, picture_words, batch["picture_mask"], shown, words)
    decision = model.decide(view, asked, hidden, ids, questions["verdict_at"], index)
    for name in ("margin", "map_score", "text_score", "pred_score", "verdict_logits"):
        assert torch.allclose(getattr(decision, name), getattr(expected, name), atol=TOLERANCE), name
    assert not torch.allclose(decision.margin[0], decision.margin[2], atol=TOLERANCE)
