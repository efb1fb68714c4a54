"""Words of tiny random vision-language models of the real classes: what they are shown, and how they are read."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from genau.baselines import ask_vlm
from genau.baselines.ask_vlm import AskVlm, PlainProcessor
from genau.baselines.vlm_words import VlmWords, option_tokens
from genau.dialogue import Outcome, Prompt, Shown, Turn
from genau.errors import UsageError

Draw = Callable[..., NDArray[np.uint8]]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
VISION: dict[str, Any] = SIZES | {"num_hidden_layers": 3, "image_size": 28, "patch_size": 7}
WORDS: dict[str, Any] = SIZES | {"num_hidden_layers": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048}
LETTERS = {"A": "Yes.", "B": "No."}


@pytest.fixture
def words(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    with_picture = copy.deepcopy(tokenizer)
    with_picture.add_tokens(["<image>"], special_tokens=True)
    return with_picture


@pytest.fixture
def llava(words: PreTrainedTokenizerFast) -> VlmWords:
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, initializer_range=0.5),
        text_config=LlamaConfig(**WORDS, vocab_size=len(words), initializer_range=0.2),
        image_token_index=len(words) - 1,
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = words.eos_token_id
    scaling = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        scaling,
        words,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return VlmWords(model, processor, "tiny", max_tokens=6)


@pytest.fixture
def onevision(words: PreTrainedTokenizerFast) -> VlmWords:
    """A family whose processor needs torchvision: through `PlainProcessor`."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(**VISION, vision_use_head=False)
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**WORDS, vocab_size=len(words), initializer_range=0.2),
        image_token_index=len(words) - 1,
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
        vision_feature_layer=-1,
    )
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    scaling = LlavaOnevisionImageProcessorPil(
        size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]]
    )
    return VlmWords(model, PlainProcessor(scaling, words, model, TEMPLATE), "tiny", max_tokens=6)


@pytest.fixture
def shown(tmp_path: Path, picture: Draw) -> list[Shown]:
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed, 40 + 20 * seed, 90, spot=seed == 2)).save(path)
    return [Shown(paths[0], reference=True), Shown(paths[1], reference=True), Shown(paths[2])]


def prompt(*parts: str | Shown) -> Prompt:
    return Prompt((Turn("user", parts),), "Is there a defect?", LETTERS)


def only(model: VlmWords, *sequence: str) -> None:
    """Let the model say exactly these pieces, one token after the other, whatever it sees."""
    tokenizer = model.processor.tokenizer
    ids = [tokenizer(piece, add_special_tokens=False).input_ids[0] for piece in sequence]
    step = [0]

    def said(*_: Any, **__: Any) -> Any:
        logits = torch.full((1, 1, len(tokenizer)), -20.0)
        logits[0, 0, ids[min(step[0], len(ids) - 1)]] = 20.0
        step[0] += 1
        return logits

    model.model.lm_head.forward = said


def test_words_are_generated_until_the_model_ends(llava: VlmWords, shown: list[Shown]) -> None:
    only(llava, "B", ".", llava.processor.tokenizer.eos_token)
    said = llava.answer(prompt("Look: ", shown[2], "?"))
    assert (said.text, said.outcome, said.tokens_out) == ("B.", Outcome.ANSWERED, 3)


def test_what_is_cut_off_is_unreadable(llava: VlmWords, shown: list[Shown]) -> None:
    only(llava, "B")
    said = llava.answer(prompt(shown[2], "?"))
    assert (said.text, said.outcome, said.tokens_out) == (None, Outcome.UNREADABLE, 6)
    assert "cut off after 6 tokens" in said.reason
    only(llava, llava.processor.tokenizer.eos_token)
    assert llava.answer(prompt(shown[2], "?")).reason == "empty"


@pytest.mark.parametrize("family", ["llava", "onevision"])
def test_every_picture_is_looked_at_in_its_place(
    family: str, request: pytest.FixtureRequest, shown: list[Shown]
) -> None:
    model: VlmWords = request.getfixturevalue(family)
    seen = model._inputs(prompt("a", shown[0], "b", shown[2], "c"))
    swapped = model._inputs(prompt("a", shown[2], "b", shown[0], "c"))
    token = model.model.config.image_token_id
    text = model.processor.tokenizer.decode(seen["input_ids"][0])
    assert text.startswith("user: a<image>")
    assert "<image>b<image>" in text
    assert "<image>c assistant:" in text
    assert seen["pixel_values"].shape[0] == 2
    with torch.inference_mode():
        logits = [model.model(**inputs).logits[0, -1] for inputs in (seen, swapped)]
    assert int((seen["input_ids"] == token).sum()) == int((swapped["input_ids"] == token).sum())
    assert not torch.allclose(*logits)


def test_pictures_of_unlike_shapes_get_as_many_placeholders_as_they_have_features(
    onevision: VlmWords, tmp_path: Path, picture: Draw
) -> None:
    pictures = []
    for name, height, width in (("wide", 30, 90), ("nearly-square", 60, 64)):
        Image.fromarray(picture(0, height, width)).save(tmp_path / f"{name}.png")
        pictures.append(Shown(tmp_path / f"{name}.png"))
    token = onevision.model.config.image_token_id

    def counted(*parts: str | Shown) -> list[int]:
        ids = onevision._inputs(prompt(*parts))["input_ids"][0]
        text = onevision.processor.tokenizer.decode(ids)
        assert text.count("<image>") == int((ids == token).sum())
        return [piece.count("<image>") for piece in text.split("|")]

    wide, square = (counted(one)[0] for one in pictures)
    assert wide != square
    assert counted(pictures[0], "|", pictures[1]) == [wide, square]
    assert counted(pictures[1], "|", pictures[0]) == [square, wide]


def test_several_turns_are_put_as_the_template_wants_them(llava: VlmWords, shown: list[Shown]) -> None:
    talk = Prompt((Turn("user", ("And?",)),), "And?").after(
        [Turn("user", (shown[2], "Is it bad?")), Turn("assistant", ("Yes",))]
    )
    text = llava.processor.tokenizer.decode(llava._inputs(talk)["input_ids"][0])
    assert text.endswith("Is it bad? assistant: Yes user: And? assistant:")


def test_options_are_read_from_the_logits_where_the_answer_begins(llava: VlmWords, shown: list[Shown]) -> None:
    chooses = replace(llava, read="logits")
    only(chooses, "B")
    said = chooses.answer(prompt(shown[2], "?"))
    assert (said.text, said.tokens_out) == ("B", 0)
    only(chooses, "Z")
    said = chooses.answer(prompt(shown[2], "?"))
    assert said.outcome is Outcome.UNREADABLE
    assert f"below {ask_vlm.SMALLEST_MASS}" in said.reason
    only(chooses, "Z", chooses.processor.tokenizer.eos_token)
    free = Prompt(prompt(shown[2], "?").turns, "?")
    assert chooses.answer(free).text == "Z"  # there are no options to choose from


def test_the_likelier_option_is_the_one_of_the_models_own_logits(llava: VlmWords, shown: list[Shown]) -> None:
    chooses = replace(llava, read="logits")
    asked = prompt(shown[0], shown[2], "?")
    tokens = option_tokens(llava.processor.tokenizer, ["A", "B"], "tiny")
    with torch.inference_mode():
        likely = llava.model(**llava._inputs(asked)).logits[0, -1].softmax(-1)
    mass = {letter: float(likely[list(ids)].sum()) for letter, ids in tokens.items()}
    original, ask_vlm.SMALLEST_MASS = ask_vlm.SMALLEST_MASS, 0.0
    try:
        assert chooses.answer(asked).text == max(mass, key=lambda letter: mass[letter])
    finally:
        ask_vlm.SMALLEST_MASS = original


def test_options_that_begin_alike_cannot_be_read_from_logits(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UsageError, match=r"begins 'defect' with the same token.*Use --read letter"):
        option_tokens(words, ["defect", "defective"], "tiny")


def test_a_larger_picture_is_scaled_down_where_it_is_asked(llava: VlmWords, shown: list[Shown]) -> None:
    small = replace(llava, longest_side=30)
    sizes: list[tuple[int, int]] = []
    scale = llava.processor.image_processor.__class__.__call__

    def watched(self: Any, images: Any, **options: Any) -> Any:
        flat = images if isinstance(images, list) else [images]
        sizes.extend(image.size for image in flat)
        return scale(self, images, **options)

    watching = type("Watching", (llava.processor.image_processor.__class__,), {"__call__": watched})
    llava.processor.image_processor.__class__ = watching
    small.answer(prompt(shown[2], "?"))
    llava.answer(prompt(shown[2], "?"))
    assert sizes == [(30, 27), (90, 80)]
    assert small.settings != llava.settings != replace(llava, read="logits").settings


def test_loading_checks_the_precision_and_keeps_the_asked_one(
    llava: VlmWords, shown: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"dtype='int8' must be float32 or bfloat16"):
        VlmWords.from_pretrained("x", dtype="int8")
    found = AskVlm(llava.model, llava.processor, llava.processor.tokenizer, "tiny", (1,), (2,))
    monkeypatch.setattr(AskVlm, "from_pretrained", lambda base, device="cpu": found)
    loaded = VlmWords.from_pretrained("some/vlm", dtype="bfloat16", read="logits", max_tokens=3)
    assert (loaded.name, loaded.settings["dtype"]) == ("some/vlm", "bfloat16")
    assert loaded._inputs(prompt(shown[2], "?"))["pixel_values"].dtype is torch.bfloat16
    assert loaded.answer(prompt(shown[2], "?")).outcome in {Outcome.ANSWERED, Outcome.UNREADABLE}


def test_a_template_that_forgets_a_picture_is_named(onevision: VlmWords, shown: list[Shown]) -> None:
    forgetful = PlainProcessor(
        onevision.processor.image_processor, onevision.processor.tokenizer, onevision.model, "<image>"
    )
    with pytest.raises(UsageError, match=r"put 1 placeholders '<image>' into the prompt; 2 pictures need 2\. Add"):
        replace(onevision, processor=forgetful).answer(prompt(shown[0], shown[2]))


def test_a_folder_is_loaded_and_asked_from_the_command_line(
    llava: VlmWords, tmp_path: Path, picture: Draw, genau: Callable[..., Any]
) -> None:
    llava.model.save_pretrained(tmp_path / "model")
    llava.processor.save_pretrained(tmp_path / "model")
    entries = []
    for seed, bad in enumerate((False, True)):
        name = f"VisA/candle/{seed}.png"
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, 30, 50, spot=bad)).save(tmp_path / "data" / name)
        entries.append({"image": name, "metadata": {"anomaly": bad}})
    (tmp_path / "data.json").write_text(json.dumps(entries))
    files = ["--data", tmp_path / "data", "--detection", tmp_path / "data.json", "-o", tmp_path / "out"]
    run = genau("eval", "visa-dr", *files, "--base", tmp_path / "model", "--max-tokens", 4, "--longest-side", 40)
    assert run.code == 0, run.err
    settings = json.loads((tmp_path / "out" / "metrics.json").read_text())["settings"]
    assert (settings["max tokens"], settings["longest side"], settings["dtype"]) == ("4", "40 px", "float32")
    rows = [json.loads(line) for line in (tmp_path / "out" / "questions.jsonl").read_text().splitlines()]
    assert {row["outcome"] for row in rows} == {"unreadable"}  # a random model says nothing that can be read
