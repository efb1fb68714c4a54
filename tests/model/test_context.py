"""The context distance against a loop that follows the formula word by word, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model import context
from genau.model.context import Context, ContextMemory, compare, context_patches, nearby, remember, soft_nearest

GRID = (4, 7)
TEMPERATURE = 0.05
NEIGHBOURS = 3


@pytest.fixture
def patches() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(2, 5, *GRID, generator=generator, dtype=torch.float64), dim=1)


def look_at(patches: Tensor, valid: Tensor, references: list[ContextMemory | None], exclusion: int = 1) -> Context:
    return compare(patches, valid, references, exclusion=exclusion, neighbours=NEIGHBOURS, temperature=TEMPERATURE)


def brute_force(
    patch: Tensor, others: list[Tensor], count: float, temperature: float = TEMPERATURE
) -> tuple[float, Tensor]:
    """-T * log( sum_j exp(-d_j / T) / count ) and x - sum_j softmax(-d / T)_j * x_j, over single numbers."""
    if not others:
        return 0.0, torch.zeros_like(patch)
    weights = [math.exp(-(1 - float(patch @ other)) / temperature) for other in others]
    neighbour = sum((w / sum(weights) * other for w, other in zip(weights, others, strict=True)), torch.zeros(()))
    return -temperature * math.log(sum(weights) / count), patch - neighbour


def test_the_self_distance_is_the_formula_over_all_patches_beyond_the_neighbourhood(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    valid[1, :, 5:] = False
    found = look_at(patches, valid, [None, None])
    for b in range(2):
        for y in range(GRID[0]):
            for x in range(GRID[1]):
                others = [
                    patches[b, :, v, u]
                    for v in range(GRID[0])
                    for u in range(GRID[1])
                    if max(abs(v - y), abs(u - x)) > 1 and valid[b, v, u]
                ]
                distance, residual = brute_force(patches[b, :, y, x], others, NEIGHBOURS)
                inside = float(valid[b, y, x])
                assert float(found.distance[b, y, x]) == pytest.approx(distance * inside, abs=1e-9)
                assert torch.allclose(found.residual[b, :, y, x], residual * inside, atol=1e-9)
    assert torch.equal(found.distance, found.self_distance)
    assert found.from_references.tolist() == [False, False]


def test_the_distance_to_references_is_the_formula_over_all_their_patches(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    memory = remember(patches[1:], valid[1:])
    found = look_at(patches, valid, [memory, None])
    others = list(memory.patches)
    distance, residual = brute_force(patches[0, :, 2, 5], others, NEIGHBOURS * memory.pictures)
    assert float(found.distance[0, 2, 5]) == pytest.approx(distance, abs=1e-9)
    assert torch.allclose(found.residual[0, :, 2, 5], residual, atol=1e-9)
    alone = look_at(patches, valid, [None, None])
    assert torch.allclose(found.self_distance, alone.self_distance)
    assert torch.allclose(found.distance[1], alone.distance[1])
    assert found.from_references.tolist() == [True, False]


def test_k_equal_neighbours_give_distance_zero_and_one_opposite_gives_two() -> None:
    patch = torch.tensor([[1.0, 0.0]])
    distance, residual = soft_nearest(patch, patch.expand(3, 2), None, 3, 0.02)
    assert distance.item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(residual, torch.zeros(1, 2), atol=1e-6)
    distance, residual = soft_nearest(patch, -patch, None, 1, 0.02)
    assert distance.item() == pytest.approx(2, abs=1e-6)
    assert residual.tolist() == [[2.0, 0.0]]


def test_doubling_the_memory_and_its_pictures_changes_nothing(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    once = remember(patches[1:], valid[1:])
    twice = ContextMemory(torch.cat([once.patches, once.patches]), 2 * once.pictures)
    one, other = look_at(patches, valid, [once, once]), look_at(patches, valid, [twice, twice])
    assert torch.allclose(one.distance, other.distance)
    assert torch.allclose(one.residual, other.residual)


def test_remembered_patches_are_the_valid_ones_in_raster_order(patches: Tensor) -> None:
    valid = torch.zeros(2, *GRID, dtype=torch.bool)
    valid[0, 0, 3], valid[0, 2, 1], valid[1, 3, 6] = True, True, True
    memory = remember(patches, valid)
    assert memory.pictures == 2
    assert torch.equal(memory.patches, torch.stack([patches[0, :, 0, 3], patches[0, :, 2, 1], patches[1, :, 3, 6]]))


def test_neighbours_are_counted_in_rows_and_columns_of_a_grid_that_is_not_square() -> None:
    near = nearby((3, 4), 1, torch.device("cpu")).reshape(3, 4, 3, 4)
    assert near[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert near[1, 3].int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert nearby((3, 4), 0, torch.device("cpu")).equal(torch.eye(12, dtype=torch.bool))


def test_a_patch_all_of_whose_memory_is_excluded_is_zero_and_so_is_its_gradient() -> None:
    patches = F.normalize(torch.randn(3, 4), dim=1).requires_grad_()
    excluded = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    distance, residual = soft_nearest(patches, patches, excluded, 1, TEMPERATURE)
    assert distance[0] == 0
    assert (residual[0] == 0).all()
    assert distance[1:].isfinite().all()
    (distance.sum() + residual.square().sum()).backward()
    assert patches.grad is not None
    assert patches.grad.isfinite().all()
    only_first, _ = soft_nearest(patches, patches.detach(), excluded, 1, TEMPERATURE)
    (gradient,) = torch.autograd.grad(only_first[0], patches)
    assert (gradient == 0).all()


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    patches = F.normalize(torch.randn(11, 6, generator=generator), dim=1)
    memory = F.normalize(torch.randn(9, 6, generator=generator), dim=1)
    excluded = torch.rand(11, 9, generator=generator) < 0.3
    whole = soft_nearest(patches, memory, excluded, 2, TEMPERATURE)
    monkeypatch.setattr(context, "CHUNK_PATCHES", 4)
    pieces = soft_nearest(patches, memory, excluded, 2, TEMPERATURE)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(whole, pieces, strict=True))


def test_more_patches_than_one_chunk_are_all_compared() -> None:
    generator = torch.Generator().manual_seed(2)
    patches = F.normalize(torch.randn(context.CHUNK_PATCHES + 3, 4, generator=generator, dtype=torch.float64), dim=1)
    distance, residual = soft_nearest(patches, patches[:5], None, 2, TEMPERATURE)
    assert distance.shape == (len(patches),)
    last, last_residual = brute_force(patches[-1], list(patches[:5]), 2)
    assert float(distance[-1]) == pytest.approx(last, abs=1e-6)
    assert torch.allclose(residual[-1], last_residual)


def test_padding_neither_is_compared_nor_serves_as_context(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    valid[:, 3:] = False
    garbage = patches.clone()
    garbage[:, :, 3:] = patches[:, :, :1]  # padding that resembles the first row
    one, other = look_at(patches, valid, [None, None]), look_at(garbage, valid, [None, None])
    assert torch.equal(one.distance, other.distance)
    assert torch.equal(one.residual, other.residual)
    for found in (one, other):
        assert (found.distance[:, 3:] == 0).all()
        assert (found.self_distance[:, 3:] == 0).all()
        assert (found.residual[:, :, 3:] == 0).all()


def test_padding_against_references_is_zero_too(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    valid[0, :, 4:] = False
    memory = remember(patches[1:], valid[1:])
    found = look_at(patches, valid, [memory, memory])
    assert (found.distance[0, :, 4:] == 0).all()
    assert (found.residual[0, :, :, 4:] == 0).all()


def test_a_picture_of_one_valid_patch_knows_nothing_and_says_zero(patches: Tensor) -> None:
    valid = torch.zeros(2, *GRID, dtype=torch.bool)
    valid[:, 0, 0] = True
    found = look_at(patches, valid, [None, None])
    for part in (found.distance, found.self_distance, found.residual):
        assert (part == 0).all()


def test_a_picture_whose_grid_is_one_patch_is_zero() -> None:
    found = look_at(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), [None])
    assert found.distance.shape == (1, 1, 1)
    assert found.residual.shape == (1, 1, 1, 1)
    assert found.distance.item() == 0


def test_a_pictures_context_does_not_depend_on_its_batch(patches: Tensor) -> None:
    valid = torch.ones(2, *GRID, dtype=torch.bool)
    together = look_at(patches, valid, [None, None])
    for b in range(2):
        alone = look_at(patches[b : b + 1], valid[b : b + 1], [None])
        assert torch.equal(alone.distance[0], together.distance[b])
        assert torch.equal(alone.residual[0], together.residual[b])


def test_levels_finer_and_coarser_than_the_grid_meet_on_it_at_unit_length() -> None:
    fine = torch.arange(2 * 4 * 8, dtype=torch.float32).reshape(1, 2, 4, 8)
    coarse = torch.full((1, 3, 1, 2), 50.0)
    patches = context_patches([fine, coarse], (2, 4))
    assert patches.shape == (1, 5, 2, 4)
    assert torch.allclose(patches.norm(dim=1), torch.ones(1, 2, 4))
    mean = fine[0, 1, 2:4, 6:8].mean()
    assert float(patches[0, 1, 1, 3] / patches[0, 4, 1, 3]) == pytest.approx(float(mean) / 50, rel=1e-5)
