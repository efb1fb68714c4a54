"""From margins to scores, by hand on grids of six cells."""

import math
from fractions import Fraction
from itertools import product

import pytest
import torch

from genau.images import Letterbox
from genau.model.configuration import GenAUConfig
from genau.model.fusion import fuse, map_score, read_out, text_score, valid_cells

MARGIN = torch.tensor([[[3.0, -1.0, 2.0], [0.5, 9.0, -4.0]]])
ALL = torch.ones(1, 2, 3, dtype=torch.bool)
SIDES = (1, 2, 3, 7, 30, 33, 50, 90, 100, 101, 128, 140, 333, 640, 1000, 4096)


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ((0.0005,), 9.0),  # always at least one cell
        ((1 / 3,), 6.0),  # (9 + 3) / 2
        ((0.35,), 14 / 3),  # ceil(2.1) = 3 cells: (9 + 3 + 2) / 3
        ((1.0,), 9.5 / 6),
        ((0.1, 1 / 3, 1.0), (9 + 6 + 9.5 / 6) / 3),
    ],
)
def test_the_read_out_is_the_mean_of_the_means_of_the_top(fractions: tuple[float, ...], expected: float) -> None:
    assert read_out(MARGIN, ALL, fractions).item() == pytest.approx(expected)


def test_cells_on_the_padding_do_not_count_even_where_they_are_largest() -> None:
    valid = ALL.clone()
    valid[0, 1] = False  # 9, 0.5 and -4 are padding
    assert read_out(MARGIN, valid, (0.1,)).item() == 3.0
    assert read_out(MARGIN, valid, (0.5,)).item() == 2.5  # ceil(0.5 * 3) = 2 of the three valid cells
    assert read_out(MARGIN, valid, (1.0,)).item() == pytest.approx(4 / 3)


def test_pictures_of_different_content_are_read_together_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    margin = torch.randn(3, 20, 30, generator=generator)
    valid = torch.zeros(3, 20, 30, dtype=torch.bool)
    valid[0], valid[1, :1, :1], valid[2, :7] = True, True, True
    fractions = (0.002, 0.05, 0.5)
    together = read_out(margin, valid, fractions)
    for row in range(3):
        cells = sorted(margin[row][valid[row]].tolist(), reverse=True)
        tops = [cells[: max(1, math.ceil(f * len(cells)))] for f in fractions]
        expected = sum(sum(top) / len(top) for top in tops) / len(tops)
        assert together[row].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fraction", GenAUConfig().readout_fractions)
def test_the_count_of_cells_is_exact_for_every_grid(fraction: float) -> None:
    exact = Fraction(str(fraction))
    for cells in (1000, 1500, 3000, 6000, 12000, 25600):
        top = max(1, math.ceil(exact * cells))
        margin = torch.zeros(1, 1, cells)
        margin[..., :top] = 1.0
        assert read_out(margin, torch.ones(1, 1, cells, dtype=torch.bool), (fraction,)).item() == 1.0


def test_a_larger_margin_anywhere_never_lowers_the_score() -> None:
    fractions = GenAUConfig().readout_fractions
    before = map_score(MARGIN, ALL, fractions, 0.0).item()
    for y, x in product(range(2), range(3)):
        raised = MARGIN.clone()
        raised[0, y, x] += 1
        assert map_score(raised, ALL, fractions, 0.0).item() >= before
    assert map_score(MARGIN + 1, ALL, fractions, 0.0).item() > before


def test_an_infinite_margin_is_not_taken_for_padding() -> None:
    margin = MARGIN.clone()
    margin[0, 0, 0] = torch.inf
    assert map_score(margin, ALL, (0.1,), 0.0).item() == 1.0
    margin[0, 0, 0] = torch.nan
    assert map_score(margin, ALL, (0.1,), 0.0).isnan().all()


def test_the_map_score_is_one_half_at_the_offset() -> None:
    assert map_score(MARGIN, ALL, (0.1,), 9.0).item() == 0.5
    assert map_score(MARGIN, ALL, (0.1,), 8.0).item() == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("canvas", [96, 100, 128, 448, 640])
@pytest.mark.parametrize("grid_hw", [(1, 1), (3, 5), (4, 8), (7, 6), (20, 28), (40, 40), (160, 112)])
def test_valid_cells_are_those_of_the_letterbox(canvas: int, grid_hw: tuple[int, int]) -> None:
    boxes = [Letterbox((height, width), canvas) for height, width in product(SIDES, SIDES)]
    found = valid_cells(torch.tensor([box.content_hw for box in boxes]), canvas, grid_hw)
    for box, cells in zip(boxes, found, strict=True):
        assert cells.numpy().tolist() == box.valid_cells(grid_hw).tolist(), box


def test_every_content_size_agrees_with_the_letterbox() -> None:
    for canvas, grid in ((100, 3), (96, 7), (640, 40), (640, 23), (100, 12)):
        boxes = [Letterbox((canvas, side), canvas) for side in range(1, canvas + 1)]
        found = valid_cells(torch.tensor([box.content_hw for box in boxes]), canvas, (2, grid))
        assert [c[0].sum().item() for c in found] == [box.valid_cells((2, grid))[0].sum() for box in boxes]


def test_a_sliver_of_a_picture_still_has_a_cell_and_rows_come_first() -> None:
    cells = valid_cells(torch.tensor([[1, 64], [64, 33]]), 64, (4, 4))
    assert cells[0].int().tolist() == [[1, 1, 1, 1], [0] * 4, [0] * 4, [0] * 4]
    assert cells[1].int().tolist() == [[1, 1, 0, 0]] * 4  # the third centre lies at 40


def test_the_text_score_is_a_softmax_over_the_two_verdict_words() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0], [200.0, -200.0]])
    assert text_score(logits).tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 0.0])
    assert text_score(logits.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.2), (0.25, 0.35), (0.5, 0.5), (1.0, 0.8)])
def test_the_weight_moves_the_score_from_map_to_words(weight: float, expected: float) -> None:
    assert fuse(torch.tensor([0.2]), torch.tensor([0.8]), weight).item() == pytest.approx(expected)


def test_without_weight_the_words_cannot_spoil_the_score() -> None:
    assert fuse(torch.tensor([0.2]), torch.tensor([torch.nan]), 0.0).item() == pytest.approx(0.2)
