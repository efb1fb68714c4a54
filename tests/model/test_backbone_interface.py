"""A new family is one file more: a toy that shares no code with nano goes through the whole model."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from genau.model.backbones import Backbone, Memory, Shown, Sight, first_position, reading, word_positions
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.model.outputs import Answer, Seen
from genau.model.telling import told
from genau.processor import GenAUProcessor
from genau.prompts import Query

Draw = Callable[..., NDArray[np.uint8]]
TOLERANCE = 1e-4
WIDTH, POSITIONS = 24, 512


class ToyDecoder(nn.Module):
    """One attention layer without heads; its cache is what it is given."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(POSITIONS, WIDTH)
        self.into = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def get_input_embeddings(self) -> nn.Module:
        return self.words


class ToyBackbone(nn.Module):
    """Two levels by strided convolution, 15 visual tokens on a grid that is not square, an explicit cache."""

    hidden_size = WIDTH
    level_channels: tuple[int, ...] = (6, 10, 12)
    own_parts: tuple[str, ...] = ("to_words.",)

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.decoder = ToyDecoder(vocabulary)
        self.levels = nn.ModuleList(
            nn.Conv2d(3, channels, stride, stride)
            for channels, stride in zip(self.level_channels, (4, 8, 16), strict=True)
        )
        self.to_words = nn.Linear(12, WIDTH)

    def look(self, pixel_values: Tensor, content_hw: Tensor | None = None) -> Sight:
        pyramid = tuple(torch.tanh(level(pixel_values)) for level in self.levels)
        pooled = F.adaptive_avg_pool2d(pyramid[-1], (3, 5)).flatten(2).transpose(1, 2)
        return Sight.of_grid(self.to_words(pooled), (3, 5), pyramid)

    def embed(self, input_ids: Tensor) -> Tensor:
        known = input_ids < self.decoder.words.num_embeddings
        words: Tensor = self.decoder.words(input_ids.where(known, 0)) * known[..., None]
        return words

    def positions(self, mask: Tensor, start: Tensor, shown: Shown | None = None) -> tuple[Tensor, Tensor]:
        return word_positions(mask, start)

    def read(
        self, embeddings: Tensor, mask: Tensor, memory: Memory | None, shown: Shown | None = None
    ) -> tuple[Tensor, Memory]:
        positions, following = self.positions(mask, first_position(mask, memory), shown)
        x = embeddings + self.decoder.places(positions)
        query, key, value = self.decoder.into(x).chunk(3, -1)
        new, past = mask.shape[1], 0
        seen = mask
        if memory is not None:
            past = memory.seen.shape[1]
            key = torch.cat([memory.keys_values[0][0][:, 0], key], 1)
            value = torch.cat([memory.keys_values[0][1][:, 0], value], 1)
            seen = torch.cat([memory.seen, mask], 1)
        causal = torch.ones(new, past + new, dtype=torch.bool).tril(past)
        weights = (query @ key.transpose(1, 2) / WIDTH**0.5).masked_fill(~(causal & seen[:, None]), -torch.inf)
        hidden: Tensor = x + self.decoder.out(weights.softmax(-1) @ value)
        return hidden, Memory(((key[:, None], value[:, None]),), seen, following)

    def read_whole(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, shown: Shown) -> Tensor:
        x = embeddings + self.decoder.places(positions)
        query, key, value = self.decoder.into(x).chunk(3, -1)
        weights = (query @ key.transpose(1, 2) / WIDTH**0.5).masked_fill(~allowed, -torch.inf)
        hidden: Tensor = x + self.decoder.out(weights.softmax(-1) @ value)
        return hidden

    def logits(self, hidden: Tensor, word_ids: Tensor | None = None) -> Tensor:
        table = self.decoder.words.weight if word_ids is None else self.decoder.words.weight[word_ids]
        return hidden.float() @ table.T


@pytest.fixture
def toy_processor(processor: GenAUProcessor) -> GenAUProcessor:
    processor.visual_tokens = 15
    return processor


@pytest.fixture
def toy(config: GenAUConfig, toy_processor: GenAUProcessor) -> GenAUModel:
    torch.manual_seed(0)
    config.text_weight = 0.5
    config.context_scales = (((0, 1), 16, 1), ((1, 2), 32, 0))  # of three levels
    vocabulary = len(toy_processor.tokenizer) - 3
    backbone: Backbone = ToyBackbone(vocabulary)  # the type checker holds the toy against the protocol
    model: GenAUModel = GenAUModel(config, backbone).eval()
    with torch.no_grad():
        model.mask_head.gain.fill_(0.5)
        nn.init.normal_(model.mask_head.query.weight, std=0.3)
        nn.init.normal_(model.context_token.weight, std=0.3)
        nn.init.normal_(model.mask_head.evidence.out.weight, std=0.3)
        nn.init.normal_(model.mask_head.query_seen.weight, std=0.3)
    return model


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


@torch.no_grad()
def test_a_toy_family_gives_the_same_answer_alone_and_in_a_batch(
    toy: GenAUModel, toy_processor: GenAUProcessor, picture: Draw
) -> None:
    pictures = [picture(1, spot=True), picture(2, 140, 60)]
    queries = [Query(), Query("a long name of a type", "described", "connector"), Query("dent")]
    together = ask(toy, toy_processor, see(toy, toy_processor, pictures), queries, [0, 1, 0])
    assert together.margin.shape == (3, 32, 32)
    assert together.margin.isfinite().all()
    for row, (number, query) in enumerate(zip([0, 1, 0], queries, strict=True)):
        alone = ask(toy, toy_processor, see(toy, toy_processor, [pictures[number]]), [query], [0])
        for name in ("margin", "map_score", "text_score", "pred_score"):
            assert torch.allclose(getattr(alone, name)[0], getattr(together, name)[row], atol=TOLERANCE), name
    assert not torch.allclose(together.margin[0], together.margin[2], atol=TOLERANCE)


@torch.no_grad()
def test_a_toy_familys_memory_is_not_changed_by_a_question(
    toy: GenAUModel, toy_processor: GenAUProcessor, picture: Draw
) -> None:
    seen = see(toy, toy_processor, [picture(1)])
    length = seen.memory.seen.shape[1]
    before = ask(toy, toy_processor, seen, [Query("dent")], [0])
    ask(toy, toy_processor, seen, [Query(), Query("scratch", product="cap")], [0, 0])
    after = ask(toy, toy_processor, seen, [Query("dent")], [0])
    assert torch.equal(before.margin, after.margin)
    assert seen.memory.seen.shape[1] == length


@torch.no_grad()
def test_a_toy_familys_cached_answer_equals_one_call_over_everything(
    toy: GenAUModel, toy_processor: GenAUProcessor, picture: Draw
) -> None:
    pictures, queries = [picture(1), picture(2, 60, 140)], [Query(), Query("dent", product="a long product name")]
    cached = ask(toy, toy_processor, see(toy, toy_processor, pictures), queries, [0, 1])
    whole = toy(**toy_processor(pictures, queries))
    assert torch.allclose(cached.pred_score, whole.pred_score, atol=TOLERANCE)
    assert torch.allclose(cached.margin, whole.margin, atol=TOLERANCE)
    batch = toy_processor.questions(queries[:1])
    ids = torch.cat(
        [toy_processor.instruction_ids(), toy_processor.picture_ids([(90, 140)])["picture_ids"], batch["query_ids"]], 1
    )
    seen = see(toy, toy_processor, pictures[:1])
    instruction = toy.read_instruction(toy_processor.instruction_ids())
    alone = toy.read_questions(instruction, batch["asked_ids"], batch["asked_mask"])
    found = toy.found_token(toy.found(seen, alone, torch.tensor([0])))
    sequence = toy.seg_tokens.place(toy.backbone.embed(ids), ids, found)
    start = toy_processor.instruction_ids().shape[1]
    picture_words = whole_picture(toy, toy_processor, pictures[0])
    sequence[:, start : start + 15] = picture_words
    hidden, memory = toy.backbone.read(sequence, torch.ones_like(ids, dtype=torch.bool), None)
    length = batch["query_ids"].shape[1]
    assert torch.allclose(hidden[0, -length:], cached.hidden[0, :length], atol=TOLERANCE)
    assert memory.next_position.tolist() == [ids.shape[1]]
    assert cached.memory.next_position[0] == ids.shape[1]  # right padding takes no position


def whole_picture(model: GenAUModel, processor: GenAUProcessor, rgb: NDArray[np.uint8]) -> Tensor:
    """Return the visual tokens (1, N, D) as the decoder reads them."""
    batch = processor.pictures([rgb])
    sight = model.backbone.look(batch["pixel_values"])
    context = model.compare(sight.pyramid, batch["content_hw"], [None])
    features, unprompted = model.project(sight.pyramid, context)
    prior = model.mask_head.draw(features, unprompted, model.mask_head.query_prior[None], torch.tensor([0]))
    valid = model.valid_cells(batch["content_hw"], features[0])
    shown = told(model.mask_head, features, context, prior, valid, sight)
    words: Tensor = sight.visual_tokens + shown @ model.context_token.weight.T
    return words


def test_positions_go_on_after_what_is_remembered_and_skip_the_padding() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    positions, following = word_positions(mask, first_position(mask, None))
    assert positions.tolist() == [[0, 1, 1], [0, 1, 2]]
    assert following.tolist() == [2, 3]
    memory = Memory((), mask, following)
    more = torch.tensor([[True, True], [True, False]])
    positions, following = word_positions(more, first_position(more, memory))
    assert positions.tolist() == [[2, 3], [3, 3]]
    assert following.tolist() == [4, 4]


def test_the_memory_of_a_row_is_taken_as_often_as_it_is_named() -> None:
    keys = torch.arange(6.0).reshape(3, 1, 2, 1)
    memory = Memory(((keys, -keys),), torch.eye(3, 2).bool(), torch.tensor([5, 6, 7]))
    taken = memory.take(torch.tensor([2, 0, 2]))
    assert taken.keys_values[0][0].flatten().tolist() == [4, 5, 0, 1, 4, 5]
    assert taken.keys_values[0][1].flatten().tolist() == [-4, -5, 0, -1, -4, -5]
    assert taken.next_position.tolist() == [7, 5, 7]
    assert taken.seen.tolist() == [[False, False], [True, False], [False, False]]
    taken.keys_values[0][0].zero_()
    assert keys.sum() == 15


def test_a_few_words_are_weighed_in_fp32_and_a_whole_table_in_its_own_dtype() -> None:
    generator = torch.Generator().manual_seed(0)
    table, hidden = torch.randn(50, WIDTH, generator=generator), torch.randn(3, WIDTH, generator=generator)
    exact, short = hidden @ table.T, table.bfloat16()
    assert torch.allclose(reading.logits(table, hidden, None), exact, atol=1e-5)
    chosen = torch.tensor([4, 40])
    assert torch.allclose(reading.logits(short, hidden, chosen), hidden @ short[chosen].float().T, atol=1e-5)
    whole = reading.logits(short, hidden, None)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, (hidden.bfloat16() @ short.T).float())
