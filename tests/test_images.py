import math

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.errors import ImageError
from genau.images import Letterbox, Picture

SHAPES = [(300, 170), (170, 300), (3, 2), (1, 1), (1, 5000), (5000, 1), (800, 200), (2000, 400), (63, 641)]


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).random(shape, np.float32)


def test_a_picture_tells_height_and_width_and_refuses_what_is_not_8_bit_rgb() -> None:
    picture = Picture(np.zeros((3, 5, 3), np.uint8), "part.png")
    assert (picture.height, picture.width) == (3, 5)
    for wrong in (np.zeros((3, 5), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"part.png.*must be uint8 of shape \(H, W, 3\).*read_picture"):
            Picture(wrong, "part.png")


@pytest.mark.parametrize(
    ("original_hw", "content_hw"),
    [
        ((300, 600), (32, 64)),
        ((600, 300), (64, 32)),
        ((1, 5000), (1, 64)),
        ((8000, 2000), (64, 16)),
        ((2, 4), (32, 64)),
    ],
)
def test_the_content_keeps_its_aspect_and_never_vanishes(
    original_hw: tuple[int, int], content_hw: tuple[int, int]
) -> None:
    box = Letterbox(original_hw, 64)
    assert box.content_hw == content_hw


def test_the_content_lies_top_left_and_the_rest_is_fill() -> None:
    rgb = np.full((30, 60, 3), (250, 10, 20), np.uint8)
    canvas = Letterbox.of(rgb, 64).apply(rgb, fill=(1, 2, 3))
    assert canvas.shape == (64, 64, 3)
    assert canvas.dtype == np.uint8
    assert (canvas[:32] == (250, 10, 20)).all()
    assert (canvas[32:] == (1, 2, 3)).all()


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    stripes = np.zeros((400, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    content = Letterbox.of(stripes, 64).apply(stripes)[:40, 2:-2]  # at the edge there is less to average
    assert abs(content.astype(int) - 128).max() <= 3


def test_a_picture_of_another_size_is_refused_with_both_sizes() -> None:
    box = Letterbox((30, 60), 64)
    with pytest.raises(ImageError, match=r"\(60, 30, 3\).*\(H, W\) = \(30, 60\).*Letterbox.of"):
        box.apply(np.zeros((60, 30, 3), np.uint8))
    with pytest.raises(ImageError, match="mask has shape"):
        box.apply_mask(np.zeros((60, 30), np.bool_))
    with pytest.raises(ImageError, match="at least 1 pixel"):
        Letterbox((0, 60), 64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [64, 100])
def test_a_defect_of_one_pixel_stays_on_the_canvas_and_stays_one_pixel_thin(shape: tuple[int, int], size: int) -> None:
    box = Letterbox(shape, size)
    generator = np.random.default_rng(0)
    for _ in range(5):
        y, x = (int(generator.integers(side)) for side in shape)
        mask = np.zeros(shape, np.bool_)
        mask[y, x] = True
        canvas = box.apply_mask(mask)
        assert canvas.dtype == np.bool_
        assert canvas.any()
        ys, xs = np.nonzero(canvas)
        for hit, at, content, side in zip((ys, xs), (y, x), box.content_hw, shape, strict=True):
            assert np.ptp(hit) + 1 <= math.ceil(content / side)
            assert abs(hit.mean() + 0.5 - (at + 0.5) * content / side) <= 0.5 + 1e-9


def test_labels_keep_their_numbers_and_the_largest_wins_where_they_meet() -> None:
    labels = np.zeros((40, 80), np.int32)
    labels[0, 0], labels[0, 1], labels[39, 79] = 3, 7, 2
    canvas = Letterbox((40, 80), 20).apply_mask(labels)
    assert canvas.dtype == np.int32
    assert sorted(np.unique(canvas)) == [0, 2, 7]
    assert canvas[0, 0] == 7
    assert canvas[9, 19] == 2
    assert not canvas[10:].any()


def test_a_cell_is_valid_if_its_centre_lies_on_the_content() -> None:
    # Content is 24 of 64 rows; the centres of 8 rows of cells are at 4, 12, 20, 28, ...
    valid = Letterbox((30, 80), 64).valid_cells((8, 4))
    assert valid.tolist() == [[row < 3] * 4 for row in range(8)]
    # 20 rows fall just on a centre: that cell is not on the content
    assert Letterbox((20, 64), 64).valid_cells((8, 8)).sum(axis=0).tolist() == [2] * 8
    # 1 of 64 rows: no centre lies on it, one row is valid all the same
    assert Letterbox((1, 5000), 64).valid_cells((4, 6)).sum() == 6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("grid", [(4, 4), (20, 20), (40, 24)])
def test_a_point_comes_back_within_a_cell_of_where_it_was(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    size = 120
    box = Letterbox(shape, size)
    cell_hw = [
        max(1.0, size / n * side / content) for n, side, content in zip(grid, shape, box.content_hw, strict=True)
    ]
    generator = np.random.default_rng(1)
    blob = math.ceil(max(shape) / size)  # large enough to be one pixel of the canvas
    for _ in range(6):
        y, x = (int(generator.integers(side)) for side in shape)
        canvas_yx = [(at + 0.5) * c / side for at, c, side in zip((y, x), box.content_hw, shape, strict=True)]
        if not box.valid_cells(grid)[tuple(int(at * n / size) for at, n in zip(canvas_yx, grid, strict=True))]:
            continue  # on the last cell, which has less than half of its width on the content
        rgb = np.zeros((*shape, 3), np.uint8)
        rgb[max(0, y - blob // 2) : y + blob // 2 + 1, max(0, x - blob // 2) : x + blob // 2 + 1] = 255
        canvas = box.apply(rgb, fill=0)[..., 0].astype(np.float32)
        cells = canvas.reshape(grid[0], size // grid[0], grid[1], size // grid[1]).mean(axis=(1, 3))
        pixels = box.back(np.where(box.valid_cells(grid), cells, 99))
        assert pixels.shape == shape
        peak_y, peak_x = np.unravel_index(pixels.argmax(), shape)
        assert abs(peak_y - y) <= cell_hw[0]
        assert abs(peak_x - x) <= cell_hw[1]


def test_the_way_back_is_bilinear_between_cell_centres() -> None:
    # A 4 x 8 picture on a canvas of 8: content 4 x 8, grid 8 x 4: rows one pixel high, columns two pixels wide
    cells = np.zeros((8, 4), np.float32)
    cells[:] = [0, 1, 2, 3]
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(Letterbox((4, 8), 8).back(cells), np.tile(expected, (4, 1)), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_never_bleeds_into_the_map(shape: tuple[int, int]) -> None:
    box = Letterbox(shape, 64)
    cells = np.where(box.valid_cells((16, 16)), np.float32(0.25), np.float32(np.nan))
    pixels = box.back(cells)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, 0.25, atol=1e-6)


def test_the_map_stays_in_the_range_of_its_cells() -> None:
    for height in range(301, 340):
        pixels = Letterbox((height, 173), 64).back(np.full((37, 37), 0.7, np.float32))
        assert pixels.min() == pixels.max() == np.float32(0.7)


def test_a_grid_finer_than_the_picture_is_averaged() -> None:
    cells = np.zeros((60, 60), np.float32)
    cells[::2] = 1  # every second row of cells: a pick would be 0 or 1
    np.testing.assert_allclose(Letterbox((3, 6), 60).back(cells), 0.5, atol=0.06)


def test_a_stack_of_maps_is_refused() -> None:
    with pytest.raises(ImageError, match=r"\(1, 4, 4\).*must be \(h, w\).*one map at a time"):
        Letterbox((3, 6), 60).back(np.zeros((1, 4, 4), np.float32))
