"""The equalities that the whole design rests on, on a tiny nano."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genau.errors import CheckpointError
from genau.model.configuration import GenAUConfig
from genau.model.fusion import read_out
from genau.model.modeling import Answer, GenAUModel, Seen
from genau.processor import GenAUProcessor
from genau.prompts import Query

Draw = Callable[..., NDArray[np.uint8]]
TOLERANCE = 1e-4


def see(model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]) -> Seen:
    batch = processor.pictures(pictures)
    sight = model.backbone.look(batch["pixel_values"])
    context = model.compare(sight.pyramid, batch["content_hw"], [None] * len(pictures))
    instruction = model.read_instruction(processor.instruction_ids())
    return model.see(sight, context, batch["content_hw"], processor.picture_ids(), instruction)


def ask(model: GenAUModel, processor: GenAUProcessor, seen: Seen, queries: list[Query], index: list[int]) -> Answer:
    return model.ask(seen, **processor.questions(queries), image_index=torch.tensor(index))


def close(one: Answer, row: int, other: Answer, other_row: int) -> bool:
    return all(
        torch.allclose(getattr(one, name)[row], getattr(other, name)[other_row], atol=TOLERANCE)
        for name in ("margin", "map_score", "text_score", "pred_score")
    )


@torch.no_grad()
def test_a_picture_alone_equals_the_same_picture_in_a_batch_of_other_sizes(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    pictures = [picture(1), picture(2, 140, 60, spot=True), picture(3, 33, 201)]
    together = ask(model, processor, see(model, processor, pictures), [Query()] * 3, [0, 1, 2])
    for number, alone in enumerate(pictures):
        single = ask(model, processor, see(model, processor, [alone]), [Query()], [0])
        assert close(single, 0, together, number)


@torch.no_grad()
def test_questions_do_not_notice_each_other(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    seen = see(model, processor, [picture(1, spot=True)])
    queries = [Query(), Query("scratch"), Query("a very long name of a type", "and its description", "connector")]
    together = ask(model, processor, seen, queries, [0, 0, 0])
    for number, query in enumerate(queries):
        assert close(ask(model, processor, seen, [query], [0]), 0, together, number)
    assert not torch.allclose(together.margin[0], together.margin[1], atol=TOLERANCE)  # the question matters


@torch.no_grad()
def test_seeing_another_picture_in_between_changes_nothing(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    first = see(model, processor, [picture(1, spot=True)])
    before = ask(model, processor, first, [Query()], [0])
    other = see(model, processor, [picture(2, 50, 120)])
    ask(model, processor, other, [Query("scratch")], [0])
    assert close(ask(model, processor, first, [Query()], [0]), 0, before, 0)


@torch.no_grad()
def test_the_cached_answer_equals_one_pass_over_the_whole_sequence(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    seen = see(model, processor, [picture(1)])
    cached = ask(model, processor, seen, [Query("dent")], [0])
    batch = processor.pictures([picture(1)])
    sight = model.backbone.look(batch["pixel_values"])
    questions = processor.questions([Query("dent")])
    ids = torch.cat([processor.instruction_ids(), processor.picture_ids()[None], questions["query_ids"]], 1)
    words = model.seg_tokens.place(model.backbone.embed(ids), ids)
    from genau.model.mask_head import context_scalars

    told = torch.nn.functional.adaptive_max_pool2d(context_scalars(seen.context), sight.token_grid)
    visual = sight.visual_tokens + model.context_token(told.flatten(2).transpose(1, 2))
    words = words.masked_scatter((ids == model.config.image_token_id)[..., None], visual)
    hidden, _ = model.backbone.read(words, torch.ones_like(ids, dtype=torch.bool), None)
    assert torch.allclose(hidden[:, -questions["query_ids"].shape[1] :], cached.hidden, atol=TOLERANCE)


@torch.no_grad()
def test_an_untrained_model_ranks_exactly_as_the_context_distance(
    model: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    pictures = [picture(seed, 90, 140, spot=seed % 2 == 0) for seed in range(8)]
    seen = see(model, processor, pictures)
    answer = ask(model, processor, seen, [Query()] * 8, list(range(8)))
    up = torch.nn.functional.interpolate(seen.context.distance[:, None], (32, 32), mode="bilinear")[:, 0]
    distance = read_out(up, seen.valid, model.config.readout_fractions)
    assert answer.map_score.argsort().tolist() == distance.argsort().tolist()
    assert answer.map_score.std() > 0


@torch.no_grad()
def test_references_change_the_context_of_their_picture_only(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    good = processor.pictures([picture(7), picture(8)])
    memory = model.remember(good["pixel_values"], good["content_hw"])
    assert memory.pictures == 2
    batch = processor.pictures([picture(1), picture(2)])
    pyramid = model.backbone.look(batch["pixel_values"]).pyramid
    mixed = model.compare(pyramid, batch["content_hw"], [memory, None])
    plain = model.compare(pyramid, batch["content_hw"], [None, None])
    assert not torch.allclose(mixed.distance[0], plain.distance[0], atol=TOLERANCE)
    assert torch.allclose(mixed.distance[1], plain.distance[1], atol=TOLERANCE)
    assert torch.allclose(mixed.self_distance, plain.self_distance, atol=TOLERANCE)


def test_too_few_placeholders_are_refused(model: GenAUModel, processor: GenAUProcessor, picture: Draw) -> None:
    processor.visual_tokens = 63
    with pytest.raises(ValueError, match=r"63.* image placeholders for 64 visual tokens"):
        see(model, processor, [picture(1)])


def test_a_question_without_query_tokens_is_refused(
    model: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    seen = see(model, processor, [picture(1)])
    questions = processor.questions([Query()])
    questions["query_ids"][questions["query_ids"] == model.config.seg_normal_token_id] = 5
    with pytest.raises(ValueError, match=r"must hold \[SEG_normal\] exactly once"):
        model.ask(seen, **questions, image_index=torch.tensor([0]))


def test_an_unknown_backbone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'nano'"):
        GenAUConfig(backbone="nanoo")


def test_equal_verdict_words_are_refused() -> None:
    with pytest.raises(CheckpointError, match="first tokens differ"):
        GenAUConfig(normal_word_id=7, defect_word_id=7)
