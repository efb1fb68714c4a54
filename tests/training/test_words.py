"""The reader of wordings: it reads each once, and right."""

import numpy as np
import pytest
import torch
from torch import Tensor

from genau.datasets.synthetic import DEFECT_TYPES
from genau.model.backbones import Memory
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.training import words
from genau.training.words import WordReader, wordings

TOLERANCE = 1e-4
QUERIES = [Query(), Query("scratch"), Query("dent", "a shallow hollow"), Query("scratch"), Query("leak")]


@pytest.fixture
def counted(trained_looking: GenAUModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions the decoder read in each call."""
    calls: list[int] = []
    read = trained_looking.read_questions

    def count(instruction: Memory, query_ids: Tensor, query_mask: Tensor) -> Tensor:
        calls.append(len(query_ids))
        return read(instruction, query_ids, query_mask)

    monkeypatch.setattr(trained_looking, "read_questions", count)
    return calls


def states(reader: WordReader, processor: GenAUProcessor, queries: list[Query]) -> Tensor:
    asked = processor.questions(queries)
    return reader.states(asked["query_ids"], asked["query_mask"])


def alone(model: GenAUModel, processor: GenAUProcessor, query: Query) -> Tensor:
    asked = processor.questions([query])
    instruction = model.read_instruction(processor.instruction_ids())
    with torch.no_grad():
        return model.read_questions(instruction, asked["query_ids"], asked["query_mask"])[0]


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


def test_a_type_is_worded_by_its_name_or_a_synonym_with_and_without_its_description() -> None:
    info = DEFECT_TYPES["scratch"]
    drawn = [wordings(["scratch", "torn label"], np.random.default_rng(seed)) for seed in range(60)]
    assert {row[0].type for row in drawn} == {"scratch", *info.synonyms}
    assert {row[0].description for row in drawn} == {None, info.description}
    assert {row[1] for row in drawn} == {Query("torn label")}  # of which nothing more is known


def test_an_annotated_type_keeps_its_name_and_may_have_the_description_of_the_painted_one() -> None:
    drawn = [wordings(["pitting"], np.random.default_rng(seed))[0] for seed in range(30)]
    assert {query.type for query in drawn} == {"pitting"}
    assert {query.description for query in drawn} == {None, DEFECT_TYPES["pit"].description}
