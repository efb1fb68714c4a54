"""PatchCore's parts against loops over single patches, and the whole on pictures with something painted on them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genau.baselines import patch_memory
from genau.baselines.patch_memory import (
    PatchMemory,
    Remembered,
    image_score,
    locally_aware,
    nearest_distance,
)
from genau.baselines.vision_tower import VisionTower
from genau.detection import Task
from genau.errors import ImageError, UsageError
from genau.images import Picture

Tower = Callable[[str], VisionTower]
Draw = Callable[..., Picture]
OffBy = Callable[[NDArray[np.float32], tuple[int, int]], int]
Save = Callable[[Picture], Path]
some_towers = pytest.mark.parametrize("name", ["nano", "clip", "dinov2"])


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    """Write a picture as PNG and return its path."""

    def save(picture: Picture) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        Image.fromarray(picture.rgb).save(path)
        return path

    return save


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


@pytest.fixture
def task(textured: Draw, saved: Save) -> Task:
    """References of mixed sizes, wide and tall."""
    sizes = ((90, 150), (150, 90), (60, 61))
    return Task(references=tuple(saved(textured(*size, seed=10 + n)) for n, size in enumerate(sizes)))


@some_towers
@pytest.mark.parametrize(("size_hw", "at"), [((100, 150), (20, 110)), ((170, 90), (120, 20))])
def test_a_painted_square_is_found(
    name: str, size_hw: tuple[int, int], at: tuple[int, int], tower: Tower, textured: Draw, task: Task, off_by: OffBy
) -> None:
    detector = PatchMemory(tower(name))
    prepared = detector.prepare(task)
    pictures = [textured(*size_hw), textured(*size_hw, at=at)]
    good, bad = (found.inspection for found in detector.detect(pictures, prepared))
    assert bad.anomaly_map.shape == size_hw
    assert off_by(bad.anomaly_map, at) <= 0
    assert 0 <= good.pred_score < bad.pred_score <= 1
    assert 0 <= bad.anomaly_map.min() <= bad.anomaly_map.max() <= 1


@some_towers
def test_a_picture_alone_is_judged_as_in_a_batch_and_as_the_second_time(
    name: str, tower: Tower, textured: Draw, task: Task
) -> None:
    detector = PatchMemory(tower(name))
    pictures = [textured(60, 110, at=(20, 50)), textured(140, 50, seed=1), textured(30, 31, seed=2)]
    together = detector.detect(pictures, detector.prepare(task))
    again = detector.prepare(task)
    for picture, batched in zip(pictures, together, strict=True):
        alone = detector.detect([picture], again)[0].inspection
        assert alone.pred_score == pytest.approx(batched.inspection.pred_score, abs=1e-5)
        assert np.allclose(alone.anomaly_map, batched.inspection.anomaly_map, atol=1e-3)  # a root near zero


def test_a_reference_is_itself_not_anomalous(tower: Tower, textured: Draw, saved: Save) -> None:
    detector = PatchMemory(tower("nano"), fraction=1.0)
    picture = textured(80, 130, at=(20, 30))
    prepared = detector.prepare(Task(references=(saved(picture),)))
    found = detector.detect([picture], prepared)[0].inspection
    assert found.pred_score < 2e-3  # the square root of fp32's rounding
    assert found.anomaly_map.max() < 2e-3


def test_padding_is_not_remembered(tower: Tower, textured: Draw, saved: Save) -> None:
    eyes = tower("nano")
    picture = textured(40, 130)
    remembered = PatchMemory(eyes, fraction=1.0).prepare(Task(references=(saved(picture),)))
    assert len(remembered.memory) <= int(eyes.patches([picture]).valid.sum())


def test_the_memory_is_a_tenth_of_the_patches_and_the_same_each_time(tower: Tower, task: Task) -> None:
    eyes = tower("clip")
    first, again = (PatchMemory(eyes).prepare(task).memory for _ in range(2))
    everything = PatchMemory(eyes, fraction=1.0).prepare(task).memory
    assert torch.equal(first, again)
    assert len(first) == math.ceil(len(everything) / 10)
    assert not torch.equal(first, PatchMemory(eyes, seed=1).prepare(task).memory)


def test_the_memory_is_bounded(tower: Tower, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_memory, "MOST_REMEMBERED", 5)
    assert len(PatchMemory(tower("nano"), fraction=1.0).prepare(task).memory) == 5


def test_the_distance_is_that_to_the_nearest_remembered_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_memory, "CHUNK_PATCHES", 4)
    patches, memory = unit(11, 5), unit(9, 5, seed=1)
    distance, nearest = nearest_distance(patches, memory)
    every = torch.stack([torch.stack([(patch - other).norm() for other in memory]) for patch in patches])
    assert torch.allclose(distance, every.min(1).values)
    assert torch.equal(nearest, every.argmin(1))
    assert float(nearest_distance(memory[:1], -memory[:1])[0]) == pytest.approx(2)  # the largest there is


def test_the_image_score_is_the_papers() -> None:
    patches, memory = unit(30, 4), unit(20, 4, seed=1)
    distance, nearest = nearest_distance(patches, memory)
    worst = int(distance.argmax())
    around = sorted(range(20), key=lambda j: float((memory[j] - memory[nearest[worst]]).norm()))[:3]
    assert int(nearest[worst]) in around
    sum_exp = sum(math.exp(float((memory[j] - patches[worst]).norm())) for j in around)
    expected = (1 - math.exp(float(distance[worst])) / sum_exp) * float(distance[worst])
    assert image_score(patches, distance, nearest, memory, 3) == pytest.approx(expected)
    assert image_score(patches, distance, nearest, memory, 1) == pytest.approx(float(distance.max()))


def test_a_memory_of_one_patch_still_gives_a_score() -> None:
    patches, memory = unit(6, 4), unit(1, 4, seed=1)
    distance, nearest = nearest_distance(patches, memory)
    assert image_score(patches, distance, nearest, memory, 9) == pytest.approx(float(distance.max()))


def test_the_neighbourhood_is_a_mean_over_cells_of_the_picture_only() -> None:
    features = unit(2, 4, 6, 3)
    valid = torch.ones(2, 4, 6, dtype=torch.bool)
    valid[1, :, 4:] = False
    found = locally_aware(features, valid, 3)
    for b in range(2):
        for y in range(4):
            for x in range(6 if b == 0 else 4):
                block = (b, slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
                expected = F.normalize(features[block][valid[block]].mean(0), dim=0)
                assert torch.allclose(found[b, y, x], expected, atol=1e-9)
    assert locally_aware(features, valid, 1) is features


def test_the_setting_decides_whether_neighbours_are_averaged(tower: Tower, textured: Draw, task: Task) -> None:
    eyes = tower("nano")
    smooth, sharp = (PatchMemory(eyes, neighbourhood=side) for side in (3, 1))
    picture = [textured(at=(20, 50))]
    scores = [d.detect(picture, d.prepare(task))[0].inspection.pred_score for d in (smooth, sharp)]
    assert abs(scores[0] - scores[1]) > 1e-4
    assert (smooth.settings["neighbourhood"], sharp.settings["neighbourhood"]) == ("3", "1")


def test_the_score_is_half_of_a_distance(tower: Tower, textured: Draw) -> None:
    eyes = tower("nano")
    detector, picture = PatchMemory(eyes, neighbourhood=1, reweighting=1), textured(60, 110)
    patches = eyes.patches([picture])
    far = Remembered(-patches.features[0, 0, 0][None])
    expected = max(float((patch + patches.features[0, 0, 0]).norm()) / 2 for patch in patches.features[patches.valid])
    found = detector.detect([picture], far)[0].inspection
    assert found.pred_score == pytest.approx(expected, abs=1e-5)
    assert 0.5 < found.anomaly_map.max() <= 1


def test_nothing_is_said_of_types(tower: Tower, textured: Draw, task: Task) -> None:
    detector = PatchMemory(tower("nano"))
    prepared = detector.prepare(Task(types={"scratch": None}, references=task.references))
    found = detector.detect([textured()], prepared)[0]
    assert found.inspection.types == {}
    assert found.draw_type == {}


def test_without_references_it_says_what_to_do(tower: Tower) -> None:
    with pytest.raises(UsageError, match=r"none are given. Use --references K, or the baseline self-similarity"):
        PatchMemory(tower("nano")).prepare(Task(product="tile"))


def test_a_reference_that_cannot_be_read_is_named(tower: Tower, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"A reference cannot be used: .*gone.png"):
        PatchMemory(tower("nano")).prepare(Task(references=(tmp_path / "gone.png",)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"neighbourhood": 2}, "neighbourhood=2 has no middle cell. Use an odd number"),
        ({"fraction": 0.0}, r"fraction=0.0 is not above 0"),
        ({"reweighting": 0}, "reweighting=0 must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, int], words: str, tower: Tower) -> None:
    with pytest.raises(UsageError, match=words):
        PatchMemory(tower("nano"), **settings)  # type: ignore[arg-type]
