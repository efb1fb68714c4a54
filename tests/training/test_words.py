"""How types are worded where regions are told apart between them, and what the joint stage keeps of its reading."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genau.datasets.synthetic import DEFECT_TYPES
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.training import words
from genau.training.live.wordings import Wordings
from genau.training.words import FirstReading, all_wordings, ridge, vocabulary_words, wordings, words_to_fit
from genau.words import WordReader

TYPES = ("dent", "scratch", "torn label")


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


def test_every_wording_that_is_drawn_is_among_those_that_are_kept() -> None:
    types = (*TYPES, "pitting")
    kept = all_wordings(types)
    drawn = {query for seed in range(200) for query in wordings(types, np.random.default_rng(seed))}
    assert drawn | {Query()} == set(kept)
    assert len(kept) == len(set(kept))


def first_of(model: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch) -> FirstReading:
    monkeypatch.setattr(words, "VOCABULARY_WORDS", 30)
    return FirstReading(model, processor, TYPES)


def queries(model: GenAUModel, processor: GenAUProcessor, asked: list[Query]) -> torch.Tensor:
    batch = processor.questions(asked)
    states = WordReader(model, processor).states(batch["asked_ids"], batch["asked_mask"])
    return model.mask_head.queries(states)


def test_all_questions_of_the_training_are_read_before_it_begins(
    trained_looking: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = first_of(trained_looking, processor, monkeypatch)
    batch = processor.questions([Query(), *wordings(TYPES, np.random.default_rng(0))])
    before = first.reader.states(batch["asked_ids"], batch["asked_mask"])
    torch.nn.init.normal_(trained_looking.seg_tokens.embeddings)
    assert torch.equal(first.reader.states(batch["asked_ids"], batch["asked_mask"]), before)


@torch.no_grad()
def test_after_realigning_a_changed_decoder_asks_what_it_asked_before(
    trained_looking: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = trained_looking, all_wordings(TYPES)
    first = first_of(model, processor, monkeypatch)
    wanted = queries(model, processor, asked)
    model.seg_tokens.embeddings.add_(0.5 * torch.randn_like(model.seg_tokens.embeddings))
    for parameter in model.backbone.decoder.parameters():
        parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter) if parameter.ndim > 1 else 0)
    changed = queries(model, processor, asked)
    assert F.cosine_similarity(changed, wanted, dim=-1).mean() < 0.9
    agreement = first.realign(model)
    assert F.cosine_similarity(queries(model, processor, asked), wanted, dim=-1).min() > 0.98
    assert -1 <= agreement <= 1


@torch.no_grad()
def test_realigning_a_decoder_that_did_not_change_changes_no_query(
    trained_looking: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = first_of(trained_looking, processor, monkeypatch)
    wanted = queries(trained_looking, processor, all_wordings(TYPES))
    assert first.realign(trained_looking) > 0.9
    assert F.cosine_similarity(queries(trained_looking, processor, all_wordings(TYPES)), wanted, dim=-1).min() > 0.999


def test_ridge_finds_the_matrix_and_obeys_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(200, 2, 6, generator=generator, dtype=torch.float64)
    matrix = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    wanted = states @ matrix.T
    assert torch.allclose(ridge(states, wanted, torch.ones(200, dtype=torch.float64)), matrix, atol=0.02)
    wanted[:10] += 5  # a few say something else
    weight = torch.ones(200, dtype=torch.float64)
    weight[:10] = 0
    assert torch.allclose(ridge(states, wanted, weight), matrix, atol=0.02)
    assert not torch.allclose(ridge(states, wanted, torch.ones_like(weight)), matrix, atol=0.02)


def test_as_many_words_are_read_as_the_decoder_is_wide() -> None:
    """Each gives two states; nano's own count stays."""
    assert words_to_fit(576) == words_to_fit(32) == words.VOCABULARY_WORDS
    for width in (896, 2048, 3584):
        assert words_to_fit(width) > width


def test_a_live_run_reads_as_many_words_as_it_is_told(processor: GenAUProcessor) -> None:
    few, more = (Wordings(processor, TYPES, count) for count in (5, 12))
    assert len(more) - len(few) == 7
    assert few.important == more.important == len(all_wordings(TYPES))


def test_the_words_of_the_vocabulary_are_whole_lowercase_words_and_always_the_same(processor: GenAUProcessor) -> None:
    found = vocabulary_words(processor, 20)
    assert found == vocabulary_words(processor, 20)
    assert len(found) == len(set(found)) <= 20
    assert all(word.isalpha() and word.islower() and len(word) > 3 for word in found)


@torch.no_grad()
def test_the_general_question_counts_most_in_the_fit(
    trained_looking: GenAUModel, processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[torch.Tensor] = []

    def noted(states: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        weights.append(weight)
        return ridge(states, wanted, weight)

    first = first_of(trained_looking, processor, monkeypatch)
    monkeypatch.setattr(words, "ridge", noted)
    first.realign(trained_looking)
    known = len(all_wordings(TYPES))
    assert first.queries[0] == Query()
    assert weights[-1][0] > weights[-1][1:known].max() >= weights[-1][1:known].min() > weights[-1][known:].max()
