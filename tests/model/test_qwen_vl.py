"""Qwen2.5-VL and Qwen3-VL behind our protocol: what the pretrained decoder reads must be what transformers gives it."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from genau import checkpoints
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import CheckpointError
from genau.inspector import Inspector
from genau.layouts import QwenLayout, layout_of
from genau.model.backbones import Backbone, Shown, Sight
from genau.model.backbones.families import MODEL_TYPES, build_backbone
from genau.model.backbones.qwen_vl import QwenVLBackbone, habits
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.model.outputs import Answer, Decision, Seen
from genau.model.seg_tokens import place_visual_tokens
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.prompts import CHAT_FORMATS, INSTRUCTION, Query, question_spans
from genau.results import Verdict
from genau.speaking import Speaker

Draw = Callable[..., NDArray[np.uint8]]
TOLERANCE = 1e-4
CANVAS, PATCH, MERGE = 128, 8, 2
CELL = PATCH * MERGE
VOCABULARY = 700  # larger than the tokenizer, as the published tables are
DEPTHS = (1, 2, 3, 4)  # blocks after which the levels are taken
CONTENTS = [(90, 128), (128, 55)]  # canvas pixels of the two pictures of `pictures`; neither ends with a whole cell

VISION = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": PATCH,
    "spatial_merge_size": MERGE,
    "out_hidden_size": 32,
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SIZES: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {  # windows of 3 x 3 visual tokens, which divide neither picture
        "vision_config": VISION | {"window_size": 3 * CELL, "fullatt_block_indexes": [1, 3]},
        "text_config": TEXT | {"rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}},
    },
    "qwen3_vl": {
        "vision_config": VISION | {"num_position_embeddings": 25, "deepstack_visual_indexes": [0, 2]},
        "text_config": TEXT | {"head_dim": 8, "rope_parameters": ROPE | {"mrope_section": [2, 1, 1]}},
        "tie_word_embeddings": True,
    },
}
for _kind, _sizes in SIZES.items():
    _sizes["model_type"] = _kind


@pytest.fixture(params=SIZES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def processor(tokenizer: PreTrainedTokenizerFast, kind: str) -> GenAUProcessor:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<|vision_start|>", "<|vision_end|>"], special_tokens=True)
    family = habits(SIZES[kind], CANVAS)
    images = LetterboxImageProcessor(family.image_size, family.mean, family.scale)
    return GenAUProcessor(images, own, family.chat_format, layout=family.layout)


@pytest.fixture
def reference(processor: GenAUProcessor, kind: str) -> Any:
    """Transformers' own model, in which every weight matters."""
    torch.manual_seed(0)
    config = checked_config(kind, processor.token_ids()["image_token_id"])
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed_tokens" not in name:
                nn.init.normal_(weight, std=0.15)
    return model


def checked_config(kind: str, image_token_id: int) -> Any:
    from genau.model.backbones.qwen_vl import full_config

    return full_config(SIZES[kind] | {"image_token_id": image_token_id})


@pytest.fixture
def backbone(reference: Any) -> QwenVLBackbone:
    return QwenVLBackbone.from_model(reference)


@pytest.fixture
def model(backbone: QwenVLBackbone, processor: GenAUProcessor, kind: str) -> GenAUModel:
    """A model in which every path matters: nothing that starts at zero is zero."""
    torch.manual_seed(1)
    family = habits(SIZES[kind], CANVAS)
    config = GenAUConfig(
        backbone="qwen-vl",
        backbone_config=SIZES[kind],
        image_size=family.image_size,
        chat_format=family.chat_format,
        context_scales=family.context_scales,
        upsample=family.upsample,
        head_width=16,
        text_weight=0.5,
        **processor.token_ids(),  # type: ignore[arg-type]
    )
    model: GenAUModel = GenAUModel(config, backbone).eval()
    with torch.no_grad():
        model.mask_head.gain.fill_(0.5)
        model.mask_head.distance_offset.zero_()
        for table in (model.mask_head.query, model.mask_head.query_seen, model.context_token):
            nn.init.normal_(table.weight, std=0.3)
        nn.init.normal_(model.found_token.weight, std=0.05)
        nn.init.normal_(model.mask_head.evidence.out.weight, std=0.3)
    return model


@pytest.fixture
def pictures(picture: Draw) -> list[NDArray[np.uint8]]:
    return [picture(1, 90, 128, spot=True), picture(2, 140, 60)]


def looked(backbone: QwenVLBackbone, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]) -> Sight:
    batch = processor.pictures(pictures)
    return backbone.look(batch["pixel_values"], batch["content_hw"])


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


def of_transformers(processor: GenAUProcessor, rgb: NDArray[np.uint8], kind: str) -> dict[str, Tensor]:
    """Return what transformers' own image processor makes of the part of the canvas that we look at."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    box = processor.image_processor.letterbox(*rgb.shape[:2])
    canvas = box.apply(rgb, fill=processor.image_processor.padding)
    height, width = (-(-side // CELL) * CELL for side in box.content_hw)
    colours: dict[str, Any] = {} if kind == "qwen2_5_vl" else {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    theirs = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=MERGE, do_resize=False, **colours)
    return dict(theirs(canvas[:height, :width], return_tensors="pt"))


# What is seen


@torch.no_grad()
def test_visual_tokens_are_those_that_transformers_makes_of_the_same_pixels(
    reference: Any, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], kind: str
) -> None:
    sight = looked(QwenVLBackbone.from_model(reference), processor, pictures)
    assert sight.token_counts.tolist() == [6 * 8, 8 * 4]
    assert sight.visual_tokens.shape == (2, 48, 32)
    assert len(sight.deep_tokens) == (2 if kind == "qwen3_vl" else 0)
    for row, rgb in enumerate(pictures):
        theirs = of_transformers(processor, rgb, kind)
        features = reference.model.get_image_features(theirs["pixel_values"], theirs["image_grid_thw"])
        count = int(sight.token_counts[row])
        assert torch.allclose(sight.visual_tokens[row, :count], features.pooler_output[0], atol=TOLERANCE)
        assert not sight.visual_tokens[row, count:].any()
        for ours, deep in zip(sight.deep_tokens, getattr(features, "deepstack_features", []), strict=True):
            assert torch.allclose(ours[row, :count], deep[0], atol=TOLERANCE)
            assert not ours[row, count:].any()


@torch.no_grad()
def test_a_read_in_three_steps_equals_one_pass_of_transformers_over_the_whole_sequence(
    reference: Any, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], kind: str
) -> None:
    backbone: Backbone = QwenVLBackbone.from_model(reference)  # the type checker holds it against the protocol
    batch = processor.pictures(pictures)
    sight = backbone.look(batch["pixel_values"], batch["content_hw"])
    instruction = processor.instruction_ids()
    memory = backbone.read(backbone.embed(instruction), torch.ones_like(instruction).bool(), None)[1]
    at = batch["picture_ids"] == processor.token_ids()["image_token_id"]
    words = place_visual_tokens(backbone.embed(batch["picture_ids"]), at, sight.visual_tokens, sight.token_counts)
    shared = memory.take(torch.zeros(2, dtype=torch.long))
    hidden, memory = backbone.read(words, batch["picture_mask"], shared, Shown(at, sight))
    questions = processor.questions([Query(), Query("dent", product="a long name of a product")])
    ids, mask = questions["query_ids"], questions["query_mask"]
    said, memory = backbone.read(backbone.embed(ids), mask, memory)
    for row, rgb in enumerate(pictures):
        own = [instruction[0], batch["picture_ids"][row][batch["picture_mask"][row]], ids[row][mask[row]]]
        sequence = torch.cat(own)[None]
        kinds = (sequence == processor.token_ids()["image_token_id"]).long()
        theirs = of_transformers(processor, rgb, kind)
        whole = reference.model(input_ids=sequence, mm_token_type_ids=kinds, **theirs).last_hidden_state[0]
        _, shown, asked = whole.split([len(part) for part in own])
        assert torch.allclose(hidden[row, : len(shown)], shown, atol=TOLERANCE)
        assert torch.allclose(said[row, : len(asked)], asked, atol=TOLERANCE)
        logits = reference.lm_head(asked)
        assert torch.allclose(backbone.logits(said)[row, : len(asked)], logits, atol=TOLERANCE)
        two = backbone.logits(said, torch.tensor([7, 3]))[row, : len(asked)]
        assert torch.allclose(two, logits[:, [7, 3]], atol=TOLERANCE)
        positions, _ = reference.model.get_rope_index(sequence, kinds, image_grid_thw=theirs["image_grid_thw"])
        assert int(memory.next_position[row]) == positions.max() + 1
        reference.model.rope_deltas = None  # or it would remember this picture


@torch.no_grad()
def test_what_is_spoken_is_what_transformers_generates(
    reference: Any, model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], kind: str
) -> None:
    for part, weight in reference.named_parameters():
        if weight.ndim > 1 and "embed_tokens" not in part:
            nn.init.normal_(weight, std=0.3)  # or it would say its last word for ever
    nn.init.zeros_(model.context_token.weight)  # transformers is told nothing of the map
    speaker, seen, room = Speaker(model, processor), see(model, processor, pictures), 15  # too few for a loop
    unspeakable = [*speaker._silent, *range(len(processor.tokenizer), VOCABULARY)]
    for row, rgb in enumerate(pictures):
        asked = "Why?", [("What is it?", "A cap, bent.")]
        batch = processor.pictures([rgb])
        words = [processor.instruction_ids(), batch["picture_ids"], processor.talk_ids(*asked)]
        sequence = torch.cat(words, 1)
        kinds = (sequence == processor.token_ids()["image_token_id"]).long()
        theirs = of_transformers(processor, rgb, kind) | {"mm_token_type_ids": kinds}
        limits = {"max_new_tokens": room, "do_sample": False, "suppress_tokens": unspeakable}
        whole = reference.generate(input_ids=sequence, eos_token_id=speaker.end_id, **theirs, **limits)
        said = whole[0, sequence.shape[1] :].tolist()
        assert len(set(said)) > 2
        spoken = speaker.say(seen.memory.take(torch.tensor([row])), asked[0], earlier=asked[1], most_tokens=room)
        assert spoken.text == processor.tokenizer.decode(said, skip_special_tokens=True).rstrip("\ufffd").strip()
        assert (spoken.tokens, spoken.ended) == (len(said), said[-1] == speaker.end_id)
        reference.model.rope_deltas = None  # or it would remember this picture


def test_the_words_after_a_picture_go_on_from_its_longer_side() -> None:
    backbone = QwenVLBackbone.from_config(SIZES["qwen2_5_vl"], CANVAS)
    at = torch.tensor([[False, True, True, True, True, True, True, False], [False, True, True, True, *[False] * 4]])
    mask = torch.tensor([[True] * 8, [True] * 5 + [False] * 3])
    sight = SimpleNamespace(grids_hw=torch.tensor([[2, 3], [3, 1]]))
    places, following = backbone.positions(mask, torch.tensor([10, 20]), Shown(at, sight))  # type: ignore[arg-type]
    assert places[0].tolist() == [
        [10] * 3,
        [11, 11, 11],
        [11, 11, 12],
        [11, 11, 13],
        [11, 12, 11],
        [11, 12, 12],
        [11, 12, 13],
        [14] * 3,
    ]
    assert places[1, :5].tolist() == [[20] * 3, [21, 21, 21], [21, 22, 21], [21, 23, 21], [24] * 3]
    assert following.tolist() == [15, 25]


LIT = [(0, 0, 0), (0, 0, 15), (0, 10, 5), (0, 11, 15), (0, 7, 6), (1, 15, 0), (1, 15, 6), (1, 5, 3), (1, 12, 5)]


@pytest.mark.parametrize(("row", "down", "right"), LIT)
@torch.no_grad()
def test_a_lit_patch_is_found_at_its_cell_of_every_level_and_in_the_token_of_that_place(
    backbone: QwenVLBackbone, row: int, down: int, right: int
) -> None:
    for block in backbone.tower.blocks:  # each patch sees itself only
        block.attn.proj.weight.zero_()
        block.attn.proj.bias.zero_()
    torch.manual_seed(2)
    dark = torch.randn(2, 3, CANVAS, CANVAS)
    lit = dark.clone()
    lit[row, :, down * PATCH : (down + 1) * PATCH, right * PATCH : (right + 1) * PATCH] += 2.0
    one, other = (backbone.look(canvas, torch.tensor(CONTENTS)) for canvas in (dark, lit))
    for before, after in zip(one.pyramid, other.pyramid, strict=True):
        assert before.shape == (2, 32, CANVAS // PATCH, CANVAS // PATCH)
        changed = (after - before).abs().sum(1).nonzero().tolist()
        assert changed == [[row, down, right]]
    changed = (other.visual_tokens - one.visual_tokens).abs().sum(2).nonzero().tolist()
    assert len(changed) == 1
    assert one.token_grid == (8, 8)
    assert one.token_cells[changed[0][0], changed[0][1]] == down // MERGE * 8 + right // MERGE
    for before, after in zip(one.deep_tokens, other.deep_tokens, strict=True):
        assert (after - before).abs().sum(2).nonzero().tolist() == changed


@torch.no_grad()
def test_levels_are_four_depths_of_the_tower_and_zero_where_nothing_is_seen(
    backbone: QwenVLBackbone, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    QwenVLBackbone(backbone.tower, backbone.decoder, backbone.output)  # a second owner changes nothing
    kept: list[Tensor] = []
    passes: list[int] = []
    backbone.tower.register_forward_hook(lambda *_: passes.append(1))
    for block in backbone.tower.blocks:
        block.register_forward_hook(lambda _, __, out: kept.append(out))
    sight = looked(backbone, processor, pictures)
    assert len(sight.pyramid) == 4
    assert len(passes) == 1  # one pass for tokens and pyramid
    for depth, level in zip(DEPTHS, sight.pyramid, strict=True):
        seen = kept[depth - 1].norm(dim=1).sort().values  # whatever their order
        cells = torch.cat([level[0, :, :12].flatten(1), level[1, :, :, :8].flatten(1)], 1).norm(dim=0).sort().values
        assert torch.allclose(cells, seen, atol=TOLERANCE)
        assert not level[0, :, 12:].any()
        assert not level[1, :, :, 8:].any()
    assert (sight.token_cells[1, 32:] == -1).all()


@torch.no_grad()
def test_pictures_looked_at_in_two_threads_at_once_keep_their_own_levels(
    backbone: QwenVLBackbone, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    alone = [looked(backbone, processor, [rgb]).pyramid for rgb in pictures]
    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(looked, backbone, processor, [rgb]) for rgb in pictures * 4]
    for job, before in zip(jobs, alone * 4, strict=True):
        pyramid = job.result().pyramid
        assert len(pyramid) == len(before)
        assert all(torch.allclose(one, other, atol=TOLERANCE) for one, other in zip(pyramid, before, strict=True))


def test_a_tower_of_odd_depth_gives_levels_from_its_first_quarter_to_its_end() -> None:
    sizes = copy.deepcopy(SIZES["qwen3_vl"])
    sizes["vision_config"] |= {"depth": 27, "deepstack_visual_indexes": [8, 16, 24]}
    assert QwenVLBackbone.from_config(sizes, CANVAS).levels == [7, 14, 21, 27]


# The whole model


@torch.no_grad()
def test_pictures_of_other_shapes_in_the_batch_change_nothing(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], picture: Draw
) -> None:
    several = [*pictures, picture(3, 20, 133)]
    queries = [Query(), Query("a long name of a type", "described", "connector"), Query("dent"), Query("dent")]
    index = [0, 1, 0, 2]
    together = ask(model, processor, see(model, processor, several), queries, index)
    assert together.margin.shape == (4, 64, 64)  # the finest level, drawn four times finer
    assert together.margin.isfinite().all()
    for row, (number, query) in enumerate(zip(index, queries, strict=True)):
        alone = ask(model, processor, see(model, processor, [several[number]]), [query], [0])
        for name in ("margin", "map_score", "text_score", "pred_score"):
            assert torch.allclose(getattr(alone, name)[0], getattr(together, name)[row], atol=TOLERANCE), name
    assert not torch.allclose(together.margin[0], together.margin[2], atol=TOLERANCE)


@torch.no_grad()
def test_what_was_seen_before_and_asked_before_changes_nothing(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], reference: Any
) -> None:
    first = see(model, processor, pictures[:1])
    before = ask(model, processor, first, [Query("dent")], [0])
    second = see(model, processor, pictures[1:])
    ask(model, processor, second, [Query(), Query("scratch", product="cap")], [0, 0])
    after = ask(model, processor, first, [Query("dent")], [0])
    assert torch.equal(before.margin, after.margin)
    assert torch.equal(before.verdict_logits, after.verdict_logits)
    assert reference.model.rope_deltas is None


@torch.no_grad()
def test_cached_answers_equal_one_call_over_everything(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    queries = [Query(), Query("dent", product="a long name of a product")]
    cached = ask(model, processor, see(model, processor, pictures), queries, [0, 1])
    whole = model(**processor(pictures, queries))
    assert whole.pred_score.isfinite().all()
    assert torch.allclose(cached.margin, whole.margin, atol=TOLERANCE)
    assert torch.allclose(cached.pred_score, whole.pred_score, atol=TOLERANCE)


def test_a_wrong_number_of_placeholders_is_refused(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    processor.layout = {"kind": "qwen-vl", "cell": 2 * CELL}
    with pytest.raises(ValueError, match=r"\[12, 8\] image placeholders for \[48, 32\].*same checkpoint"):
        see(model, processor, pictures)


def with_lora(model: GenAUModel) -> None:
    from peft import LoraConfig, get_peft_model

    decoder = model.backbone.decoder
    names = sorted({name.split(".")[-1] for name, part in decoder.named_modules() if isinstance(part, nn.Linear)})
    assert names == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    torch.manual_seed(3)
    model.backbone.decoder = get_peft_model(decoder, LoraConfig(r=2, target_modules=names, init_lora_weights=False))


def test_gradients_reach_what_is_trained_and_nothing_else(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], kind: str
) -> None:
    with_lora(model)
    answer = model(**processor(pictures, [Query(), Query("dent")]))
    (answer.margin.mean() + answer.verdict_logits.mean()).backward()
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    own = {name for name in checkpoints.own_state(model) if name.startswith("backbone.")}
    assert {name for name in reached if name.startswith("backbone.tower.")} <= own
    mergers = ["backbone.tower.merger."]
    mergers += ["backbone.tower.deepstack_merger_list.1."] if kind == "qwen3_vl" else []
    for part in (*mergers, "mask_head.level_in.0", "seg_tokens"):
        assert any(name.startswith(part) for name in reached), part
    for number in range(3):
        assert any(f"layers.{number}." in name and "lora_" in name for name in reached)
    assert not any("decoder" in name and "lora_" not in name for name in reached)


def test_the_mergers_are_ours_and_all_else_of_the_backbone_is_the_bases(model: GenAUModel, kind: str) -> None:
    own = {name.split(".")[2] for name in checkpoints.own_state(model) if name.startswith("backbone.")}
    assert own == {"merger", "deepstack_merger_list"} if kind == "qwen3_vl" else own == {"merger"}
    trained = {name for name, weight in model.backbone.tower.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in trained} == own


@torch.no_grad()
def test_merged_lora_answers_like_the_adapter(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    base = model(**processor(pictures, [Query(), Query("dent")]))
    with_lora(model)
    adapted = model(**processor(pictures, [Query(), Query("dent")]))
    assert not torch.allclose(base.verdict_logits, adapted.verdict_logits, atol=TOLERANCE)
    model.backbone.decoder = model.backbone.decoder.merge_and_unload()
    merged = model(**processor(pictures, [Query(), Query("dent")]))
    assert torch.allclose(adapted.verdict_logits, merged.verdict_logits, atol=TOLERANCE)
    assert torch.allclose(adapted.margin, merged.margin, atol=TOLERANCE)


@torch.no_grad()
def test_a_saved_model_comes_back_whole(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    checkpoints.save_merged(tmp_path, model, processor)
    loaded = checkpoints.load(tmp_path)
    ours, theirs = model.state_dict(), loaded.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.processor.layout == {"kind": "qwen-vl", "cell": CELL}
    assert loaded.processor.image_processor.mean == pytest.approx(processor.image_processor.mean)
    before = model(**processor(pictures, [Query(), Query("dent")]))
    after = loaded.model(**loaded.processor(pictures, [Query(), Query("dent")]))
    assert torch.allclose(before.margin, after.margin, atol=TOLERANCE)  # so the rotary tables came back, too
    assert torch.allclose(before.verdict_logits, after.verdict_logits, atol=TOLERANCE)


def test_the_inspector_finds_types_and_writes_with_and_without_references(
    model: GenAUModel, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]], picture: Draw
) -> None:
    model.config.trained_types = ("scratch", "dent")
    model.config.writes_analysis = model.config.measures_appearance = True  # random words might not come to an end
    model.config.trained_causes = {"scratch": ("a sharp edge", "rough handling"), "dent": ("a blow",)}
    model.config.trained_advice = {"scratch": ("polish it", "scrap it"), "dent": ("rework it",)}
    inspector = Inspector(Checkpoint("tiny", model, processor, Thresholds(0.0, 0.5, 0.3, "all defect", "none")))
    for references in (None, [picture(5, 80, 100), picture(6, 90, 128)]):
        (found,) = inspector.inspect_many(pictures[:1], types=["scratch", "dent"], references=references, analysis=True)
        assert found.verdict is Verdict.DEFECT
        assert found.anomaly_map.shape == (90, 128)
        assert set(found.types) == {"scratch", "dent"}
        assert found.analysis is not None
        assert found.analysis.likely_cause in {"a sharp edge", "rough handling", "a blow"}


# Precision


@torch.no_grad()
def test_a_bf16_base_with_fp32_mergers_gives_fp32_near_the_fp32_base(
    backbone: QwenVLBackbone, processor: GenAUProcessor, pictures: list[NDArray[np.uint8]]
) -> None:
    exact = looked(backbone, processor, pictures)
    backbone.tower.to(torch.bfloat16)
    backbone.decoder.to(torch.bfloat16)
    for name, part in backbone.named_modules():
        if f"{name}.".startswith(backbone.own_parts):
            part.float()
    sight = looked(backbone, processor, pictures)
    for ours, theirs in zip(
        (sight.visual_tokens, *sight.pyramid, *sight.deep_tokens),
        (exact.visual_tokens, *exact.pyramid, *exact.deep_tokens),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.03 * theirs.norm()
    ids = processor.instruction_ids()
    words = backbone.embed(ids)
    assert words.dtype == torch.float32
    hidden, memory = backbone.read(words, torch.ones_like(ids).bool(), None)
    assert hidden.dtype == backbone.logits(hidden).dtype == torch.float32
    assert memory.keys_values[0][0].dtype == torch.bfloat16


# Words


def test_the_chat_reads_as_the_published_templates_render_it(processor: GenAUProcessor) -> None:
    chat = CHAT_FORMATS["qwen-vl"]
    before, tokens, after = QwenLayout(28).pieces((60, 90))
    question = "".join(span.text for span in question_spans(Query("dent")))
    said = chat.before_instruction + INSTRUCTION + chat.before_picture + str(before) + "<|image_pad|>" + str(after)
    said += chat.before_question + question + chat.before_answer
    assert tokens == 3 * 4
    assert said == (
        f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Look for this defect: dent.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    ids = processor.picture_ids([(33, 128)])["picture_ids"][0].tolist()
    control = processor.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])
    assert [ids[0], ids[-1]] == control
    assert ids[1:-1] == [processor.token_ids()["image_token_id"]] * (3 * 8)


def test_a_picture_has_as_many_placeholders_as_transformers_processors_write(
    processor: GenAUProcessor, kind: str, pictures: list[NDArray[np.uint8]]
) -> None:
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    theirs: Any = {"qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}[kind]
    stand_in = SimpleNamespace(image_processor=SimpleNamespace(merge_size=MERGE), image_token="x")
    for rgb, content in zip(pictures, CONTENTS, strict=True):
        assert processor.image_processor.letterbox(*rgb.shape[:2]).content_hw == content
        written = theirs.replace_image_token(stand_in, of_transformers(processor, rgb, kind), 0)
        assert layout_of(processor.layout or {}).pieces(content)[1] == len(written)


# What follows from a base


def test_habits_are_those_of_the_published_bases() -> None:
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]

    older = habits({"model_type": "qwen2_5_vl", "hidden_size": 2048, "vision_config": {"hidden_size": 1280}})
    assert (older.image_size, older.layout, older.chat_format) == (896, {"kind": "qwen-vl", "cell": 28}, "qwen-vl")
    assert older.mean == pytest.approx([255 * each for each in OPENAI_CLIP_MEAN])
    assert older.scale == pytest.approx([255 * each for each in OPENAI_CLIP_STD])
    newer = habits({"model_type": "qwen3_vl"})
    assert (newer.image_size, newer.layout, newer.upsample) == (1024, {"kind": "qwen-vl", "cell": 32}, 4)
    assert newer.mean == newer.scale == (127.5,) * 3
    assert [stride for _, stride, _ in newer.context_scales] == [16, 32]
    assert habits({"model_type": "qwen3_vl"}, 640).image_size == 640
    GenAUConfig(backbone="qwen-vl", image_size=older.image_size, context_scales=older.context_scales)


def test_a_canvas_that_cuts_a_token_is_refused_with_the_nearest_that_fits() -> None:
    with pytest.raises(CheckpointError, match=r"image_size=640 .*28 pixels wide.*multiple of 28\. Use 644\."):
        habits({"model_type": "qwen2_5_vl"}, 640)
    with pytest.raises(CheckpointError, match=r"image_size=100 .*multiple of 16\. Use 96\."):
        QwenVLBackbone.from_config(SIZES["qwen3_vl"], 100)
    backbone = QwenVLBackbone.from_config(SIZES["qwen3_vl"], CANVAS)
    with pytest.raises(CheckpointError, match=r"image_size=120 .*multiple of 16"):
        backbone.look(torch.zeros(1, 3, 120, 120), torch.tensor([[100, 120]]))


def test_a_base_of_another_family_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"'llava'; .*reads qwen2_5_vl and qwen3_vl.*other family"):
        habits({"model_type": "llava"})


def test_a_base_is_loaded_from_a_folder_and_stays_what_it_is(reference: Any, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path)
    loaded = QwenVLBackbone.from_base(tmp_path, CANVAS, local_files_only=True, dtype=torch.float32)
    ours, theirs = QwenVLBackbone.from_model(reference).state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(CheckpointError, match="image_size=120"):
        QwenVLBackbone.from_base(tmp_path, 120, local_files_only=True)


def test_the_configuration_names_the_family_and_is_left_as_it_was(kind: str) -> None:
    assert MODEL_TYPES[kind] == "qwen-vl"
    sizes = copy.deepcopy(SIZES[kind])
    sizes["vision_config"]["model_type"] = kind  # as older files have it
    before = copy.deepcopy(sizes)
    built = build_backbone(GenAUConfig(backbone="qwen-vl", backbone_config=sizes, image_size=CANVAS))
    assert isinstance(built, QwenVLBackbone)
    assert sizes == before
    assert built.level_channels == (32,) * 4
    assert (built.output is None) == (kind == "qwen3_vl")  # its tables are tied


PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen2.5-VL-3B-Instruct": {
        "model_type": "qwen2_5_vl",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vision_config": {"hidden_size": 1280, "out_hidden_size": 2048},
    },
    "Qwen3-VL-8B-Instruct": {
        "model_type": "qwen3_vl",
        "text_config": {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
            "rope_theta": 5000000,
        },
        "vision_config": {"out_hidden_size": 4096},
    },
}


@pytest.mark.parametrize(
    ("name", "billions", "levels"),
    [("Qwen2.5-VL-3B-Instruct", 3.755, [8, 16, 24, 32]), ("Qwen3-VL-8B-Instruct", 8.767, [7, 14, 21, 27])],
)
def test_a_published_base_has_its_published_size(name: str, billions: float, levels: list[int]) -> None:
    with torch.device("meta"):
        base = QwenVLBackbone.from_config(PUBLISHED[name], habits(PUBLISHED[name]).image_size)
    assert sum(weight.numel() for weight in base.parameters()) / 1e9 == pytest.approx(billions, abs=0.001)
    assert base.levels == levels


@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_pass_over_pictures_and_questions_gives_the_same_maps_verdicts_and_gradients(
    model: GenAUModel,
    processor: GenAUProcessor,
    picture: Draw,
    ask_at_once: Callable[..., Decision],
    checkpointing: bool,
) -> None:
    with_lora(model)
    pictures, queries, index = (
        [picture(1), picture(2, 140, 60)],
        [Query(), Query("dent"), Query("long scratch")],
        [0, 1, 0],
    )
    trained = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    expected = ask(model, processor, see(model, processor, pictures), queries, index)
    gradients = torch.autograd.grad(expected.margin.sum() + expected.verdict_logits.pow(2).sum(), trained)
    if checkpointing:
        model.backbone.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        model.backbone.decoder.train()
    found = ask_at_once(model, processor, pictures, queries, index)
    for name in ("margin", "map_score", "verdict_logits"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=TOLERANCE), name
    again = torch.autograd.grad(found.margin.sum() + found.verdict_logits.pow(2).sum(), trained)
    for gradient, wanted in zip(again, gradients, strict=True):
        assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
