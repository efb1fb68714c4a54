"""What follows from a mask, on pictures that are not square."""

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.prompts import NOTHING
from genau.regions import (
    SMALLEST_FRACTION,
    Region,
    SeverityRules,
    find_regions,
    keep_regions,
    location_word,
    locations,
    severity,
    to_defects,
)

WORDS = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def mask_of(*boxes_yx: tuple[int, int, int, int], height: int = 60, width: int = 90) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.bool_)
    for top, bottom, left, right in boxes_yx:
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("column", range(3))
def test_a_region_is_called_by_its_ninth_of_the_picture(row: int, column: int) -> None:
    top, left = 20 * row + 8, 30 * column + 13
    (region,) = find_regions(mask_of((top, top + 4, left, left + 4)))
    assert region.location == WORDS[row][column]


def test_the_border_of_a_ninth_belongs_to_the_next_and_the_last_pixel_to_the_last() -> None:
    assert location_word(0.0, 0.0) == "top left"
    assert location_word(np.nextafter(1 / 3, 0), 0.5) == "top"
    assert location_word(1 / 3, 2 / 3) == "right"
    assert location_word(1.0, 1.0) == "bottom right"


def test_the_place_of_a_region_is_its_mean_not_the_middle_of_its_box() -> None:
    mask = mask_of((0, 18, 0, 28), (17, 18, 28, 90))  # a heavy corner with a long thin tail
    (region,) = find_regions(mask)
    assert region.bbox_xyxy == (0, 0, 90, 18)
    assert region.location == "top left"


def test_boxes_are_left_top_right_bottom_and_exclusive() -> None:
    (region,) = find_regions(mask_of((5, 7, 50, 53)))
    assert region.bbox_xyxy == (50, 5, 53, 7)
    assert all(type(side) is int for side in region.bbox_xyxy)
    assert region.area_px == 6
    assert region.area_fraction == 6 / 5400


def test_a_region_at_the_border_of_the_picture_ends_there() -> None:
    (region,) = find_regions(mask_of((58, 60, 89, 90)))
    assert region.bbox_xyxy == (89, 58, 90, 60)


def test_pixels_that_touch_at_a_corner_are_one_region_and_a_gap_of_one_makes_two() -> None:
    assert [r.area_px for r in find_regions(mask_of((0, 2, 0, 2), (2, 4, 2, 4)))] == [8]
    assert [r.area_px for r in find_regions(mask_of((0, 2, 0, 2), (2, 5, 3, 6)))] == [9, 4]


def test_regions_come_largest_first_and_an_empty_mask_has_none() -> None:
    mask = mask_of((0, 1, 0, 3), (10, 15, 10, 15), (40, 42, 40, 42))
    assert [region.area_px for region in find_regions(mask)] == [25, 4, 3]
    assert find_regions(mask_of()) == []


def test_specks_are_dropped_and_the_smallest_kept_region_is_kept() -> None:
    mask = mask_of((0, 1, 0, 19), (100, 101, 0, 20), height=1000, width=1000)
    assert [region.area_px for region in find_regions(mask)] == [20]  # 2e-5 of a million pixels
    assert SMALLEST_FRACTION * mask.size == 20


def test_one_pixel_of_a_small_picture_is_a_region() -> None:
    assert len(find_regions(mask_of((3, 4, 5, 6)))) == 1


def test_keeping_all_regions_gives_the_mask_without_its_specks() -> None:
    mask = mask_of((0, 40, 0, 40), (5, 6, 60, 61), (50, 60, 80, 200), height=400, width=600)
    mask[10:20, 10:20] = False  # a hole stays a hole
    mask[15, 15] = True  # a speck in the box of another region
    wanted = mask.copy()
    wanted[15, 15] = wanted[5, 60] = False
    regions = find_regions(mask)
    assert np.array_equal(keep_regions(regions, (400, 600)), wanted)
    assert not keep_regions([], (3, 5)).any()
    assert keep_regions([], (3, 5)).shape == (3, 5)


def two_regions() -> tuple[list[Region], NDArray[np.float32]]:
    mask = mask_of((0, 4, 0, 4), (4, 5, 0, 1), (40, 42, 70, 72))  # the first does not fill its box
    anomaly_map = np.where(mask, 0.6, 0.99).astype(np.float32)  # what lies outside a region must not count
    anomaly_map[1, 2], anomaly_map[41, 71] = 0.7, 0.9
    return find_regions(mask), anomaly_map


def test_each_region_takes_the_type_with_the_largest_mean_on_it() -> None:
    regions, anomaly_map = two_regions()
    defects = to_defects(regions, anomaly_map, {"dent": [0.2, 0.7], "scratch": [0.3, 0.6]})
    assert [(d.type, d.area_px) for d in defects] == [("dent", 4), ("scratch", 17)]  # largest score first
    assert [d.score for d in defects] == pytest.approx([0.9, 0.7])
    assert defects[0].bbox_xyxy == (70, 40, 72, 42)
    assert defects[0].location == "bottom right"
    assert defects[0].area_fraction == 4 / 5400


def test_without_a_present_type_a_region_is_of_unknown_type() -> None:
    regions, anomaly_map = two_regions()
    assert {d.type for d in to_defects(regions, anomaly_map, {})} == {"unknown"}
    assert to_defects([], anomaly_map, {"dent": []}) == ()


def test_severity_changes_exactly_at_its_borders() -> None:
    assert severity(0) == NOTHING
    assert severity(1e-9) == "minor"
    assert severity(np.nextafter(0.005, 0)) == "minor"
    assert severity(0.005) == "moderate"
    assert severity(np.nextafter(0.05, 0)) == "moderate"
    assert severity(0.05) == "severe"
    assert severity(1) == "severe"


def test_places_are_named_once_and_at_most_three_of_them() -> None:
    boxes = [(0, 9, 0, 9), (0, 8, 12, 20), (25, 32, 40, 47), (50, 56, 80, 86), (50, 55, 2, 7)]
    regions = find_regions(mask_of(*boxes))
    assert locations(regions) == "top left, center, bottom right"
    assert locations(regions, most=1) == "top left"
    assert locations([]) == NOTHING


def test_rules_of_severity_are_a_plants_own() -> None:
    rules = SeverityRules(moderate=0.1, severe=0.2, types={"crack": "severe", "stain": "minor", "dent": "moderate"})
    assert [rules.of(share) for share in (0.0, 0.05, 0.1, 0.2)] == ["none", "minor", "moderate", "severe"]
    assert rules.of(0.001, ["stain", "dent", "scratch"]) == "moderate"
    assert rules.of(0.001, ["stain", "crack"]) == "severe"
    assert rules.of(0.15, ["stain"]) == "moderate"  # a type says how severe it is at least
    assert rules.of(0.0, ["crack"]) == "none"
