"""Yes or No of a tiny LLaVA: what is asked, how it is read, and when it is no answer."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
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
from genau.baselines.ask_vlm import AskVlm, PlainProcessor, answer_tokens, load_processor
from genau.detection import Task
from genau.errors import UsageError, WeightsError
from genau.images import Picture
from genau.results import Verdict

Draw = Callable[..., NDArray[np.uint8]]
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
VISION: dict[str, Any] = SIZES | {"num_hidden_layers": 3, "image_size": 28, "patch_size": 7}
SMALLEST_MASS = ask_vlm.SMALLEST_MASS  # the real one
WORDS: dict[str, Any] = SIZES | {"num_hidden_layers": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048}


@pytest.fixture
def words(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    with_picture = copy.deepcopy(tokenizer)
    with_picture.add_tokens(["<image>"], special_tokens=True)
    return with_picture


def lean(model: Any, tokenizer: Any) -> Any:
    """Let a random model lean to Yes or No as its state has it; all other words are alike."""
    yes, no = answer_tokens(tokenizer, "tiny")
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[list(yes)] = direction * 0.3
        model.lm_head.weight[list(no)] = -direction * 0.3
    return model.eval()


@pytest.fixture
def parts(words: PreTrainedTokenizerFast) -> tuple[Any, LlavaProcessor]:
    """A random LLaVA of the real classes and its processor."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, initializer_range=0.5),
        text_config=LlamaConfig(**WORDS, vocab_size=len(words), initializer_range=0.2),
        image_token_index=len(words) - 1,
    )
    scaling = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    settings: dict[str, Any] = {
        "patch_size": 7,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }
    processor = LlavaProcessor(scaling, words, **settings, chat_template=TEMPLATE)
    return lean(LlavaForConditionalGeneration(config), words), processor


@pytest.fixture
def detector(parts: tuple[Any, LlavaProcessor], monkeypatch: pytest.MonkeyPatch) -> AskVlm:
    monkeypatch.setattr(ask_vlm, "SMALLEST_MASS", 0.0)  # a random model's words are all about as likely
    return AskVlm.of_parts(*parts, "tiny")


def named(rgb: NDArray[np.uint8]) -> Picture:
    return Picture(rgb, "part")


def test_the_score_is_the_share_of_yes_in_the_first_word_that_the_model_would_generate(
    detector: AskVlm, picture: Draw
) -> None:
    prompt = (
        "USER: <image>\nAre there any defects for the bolt in the image? Please reply with 'Yes' or 'No'. ASSISTANT:"
    )
    prepared = detector.prepare(Task(product="bolt"))
    assert prepared.general == prompt
    rgb = picture()
    inputs: Any = detector.processor(images=[Image.fromarray(rgb)], text=[prompt], return_tensors="pt")
    options = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    probability = detector.model.generate(**inputs, **options).logits[0][0].softmax(-1)
    yes, no = (float(probability[list(ids)].sum()) for ids in (detector.yes_ids, detector.no_ids))
    found = detector.detect([named(rgb)], prepared)[0].inspection
    assert found.pred_score == pytest.approx(yes / (yes + no), abs=1e-6)
    assert found.text_score == found.pred_score
    assert found.verdict is (Verdict.DEFECT if yes > no else Verdict.NORMAL) is found.text_verdict


def test_nothing_is_drawn(detector: AskVlm, picture: Draw) -> None:
    found = detector.detect([named(picture())], detector.prepare(Task(types={"scratch": None})))[0]
    assert found.draw_type == {}
    assert found.inspection.anomaly_map.size == found.inspection.pred_mask.size == 0
    assert np.isnan(found.inspection.map_score)
    assert found.inspection.contradiction is None


def test_the_picture_is_looked_at(detector: AskVlm, picture: Draw) -> None:
    prepared = detector.prepare(Task())
    pictures = [named(picture(0)), named(255 - picture(0)), named(picture(1, 140, 60, spot=True))]
    scores = {round(found.inspection.pred_score, 6) for found in detector.detect(pictures, prepared)}
    assert len(scores) == 3


def test_a_picture_alone_is_judged_as_in_a_batch_and_as_the_second_time(detector: AskVlm, picture: Draw) -> None:
    prepared = detector.prepare(Task(types={"dent": None}))
    pictures = [named(picture(seed, 40 + 30 * seed, 90)) for seed in range(3)]
    together = detector.detect(pictures, prepared)
    for one, batched in zip(pictures, together, strict=True):
        alone = detector.detect([one], prepared)[0].inspection
        assert alone.pred_score == pytest.approx(batched.inspection.pred_score, abs=1e-6)
        assert alone.types == pytest.approx(batched.inspection.types, abs=1e-6)


def test_each_type_is_one_question_with_its_description(detector: AskVlm, picture: Draw) -> None:
    prepared = detector.prepare(Task("metal nut", {"scratch": "thin bright line", "dent": None}))
    assert "Is there any scratch (thin bright line) on the metal nut in the image?" in prepared.types["scratch"]
    assert "Is there any dent on the metal nut in the image? Please reply with 'Yes' or 'No'." in prepared.types["dent"]
    found = detector.detect([named(picture())], prepared)[0].inspection
    asked = {name: detector._ask(named(picture()), prompt)[1] for name, prompt in prepared.types.items()}
    assert found.types == pytest.approx(asked)
    assert found.types["scratch"] != found.types["dent"]


def test_a_product_without_a_name_is_the_object(detector: AskVlm) -> None:
    assert "any defects for the object in the image" in detector.prepare(Task()).general


def test_a_model_that_would_say_something_else_is_unreadable_and_never_normal(
    detector: AskVlm, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_vlm, "SMALLEST_MASS", SMALLEST_MASS)
    with torch.no_grad():
        detector.model.lm_head.weight.zero_()  # every word is as likely as any other
    found = detector.detect([named(picture(0, 50, 80))], detector.prepare(Task()))[0].inspection
    assert found.verdict is Verdict.UNREADABLE
    assert (found.height, found.width) == (50, 80)
    assert found.error is not None
    assert "would answer neither Yes nor No" in found.error
    assert f"below {SMALLEST_MASS}. Ask an instruction-tuned model" in found.error


def test_a_type_that_cannot_be_read_has_no_score(
    detector: AskVlm, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_: AskVlm, __: Picture, prompt: str) -> tuple[float, float]:
        return (0.001, 0.9) if "dent" in prompt else (0.8, 0.7)

    monkeypatch.setattr(AskVlm, "_ask", ask)
    monkeypatch.setattr(ask_vlm, "SMALLEST_MASS", SMALLEST_MASS)
    found = detector.detect([named(picture())], detector.prepare(Task(types={"dent": None, "hole": None})))[
        0
    ].inspection
    assert found.pred_score == found.types["hole"] == 0.7
    assert np.isnan(found.types["dent"])


def test_scores_that_are_no_numbers_are_unreadable(detector: AskVlm, picture: Draw) -> None:
    with torch.no_grad():
        detector.model.lm_head.weight.fill_(torch.nan)
    assert detector.detect([named(picture())], detector.prepare(Task()))[0].inspection.verdict is Verdict.UNREADABLE


def test_the_first_control_token_is_written_once(parts: tuple[Any, LlavaProcessor], picture: Draw) -> None:
    processor = parts[1]
    seen: list[list[int]] = []

    def forward(**inputs: Any) -> Any:
        seen.append(inputs["input_ids"][0].tolist())
        return SimpleNamespace(logits=torch.zeros(1, 1, 700))

    fake: Any = SimpleNamespace(device="cpu", forward=forward)
    caller: Any = type("Model", (), {"__call__": lambda _, **inputs: forward(**inputs), **vars(fake)})()
    caller.eval = lambda: caller
    caller.forward = forward
    processor.chat_template = "{{ bos_token }}" + TEMPLATE
    detector = AskVlm.of_parts(caller, processor, "tiny")
    detector._ask(named(picture()), detector.prepare(Task()).general)
    assert seen[0].count(processor.tokenizer.bos_token_id) == 1


def test_references_are_refused(detector: AskVlm) -> None:
    with pytest.raises(UsageError, match=r"takes no references, but 1 are given. Leave them out.*use patch-memory"):
        detector.prepare(Task(references=(Path("good.png"),)))


@pytest.mark.parametrize("task", [Task("bolt <image>"), Task(types={"dent": "see <|im_end|>"})])
def test_a_name_that_holds_a_control_token_is_refused(task: Task, detector: AskVlm) -> None:
    with pytest.raises(UsageError, match=r"holds '<.*>', a control token of tiny. Name it without"):
        detector.prepare(task)


def test_without_a_chat_template_nothing_is_asked(parts: tuple[Any, LlavaProcessor]) -> None:
    model, processor = parts
    processor.chat_template = None
    with pytest.raises(UsageError, match=r"tiny has no chat template.*Use an instruction-tuned model"):
        AskVlm.of_parts(model, processor, "tiny")


def test_words_that_begin_alike_cannot_be_told_apart() -> None:
    def bytewise(text: str, **_: object) -> Any:
        return SimpleNamespace(input_ids=[7, *text.encode()])

    with pytest.raises(UsageError, match=r"begins 'Yes' and 'No' with the same token.*Use another model"):
        answer_tokens(bytewise, "tiny")


def test_a_first_token_that_both_words_share_counts_for_neither(words: PreTrainedTokenizerFast) -> None:
    yes, no = answer_tokens(words, "tiny")
    space = words(" Yes", add_special_tokens=False).input_ids[0]
    assert words.convert_ids_to_tokens(space) == "Ġ"  # this tokenizer knows no word " Yes"
    assert (words.convert_ids_to_tokens(list(yes)), words.convert_ids_to_tokens(list(no))) == (["Y"], ["N"])


def test_a_folder_gives_the_model_that_was_saved_there(
    detector: AskVlm, parts: tuple[Any, LlavaProcessor], tmp_path: Path, picture: Draw
) -> None:
    for part in parts:
        part.save_pretrained(tmp_path)
    loaded = AskVlm.from_pretrained(str(tmp_path))
    assert isinstance(loaded.processor, LlavaProcessor)
    scores = [d.detect([named(picture())], d.prepare(Task()))[0].inspection.pred_score for d in (detector, loaded)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_llava_onevision_needs_no_torchvision(
    words: PreTrainedTokenizerFast, tmp_path: Path, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs_torchvision(*_: object, **__: object) -> None:
        raise ImportError("LlavaOnevisionVideoProcessor requires the Torchvision library")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", needs_torchvision)
    torch.manual_seed(0)
    pinpoints = [[28, 28], [28, 56], [56, 28]]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION),
        text_config=Qwen2Config(**WORDS, vocab_size=len(words)),
        image_token_index=len(words) - 1,
        video_token_index=5,
        image_grid_pinpoints=pinpoints,
        vision_feature_select_strategy="full",
    )
    lean(LlavaOnevisionForConditionalGeneration(config), words).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    scaling = LlavaOnevisionImageProcessorPil(size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints)
    scaling.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    detector = AskVlm.from_pretrained(str(tmp_path))
    assert isinstance(detector.processor, PlainProcessor)
    prepared = detector.prepare(Task())
    monkeypatch.setattr(ask_vlm, "SMALLEST_MASS", 0.0)
    found = detector.detect([named(picture(0, 40, 90)), named(picture(0, 90, 40))], prepared)
    assert all(0 <= one.inspection.pred_score <= 1 for one in found)
    with pytest.raises(UsageError, match=r"put 0 placeholders '<image>' into the prompt; one picture needs 1"):
        detector.processor(images=[], text=["no picture"])


def test_a_family_whose_processor_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_torchvision(*_: object, **__: object) -> None:
        raise ImportError("requires the Torchvision library")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", needs_torchvision)
    model = SimpleNamespace(config=SimpleNamespace(model_type="qwen3_vl"))
    with pytest.raises(UsageError, match=r"family qwen3_vl\) cannot be loaded \(requires the Torch.*matches your"):
        load_processor("some/qwen", model)


def test_weights_that_cannot_be_fetched_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", offline)
    with pytest.raises(WeightsError, match=r"no connection.*`hf download some/vlm --local-dir FOLDER`.*--base"):
        AskVlm.from_pretrained("some/vlm")


def test_a_model_without_words_is_refused(tmp_path: Path) -> None:
    CLIPVisionConfig(**VISION).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be used as an image-text-to-text model .*--base"):
        AskVlm.from_pretrained(str(tmp_path))
