"""Cutting a canvas into crops, and putting what was seen of them together again."""

import pytest
import torch

from genau.errors import CheckpointError
from genau.model.backbones.crops import Cutting, level_blocks, sight_of

CONTENTS = torch.tensor([[5, 12], [12, 3]])


def canvases(side: int = 12) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, side, side)


def test_only_crops_with_content_are_cut_and_in_reading_order() -> None:
    places = Cutting(12, 4, 1).places(CONTENTS)
    assert places.counts == (6, 3)
    assert places.picture.tolist() == [0] * 6 + [1] * 3
    assert places.row.tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 2]
    assert places.column.tolist() == [0, 1, 2, 0, 1, 2, 0, 0, 0]


def test_a_crop_is_its_part_of_the_canvas() -> None:
    cutting, pixels = Cutting(12, 4, 2), canvases()
    crops = cutting.cut(pixels, cutting.places(CONTENTS))
    assert crops.shape == (9, 3, 4, 4)
    assert torch.equal(crops[5], pixels[0, :, 4:8, 8:12])
    assert torch.equal(crops[8], pixels[1, :, 8:12, 0:4])


def test_crops_take_only_the_pixels_that_patches_cover() -> None:
    cutting = Cutting(12, 5, 2)
    assert (cutting.cells, cutting.crop, cutting.across) == (2, 4, 3)
    crops = cutting.cut(canvases(), cutting.places(CONTENTS))
    assert crops.shape == (9, 3, 5, 5)
    assert torch.equal(crops[1, :, :4, :4], canvases()[0, :, 0:4, 4:8])
    assert not crops[:, :, 4:].any()
    assert not crops[..., 4:].any()


def test_what_was_cut_comes_back_to_its_place_and_the_rest_is_zero() -> None:
    cutting, pixels = Cutting(12, 4, 1), canvases()
    places = cutting.places(CONTENTS)
    back = cutting.stitch(cutting.cut(pixels, places).flatten(2).transpose(1, 2), places)
    assert torch.equal(back[0, :, :8], pixels[0, :, :8])
    assert torch.equal(back[1, :, :, :4], pixels[1, :, :, :4])
    assert not back[0, :, 8:].any()
    assert not back[1, :, :, 4:].any()


def test_the_cells_of_a_crop_are_those_on_which_it_is_put() -> None:
    cutting = Cutting(12, 4, 1)
    places = cutting.places(CONTENTS)
    for side in (1, 2, 4):
        cells = cutting.cells_of(places, side)
        assert cells.shape == (9, side * side)
        back = cutting.stitch(cells[..., None], places)[:, 0]
        raster = torch.arange((3 * side) ** 2).view(3 * side, -1)
        assert torch.equal(back[0, : 2 * side], raster[: 2 * side])
        assert torch.equal(back[1, :, :side], raster[:, :side])


def test_the_whole_view_shows_the_content_and_nothing_beside_it() -> None:
    cutting, pixels = Cutting(12, 6, 2), torch.full((2, 3, 12, 12), 9.0)
    for canvas, (height, width) in zip(pixels, CONTENTS.tolist(), strict=True):
        canvas[:, :height, :width] = torch.linspace(-1, 1, width)
    views = cutting.whole(pixels, CONTENTS)
    assert views.shape == (2, 3, 6, 6)
    assert views.abs().max() < 1.2
    assert (views.diff(dim=3) > 0).all()  # from left to right, as in the picture
    assert views.diff(dim=2).abs().max() < 1e-5


@pytest.mark.parametrize("canvas", [640, 1512, 0])
def test_a_canvas_that_is_not_of_whole_crops_is_refused(canvas: int) -> None:
    with pytest.raises(CheckpointError, match=rf"image_size={canvas} is not 1 to 3 crops of 378 pixels.*Use 378, 756"):
        Cutting.of(canvas, 384, 14, 3)


@pytest.mark.parametrize(("canvas", "strides"), [(378, [14, 42]), (756, [14, 28]), (1134, [14, 42])])
def test_context_patches_divide_the_canvas(canvas: int, strides: list[int]) -> None:
    scales = Cutting.of(canvas, 384, 14, 3).context_scales
    assert [stride for _, stride, _ in scales] == strides
    assert all(canvas % stride == 0 for stride in strides)


def test_levels_are_taken_at_quarters_of_a_towers_depth() -> None:
    assert level_blocks(12) == (3, 6, 9, 12)
    assert level_blocks(26) == (7, 13, 20, 26)
    assert level_blocks(1) == (1, 1, 1, 1)


def test_pictures_of_several_numbers_of_tokens_are_padded_at_their_ends() -> None:
    tokens = [torch.ones(2, 5, dtype=torch.bfloat16), torch.ones(3, 5, dtype=torch.bfloat16)]
    sight = sight_of(tokens, [torch.tensor([4, -1]), torch.tensor([0, 1, 2])], (2, 3), (torch.ones(2, 1, 4, 6),))
    assert sight.token_counts.tolist() == [2, 3]
    assert sight.token_cells.tolist() == [[4, -1, -1], [0, 1, 2]]
    assert sight.visual_tokens.dtype == torch.float32
    assert sight.visual_tokens.sum((1, 2)).tolist() == [10, 15]
