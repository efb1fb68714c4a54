"""The reader of wordings: it reads each once, and right."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from genau import words
from genau.model.backbones import Memory
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.words import WordReader

TOLERANCE = 1e-4
QUERIES = [Query(), Query("scratch"), Query("dent", "a shallow hollow"), Query("scratch"), Query("leak")]


@pytest.fixture
def counted(trained_looking: GenAUModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions the decoder read in each call."""
    calls: list[int] = []
    read = trained_looking.read_questions

    def count(instruction: Memory, asked_ids: Tensor, asked_mask: Tensor) -> Tensor:
        calls.append(len(asked_ids))
        return read(instruction, asked_ids, asked_mask)

    monkeypatch.setattr(trained_looking, "read_questions", count)
    return calls


def states(reader: WordReader, processor: GenAUProcessor, queries: list[Query]) -> Tensor:
    asked = processor.questions(queries)
    return reader.states(asked["asked_ids"], asked["asked_mask"])


def alone(model: GenAUModel, processor: GenAUProcessor, query: Query) -> Tensor:
    asked = processor.questions([query])
    instruction = model.read_instruction(processor.instruction_ids())
    with torch.no_grad():
        return model.read_questions(instruction, asked["asked_ids"], asked["asked_mask"])[0]


def test_every_question_gets_the_states_of_its_own_wording(
    trained_looking: GenAUModel, processor: GenAUProcessor
) -> None:
    found = states(WordReader(trained_looking, processor), processor, QUERIES)
    assert found.shape == (5, 2, trained_looking.backbone.hidden_size)
    for row, query in enumerate(QUERIES):
        assert torch.allclose(found[row], alone(trained_looking, processor, query), atol=TOLERANCE)
    assert not torch.allclose(found[1], found[4], atol=10 * TOLERANCE)


def test_each_wording_is_read_once_however_it_is_padded(
    trained_looking: GenAUModel, processor: GenAUProcessor, counted: list[int]
) -> None:
    reader = WordReader(trained_looking, processor)
    first = states(reader, processor, QUERIES)
    assert counted == [4]  # one of the five is asked twice
    again = states(reader, processor, [Query("scratch"), Query()])  # the longest is missing: other padding
    assert counted == [4]
    assert torch.equal(again, first[[1, 0]])
    states(reader, processor, [Query("scratch"), Query("burr"), Query("burr")])
    assert counted == [4, 1]


def test_many_wordings_are_read_in_pieces(
    trained_looking: GenAUModel, processor: GenAUProcessor, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = states(WordReader(trained_looking, processor), processor, QUERIES)
    monkeypatch.setattr(words, "AT_ONCE", 3)
    pieces = states(WordReader(trained_looking, processor), processor, QUERIES)
    assert counted == [4, 3, 1]
    assert torch.allclose(whole, pieces, atol=TOLERANCE)


def test_what_was_read_carries_no_gradient_to_the_decoder(
    trained_looking: GenAUModel, processor: GenAUProcessor
) -> None:
    assert not states(WordReader(trained_looking, processor), processor, QUERIES[:2]).requires_grad


@torch.no_grad()
def test_what_was_read_is_kept_until_it_is_forgotten(
    trained_looking: GenAUModel, processor: GenAUProcessor, counted: list[int]
) -> None:
    reader = WordReader(trained_looking, processor)
    before = states(reader, processor, QUERIES)
    for name, parameter in trained_looking.backbone.decoder.named_parameters():
        if "proj" in name:
            parameter.mul_(3)  # the decoder learns
    assert torch.equal(states(reader, processor, QUERIES), before)
    assert counted == [4]
    reader.forget()
    after = states(reader, processor, QUERIES)
    assert counted == [4, 4]
    for row, query in enumerate(QUERIES):
        assert torch.allclose(after[row], alone(trained_looking, processor, query), atol=TOLERANCE)
        assert not torch.allclose(after[row], before[row], atol=10 * TOLERANCE)


def test_before_too_many_are_kept_all_are_forgotten(
    trained_looking: GenAUModel, processor: GenAUProcessor, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MOST_KEPT", 4)
    reader = WordReader(trained_looking, processor)
    first = states(reader, processor, QUERIES)
    states(reader, processor, QUERIES)
    assert counted == [4]  # just as many as may be kept
    second = states(reader, processor, [Query("burr"), Query("scratch")])
    assert counted == [4, 2]  # what is asked for together is read again together
    assert torch.allclose(second[1], first[1], atol=TOLERANCE)
    states(reader, processor, [Query("burr"), Query("scratch"), Query(), Query("leak")])
    assert counted == [4, 2, 2]
    assert len(reader._read) == 4


def test_more_wordings_at_once_than_are_kept_are_all_read_right(
    trained_looking: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = states(WordReader(trained_looking, processor), processor, QUERIES)
    monkeypatch.setattr(words, "MOST_KEPT", 2)
    reader = WordReader(trained_looking, processor)
    for _ in range(2):
        assert torch.allclose(states(reader, processor, QUERIES), whole, atol=TOLERANCE)


def test_a_model_in_training_is_read_without_dropout_and_goes_on_training(
    trained_looking: GenAUModel, processor: GenAUProcessor
) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], lora_dropout=0.5, init_lora_weights=False)
    trained_looking.backbone.decoder = get_peft_model(trained_looking.backbone.decoder, lora)
    trained_looking.eval()
    calm = states(WordReader(trained_looking, processor), processor, QUERIES)
    assert not trained_looking.training
    trained_looking.train()
    found = states(WordReader(trained_looking, processor), processor, QUERIES)
    assert torch.equal(found, calm)
    assert trained_looking.training
    assert trained_looking.backbone.decoder.training
