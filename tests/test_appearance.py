"""Words for how a defect looks, measured in the picture."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.appearance import appearance_found, appearance_of
from genau.regions import find_regions

Box = tuple[slice, slice]
GREY, DARK, BRIGHT, RED = (128, 128, 128), (40, 40, 40), (220, 220, 220), (190, 60, 60)


def drawn(*marks: tuple[Box, tuple[int, int, int]]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a grey picture (200, 300, 3) with marks, and their mask."""
    rgb, mask = np.full((200, 300, 3), GREY, np.uint8), np.zeros((200, 300), np.bool_)
    for box, colour in marks:
        rgb[box], mask[box] = colour, True
    return rgb, mask


SPOT: Box = np.s_[90:100, 90:100]
LINE: Box = np.s_[90:92, 20:250]
AREA: Box = np.s_[20:120, 20:120]


@pytest.mark.parametrize(
    ("box", "colour", "phrase"),
    [
        (SPOT, DARK, "small dark spot"),
        (SPOT, BRIGHT, "small bright spot"),
        (SPOT, RED, "small reddish spot"),
        (LINE, BRIGHT, "long thin bright line"),
        (AREA, DARK, "large dark area"),
        (AREA, (136, 136, 136), "large faint area"),
        (np.s_[0:4, 0:4], DARK, "tiny dark spot"),
        (np.s_[5:6, 5:6], DARK, "tiny dark spot"),
    ],
)
def test_what_is_found_is_compared_with_what_lies_around_it(
    box: Box, colour: tuple[int, int, int], phrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genau.regions.SMALLEST_FRACTION", 0)
    rgb, mask = drawn((box, colour))
    assert appearance_found(rgb, find_regions(mask)) == phrase


def test_a_tone_is_that_of_the_defect_also_where_the_mask_is_wider() -> None:
    rgb, mask = drawn((SPOT, DARK))
    mask[86:104, 86:104] = True
    assert appearance_found(rgb, find_regions(mask)) == "small dark spot"


def test_a_slanted_line_is_a_line() -> None:
    rgb, mask = drawn()
    for step in range(120):
        rgb[30 + step, 60 + step], mask[30 + step, 60 + step] = DARK, True
    assert appearance_found(rgb, find_regions(mask)).endswith("dark line")


def test_many_regions_are_told_by_the_largest() -> None:
    boxes: list[Box] = [np.s_[y : y + 6, 50:56] for y in (10, 60, 110)]
    rgb, mask = drawn((SPOT, BRIGHT), *((box, DARK) for box in boxes))
    assert appearance_found(rgb, find_regions(mask)) == "several regions, largest a small bright spot"
    assert appearance_found(rgb, find_regions(mask)[:2]) == "small bright spot"


def test_a_region_that_fills_the_picture_is_described() -> None:
    rgb, mask = drawn((np.s_[:, :], DARK))
    assert appearance_found(rgb, find_regions(mask)) == "large faint area"


def test_what_is_painted_is_compared_with_its_twin(picture: Callable[..., NDArray[np.uint8]]) -> None:
    good, _ = drawn((AREA, DARK))
    rgb = good.copy()
    rgb[SPOT] = (90, 90, 90)
    _, mask = drawn((SPOT, DARK))
    assert appearance_of(rgb, good, mask, "round spot") == "small bright round spot"
