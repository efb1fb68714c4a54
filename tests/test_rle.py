"""Run lengths as COCO writes them: worked out by hand from its algorithm, and back to the same mask."""

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.errors import DataError
from genau.rle import Rle, area, decode, encode


def mask_of(*rows: str) -> NDArray[np.bool_]:
    return np.array([[character == "#" for character in row] for row in rows])


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (mask_of("#"), "01"),  # background first, even where there is none
        (mask_of("."), "1"),
        (mask_of("..", "..", ".."), "6"),
        (mask_of("##", "##", "##"), "06"),
        (mask_of(".#", ".#", ".."), "321"),  # down the columns: 3 off, 2 on, 1 off
        (mask_of("#...", "..#."), "0140N"),  # 0, 1, 4, 1, 2: from the fourth on 1 - 1 = 0, 2 - 4 = -2
    ],
)
def test_small_masks_give_the_string_that_the_algorithm_gives_by_hand(mask: NDArray[np.bool_], counts: str) -> None:
    assert encode(mask) == {"size": list(mask.shape), "counts": counts}
    assert (decode({"size": list(mask.shape), "counts": counts}) == mask).all()


def test_numbers_above_15_take_two_characters_and_falling_ones_are_negative() -> None:
    mask = np.zeros((1, 60), np.bool_)
    mask[0, 16:56] = True  # 16, 40, 4: "`0" (16 needs a sign bit), "X1", "4"
    assert encode(mask)["counts"] == "`0X14"
    mask[0, 59] = True  # 16, 40, 3, 1: the fourth is 1 - 40 = -39 = "i" + "N"
    assert encode(mask)["counts"] == "`0X13iN"
    assert (decode(encode(mask)) == mask).all()


def test_any_mask_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        height, width = rng.integers(1, 40, 2)
        mask = rng.random((height, width)) < rng.random()
        rle = encode(mask)
        assert rle["size"] == [height, width]
        assert (decode(rle) == mask).all()
        assert area(rle) == mask.sum()


def test_a_part_is_encoded_as_the_whole_would_be() -> None:
    whole = np.zeros((20, 31), np.bool_)
    part = np.random.default_rng(1).random((5, 7)) < 0.5
    whole[11:16, 22:29] = part
    assert encode(part, at_yx=(11, 22), size_hw=(20, 31)) == encode(whole)


def test_a_part_that_does_not_lie_inside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not lie inside \(20, 31\)"):
        encode(np.ones((5, 7), np.bool_), at_yx=(16, 0), size_hw=(20, 31))
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        encode(np.ones((5, 7, 1), np.bool_))


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ({"size": [2, 3], "counts": "7"}, r"hold 7 pixels, the picture 2 x 3"),
        ({"size": [2, 3], "counts": "X"}, r"cut off"),
        ({"size": [2, 3], "counts": "6 "}, r"' ' is no character"),
        ({"size": [2, 3], "counts": [6]}, r"in compressed form"),
        ({"counts": "6"}, r"need a size \[H, W\]"),
        ({"size": [1, 0], "counts": "1O"}, r"damaged"),
    ],
)
def test_damaged_run_lengths_are_refused_in_words(rle: Rle, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(rle)
