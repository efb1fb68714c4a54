"""Windows: each is a pass of its own, cells get harmonic means, references are compared scale by scale."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

import genau.baselines.winclip as winclip_module
from genau.baselines.clip_tower import ClipTower
from genau.baselines.winclip import Looks, WinClip, distance_to, harmonic_cells, see_windows, window_cells
from genau.detection import Detector, Task
from genau.errors import ImageError, UsageError
from genau.images import Picture
from genau.reading import read_picture

Draw = Callable[..., NDArray[np.uint8]]
TYPES = {"scratch": None, "bent": "not straight"}


@pytest.fixture
def winclip(clip_tower: ClipTower) -> WinClip:
    return WinClip(clip_tower)


@pytest.fixture
def good(picture: Draw, tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"good{seed}.png" for seed in range(2))
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed)).save(path)
    return paths


def test_windows_are_every_square_of_patches_row_by_row() -> None:
    cells = window_cells((3, 4), 2)
    assert cells.tolist() == [
        [0, 1, 4, 5],
        [1, 2, 5, 6],
        [2, 3, 6, 7],
        [4, 5, 8, 9],
        [5, 6, 9, 10],
        [6, 7, 10, 11],
    ]
    assert window_cells((3, 4), 3).tolist() == [[0, 1, 2, 4, 5, 6, 8, 9, 10], [1, 2, 3, 5, 6, 7, 9, 10, 11]]


@pytest.mark.parametrize("side", [2, 3])
def test_a_window_is_a_pass_in_which_all_other_patches_are_masked(
    clip_tower: ClipTower, picture: Draw, side: int
) -> None:
    tokens = clip_tower.embed_pixels(clip_tower.pixels([Picture(picture(seed), "part") for seed in range(2)]))
    cells = window_cells(clip_tower.grid_hw, side)
    seen = see_windows(clip_tower, tokens, cells)
    assert seen.shape == (2, len(cells), 12)
    for number in (0, 1, len(cells) - 1):
        masked = torch.full((1, 1, 26, 26), -torch.inf)
        masked[..., [0, *(cells[number] + 1).tolist()]] = 0
        states = tokens
        for block in clip_tower.model.vision_model.encoder.layers:
            states = block(states, masked)
        torch.testing.assert_close(seen[:, number], clip_tower.project(states[:, 0]))


def test_memory_is_bounded_and_the_bound_changes_nothing(
    clip_tower: ClipTower, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = clip_tower.embed_pixels(clip_tower.pixels([Picture(picture(), "part")] * 3))
    cells = window_cells(clip_tower.grid_hw, 2)
    whole = see_windows(clip_tower, tokens, cells)
    sizes: list[int] = []
    encode = clip_tower.encode_tokens

    def spy(some: torch.Tensor) -> torch.Tensor:
        sizes.append(some.shape[0] * some.shape[1])
        return encode(some)

    monkeypatch.setattr(clip_tower, "encode_tokens", spy)
    monkeypatch.setattr(winclip_module, "TOKENS_AT_ONCE", 47)
    torch.testing.assert_close(see_windows(clip_tower, tokens, cells), whole)
    assert max(sizes) == 3 * 3 * 5  # three pictures, three windows, five tokens
    monkeypatch.setattr(winclip_module, "TOKENS_AT_ONCE", 1)
    torch.testing.assert_close(see_windows(clip_tower, tokens, cells), whole)


def test_a_cell_gets_the_harmonic_mean_of_its_windows() -> None:
    scores = torch.tensor([[[1.0, 0.75, 0.5, 0.25], [0.5, 0.5, 0.5, 0.5]]])
    cells = harmonic_cells(scores, (3, 3), 2)
    middle = 4 / (1 + 1 / 0.75 + 2 + 4)
    expected = [[1, 2 / (1 + 1 / 0.75), 0.75], [2 / (1 + 2), middle, 2 / (1 / 0.75 + 4)], [0.5, 2 / (2 + 4), 0.25]]
    torch.testing.assert_close(cells[0, 0], torch.tensor(expected))
    torch.testing.assert_close(cells[0, 1], torch.full((3, 3), 0.5))
    flat = harmonic_cells(torch.tensor([[[0.2, 0.6, 0.0]]]), (2, 4), 2)[0, 0]  # a score of 0 covers the last columns
    torch.testing.assert_close(flat, torch.tensor([[0.2, 0.3, 0.0, 0.0]] * 2))


def test_the_distance_is_half_the_cosine_distance_to_the_nearest_of_all_references() -> None:
    x, y = [1.0, 0.0], [0.0, 1.0]
    vectors = torch.tensor([[x, [-1.0, 0.0], [0.6, 0.8]]])
    torch.testing.assert_close(distance_to(vectors, torch.tensor([[x]])), torch.tensor([[0.0, 1.0, 0.2]]))
    torch.testing.assert_close(distance_to(vectors, torch.tensor([[x], [y]])), torch.tensor([[0.0, 0.5, 0.1]]))
    torch.testing.assert_close(distance_to(vectors, torch.tensor([[x, y]])), torch.tensor([[0.0, 0.5, 0.1]]))


def test_zero_shot_map_peaks_where_a_text_is_planted_and_score_is_the_whole_pictures(
    clip_tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    winclip = WinClip(ClipTower(clip_tower.model, clip_tower.tokenizer, 64))  # 8 x 8 patches
    prepared = winclip.prepare(Task("bolt", TYPES))
    clean, (bad, _, bent) = prepared.directions.good, prepared.directions.bad

    def planted(side: int) -> torch.Tensor:
        seen = clean.expand((9 - side) ** 2, -1).clone()
        seen[(window_cells((8, 8), side) == 2 * 8 + 5).any(1)] = bad
        seen[(window_cells((8, 8), side) == 5 * 8 + 2).any(1)] = bent
        return seen[None]

    looks = Looks(clean[None], (planted(2), planted(3)), torch.zeros(1, 64, 16))
    monkeypatch.setattr(WinClip, "look", lambda self, pictures: looks)
    [detection] = winclip.detect([Picture(np.full((8 * 21, 8 * 25, 3), 90, np.uint8), "bolt")], prepared)
    found = detection.inspection
    assert found.pred_score == pytest.approx(float(torch.sigmoid((bad @ clean - 1) / 0.07)), abs=1e-6)
    assert math.isnan(found.map_score)
    for drawn, centre, direction in [
        (found.anomaly_map, (2 * 21 + 10, 5 * 25 + 12), bad),
        (detection.draw_type["bent"](), (5 * 21 + 10, 2 * 25 + 12), bent),
    ]:
        assert divmod(int(drawn.argmax()), drawn.shape[1]) == centre
        low = torch.sigmoid((direction @ clean - 1) / 0.07)  # the whole picture is good, its windows are defective
        high = torch.sigmoid((1 - direction @ clean) / 0.07)
        assert drawn.max() == pytest.approx(float(3 / (1 / low + 2 / high)), abs=1e-5)


def test_a_reference_identical_to_the_picture_is_at_distance_0(winclip: WinClip, good: tuple[Path, ...]) -> None:
    pictures = [read_picture(path) for path in good]
    zero_shot = winclip.detect(pictures, winclip.prepare(Task("bolt", TYPES)))
    compared = winclip.detect(pictures, winclip.prepare(Task("bolt", TYPES, good)))
    for words, both in zip(zero_shot, compared, strict=True):
        assert both.inspection.map_score == pytest.approx(0, abs=1e-6)
        assert both.inspection.pred_score == pytest.approx(words.inspection.pred_score / 2, abs=1e-6)
        np.testing.assert_allclose(both.inspection.anomaly_map, words.inspection.anomaly_map / 2, atol=1e-6)
        assert both.inspection.types == pytest.approx(words.inspection.types, abs=1e-6)
        np.testing.assert_allclose(both.draw_type["bent"](), words.draw_type["bent"](), atol=1e-6)


def test_with_references_a_spot_lights_its_place_in_a_picture_that_is_not_square(
    winclip: WinClip, picture: Draw, good: tuple[Path, ...]
) -> None:
    rgb = picture(0)  # the first reference
    rgb[60:85, 5:25] = (20, 10, 200)
    spotted = Picture(rgb, "spot")
    words, both = (
        winclip.detect([spotted], winclip.prepare(Task("bolt", references=references)))[0].inspection
        for references in ((), good[:1])
    )
    distance = 2 * both.anomaly_map - words.anomaly_map
    peak = np.unravel_index(distance.argmax(), distance.shape)
    assert distance.shape == (90, 140)
    assert 54 <= peak[0] < 90 and 0 <= peak[1] < 28  # the two cells of the spot
    assert both.map_score == pytest.approx(distance.max(), rel=0.1)  # drawn between cells, the largest is a bit less
    assert both.pred_score == pytest.approx((words.pred_score + both.map_score) / 2, abs=1e-6)
    assert distance[:20, 100:].max() < distance.max() / 10  # no window there has changed


def test_more_references_never_make_a_part_more_different(
    winclip: WinClip, picture: Draw, good: tuple[Path, ...]
) -> None:
    part = [Picture(picture(5), "part")]
    one, two = (
        winclip.detect(part, winclip.prepare(Task("bolt", references=references)))[0].inspection.map_score
        for references in (good[:1], good)
    )
    assert 0 < two <= one


@pytest.mark.parametrize("k", [0, 2])
def test_a_picture_is_judged_alone_as_in_a_batch_and_twice_the_same(
    winclip: WinClip, picture: Draw, good: tuple[Path, ...], k: int
) -> None:
    detector: Detector = winclip
    pictures = [Picture(picture(seed, 60 + 40 * seed, spot=True), f"{seed}") for seed in range(3)]
    prepared = detector.prepare(Task("bolt", TYPES, good[:k]))
    together = detector.detect(pictures, prepared)
    for part, first, again in zip(pictures, together, detector.detect(pictures, prepared), strict=True):
        [alone] = detector.detect([part], prepared)
        assert again.inspection.to_dict() == first.inspection.to_dict()
        assert alone.inspection.pred_score == pytest.approx(first.inspection.pred_score, abs=1e-5)
        np.testing.assert_allclose(alone.inspection.anomaly_map, first.inspection.anomaly_map, atol=1e-5)
        np.testing.assert_allclose(alone.draw_type["bent"](), first.draw_type["bent"](), atol=1e-5)
        assert first.inspection.anomaly_map.shape == part.rgb.shape[:2]
        assert 0 <= first.inspection.anomaly_map.min() <= first.inspection.anomaly_map.max() <= 1


def test_a_grid_smaller_than_a_window_is_refused(clip_tower: ClipTower) -> None:
    small = ClipTower(clip_tower.model, clip_tower.tokenizer, 16)
    with pytest.raises(UsageError, match=r"16 px has 2 x 2 patches; the largest window needs 3 x 3. Use image_size=24"):
        WinClip(small)


def test_a_reference_that_cannot_be_read_is_named(winclip: WinClip, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png"):
        winclip.prepare(Task(references=(tmp_path / "gone.png",)))


def test_it_says_what_decides(winclip: WinClip) -> None:
    assert (winclip.name, winclip.trained_products) == ("winclip", ())
    assert winclip.settings["windows"] == "2 x 2, 3 x 3"
    assert winclip.settings["temperature"] == "0.07"


@pytest.mark.parametrize(("side_px", "patch", "width", "times"), [(336, 14, 1024, 13), (224, 16, 768, 12)])
def test_windows_of_published_sizes_cost_what_the_docstring_says(
    clip_tokenizer: CLIPTokenizer, side_px: int, patch: int, width: int, times: int
) -> None:
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 2, "num_attention_heads": 8}
    config = CLIPConfig(vision_config={**vision, "image_size": side_px, "patch_size": patch}, projection_dim=768)
    with torch.device("meta"):
        model = CLIPModel(config)
    tower = ClipTower(model, clip_tokenizer)
    tokens = tower.embed_pixels(torch.empty(1, 3, side_px, side_px, device="meta"))
    passed = 0
    for side in winclip_module.SCALES:
        cells = window_cells(tower.grid_hw, side)
        assert see_windows(tower, tokens, cells).shape == (1, (side_px // patch - side + 1) ** 2, 768)
        passed += len(cells) * (side**2 + 1)
    assert round(passed / tokens.shape[1]) == times
