"""Self-similarity against a loop over single patches, and on pictures with something painted on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from genau.baselines import self_similarity
from genau.baselines.self_similarity import SelfSimilarity, self_distance, top_mean
from genau.baselines.vision_tower import VisionTower
from genau.detection import Task
from genau.errors import UsageError
from genau.images import Picture

Tower = Callable[[str], VisionTower]
Draw = Callable[..., Picture]
OffBy = Callable[[NDArray[np.float32], tuple[int, int]], int]
some_towers = pytest.mark.parametrize("name", ["nano", "clip", "dinov2"])


def test_the_distance_is_the_mean_of_the_nearest_valid_patches_beyond_the_neighbourhood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_similarity, "CHUNK_PATCHES", 7)
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(4, 7, 5, generator=generator, dtype=torch.float64), dim=-1)
    valid = torch.ones(4, 7, dtype=torch.bool)
    valid[:, 5:] = False
    found = self_distance(features, valid, neighbours=3, exclusion=1)
    for y in range(4):
        for x in range(7):
            others = sorted(
                1 - float(features[y, x] @ features[v, u])
                for v in range(4)
                for u in range(5)
                if max(abs(v - y), abs(u - x)) > 1
            )
            expected = sum(others[:3]) / 3 if valid[y, x] else 0
            assert float(found[y, x]) == pytest.approx(expected, abs=1e-9)


def test_where_nothing_can_be_compared_the_distance_is_zero() -> None:
    features = F.normalize(torch.randn(2, 3, 4), dim=-1)
    assert torch.equal(self_distance(features, torch.ones(2, 3, dtype=torch.bool), 5, 2), torch.zeros(2, 3))


def test_fewer_than_k_others_are_averaged_over_themselves() -> None:
    features = torch.eye(4)[None]  # four patches at right angles in one row
    found = self_distance(features, torch.ones(1, 4, dtype=torch.bool), neighbours=5, exclusion=2)
    assert found.tolist() == [[1, 0, 0, 1]]  # only the two ends are more than two cells apart


@pytest.mark.parametrize(("patches", "counted"), [(10, 1), (100, 1), (101, 2), (300, 3), (700, 7)])
def test_the_score_is_the_mean_of_the_top_hundredth(patches: int, counted: int) -> None:
    distances = torch.arange(patches, dtype=torch.float64)
    assert float(top_mean(distances.flip(0))) == float(distances[-counted:].mean())


@some_towers
@pytest.mark.parametrize(("size_hw", "at"), [((100, 150), (20, 110)), ((170, 90), (120, 20))])
def test_a_painted_square_is_found(
    name: str, size_hw: tuple[int, int], at: tuple[int, int], tower: Tower, textured: Draw, off_by: OffBy
) -> None:
    detector = SelfSimilarity(tower(name))
    prepared = detector.prepare(Task(product="tile"))
    good, bad = (d.inspection for d in detector.detect([textured(*size_hw), textured(*size_hw, at=at)], prepared))
    assert bad.anomaly_map.shape == size_hw
    assert off_by(bad.anomaly_map, at) <= 0
    assert 0 <= good.pred_score < bad.pred_score <= 1
    assert 0 <= bad.anomaly_map.min() <= bad.anomaly_map.max() <= 1


@some_towers
def test_a_picture_alone_is_judged_as_in_a_batch_and_as_the_second_time(
    name: str, tower: Tower, textured: Draw
) -> None:
    detector = SelfSimilarity(tower(name))
    pictures = [textured(60, 110, at=(20, 50)), textured(140, 50, seed=1), textured(30, 31, seed=2)]
    together = detector.detect(pictures, Task())
    for picture, batched in zip(pictures, together, strict=True):
        for _ in range(2):
            alone = detector.detect([picture], Task())[0].inspection
            assert alone.pred_score == pytest.approx(batched.inspection.pred_score, abs=1e-5)
            assert np.allclose(alone.anomaly_map, batched.inspection.anomaly_map, atol=1e-5)


def test_padding_is_no_context(tower: Tower, textured: Draw) -> None:
    """A flat picture's patches are alike; were the padding compared, its border would be the nearest of nothing."""
    patches = tower("nano").patches([textured(40, 120)])
    features, valid = patches.features[0].clone(), patches.valid[0]
    before = self_distance(features, valid, 5, 2)
    features[~valid] = features[0, 0].clone()  # padding that looks like the part
    assert torch.equal(self_distance(features, valid, 5, 2), before)


def test_nothing_is_said_of_types(tower: Tower, textured: Draw) -> None:
    detector = SelfSimilarity(tower("nano"))
    found = detector.detect([textured()], detector.prepare(Task(types={"scratch": None, "dent": "a hollow"})))[0]
    assert found.inspection.types == {}
    assert found.draw_type == {}


def test_references_are_refused(tower: Tower) -> None:
    with pytest.raises(UsageError, match=r"takes no references, but 2 are given. Leave them out.*use patch-memory"):
        SelfSimilarity(tower("nano")).prepare(Task(references=(Path("a.png"), Path("b.png"))))


def test_the_protocol_names_what_decides_the_scores(tower: Tower) -> None:
    detector = SelfSimilarity(tower("dinov2"))
    assert (detector.name, list(detector.trained_products)) == ("self-similarity", [])
    assert detector.settings["base"] == "dinov2"
    assert detector.settings["image_size"] == "112"
    assert detector.settings["thresholds"] == "default: not calibrated"


def test_the_score_is_half_of_a_cosine_distance(tower: Tower, textured: Draw) -> None:
    eyes, picture = tower("clip"), textured(100, 150, at=(20, 110))
    patches = eyes.patches([picture])
    distance = self_distance(patches.features[0], patches.valid[0], 5, 2)[patches.valid[0]]
    found = SelfSimilarity(eyes, neighbours=5, exclusion=2).detect([picture], Task())[0].inspection
    assert found.pred_score == pytest.approx(float(top_mean(distance)) / 2, abs=1e-6)
