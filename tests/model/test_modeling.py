"""The equalities that the whole design rests on, on a tiny nano."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genau.errors import CheckpointError
from genau.model.backbones import Sight
from genau.model.configuration import GenAUConfig
from genau.model.context import Context, context_patches
from genau.model.fusion import read_out
from genau.model.modeling import GenAUModel
from genau.model.outputs import Answer, Seen
from genau.model.telling import told
from genau.processor import GenAUProcessor
from genau.prompts import Query

Draw = Callable[..., NDArray[np.uint8]]
TOLERANCE = 1e-4


def see(model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]) -> Seen:
    batch = processor.pictures(pictures)
    sight = model.backbone.look(batch["pixel_values"])
    context = model.compare(sight.pyramid, batch["content_hw"], [None] * len(pictures))
    instruction = model.read_instruction(processor.instruction_ids())
    return model.see(sight, context, batch["content_hw"], batch["picture_ids"], batch["picture_mask"], instruction)


def ask(model: GenAUModel, processor: GenAUProcessor, seen: Seen, queries: list[Query], index: list[int]) -> Answer:
    questions = processor.questions(queries)
    instruction = model.read_instruction(processor.instruction_ids())
    asked = model.read_questions(instruction, questions.pop("asked_ids"), questions.pop("asked_mask"))
    return model.ask(seen, asked, **questions, image_index=torch.tensor(index))


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
    ids = torch.cat([processor.instruction_ids(), batch["picture_ids"], questions["query_ids"]], 1)
    alone = model.read_questions(
        model.read_instruction(processor.instruction_ids()), questions["asked_ids"], questions["asked_mask"]
    )
    found = model.found_token(model.found(seen, alone, torch.tensor([0])))
    assert found.abs().max() > 0.01
    words = model.seg_tokens.place(model.backbone.embed(ids), ids, found)
    shown = told(model.mask_head, seen.features, seen.context, seen.prior, seen.valid, sight)
    assert shown.abs().max() > 0.1
    visual = sight.visual_tokens + model.context_token(shown)
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
    expected = model.config.distance_gain_init * (up - model.config.distance_offset_init)
    assert torch.allclose(answer.margin, expected, atol=1e-5)
    distance = read_out(up, seen.valid, model.config.readout_fractions)
    assert answer.map_score.argsort().tolist() == distance.argsort().tolist()
    assert answer.map_score.std() > 0


@torch.no_grad()
def test_references_change_the_context_of_their_picture_only(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    good = processor.pictures([picture(7), picture(8)])
    memory = model.remember(model.patches(model.backbone.look(good["pixel_values"]).pyramid, good["content_hw"]))
    assert memory.pictures == 2
    batch = processor.pictures([picture(1), picture(2)])
    pyramid = model.backbone.look(batch["pixel_values"]).pyramid
    mixed = model.compare(pyramid, batch["content_hw"], [memory, None])
    plain = model.compare(pyramid, batch["content_hw"], [None, None])
    assert not torch.allclose(mixed.distance[0], plain.distance[0], atol=TOLERANCE)
    assert torch.allclose(mixed.distance[1], plain.distance[1], atol=TOLERANCE)
    assert torch.allclose(mixed.own_distance, plain.own_distance, atol=TOLERANCE)


@torch.no_grad()
def test_a_model_without_context_answers_the_same_with_and_without_references(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    model.mask_head.log_distance_gain.zero_()  # gain and offset differ between kinds, which is no knowledge of parts
    inputs = processor([picture(1)], [Query()])
    good = processor.pictures([picture(7)])
    memory = model.remember(model.patches(model.backbone.look(good["pixel_values"]).pyramid, good["content_hw"]))
    answers = {}
    for with_context in (True, False):
        model.mask_head.with_context = with_context
        answers[with_context] = [model(**inputs, references=[known]) for known in (memory, None)]
    assert not close(answers[True][0], 0, answers[True][1], 0)
    assert close(answers[False][0], 0, answers[False][1], 0)


@torch.no_grad()
def test_patches_are_cut_at_every_scale_and_know_where_the_picture_ends(
    model: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    batch = processor.pictures([picture(1, 90, 140), picture(2, 140, 60)])  # 82 x 128 and 128 x 55 on the canvas
    pyramid = model.backbone.look(batch["pixel_values"]).pyramid
    lying, standing = model.patches(pyramid, batch["content_hw"])
    channels = [sum(model.backbone.level_channels[level] for level in scale.levels) for scale in model.scales]
    assert [tuple(part.shape) for part in lying.features] == [(channels[0], 8, 8), (channels[1], 4, 4)]
    for scale, (rows, columns) in enumerate([(5, 3), (3, 2)]):  # whose centres lie on the picture
        assert torch.equal(
            lying.valid[scale], (torch.arange(len(lying.valid[scale])) < rows)[:, None].expand_as(lying.valid[scale])
        )
        assert torch.equal(
            standing.valid[scale], (torch.arange(len(standing.valid[scale])) < columns).expand_as(standing.valid[scale])
        )
    levels = [pyramid[level] for level in model.scales[1].levels]
    assert torch.equal(standing.features[1], context_patches(levels, (4, 4))[1])


# What the decoder is told


@torch.no_grad()
def test_each_visual_token_is_told_what_stands_out_in_its_own_cells(trained_looking: GenAUModel) -> None:
    model, (height, width), (rows, columns) = trained_looking, (6, 10), (3, 5)
    size = model.config.head_width
    generator = torch.Generator().manual_seed(0)
    features = tuple(
        torch.nn.functional.normalize(torch.randn(2, size, *grid, generator=generator), dim=1)
        for grid in ((height, width), (3, 5))
    )
    margin = 4 * torch.randn(2, height, width, generator=generator)
    valid = torch.ones(2, height, width, dtype=torch.bool)
    valid[1, :, 7:] = False
    context = Context(
        torch.rand(
            2, 8, height, columns, generator=generator
        ),  # two of its cells lie in a token's, one above the other
        torch.zeros(2, 3, height, columns),
        torch.tensor([False, True]),
        torch.ones(2, height, columns, dtype=torch.bool),
    )
    sight = Sight.of_grid(torch.zeros(2, rows * columns, 1), (rows, columns), ())
    shown_to = told(model.mask_head, features, context, margin, valid, sight)
    assert shown_to.shape == (2, rows * columns, 2 + 9 + size)
    for b in range(2):
        for row in range(rows):
            for column in range(columns):
                cells = [(y, x) for y in (2 * row, 2 * row + 1) for x in (2 * column, 2 * column + 1)]
                shown = [float(margin[b, y, x]) / 4 if valid[b, y, x] else -5.0 for y, x in cells]
                weights = [math.exp(value) / sum(math.exp(other) for other in shown) for value in shown]
                looks = torch.zeros(size)
                for weight, (y, x) in zip(weights, cells, strict=True):
                    looks += weight * features[0][b, :, y, x]
                here = valid[b, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].any(1)
                scalars = [
                    float((context.scalars[b, k, 2 * row : 2 * row + 2, column] * here).max()) / 0.1 for k in range(8)
                ]
                expected = [max(shown), sum(shown) / 4, *scalars, float(b), *(math.sqrt(size) * looks).tolist()]
                assert shown_to[b, row * columns + column].tolist() == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_a_question_is_told_what_its_own_map_and_that_of_no_question_show(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    model.mask_head.distance_offset.fill_(0.1)  # or all margins of this tiny model would be too small to be told apart
    seen = see(model, processor, [picture(1, spot=True), picture(2, 140, 60)])
    index, valid = torch.tensor([1, 0, 0]), seen.valid.clone()
    valid[0, :, 8:] = False  # a region of interest
    seen = replace(seen, valid=valid)
    questions = processor.questions([Query(), Query("dent"), Query("scratch")])
    instruction = model.read_instruction(processor.instruction_ids())
    alone = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
    found = model.found(seen, alone, index)
    queries = model.mask_head.queries(alone)
    margin, _ = model.draw_unread(seen.features, seen.unprompted, seen.valid, queries, index)
    for row, picture_row in enumerate(index.tolist()):
        expected = []
        for one in (margin[row], seen.prior[picture_row]):
            cells = one[seen.valid[picture_row]].sort(descending=True).values
            for share in (0.0005, 0.005, 0.05):
                top = cells[: max(1, math.ceil(share * len(cells)))].mean()
                expected.append(float(top.clamp(-4, 4)) / 4)
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert not torch.allclose(found[1], found[2], atol=1e-3)  # the same picture, another question
    prior = model.mask_head.query_prior.expand(2, -1, -1)
    drawn, _ = model.draw_unread(seen.features, seen.unprompted, seen.valid, prior, torch.arange(2))
    assert torch.allclose(seen.prior, drawn, atol=1e-5)


@torch.no_grad()
def test_what_a_question_is_told_changes_the_word_and_nothing_else_before_training(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    model.mask_head.query_seen.weight.zero_()
    seen = see(model, processor, [picture(1, spot=True)])
    told = ask(model, processor, seen, [Query("dent")], [0])
    model.found_token.weight.zero_()
    untold = ask(model, processor, seen, [Query("dent")], [0])
    assert abs(told.text_score.item() - untold.text_score.item()) > 1e-4
    assert torch.equal(told.margin, untold.margin)


# Questions that are read without a picture


@torch.no_grad()
def test_questions_without_a_picture_are_read_after_the_instruction_alone(
    trained_looking: GenAUModel, processor: GenAUProcessor
) -> None:
    model = trained_looking
    queries = [Query(), Query("scratch"), Query("a very long name of a type", "and its description")]
    questions = processor.questions(queries)
    instruction = model.read_instruction(processor.instruction_ids())
    states = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
    assert states.shape == (3, 2, model.backbone.hidden_size)
    for row, query in enumerate(queries):
        ids = torch.cat([processor.instruction_ids(), processor.questions([query])["asked_ids"]], 1)
        words = model.seg_tokens.place(model.backbone.embed(ids), ids)
        hidden, _ = model.backbone.read(words, torch.ones_like(ids, dtype=torch.bool), None)
        for word, token in enumerate((model.config.seg_defect_token_id, model.config.seg_normal_token_id)):
            at = ids[0].tolist().index(token)
            assert torch.allclose(states[row, word], hidden[0, at], atol=TOLERANCE)
    assert not torch.allclose(states[0], states[1], atol=0.01)


@torch.no_grad()
def test_queries_that_know_nothing_of_the_pictures_are_drawn_and_scored_as_the_prior_of_an_answer(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    model.mask_head.query.weight.zero_()  # the decoder says nothing ...
    model.mask_head.query_seen.weight.zero_()  # ... before or after the picture
    seen = see(model, processor, [picture(1, spot=True), picture(2, 140, 60)])
    index = torch.tensor([1, 0, 1])
    asked = ask(model, processor, seen, [Query(), Query("dent"), Query("dent")], index.tolist())
    queries = model.mask_head.query_prior.expand(3, -1, -1)
    margin, score = model.draw_unread(seen.features, seen.unprompted, seen.valid, queries, index)
    assert torch.allclose(margin, asked.margin, atol=TOLERANCE)
    assert torch.allclose(score, asked.map_score, atol=TOLERANCE)
    assert torch.allclose(score, read_out(margin, seen.valid[index], model.config.readout_fractions).sigmoid())


@torch.no_grad()
def test_a_model_of_the_first_stage_answers_as_it_was_trained_from_the_words_of_the_question_alone(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    pictures, queries, index = (
        [picture(1, spot=True), picture(2, 140, 60)],
        [Query("dent"), Query(), Query("dent")],
        [0, 1, 1],
    )
    asked = {True: ask(model, processor, see(model, processor, pictures), queries, index)}
    model.config.reads_pictures = False
    model.mask_head.query_seen.weight.zero_()  # no first stage trains it
    seen = see(model, processor, pictures)
    asked[False] = ask(model, processor, seen, queries, index)
    questions = processor.questions(queries)
    instruction = model.read_instruction(processor.instruction_ids())
    states = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
    worded = model.mask_head.queries(states)
    margin, score = model.draw_unread(seen.features, seen.unprompted, seen.valid, worded, torch.tensor(index))
    assert torch.allclose(asked[False].margin, margin, atol=TOLERANCE)
    assert torch.allclose(asked[False].map_score, score, atol=TOLERANCE)
    assert torch.allclose(asked[False].hidden[0], asked[False].hidden[2], atol=TOLERANCE)  # whatever the picture is
    assert not torch.allclose(asked[True].hidden[0], asked[True].hidden[2], atol=10 * TOLERANCE)
    assert not torch.allclose(asked[True].margin, margin, atol=10 * TOLERANCE)


@torch.no_grad()
def test_the_words_of_a_question_that_saw_no_picture_still_change_the_map(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    seen = see(model, processor, [picture(1, spot=True)])
    questions = processor.questions([Query("scratch"), Query("dent"), Query("scratch")])
    instruction = model.read_instruction(processor.instruction_ids())
    states = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
    queries, index = model.mask_head.queries(states), torch.zeros(3, dtype=torch.long)
    margin, _ = model.draw_unread(seen.features, seen.unprompted, seen.valid, queries, index)
    assert torch.allclose(margin[0], margin[2], atol=TOLERANCE)
    assert not torch.allclose(margin[0], margin[1], atol=10 * TOLERANCE)


# The two readings of a question


@pytest.mark.parametrize("learned", [False, True])
@torch.no_grad()
def test_what_is_looked_for_changes_with_picture_and_product_only_where_the_head_listens_after_the_picture(
    learned: bool, trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    if not learned:
        model.mask_head.query_seen.weight.zero_()
    seen = see(model, processor, [picture(1, spot=True), picture(2, 140, 60)])
    told_of_the_other = replace(seen, memory=seen.memory.take(torch.tensor([1, 0])))
    queries, index = [Query("dent"), Query()], [0, 1]
    named = [replace(query, product="valve body") for query in queries]
    plain = ask(model, processor, seen, queries, index)
    for other in (ask(model, processor, told_of_the_other, queries, index), ask(model, processor, seen, named, index)):
        for row in range(2):
            assert not torch.allclose(plain.verdict_logits[row], other.verdict_logits[row], atol=TOLERANCE)
            drawn = (plain.margin[row] - other.margin[row]).abs().max()
            assert drawn > 10 * TOLERANCE if learned else drawn == 0


@torch.no_grad()
def test_a_query_is_the_question_by_itself_and_the_question_after_the_picture_together(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    model = trained_looking
    seen = see(model, processor, [picture(1, spot=True), picture(2, 140, 60)])
    queries, index = [Query("dent", product="cap"), Query(), Query("scratch")], torch.tensor([1, 0, 1])
    answer = ask(model, processor, seen, queries, index.tolist())
    questions = processor.questions(queries)
    instruction = model.read_instruction(processor.instruction_ids())
    by_itself = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
    after = model.seg_tokens.take(answer.hidden, questions["query_ids"])
    normed = [(states - states.mean(-1, keepdim=True)) for states in (by_itself, after)]
    normed = [states / (states.square().mean(-1, keepdim=True) + 1e-5).sqrt() for states in normed]
    head = model.mask_head
    expected = head.query_prior + normed[0] @ head.query.weight.T + normed[1] @ head.query_seen.weight.T
    margin = head.draw(seen.features, seen.unprompted, expected, index)
    assert torch.allclose(answer.margin, margin, atol=TOLERANCE)


def test_too_few_placeholders_are_refused(model: GenAUModel, processor: GenAUProcessor, picture: Draw) -> None:
    processor.visual_tokens = 63
    with pytest.raises(ValueError, match=r"63.* image placeholders for \[64\] visual tokens"):
        see(model, processor, [picture(1)])


def test_a_question_without_query_tokens_is_refused(
    model: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    for name in ("query_ids", "asked_ids"):
        inputs = processor([picture(1)], [Query(product="cap")])
        inputs[name][inputs[name] == model.config.seg_normal_token_id] = 5
        with pytest.raises(ValueError, match=r"must hold \[SEG_normal\] exactly once"):
            model(**inputs)


def test_an_unknown_backbone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'nano'"):
        GenAUConfig(backbone="nanoo")


def test_equal_verdict_words_are_refused() -> None:
    with pytest.raises(CheckpointError, match="first tokens differ"):
        GenAUConfig(normal_word_id=7, defect_word_id=7)


def test_a_canvas_that_a_scale_does_not_divide_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"image_size=144 is not a multiple of the context's stride 32\. Use 128"):
        GenAUConfig(image_size=144)


def test_the_scales_survive_a_file_that_has_lists_only(tmp_path: Path) -> None:
    scales = (((1, 2), 16, 2), ((3,), 64, 0))
    GenAUConfig(context_scales=scales).save_pretrained(tmp_path)
    assert GenAUConfig.from_pretrained(tmp_path).context_scales == scales


def test_a_decoder_that_drops_its_memory_is_noticed(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    trained_looking.train()
    trained_looking.backbone.decoder.gradient_checkpointing_enable()
    with pytest.raises(RuntimeError, match=r"kept no memory.*Gradient checkpointing.*one pass"):
        see(trained_looking, processor, [picture(1)])


@torch.no_grad()
def test_a_visual_token_is_told_of_its_own_cell_and_one_of_no_place_nothing(
    trained_looking: GenAUModel, processor: GenAUProcessor, picture: Draw
) -> None:
    seen = see(trained_looking, processor, [picture(1, spot=True)])
    parts = (trained_looking.mask_head, seen.features, seen.context, seen.prior, seen.valid)
    in_order = Sight.of_grid(torch.zeros(1, 64, 1), (8, 8), ())
    all_cells = told(*parts, in_order)
    assert all_cells[:, 0].abs().max() > 0.1
    cells = torch.tensor([[63, -1, 0, 5, 5, -1]])
    shown = told(*parts, replace(in_order, token_cells=cells))
    assert torch.equal(shown[0, [0, 2, 3, 4]], all_cells[0, [63, 0, 5, 5]])
    assert (shown[0, [1, 5]] == 0).all()
