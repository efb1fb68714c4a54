"""The overlay: one fixed colour scale, calm on good parts, outlines that show at any size."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.errors import UsageError
from genau.report import MASK_LEVEL, colour_bar, draw_overlay, type_colours
from genau.results import Inspection, Verdict


def inspection(
    picture: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32] | None = None,
    mask: NDArray[np.bool_] | None = None,
    type_masks: dict[str, NDArray[np.bool_]] | None = None,
    types: dict[str, float] | None = None,
) -> Inspection:
    height, width = picture.shape[:2]
    flat = np.zeros((height, width), np.float32)
    return Inspection(
        "part.png",
        width,
        height,
        Verdict.NORMAL,
        0.1,
        0.1,
        0.1,
        0.5,
        picture=picture,
        anomaly_map=flat if anomaly_map is None else anomaly_map,
        pred_mask=flat > 1 if mask is None else mask,
        type_masks=type_masks or {},
        types=types or {},
    )


def grey(height: int = 48, width: int = 64, level: int = 120) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def pixels(result: Inspection) -> NDArray[np.int64]:
    return np.asarray(draw_overlay(result)).astype(np.int64)


@pytest.mark.parametrize("shape", [(48, 64), (300, 200)])
def test_an_overlay_has_the_size_of_the_original(shape: tuple[int, int]) -> None:
    assert draw_overlay(inspection(grey(*shape))).size == shape[::-1]


def test_a_good_part_looks_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    calm = np.random.default_rng(1).uniform(0, 0.25, (48, 64)).astype(np.float32)
    assert (pixels(inspection(picture, calm)) == picture).all()


def test_a_map_just_below_the_masks_level_is_a_veil_and_no_more() -> None:
    changed = np.abs(pixels(inspection(grey(), np.full((48, 64), 0.4, np.float32))) - 120)
    assert 0 < changed.max() < 40


def test_heat_rises_with_the_value() -> None:
    ramp = np.broadcast_to(np.linspace(0.25, 1, 64, dtype=np.float32), (48, 64))
    distance = np.abs(pixels(inspection(grey(), ramp)) - 120).sum(axis=2)[0]
    assert distance[0] <= 2
    assert distance[-1] > distance[32] > distance[10] > distance[0]


def test_the_same_map_value_has_the_same_colour_whatever_the_maximum_is() -> None:
    low, high = np.full((48, 64), 0.1, np.float32), np.full((48, 64), 0.1, np.float32)
    low[20, 30] = high[20, 30] = 0.6
    high[5, 5] = 1.0
    assert (pixels(inspection(grey(), low))[20, 30] == pixels(inspection(grey(), high))[20, 30]).all()


def test_undefined_map_values_are_transparent() -> None:
    broken = np.full((48, 64), np.nan, np.float32)
    assert (pixels(inspection(grey(), broken)) == 120).all()


def test_the_masks_edge_is_white_outside_and_black_inside() -> None:
    mask = np.zeros((48, 64), np.bool_)
    mask[10:30, 20:50] = True
    drawn = pixels(inspection(grey(), mask=mask))
    assert (drawn[9, 35] == 255).all() and (drawn[20, 50] == 255).all()
    assert (drawn[10, 35] < 40).all() and (drawn[20, 49] < 40).all()
    assert (drawn[20, 35] == 120).all(), "the inside stays visible"
    assert (drawn[8, 35] == 120).all(), "one pixel wide on a small picture"


def test_a_mask_that_touches_the_border_is_closed_there() -> None:
    mask = np.zeros((48, 64), np.bool_)
    mask[:20, :30] = True
    drawn = pixels(inspection(grey(), mask=mask))
    assert (drawn[0, 10] < 40).all() and (drawn[10, 0] < 40).all()
    assert (drawn[47, 63] == 120).all(), "nothing wraps around to the far side"


def test_lines_are_wider_on_larger_pictures() -> None:
    mask = np.zeros((800, 1200), np.bool_)
    mask[200:600, 300:900] = True
    column = pixels(inspection(grey(800, 1200), mask=mask))[:400, 600]
    assert ((column == 255).all(axis=1)).sum() == 3
    assert ((column < 40).all(axis=1)).sum() == 3


def test_a_slanted_line_is_about_as_thick_as_a_straight_one() -> None:
    rows, cols = np.mgrid[:800, :1200]
    drawn = pixels(inspection(grey(800, 1200), mask=rows + cols < 900))
    across = (drawn[300, 550:650] == 255).all(axis=1).sum() / np.sqrt(2)
    assert 2.0 <= across <= 4.0


def test_each_type_has_its_own_line_in_its_own_colour() -> None:
    left, right = np.zeros((48, 64), np.bool_), np.zeros((48, 64), np.bool_)
    left[10:30, 5:25] = True
    right[10:30, 35:55] = True
    result = inspection(grey(), type_masks={"scratch": left, "dent": right})
    drawn, colours = pixels(result), type_colours(result)
    assert colours["scratch"] != colours["dent"]
    assert tuple(drawn[10, 15]) == colours["scratch"]
    assert tuple(drawn[10, 45]) == colours["dent"]


def test_types_with_one_shared_edge_are_both_to_be_seen() -> None:
    mask = np.zeros((48, 64), np.bool_)
    mask[10:30, 5:55] = True
    result = inspection(grey(), type_masks={"scratch": mask, "dent": mask})
    seen = {tuple(pixel) for pixel in pixels(result)[10, 5:55]}
    assert seen == {type_colours(result)["scratch"], type_colours(result)["dent"]}


def test_type_colours_follow_the_order_in_which_types_were_asked_for() -> None:
    both = inspection(grey(), types={"scratch": 0.9, "dent": 0.1})
    swapped = inspection(grey(), types={"dent": 0.1, "scratch": 0.9})
    assert type_colours(both)["scratch"] == type_colours(swapped)["dent"]
    assert len(set(type_colours(inspection(grey(), types={f"t{i}": 0.0 for i in range(7)})).values())) == 8


def test_a_large_picture_is_drawn_in_a_moment() -> None:
    mask = np.zeros((2000, 3000), np.bool_)
    mask[300:1500, 500:2500] = True
    assert draw_overlay(inspection(grey(2000, 3000), mask.astype(np.float32), mask)).size == (3000, 2000)


def test_a_failed_result_has_no_overlay_and_the_error_says_why() -> None:
    with pytest.raises(UsageError, match=r"'x\.png' could not be inspected \(truncated file\).*error is None"):
        draw_overlay(Inspection.failed("x.png", "truncated file"))


def test_a_result_from_json_has_no_overlay_and_the_error_says_what_to_do() -> None:
    row = inspection(grey()).to_dict()
    with pytest.raises(UsageError, match=r"holds no picture.*Inspect the image again"):
        draw_overlay(Inspection.from_dict(row))


def test_the_colour_bar_shows_the_maps_scale_with_the_masks_level() -> None:
    bar = np.asarray(colour_bar((10, 201)))
    plain = np.asarray(colour_bar((10, 201), tick=None))
    ramp = np.broadcast_to(np.linspace(0, 1, 201, dtype=np.float32), (10, 201))
    assert (plain == pixels(inspection(grey(10, 201, 128), ramp))).all()
    assert (bar[:, round(MASK_LEVEL * 200)] < 40).all()
    assert set(np.flatnonzero((bar != plain).any(axis=(0, 2)))) == {99, 100, 101}


def test_a_colour_bar_refuses_a_tick_off_the_scale() -> None:
    with pytest.raises(UsageError, match=r"tick=1\.5.*\[0, 1\]"):
        colour_bar(tick=1.5)


def test_plot_is_the_overlay() -> None:
    plot = inspection(grey()).plot()
    assert isinstance(plot, Image.Image) and plot.size == (64, 48)
