"""CLIP zero-shot: planted features give the score and the map that the prompts say, in the frame of the original."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genau.baselines.clip import Clip, PreparedClip
from genau.baselines.clip_prompts import PROMPTS, Directions
from genau.baselines.clip_tower import ClipTower, ImageFeatures
from genau.calibration import Thresholds
from genau.detection import Detector, Task
from genau.errors import UsageError
from genau.images import Picture
from genau.results import Verdict

Draw = Callable[..., NDArray[np.uint8]]
TASK = Task("bolt", {"scratch": None, "bent": "not straight"})


@pytest.fixture
def pictures(picture: Draw) -> list[Picture]:
    return [Picture(picture(seed, 60 + 40 * seed, 140, spot=True), f"{seed}") for seed in range(3)]


@pytest.fixture
def texts(clip_tower: ClipTower, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts that are encoded from now on."""
    seen: list[str] = []
    encode = clip_tower.encode_texts

    def spy(texts: Sequence[str]) -> torch.Tensor:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr(clip_tower, "encode_texts", spy)
    return seen


def plant(tower: ClipTower, monkeypatch: pytest.MonkeyPatch, image: torch.Tensor, patches: torch.Tensor) -> None:
    """Let every picture look like this: image (D,), patches (h, w, D)."""
    seen = ImageFeatures(image[None], (patches[None],), (patches.shape[0], patches.shape[1]))
    monkeypatch.setattr(tower, "encode_pixels", lambda pixels, depths: seen)


def test_the_pair_of_prompts_is_that_of_the_tables(clip_tower: ClipTower, texts: list[str]) -> None:
    Clip(clip_tower).prepare(TASK)
    assert texts == [
        "a photo of a normal bolt.",
        "a photo of an anomalous bolt.",
        "a photo of a bolt with scratch.",
        "a photo of a bolt with bent, not straight.",
    ]
    texts.clear()
    Clip(clip_tower).prepare(Task())
    assert texts == ["a photo of a normal object.", "a photo of an anomalous object."]


def test_the_ensemble_is_every_state_in_every_template(clip_tower: ClipTower, texts: list[str]) -> None:
    prepared = Clip(clip_tower, "ensemble").prepare(Task("bolt", {"scratch": None}))
    ensemble = PROMPTS["ensemble"]
    assert [len(set(part)) for part in (ensemble.normal, ensemble.anomalous, ensemble.templates)] == [7, 4, 22]
    normal, anomalous, typed = texts[:154], texts[154 : 154 + 88], texts[154 + 88 :]
    assert len(set(texts)) == len(texts) == (7 + 4 + 1) * 22
    assert {"a photo of a bolt.", "a jpeg corrupted photo of a flawless bolt."} <= set(normal)
    assert "a close-up photo of the bolt without damage." in normal
    assert {"a photo of the damaged bolt.", "a photo of a bolt with flaw for visual inspection."} <= set(anomalous)
    assert "a photo of the small bolt with scratch." in typed
    mean = clip_tower.encode_texts(anomalous).mean(0)
    torch.testing.assert_close(prepared.directions.bad[0], mean / mean.norm())


def test_words_with_braces_stay_as_they_are(clip_tower: ClipTower, texts: list[str]) -> None:
    Clip(clip_tower).prepare(Task("bolt {}", {"{0} mark": None}))
    assert texts[0] == "a photo of a normal bolt {}."
    assert texts[2] == "a photo of a bolt {} with {0} mark."


def test_score_and_map_peak_where_a_text_is_planted(clip_tower: ClipTower, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(clip_tower)
    prepared = clip.prepare(TASK)
    good, (bad, scratch, bent) = prepared.directions.good, prepared.directions.bad
    patches = good.expand(5, 5, -1).clone()
    patches[1, 3], patches[4, 0] = bad, bent
    plant(clip_tower, monkeypatch, bent, patches)
    picture = Picture(np.full((100, 200, 3), 90, np.uint8), "bolt")
    [detection] = clip.detect([picture], prepared)
    found, scale = detection.inspection, clip_tower.logit_scale
    for score, direction in [
        (found.pred_score, bad),
        (found.types["scratch"], scratch),
        (found.types["bent"], bent),
    ]:
        pair = torch.stack([bent @ good, bent @ direction]) * scale
        assert score == pytest.approx(float(pair.softmax(0)[1]), abs=1e-6)
    assert found.types["bent"] > max(found.types["scratch"], found.pred_score)
    assert np.isnan(found.map_score)
    assert found.anomaly_map.shape == (100, 200)
    peak = np.unravel_index(found.anomaly_map.argmax(), (100, 200))
    assert 20 <= peak[0] < 40 and 120 <= peak[1] < 160
    drawn = detection.draw_type["bent"]()
    peak = np.unravel_index(drawn.argmax(), drawn.shape)
    assert 80 <= peak[0] < 100 and 0 <= peak[1] < 40


def test_a_picture_is_judged_alone_as_in_a_batch_and_twice_the_same(
    clip_tower: ClipTower, pictures: list[Picture]
) -> None:
    clip: Detector = Clip(clip_tower, "ensemble")
    prepared = clip.prepare(TASK)
    together = clip.detect(pictures, prepared)
    for picture, first, again in zip(pictures, together, clip.detect(pictures, prepared), strict=True):
        [alone] = clip.detect([picture], prepared)
        assert first.inspection.image == picture.name
        assert again.inspection.to_dict() == first.inspection.to_dict()
        assert alone.inspection.pred_score == pytest.approx(first.inspection.pred_score, abs=1e-5)
        np.testing.assert_allclose(alone.inspection.anomaly_map, first.inspection.anomaly_map, atol=1e-5)
        assert first.inspection.anomaly_map.shape == picture.rgb.shape[:2]
        assert 0 <= first.inspection.anomaly_map.min() <= first.inspection.anomaly_map.max() <= 1
    assert len({found.inspection.pred_score for found in together}) == 3


def test_texts_are_encoded_once_per_product(clip_tower: ClipTower, pictures: list[Picture], texts: list[str]) -> None:
    clip = Clip(clip_tower)
    prepared = clip.prepare(TASK)
    texts.clear()
    clip.detect(pictures, prepared)
    assert texts == []


def test_thresholds_decide(clip_tower: ClipTower, pictures: list[Picture]) -> None:
    clip = Clip(clip_tower, thresholds=Thresholds(image=0.0))
    [found] = clip.detect(pictures[:1], clip.prepare(Task()))
    assert found.inspection.verdict is Verdict.DEFECT
    [found] = replace(clip, thresholds=Thresholds(image=1.0)).detect(pictures[:1], clip.prepare(Task()))
    assert found.inspection.verdict is Verdict.NORMAL


def test_a_zero_shot_detector_refuses_references(clip_tower: ClipTower) -> None:
    with pytest.raises(UsageError, match=r"clip-ac got 2 reference pictures, but it is zero-shot.*take winclip"):
        Clip(clip_tower, "ensemble").prepare(Task("bolt", references=(Path("a.png"), Path("b.png"))))


def test_unknown_prompts_are_refused(clip_tower: ClipTower) -> None:
    with pytest.raises(UsageError, match=r"prompts='double' is unknown. Use 'single' or 'ensemble'"):
        Clip(clip_tower, "double")  # type: ignore[arg-type]


def test_it_is_called_what_the_tables_call_it_and_says_what_decides(clip_tower: ClipTower, tmp_path: Path) -> None:
    clip_tower.model.save_pretrained(tmp_path)
    clip_tower.tokenizer.save_pretrained(tmp_path)
    clip = Clip.from_pretrained(tmp_path, prompts="ensemble", image_size=48)
    assert (clip.name, Clip(clip_tower).name, clip.trained_products) == ("clip-ac", "clip", ())
    assert clip.settings["backbone"] == str(tmp_path)
    assert clip.settings["image size"].startswith("48 px")
    assert clip.settings["prompts"] == "ensemble"
    assert clip.settings["threshold"] == "0.5 (default: not calibrated)"
    assert isinstance(clip.prepare(Task()), PreparedClip)


def test_a_score_is_the_softmax_against_good() -> None:
    directions = Directions(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    scores = directions.scores(torch.tensor([[0.6, 0.8], [1.0, 0.0]]), 10.0)
    torch.testing.assert_close(scores, torch.tensor([[0.8808, 0.5], [4.54e-5, 0.5]]), atol=1e-4, rtol=0)
