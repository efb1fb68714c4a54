"""Where tiles lie, and that their maps become one map without a seam; no model."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.errors import ImageError, UsageError
from genau.regions import find_regions
from genau.tiling import Box, auto_side, blend, check, choose, parse, plan

CANVAS = 640


def cut(values: NDArray[np.float32], boxes: list[Box]) -> list[NDArray[np.float32]]:
    return [values[box.slices] for box in boxes]


# Where they lie


def test_a_wide_picture_is_covered_by_tiles_of_one_size_row_by_row() -> None:
    boxes = plan(2000, 8000, 640, 0.25)
    assert len(boxes) == 4 * 17
    assert {(box.bottom - box.top, box.right - box.left) for box in boxes} == {(640, 640)}
    assert boxes == sorted(boxes)
    assert boxes[:2] == [Box(0, 0, 640, 640), Box(0, 480, 640, 1120)]
    assert boxes[16] == Box(0, 7360, 640, 8000)  # shifted inwards, not cut
    assert boxes[-1] == Box(1360, 7360, 2000, 8000)
    covered = np.zeros((2000, 8000), np.bool_)
    for box in boxes:
        covered[box.slices] = True
    assert covered.all()


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 100), (0.25, 75), (0.5, 50)])
def test_neighbours_share_at_least_the_overlap(overlap: float, step: int) -> None:
    boxes = [box for box in plan(90, 730, 100, overlap) if box.top == 0]
    starts = [box.left for box in boxes]
    assert starts[1] == step
    assert max(np.diff(starts)) == step
    assert boxes[-1].right == 730


def test_a_picture_not_larger_than_a_tile_has_none() -> None:
    assert plan(90, 100, 100, 0.25) == []
    assert len(plan(90, 101, 100, 0.25)) == 2


def test_a_narrow_picture_has_tiles_of_its_own_width() -> None:
    assert plan(250, 60, 100, 0.0) == [Box(0, 0, 100, 60), Box(100, 0, 200, 60), Box(150, 0, 250, 60)]


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(500, 960, None), (500, 961, 640), (1500, 4000, 640), (2000, 8000, 656), (9000, 11000, 1648)],
)
def test_auto_keeps_the_pixels_as_they_are_until_tiles_are_too_many(height: int, width: int, side: int | None) -> None:
    assert auto_side(height, width, CANVAS, 0.25) == side
    if side is not None:
        assert len(plan(height, width, side, 0.25)) <= 64
        assert len(choose((height, width), CANVAS, "auto")) == len(plan(height, width, side, 0.25))
        assert side == CANVAS or len(plan(height, width, side - 16, 0.25)) > 64
    else:
        assert choose((height, width), CANVAS, "auto") == []


def test_tiles_wholly_outside_the_region_of_interest_are_left_out() -> None:
    roi = np.zeros((300, 500), np.bool_)
    roi[150:160, 420] = True
    boxes = choose((300, 500), CANVAS, 100, 0.0, roi)
    assert boxes == [Box(100, 400, 200, 500)]


# What cannot be meant


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        (63, 0.25, r"A tile of 63 pixels is too small .* at least 64\. Use auto, or a larger one"),
        (-640, 0.25, "too small"),
        (100, 0.9, r"The overlap 0\.9 is not in \[0, 0\.9\), a share of the tile's side\. Use 0\.25"),
        (100, -0.1, r"The overlap -0\.1 is not in"),
        (None, math.nan, "The overlap nan is not in"),
        (640.0, 0.25, r"tile=640\.0 is no size of a tile\. Give its side in pixels, for example 640, or auto"),
        (True, 0.25, "tile=True is no size"),
        ("big", 0.25, "tile='big' is no size"),
    ],
)
def test_tiles_that_cannot_be_meant_are_refused(tile: Any, overlap: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(tile, overlap)
    with pytest.raises(UsageError, match=words):
        choose((3000, 4000), CANVAS, tile, overlap)


def test_a_tile_as_large_as_the_picture_is_refused() -> None:
    words = r"A tile of 500 pixels is not smaller than the picture of 500x300: there is nothing to gain\. Inspect it wi"
    with pytest.raises(UsageError, match=words):
        choose((300, 500), CANVAS, 500)
    assert choose((300, 501), CANVAS, 500)


def test_too_many_tiles_are_refused_with_their_number() -> None:
    with pytest.raises(ImageError, match=r"of 9000x6000 needs 23500 tiles of 64 pixels .* at most 1024 are looked at"):
        choose((6000, 9000), CANVAS, 64)
    with pytest.raises(ImageError, match=r"Use larger tiles, less overlap, or auto"):
        choose((6000, 9000), CANVAS, 640, 0.89)


def test_the_command_lines_words_are_read() -> None:
    assert [parse(text) for text in ("640", " 1024 ", "auto", "AUTO")] == [640, 1024, "auto", "auto"]
    for text in ("", "64.5", "-1", "a lot", "²", "9" * 5000):
        with pytest.raises(UsageError, match="is no size of a tile"):
            parse(text)


# One map again


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.8])
def test_tiles_cut_out_of_one_map_give_that_map(overlap: float) -> None:
    whole = np.random.default_rng(0).random((230, 410), np.float32)
    boxes = plan(whole.shape[0], whole.shape[1], 100, overlap)
    np.testing.assert_allclose(blend(cut(whole, boxes), boxes, whole.shape), whole, atol=1e-6)


def test_a_saturated_map_stays_in_range() -> None:
    boxes = plan(90, 210, 70, 0.3)
    blended = blend([np.ones((70, 70), np.float32)] * len(boxes), boxes, (90, 210))
    assert blended.dtype == np.float32
    assert blended.max() <= 1
    np.testing.assert_allclose(blended, 1, atol=1e-6)


@pytest.mark.parametrize("size_hw", [(100, 250), (60, 260), (250, 330), (101, 115)])
def test_where_neighbours_disagree_the_map_has_no_seam(size_hw: tuple[int, int]) -> None:
    boxes = plan(*size_hw, 100, 0.25)
    maps = [np.full((box.bottom - box.top, box.right - box.left), k % 2, np.float32) for k, box in enumerate(boxes)]
    blended = blend(maps, boxes, size_hw)
    jumps = [np.abs(np.diff(blended, axis=axis)).max() for axis in (0, 1) if size_hw[axis] > 100]
    assert max(jumps) < 0.085  # a ramp of 25 pixels, in both directions: 2 / 25
    assert blended.max() == 1
    assert blended.min() == 0


def test_without_overlap_tiles_lie_side_by_side() -> None:
    boxes = plan(60, 200, 100, 0.0)
    blended = blend([np.zeros((60, 100), np.float32), np.ones((60, 100), np.float32)], boxes, (60, 200))
    assert (blended[:, :100] == 0).all()
    assert (blended[:, 100:] == 1).all()


def test_where_no_tile_lies_the_map_is_zero() -> None:
    blended = blend([np.ones((100, 100), np.float32)], [Box(0, 100, 100, 200)], (120, 300))
    assert blended.sum() == 100 * 100


@pytest.mark.parametrize("at", [(40, 75), (75, 85), (87, 87), (100, 100), (75, 75), (149, 174)])
def test_a_defect_on_a_seam_or_on_the_corner_of_four_tiles_is_one_region(at: tuple[int, int]) -> None:
    whole = np.full((250, 330), 0.1, np.float32)
    whole[at[0] - 4 : at[0] + 4, at[1] - 6 : at[1] + 6] = 0.9
    boxes = plan(*whole.shape, 100, 0.25)
    blended = blend(cut(whole, boxes), boxes, whole.shape)
    regions = find_regions(blended >= 0.5)
    assert [region.bbox_xyxy for region in regions] == [(at[1] - 6, at[0] - 4, at[1] + 6, at[0] + 4)]
    assert regions[0].area_px == 8 * 12


def test_maps_are_taken_one_at_a_time_and_counted() -> None:
    boxes = plan(90, 210, 70, 0.3)
    with pytest.raises(ValueError, match="argument"):
        blend([np.ones((70, 70), np.float32)], boxes, (90, 210))
