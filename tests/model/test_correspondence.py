"""Places are compared with the same places of good parts, wherever the part lies."""

import pytest
import torch
from torch import Tensor

from genau.model.context import MOST_GRIDS, PicturePatches, ReferenceGrids, Scale, gather, remember
from genau.model.correspondence import correspond, find_shift, nearest_nearby, unevenness

HEIGHT, WIDTH = 12, 18  # cells
GROUND, PART = 0, 1  # channels


def surface(*parts: tuple[int, int], height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """Return (4, h, w): even ground with parts of 2 x 2 cells, each cell of one kind."""
    kinds = torch.zeros(4, height, width)
    kinds[GROUND] = 1
    for top, left in parts:
        for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            kinds[:, top + y, left + x] = 0
            kinds[PART + number % 2, top + y, left + x] = 1
    return kinds


def picture(features: Tensor, valid: Tensor | None = None) -> PicturePatches:
    return PicturePatches((features,), (torch.ones(features.shape[1:], dtype=torch.bool) if valid is None else valid,))


def grids(*pictures: PicturePatches) -> ReferenceGrids:
    return ReferenceGrids(tuple(one.features[0].half() for one in pictures), tuple(one.valid[0] for one in pictures))


FULL, LACKING = surface((2, 3), (2, 9), (8, 3), (8, 9)), surface((2, 3), (2, 9), (8, 3))
AT = (slice(8, 10), slice(9, 11))  # the fourth part


def test_a_missing_part_is_far_from_what_good_parts_show_there_and_plainer() -> None:
    found = correspond(picture(LACKING), grids(picture(FULL), picture(FULL)))
    assert found is not None
    assert torch.allclose(found.missing[AT], torch.ones(2, 2))  # although the same part lies elsewhere
    assert (found.plainer[AT] > 0).all()
    elsewhere = found.missing.clone()
    elsewhere[AT] = 0
    assert not elsewhere.any()


def test_a_surplus_part_is_the_reverse() -> None:
    found, reverse = (
        correspond(picture(FULL), grids(picture(LACKING))),
        correspond(picture(LACKING), grids(picture(FULL))),
    )
    assert found is not None
    assert reverse is not None
    assert torch.allclose(found.extra, reverse.missing)
    assert torch.allclose(found.plainer, -reverse.plainer)


@pytest.mark.parametrize("shift", [(2, 0), (0, -3), (-1, 2)])
def test_a_part_that_lies_beside_its_place_is_compared_with_its_place(shift: tuple[int, int]) -> None:
    down, right = shift
    moved = surface(*((y + down, x + right) for y, x in ((2, 3), (2, 9), (8, 3), (8, 9))))
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    assert find_shift(FULL, moved, valid) == shift
    found = correspond(picture(FULL), grids(picture(moved)))
    assert found is not None
    assert not found.missing.any()
    assert not found.extra.any()


def test_of_equally_good_shifts_none_is_preferred() -> None:
    assert find_shift(surface(), surface(), torch.ones(HEIGHT, WIDTH, dtype=torch.bool)) == (0, 0)


def test_what_most_good_parts_show_decides() -> None:
    found = correspond(picture(LACKING), grids(picture(FULL), picture(LACKING), picture(LACKING)))
    assert found is not None
    assert not found.missing.any()


def test_padding_is_neither_compared_nor_found() -> None:
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[8:] = False
    found = correspond(picture(LACKING, valid), grids(picture(FULL, valid)))
    assert found is not None
    assert not found.missing.any()
    assert not found.valid[8:].any()
    part = surface((7, 3))
    distance = nearest_nearby(FULL, part, valid)  # the second row of the part lies on padding
    assert distance[0, 0] == 0
    assert nearest_nearby(FULL, FULL, torch.zeros_like(valid)).eq(2).all()


def test_good_parts_of_another_shape_have_no_places() -> None:
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[8:] = False
    assert correspond(picture(FULL), grids(picture(FULL, valid))) is None


def test_unevenness_is_zero_on_even_ground_and_counts_the_sides_that_differ() -> None:
    uneven = unevenness(surface((4, 5)))
    assert not uneven[:3].any()
    assert uneven[4, 5] == pytest.approx(3 / 4)  # two sides of ground and one of another kind; like the one below
    assert uneven[3, 5] == pytest.approx(1 / 4)


def test_a_memory_keeps_a_few_grids_in_half_precision() -> None:
    scales = (Scale((0,), 16, 1),)
    memory = remember([picture(FULL)] * 9, scales, neighbours=2, temperature=0.02, most=50)
    assert memory.pictures == 9
    assert memory.grids is not None
    assert len(memory.grids.features) == len(memory.grids.valid) == MOST_GRIDS
    assert memory.grids.features[0].dtype == torch.float16
    together = gather([memory, memory], scales, 50)
    assert together.grids is not None
    assert torch.equal(together.grids.features[1], memory.grids.features[1])
    assert len(together.grids.valid) == MOST_GRIDS
