"""The families that see a canvas in crops, each by tiny random models of transformers' own classes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from genau import checkpoints
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.inspector import Inspector
from genau.layouts import layout_of
from genau.model.backbones import Backbone, Habits, Memory, Shown, Sight, llava_onevision, smolvlm
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.model.outputs import Answer, Decision, Seen
from genau.model.seg_tokens import place_visual_tokens
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.prompts import IMAGE_TOKEN, Query
from genau.speaking import Speaker
from genau.writer import AnalysisWriter

Draw = Callable[..., NDArray[np.uint8]]
TOLERANCE = 1e-4
ACROSS = 3
CONTENTS = [(54, 84), (84, 25)]  # of a canvas of 84 pixels; of larger ones in proportion
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"num_key_value_heads": 2, "max_position_embeddings": 1024, "pad_token_id": 2}
BASES: dict[str, dict[str, Any]] = {
    "llava-onevision": {
        "model_type": "llava_onevision",
        "image_grid_pinpoints": [[30 * rows, 30 * columns] for rows in (1, 2, 3) for columns in (1, 2, 3)],
        "vision_config": VISION
        | {"model_type": "siglip_vision_model", "image_size": 30, "patch_size": 7, "vision_use_head": False},
        "text_config": TEXT | {"model_type": "qwen2", "tie_word_embeddings": True},
    },
    "smolvlm": {
        "model_type": "smolvlm",
        "vision_config": VISION | {"model_type": "smolvlm_vision", "image_size": 32, "patch_size": 8},
        "text_config": TEXT | {"model_type": "llama"},
        "scale_factor": 2,
    },
    "idefics3": {
        "model_type": "idefics3",
        "vision_config": VISION | {"model_type": "idefics3_vision", "image_size": 30, "patch_size": 7},
        "text_config": TEXT | {"model_type": "llama"},
        "scale_factor": 4,
    },
}
WORDS = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|begin_of_text|>", IMAGE_TOKEN]
HABITS: dict[str, Callable[[dict[str, Any], int | None], Habits]] = {
    "llava-onevision": llava_onevision.habits,
    "smolvlm": smolvlm.habits,
    "idefics3": smolvlm.habits,
}
BUILDERS: dict[str, Any] = {
    "llava-onevision": llava_onevision.LlavaOnevisionBackbone,
    "smolvlm": smolvlm.SmolVLMBackbone,
    "idefics3": smolvlm.SmolVLMBackbone,
}


@dataclass(frozen=True)
class Family:
    name: str
    real: Any  # transformers' own model
    backbone: Any  # made of its parts
    processor: GenAUProcessor
    config: GenAUConfig

    @property
    def side(self) -> int:
        return self.config.image_size

    def contents(self) -> Tensor:
        return torch.tensor(CONTENTS) * self.side // 84

    def canvases(self, contents: Tensor) -> Tensor:
        """Return noise on the contents and zero beside them."""
        canvases = torch.zeros(len(contents), 3, self.side, self.side)
        for canvas, (height, width) in zip(canvases, contents.tolist(), strict=True):
            canvas[:, :height, :width] = torch.randn(3, height, width)
        return canvases

    def published(self, canvases: Tensor, contents: Tensor) -> dict[str, Tensor]:
        """Return the inputs of the real model for one picture of whole crops."""
        cutting = self.backbone.cutting
        crops = cutting.cut(canvases, cutting.places(contents))
        if self.name == "llava-onevision":
            views = torch.cat([cutting.whole(canvases, contents), crops])
            return {"pixel_values": views[None], "image_sizes": contents // cutting.crop * cutting.view}
        views = torch.cat([crops, cutting.whole(canvases, contents)]) if len(crops) > 1 else crops
        return {"pixel_values": views[None]}


@pytest.fixture(params=list(BASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def family(name: str, tokenizer: PreTrainedTokenizerFast) -> Family:
    return make(name, tokenizer, ACROSS)


def make(name: str, tokenizer: PreTrainedTokenizerFast, across: int) -> Family:
    torch.manual_seed(0)
    own = copy.deepcopy(tokenizer)
    own.add_tokens(WORDS, special_tokens=True)
    image = own.convert_tokens_to_ids(IMAGE_TOKEN)
    base = BASES[name] | {"image_token_id": image, "image_token_index": image}
    base["text_config"] = base["text_config"] | {"vocab_size": len(own) + 40}  # rows that no word has, as published
    vision = base["vision_config"]
    habits = HABITS[name](base, across * (vision["image_size"] // vision["patch_size"] * vision["patch_size"]))
    letterbox = LetterboxImageProcessor(habits.image_size, habits.mean, habits.scale)
    chat = "idefics3" if name == "idefics3" else habits.chat_format
    processor = GenAUProcessor(letterbox, own, chat, layout=habits.layout)
    config = GenAUConfig(
        backbone="smolvlm" if name == "idefics3" else name,
        backbone_config=AutoConfig.for_model(**base).to_dict(),
        image_size=habits.image_size,
        chat_format=chat,
        head_width=16,
        context_scales=habits.context_scales,
        upsample=habits.upsample,
        **processor.token_ids(),  # type: ignore[arg-type]
    )
    real = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**base)).eval()
    backbone: Backbone = BUILDERS[name].from_model(real, habits.image_size)
    return Family(name, real, backbone, processor, config)


@pytest.fixture
def model(family: Family) -> GenAUModel:
    """A model in which every path matters: nothing that starts at zero is zero."""
    return wake(GenAUModel(family.config, family.backbone).eval())


def wake(model: GenAUModel) -> GenAUModel:
    torch.manual_seed(1)
    with torch.no_grad():
        model.mask_head.gain.fill_(0.5)
        for layer in (model.mask_head.query, model.context_token, model.mask_head.evidence.out):
            nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(model.mask_head.query_seen.weight, std=0.3)
        nn.init.normal_(model.found_token.weight, std=0.05)
        model.config.text_weight = 0.5
    return model


def see(model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]) -> Seen:
    batch = processor.pictures(pictures)
    sight = model.backbone.look(batch["pixel_values"], batch["content_hw"])
    context = model.compare(sight.pyramid, batch["content_hw"], [None] * len(pictures))
    instruction = model.read_instruction(processor.instruction_ids())
    return model.see(sight, context, batch["content_hw"], batch["picture_ids"], batch["picture_mask"], instruction)


def ask(model: GenAUModel, processor: GenAUProcessor, seen: Seen, queries: list[Query], index: list[int]) -> Answer:
    questions = processor.questions(queries)
    instruction = model.read_instruction(processor.instruction_ids())
    asked = model.read_questions(instruction, questions.pop("asked_ids"), questions.pop("asked_mask"))
    return model.ask(seen, asked, **questions, image_index=torch.tensor(index))


@torch.no_grad()
@pytest.mark.parametrize("crops_hw", [(1, 1), (2, 3), (3, 1)])
def test_visual_tokens_are_those_of_the_published_model(
    name: str, tokenizer: PreTrainedTokenizerFast, crops_hw: tuple[int, int]
) -> None:
    family = make(name, tokenizer, max(crops_hw))
    contents = torch.tensor([crops_hw]) * family.backbone.cutting.crop
    canvases = family.canvases(contents)
    sight = family.backbone.look(canvases, contents)
    published = torch.cat(
        list(family.real.model.get_image_features(**family.published(canvases, contents)).pooler_output)
    )
    assert sight.token_counts.tolist() == [len(published)]
    assert torch.allclose(sight.visual_tokens[0], published, atol=TOLERANCE)


@torch.no_grad()
def test_text_picture_text_reads_as_in_the_published_model(family: Family) -> None:
    contents = torch.tensor([[2, 3]]) * family.backbone.cutting.crop
    canvases = family.canvases(contents)
    parts = [
        family.processor.instruction_ids(),
        family.processor.picture_ids(contents)["picture_ids"],
        family.processor.questions([Query("dent", product="cap")])["query_ids"],
    ]
    published = family.real.model(input_ids=torch.cat(parts, 1), **family.published(canvases, contents))
    sight = family.backbone.look(canvases, contents)
    memory: Memory | None = None
    hidden = []
    for ids in parts:
        at = ids == family.config.image_token_id
        words, shown = family.backbone.embed(ids), None
        if at.any():
            shown = Shown(at, sight)
            words = place_visual_tokens(words, at, sight.visual_tokens, sight.token_counts)
        states, memory = family.backbone.read(words, torch.ones_like(at), memory, shown)
        hidden.append(states)
    assert torch.allclose(torch.cat(hidden, 1), published.last_hidden_state, atol=TOLERANCE)
    logits = family.real.lm_head(published.last_hidden_state)
    assert torch.allclose(family.backbone.logits(hidden[-1]), logits[:, -hidden[-1].shape[1] :], atol=TOLERANCE)


@torch.no_grad()
def test_what_is_spoken_is_what_transformers_generates(family: Family, model: GenAUModel) -> None:
    for part, weight in family.real.named_parameters():
        if weight.ndim > 1 and "embed_tokens" not in part:
            nn.init.normal_(weight, std=0.3)  # or it would say its last word for ever
    nn.init.zeros_(model.context_token.weight)  # transformers is told nothing of the map
    processor, contents = family.processor, torch.tensor([[2, 3]]) * family.backbone.cutting.crop
    canvases = family.canvases(contents)
    speaker, room = Speaker(model, processor), 15  # too few for a loop
    asked = "Why?", [("What is it?", "A cap, bent.")]
    shown = processor.picture_ids(contents)
    sequence = torch.cat([processor.instruction_ids(), shown["picture_ids"], processor.talk_ids(*asked)], 1)
    size = family.real.get_input_embeddings().num_embeddings
    limits = {"suppress_tokens": [*speaker._silent, *range(len(processor.tokenizer), size)], "do_sample": False}
    limits |= {"max_new_tokens": room, "eos_token_id": speaker.end_id}
    whole = family.real.generate(input_ids=sequence, **family.published(canvases, contents), **limits)
    said = whole[0, sequence.shape[1] :].tolist()
    assert len(set(said)) > 2
    sight = model.backbone.look(canvases, contents)
    context, instruction = model.compare(sight.pyramid, contents, [None]), processor.instruction_ids()
    read = model.read_instruction(instruction)
    seen = model.see(sight, context, contents, shown["picture_ids"], shown["picture_mask"], read)
    spoken = speaker.say(seen.memory, asked[0], earlier=asked[1], most_tokens=room)
    assert spoken.text == processor.tokenizer.decode(said, skip_special_tokens=True).rstrip("\ufffd").strip()
    assert (spoken.tokens, spoken.ended) == (len(said), said[-1] == speaker.end_id)


def only_itself(tower: nn.Module) -> None:
    """Make each patch of a tower see nothing but itself."""
    for part, module in tower.named_modules():
        if part.endswith("out_proj"):
            nn.init.zeros_(module.weight)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


@torch.no_grad()
def test_a_lit_patch_is_found_at_its_own_cell_of_every_level_and_token(family: Family) -> None:
    only_itself(family.backbone.tower)
    cutting, contents = family.backbone.cutting, family.contents()
    canvases = family.canvases(contents)
    dark: Sight = family.backbone.look(canvases, contents)
    patch, cells = cutting.patch, cutting.cells
    for picture, (height, width) in enumerate(contents.tolist()):
        last_row, last_column = (height - 1) // patch, (width - 1) // patch
        for row in {0, cells - 1, min(cells, last_row), last_row}:
            for column in {0, cells - 1, min(cells, last_column), last_column}:
                lit = canvases.clone()
                lit[picture, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] += 1.0
                light: Sight = family.backbone.look(lit, contents)
                for before, after in zip(dark.pyramid, light.pyramid, strict=True):
                    changed = (after - before).abs().amax(1)
                    assert changed.nonzero().tolist() == [[picture, row, column]]
                token_side = dark.token_grid[0] * patch * 1.0 / family.side
                expected = int(row * token_side) * dark.token_grid[1] + int(column * token_side)
                changed = (light.visual_tokens - dark.visual_tokens).abs().amax(2)
                told = dark.token_cells[changed > 0]
                assert told[told >= 0].tolist() == [expected]


@torch.no_grad()
def test_levels_are_the_states_after_the_blocks_and_zero_where_nothing_was_seen(family: Family) -> None:
    cutting, contents = family.backbone.cutting, torch.tensor([[20, family.side]])
    canvases = family.canvases(contents)
    sight: Sight = family.backbone.look(canvases, contents)
    crops = cutting.cut(canvases, cutting.places(contents))
    states = family.backbone.tower(crops, output_hidden_states=True).hidden_states
    for level, block in zip(sight.pyramid, (1, 2, 3, 3), strict=True):
        assert level.shape == (1, 32, ACROSS * cutting.cells, ACROSS * cutting.cells)
        assert torch.allclose(level[0, :, : cutting.cells, -cutting.cells :].flatten(1).T, states[block][-1])
        assert not level[0, :, cutting.cells :].any()
        assert level[0, :, : cutting.cells].abs().sum(0).all()


@torch.no_grad()
def test_a_picture_is_seen_alike_alone_and_beside_one_of_another_shape(family: Family) -> None:
    contents = family.contents()
    canvases = family.canvases(contents)
    together: Sight = family.backbone.look(canvases, contents)
    assert together.token_counts[0] != together.token_counts[1]
    for row, count in enumerate(together.token_counts.tolist()):
        alone: Sight = family.backbone.look(canvases[row : row + 1], contents[row : row + 1])
        assert alone.token_counts.tolist() == [count]
        assert torch.allclose(alone.visual_tokens[0], together.visual_tokens[row, :count], atol=TOLERANCE)
        assert torch.equal(alone.token_cells[0], together.token_cells[row, :count])
        assert not together.visual_tokens[row, count:].any()
        assert (together.token_cells[row, count:] == -1).all()
        for one, both in zip(alone.pyramid, together.pyramid, strict=True):
            assert torch.allclose(one[0], both[row], atol=TOLERANCE)


def test_layout_and_look_count_the_same_tokens_for_every_shape(family: Family) -> None:
    layout = layout_of(family.processor.layout or {})
    for content in [(family.side, 1), (family.side, 41), (29, family.side), (family.side, family.side)]:
        sight: Sight = family.backbone.look(torch.zeros(1, 3, family.side, family.side), torch.tensor([content]))
        pieces = layout.pieces(content)
        assert sum(piece for piece in pieces if isinstance(piece, int)) == sight.visual_tokens.shape[1]


@torch.no_grad()
def test_an_answer_is_the_same_alone_and_in_a_batch(family: Family, model: GenAUModel, picture: Draw) -> None:
    pictures = [picture(1, spot=True), picture(2, 140, 60)]
    queries = [Query(), Query("a long name of a type", "described", "connector"), Query("dent")]
    together = ask(model, family.processor, see(model, family.processor, pictures), queries, [0, 1, 0])
    assert together.margin.isfinite().all()
    for row, (number, query) in enumerate(zip([0, 1, 0], queries, strict=True)):
        alone = ask(model, family.processor, see(model, family.processor, [pictures[number]]), [query], [0])
        for part in ("margin", "map_score", "text_score", "pred_score"):
            assert torch.allclose(getattr(alone, part)[0], getattr(together, part)[row], atol=TOLERANCE), part
    assert not torch.allclose(together.margin[0], together.margin[2], atol=TOLERANCE)


@torch.no_grad()
def test_what_was_seen_before_does_not_change_an_answer(family: Family, model: GenAUModel, picture: Draw) -> None:
    processor = family.processor
    first = see(model, processor, [picture(1)])
    before = ask(model, processor, first, [Query("dent")], [0])
    second = see(model, processor, [picture(2, 140, 60)])
    ask(model, processor, second, [Query(), Query("scratch", product="cap")], [0, 0])
    after = ask(model, processor, first, [Query("dent")], [0])
    assert torch.equal(before.margin, after.margin)
    assert torch.equal(before.hidden, after.hidden)
    whole = model(**processor([picture(1)], [Query("dent")]))
    assert torch.allclose(before.pred_score, whole.pred_score, atol=TOLERANCE)
    assert after.memory.next_position.tolist() == [after.memory.seen.sum().item()]


def test_too_many_or_too_few_placeholders_are_refused(family: Family, model: GenAUModel, picture: Draw) -> None:
    batch = family.processor([picture(1)], [Query()])
    at = batch["picture_ids"] == family.config.image_token_id
    for wrong in (batch["picture_ids"].masked_fill(at.cumsum(1) == 1, 5), torch.cat([batch["picture_ids"]] * 2, 1)):
        with pytest.raises(ValueError, match=r"image placeholders for \[\d+\] visual tokens.*same checkpoint"):
            model(**batch | {"picture_ids": wrong, "picture_mask": torch.ones_like(wrong, dtype=torch.bool)})


def with_lora(model: GenAUModel) -> Any:
    decoder = model.backbone.decoder
    targets = sorted({key.split(".")[-1] for key, part in decoder.named_modules() if isinstance(part, nn.Linear)})
    assert len(targets) == 7
    model.backbone.decoder = get_peft_model(decoder, LoraConfig(r=2, lora_alpha=4, target_modules=targets))
    return model.backbone.decoder


def test_a_gradient_reaches_what_is_trained_and_not_the_tower(family: Family, model: GenAUModel, picture: Draw) -> None:
    with_lora(model)
    model.train()
    answer = model(**family.processor([picture(1, spot=True), picture(2, 140, 60)], [Query(), Query("dent")]))
    (answer.margin.mean() + answer.verdict_logits.diff().sum()).backward()
    parameters = dict(model.named_parameters())
    own = [key for key in parameters if key.startswith(tuple(f"backbone.{part}" for part in family.backbone.own_parts))]
    lora = [key for key in parameters if "lora_B" in key and ".layers.0." in key]
    assert own
    assert lora
    for key in [*own, *lora, "seg_tokens.embeddings", "mask_head.query_seen.weight", "context_token.weight"]:
        gradient = parameters[key].grad
        assert gradient is not None, key
        assert gradient.isfinite().all() and gradient.any(), key
    towers = [parameter for key, parameter in parameters.items() if key.startswith("backbone.tower.")]
    assert towers
    assert all(parameter.grad is None for parameter in towers)


@torch.no_grad()
def test_merging_lora_changes_no_answer(family: Family, model: GenAUModel, picture: Draw) -> None:
    batch = family.processor([picture(1, spot=True)], [Query("dent")])
    plain = model(**batch)
    decoder = with_lora(model)
    for key, parameter in decoder.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(parameter, std=0.3)
    adapted = model(**batch)
    model.backbone.decoder = decoder.merge_and_unload()
    merged = model(**batch)
    assert torch.allclose(adapted.hidden, merged.hidden, atol=TOLERANCE)
    assert torch.allclose(adapted.margin, merged.margin, atol=TOLERANCE)
    assert not torch.allclose(adapted.hidden, plain.hidden, atol=1e-2)


@torch.no_grad()
def test_a_saved_model_comes_back_and_answers_the_same(
    family: Family, model: GenAUModel, picture: Draw, tmp_path: Path
) -> None:
    checkpoints.save_merged(tmp_path / "model", model, family.processor, Thresholds())
    loaded = checkpoints.load(tmp_path / "model")
    assert loaded.processor.layout == family.processor.layout
    assert loaded.processor.chat_format == family.processor.chat_format
    before, after = model.state_dict(), loaded.model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    batch, again = (one([picture(1)], [Query("dent")]) for one in (family.processor, loaded.processor))
    assert torch.equal(batch["pixel_values"], again["pixel_values"])
    assert torch.allclose(model(**batch).margin, loaded.model(**again).margin, atol=TOLERANCE)


def test_a_base_is_loaded_from_a_folder(family: Family, tmp_path: Path) -> None:
    family.real.save_pretrained(tmp_path)
    loaded = BUILDERS[family.name].from_base(tmp_path, family.side, local_files_only=True, dtype=torch.float32)
    before, after = family.backbone.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.no_grad()
def test_a_base_in_bf16_gives_fp32(family: Family, picture: Draw) -> None:
    expected: Sight = family.backbone.look(*sample(family))
    half = BUILDERS[family.name].from_model(family.real.to(torch.bfloat16), family.side)
    sight: Sight = half.look(*sample(family))
    hidden, _ = half.read(sight.visual_tokens, torch.ones(sight.visual_tokens.shape[:2], dtype=torch.bool), None)
    for tensor in (sight.visual_tokens, *sight.pyramid, hidden, half.logits(hidden), half.embed(torch.tensor([[5]]))):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    assert all(parameter.dtype == torch.float32 for parameter in half.projector.parameters())
    assert torch.allclose(sight.pyramid[-1], expected.pyramid[-1], atol=0.1)


def sample(family: Family) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return family.canvases(family.contents()), family.contents()


def test_a_family_inspects_and_writes(family: Family, model: GenAUModel, picture: Draw) -> None:
    model.config.writes_analysis = True
    inspector = Inspector(Checkpoint("tiny", model, family.processor, Thresholds()))
    part, good = picture(1, spot=True), picture(2, 140, 60)
    alone = inspector.inspect(part, types=["dent", "scratch"], product="cap", threshold=0.0, analysis=True)
    compared = inspector.inspect(part, references=[good], analysis=False)
    assert np.isfinite(alone.pred_score)
    assert alone.anomaly_map is not None
    assert alone.anomaly_map.shape == (90, 140)
    assert set(alone.types) == {"dent", "scratch"}
    assert compared.pred_score != alone.pred_score
    known = {"Types": "dent", "Location": "center", "Severity": "minor"}
    choices = {key: ("one word", "another") for key in ("Appearance", "Likely cause", "Recommendation")}
    answer = ask(model, family.processor, see(model, family.processor, [part]), [Query()], [0])
    written = AnalysisWriter(model, family.processor).write(answer.memory, " defect", known, choices)
    assert written is not None
    assert written.types == "dent"
    assert written.recommendation in choices["Recommendation"]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_pass_over_pictures_and_questions_gives_the_same_maps_verdicts_and_gradients(
    model: GenAUModel, family: Family, picture: Draw, ask_at_once: Callable[..., Decision], checkpointing: bool
) -> None:
    with_lora(model)
    pictures, queries, index = (
        [picture(1), picture(2, 140, 60)],
        [Query(), Query("dent"), Query("long scratch")],
        [0, 1, 0],
    )
    trained = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    expected = ask(model, family.processor, see(model, family.processor, pictures), queries, index)
    gradients = torch.autograd.grad(expected.margin.sum() + expected.verdict_logits.pow(2).sum(), trained)
    if checkpointing:
        model.backbone.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        model.backbone.decoder.train()
    found = ask_at_once(model, family.processor, pictures, queries, index)
    for name in ("margin", "map_score", "verdict_logits"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=TOLERANCE), name
    again = torch.autograd.grad(found.margin.sum() + found.verdict_logits.pow(2).sum(), trained)
    for gradient, wanted in zip(again, gradients, strict=True):
        assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
