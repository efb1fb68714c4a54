"""Measures of free words that need another model: the cosine of a sentence model, and a judge."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from genau.dialogue import Outcome, Prompt, Said
from genau.errors import UsageError, WeightsError
from genau.evaluation.dialogue.asking import ask_all
from genau.evaluation.dialogue.judge import judge, read_points
from genau.evaluation.dialogue.marks import Mark, mark
from genau.evaluation.dialogue.record import opened
from genau.evaluation.dialogue.similarity import SentenceModel
from genau.evaluation.dialogue.visa_dr import read_reasoning


@pytest.fixture
def sentences(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes, initializer_range=0.5))  # type: ignore[arg-type]
    model.save_pretrained(tmp_path / "sentences")
    tokenizer.save_pretrained(tmp_path / "sentences")
    return tmp_path / "sentences"


def test_the_cosine_is_that_of_the_mean_of_the_words(sentences: Path) -> None:
    model = SentenceModel.from_pretrained(str(sentences))
    long, short = "a normal part with a small scratch near the rim", "a defect"
    same, apart = model.cosines([long, short], [long, long])
    assert same == pytest.approx(1, abs=1e-5)
    assert 0 <= apart < 1
    inner = BertModel.from_pretrained(sentences).eval()
    means = []
    for text in (short, long):
        ids = model._tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            means.append(inner(**ids).last_hidden_state[0].mean(0))
    expected = torch.nn.functional.cosine_similarity(means[0], means[1], dim=0)
    assert apart == pytest.approx(float(expected.clamp(min=0)), abs=1e-5)  # padding beside the long one changes nothing
    assert model.cosines([], []) == []


def test_a_model_that_takes_no_means_or_is_not_there_is_explained(sentences: Path, tmp_path: Path) -> None:
    (sentences / "1_Pooling").mkdir()
    (sentences / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(UsageError, match=r"does not take the mean of its words .*all-MiniLM-L6-v2"):
        SentenceModel.from_pretrained(str(sentences))
    with pytest.raises(WeightsError, match=r"cannot be loaded .*leave --similarity out"):
        SentenceModel.from_pretrained(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("text", "points"),
    [("7", 0.7), ("Points: 10", 1.0), ("8/10", 0.8), ("0", 0.0), ("11", None), ("-3", None), ("7 or 8", None)],
)
def test_points_are_one_number_that_can_be_points(text: str, points: float | None) -> None:
    assert read_points(text) == points
    assert read_points(None) is None


def test_a_judge_sees_question_reference_and_answer_but_no_picture_and_no_silence(
    scripted: Any, visa_dr_folder: Path, tmp_path: Path
) -> None:
    talks = read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json")[:2]

    def tells(prompt: Prompt) -> str | Said:
        return "My answer." if len(told.asked) != 3 else Said.nothing(Outcome.UNREADABLE, "cut off")

    told = scripted(tells)
    judging = scripted(lambda prompt: "9" if "Cause" in prompt.turns[0].parts[0] else "no idea", name="judge")
    with opened(tmp_path / "out") as record:
        marks: list[Mark] = mark(ask_all(told, talks, record))
        points = judge(judging, marks, record)
        assert judge(judging, marks, record) == points
    assert points == [None, 0.9, 0.0, 0.0]  # the third was cut off, and the fourth was not asked
    assert len(judging.asked) == 2  # and nothing twice
    assert list(judging.asked[0].pictures) == []
    words = judging.asked[1].turns[0].parts[0]
    assert all(part in words for part in ("What could be the cause?", "Reference: Cause number 0.", "My answer."))
