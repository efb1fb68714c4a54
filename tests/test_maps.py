"""From the grid to the frame of the original picture, and from a region of interest to the grid."""

import numpy as np
import pytest
from scipy.special import expit

from genau.images import Letterbox
from genau.maps import SMOOTHING_CELLS, roi_cells, to_original

SIZES = [(60, 100), (100, 60), (7, 64)]


@pytest.mark.parametrize("original_hw", SIZES)
def test_a_constant_margin_stays_constant_up_to_the_edge(original_hw: tuple[int, int]) -> None:
    box = Letterbox(original_hw, 64)
    margin = np.full((16, 16), 1.5, np.float32)
    drawn = to_original(margin, box)
    assert drawn.shape == original_hw
    assert drawn.dtype == np.float32
    assert np.allclose(drawn, expit(1.5), atol=1e-5)


@pytest.mark.parametrize("original_hw", SIZES)
@pytest.mark.parametrize("padding", [50.0, -50.0, np.nan])
def test_the_padding_does_not_bleed_into_the_picture(original_hw: tuple[int, int], padding: float) -> None:
    box = Letterbox(original_hw, 64)
    margin = np.full((16, 16), -1.0, np.float32)
    margin[~box.valid_cells((16, 16))] = padding
    assert np.allclose(to_original(margin, box), expit(-1.0), atol=1e-5)


@pytest.mark.parametrize(("cell", "centre_px"), [((2, 13), (15.6, 84.4)), ((8, 1), (53.1, 9.4))])
def test_a_peak_of_the_grid_lies_at_its_place_in_the_picture(
    cell: tuple[int, int], centre_px: tuple[float, float]
) -> None:
    margin = np.full((16, 16), -9.0, np.float32)
    margin[cell] = 9.0
    drawn = to_original(margin, Letterbox((60, 100), 64))
    y, x = np.unravel_index(int(drawn.argmax()), drawn.shape)
    assert abs(y + 0.5 - centre_px[0]) <= 1.5
    assert abs(x + 0.5 - centre_px[1]) <= 1.5


def test_smoothing_is_the_gaussian_of_the_probabilities() -> None:
    margin = np.full((16, 16), -60.0, np.float32)
    margin[8, 8] = 60.0
    drawn = to_original(margin, Letterbox((64, 64 + 0), 16))
    kernel = np.exp(-(np.arange(-4, 5) ** 2) / (2 * SMOOTHING_CELLS**2))
    # four pixels to a cell: none lies on the cell's centre, the nearest are an eighth of a cell away in y and in x
    peak = (kernel[4] / kernel.sum()) ** 2
    assert drawn.max() == pytest.approx(peak, rel=0.15)
    assert drawn.max() < peak


def test_the_map_stays_a_probability_at_extreme_margins() -> None:
    margin = np.where(np.indices((16, 16)).sum(0) % 2, 1e4, -1e4).astype(np.float32)
    drawn = to_original(margin, Letterbox((33, 50), 64))
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_outside_the_region_of_interest_the_map_is_zero_and_inside_unchanged() -> None:
    box = Letterbox((60, 100), 64)
    margin = np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32)
    roi = np.zeros((60, 100), np.bool_)
    roi[10:30, 50:90] = True
    drawn, whole = to_original(margin, box, roi), to_original(margin, box)
    assert drawn.dtype == np.float32
    assert (drawn[~roi] == 0).all()
    assert np.array_equal(drawn[roi], whole[roi])


def test_a_cell_is_inspected_if_it_holds_any_pixel_of_the_region_of_interest() -> None:
    box = Letterbox((64, 128), 64)  # two pixels to a canvas pixel, eight to a cell
    roi = np.zeros((64, 128), np.bool_)
    roi[17, 127] = True
    roi[0:9, 0:8] = True
    cells = roi_cells(roi, box, (16, 16))
    assert {tuple(cell) for cell in np.argwhere(cells).tolist()} == {(2, 15), (0, 0), (1, 0)}


def test_the_whole_picture_as_region_of_interest_is_every_valid_cell() -> None:
    for original_hw in SIZES:
        box = Letterbox(original_hw, 64)
        cells = roi_cells(np.ones(original_hw, np.bool_), box, (16, 16))
        assert np.array_equal(cells, box.valid_cells((16, 16)))
        assert not roi_cells(np.zeros(original_hw, np.bool_), box, (16, 16)).any()
