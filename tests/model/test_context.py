"""The context against loops that follow its formulas word by word, in float64, at two scales."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model import context
from genau.model.context import (
    Context,
    ContextMemory,
    PicturePatches,
    Remembered,
    Scale,
    compare,
    context_patches,
    nearby,
    remember,
    soft_nearest,
    to_distance,
)

GRIDS = ((4, 7), (3, 4))
CHANNELS = (5, 6)
SCALES = (Scale((0,), 16, 1), Scale((1,), 32, 0))
TEMPERATURE = 0.05
NEIGHBOURS = 3

Make = Callable[..., PicturePatches]
Rows = list[list[float]]  # a grid of numbers


@pytest.fixture
def make() -> Make:
    """Draw a picture's patches; of columns from `ends` on (one for each scale) all is padding."""

    def draw(seed: int = 0, ends: tuple[int, int] = (7, 4)) -> PicturePatches:
        generator = torch.Generator().manual_seed(seed)
        features, valid = [], []
        for channels, grid, end in zip(CHANNELS, GRIDS, ends, strict=True):
            drawn = torch.randn(channels, *grid, generator=generator, dtype=torch.float64)
            features.append(F.normalize(drawn, dim=0))
            valid.append((torch.arange(grid[1]) < end).expand(grid))
        return PicturePatches(tuple(features), tuple(valid))

    return draw


def look_at(*pictures: PicturePatches, references: list[ContextMemory | None] | None = None) -> Context:
    known = references or [None] * len(pictures)
    return compare(pictures, known, SCALES, neighbours=NEIGHBOURS, temperature=TEMPERATURE)


def keep(*pictures: PicturePatches) -> ContextMemory:
    return remember(pictures, SCALES, neighbours=NEIGHBOURS, temperature=TEMPERATURE, most=10_000)


def weights(patch: Tensor, others: list[Tensor]) -> list[float]:
    return [math.exp(-(1 - float(patch @ other)) / TEMPERATURE) for other in others]


def distance_of(patch: Tensor, others: list[Tensor], count: float) -> float:
    """-T * log( sum_j exp(-d_j / T) / count ), over single numbers."""
    return -TEMPERATURE * math.log(sum(weights(patch, others)) / count) if others else 0.0


def excess_of(patch: Tensor, others: list[Tensor], known: list[float], count: float) -> float:
    """The distance less the neighbours' own, each as heavy as it is near."""
    w = weights(patch, others)
    return distance_of(patch, others, count) - sum(a * d for a, d in zip(w, known, strict=True)) / (sum(w) or 1)


def residual_of(patch: Tensor, others: list[Tensor]) -> Tensor:
    """x - sum_j softmax(-d / T)_j * x_j."""
    if not others:
        return torch.zeros_like(patch)
    w = weights(patch, others)
    return patch - sum((a / sum(w) * other for a, other in zip(w, others, strict=True)), torch.zeros(()))


def cells(picture: PicturePatches, scale: int) -> list[tuple[int, int]]:
    """Return the cells on the picture, in raster order."""
    return [(y, x) for y in range(GRIDS[scale][0]) for x in range(GRIDS[scale][1]) if picture.valid[scale][y, x]]


def own_context(picture: PicturePatches, scale: int, at: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the cells of the same picture that lie beyond the neighbourhood."""
    around = SCALES[scale].exclusion
    return [(v, u) for v, u in cells(picture, scale) if max(abs(v - at[0]), abs(u - at[1])) > around]


def own_distance_of(picture: PicturePatches, scale: int, at: tuple[int, int]) -> float:
    features = picture.features[scale]
    others = [features[:, v, u] for v, u in own_context(picture, scale, at)]
    return distance_of(features[:, at[0], at[1]], others, NEIGHBOURS)


def own_scalars(picture: PicturePatches, scale: int) -> tuple[Rows, Rows]:
    """Return distance and excess within the picture, cell by cell; zero on padding."""
    features, (height, width) = picture.features[scale], GRIDS[scale]
    distance, excess = ([[0.0] * width for _ in range(height)] for _ in range(2))
    for y, x in cells(picture, scale):
        places = own_context(picture, scale, (y, x))
        others = [features[:, v, u] for v, u in places]
        known = [own_distance_of(picture, scale, place) for place in places]
        distance[y][x] = own_distance_of(picture, scale, (y, x))
        excess[y][x] = excess_of(features[:, y, x], others, known, NEIGHBOURS)
    return distance, excess


def reference_scalars(picture: PicturePatches, memory: ContextMemory, scale: int) -> tuple[Rows, Rows]:
    features, (height, width) = picture.features[scale], GRIDS[scale]
    others, known = list(memory.scales[scale].patches), memory.scales[scale].distance.tolist()
    distance, excess = ([[0.0] * width for _ in range(height)] for _ in range(2))
    for y, x in cells(picture, scale):
        count = NEIGHBOURS * memory.pictures
        distance[y][x] = distance_of(features[:, y, x], others, count)
        excess[y][x] = excess_of(features[:, y, x], others, known, count)
    return distance, excess


def on_first_grid(rows: Rows, picture: PicturePatches, scale: int) -> Tensor:
    """Return (h, w) on the first grid: bilinear between the cells' centres, over those on the picture alone."""
    (height, width), (tall, wide) = GRIDS[0], GRIDS[scale]
    out = torch.zeros(height, width, dtype=torch.float64)
    for y, x in cells(picture, 0):
        v = min(max((y + 0.5) * tall / height - 0.5, 0), tall - 1)
        u = min(max((x + 0.5) * wide / width - 0.5, 0), wide - 1)
        total = weight = 0.0
        for row in range(tall):
            for column in range(wide):
                near = max(0, 1 - abs(v - row)) * max(0, 1 - abs(u - column)) * float(picture.valid[scale][row, column])
                total, weight = total + near * rows[row][column], weight + near
        out[y, x] = total / weight if weight else 0
    return out


def expected_scalars(picture: PicturePatches, memory: ContextMemory | None) -> Tensor:
    maps = []
    for scale in range(len(SCALES)):
        own = own_scalars(picture, scale)
        found = reference_scalars(picture, memory, scale) if memory else own
        maps += [on_first_grid(rows, picture, scale) for rows in (*found, *own)]
    return torch.stack(maps)


def test_without_references_all_scalars_are_the_formulas_within_the_picture(make: Make) -> None:
    pictures = [make(0), make(1, ends=(5, 3))]
    found = look_at(*pictures)
    assert found.scalars.shape == (2, 8, *GRIDS[0])
    for row, picture in enumerate(pictures):
        assert torch.allclose(found.scalars[row], expected_scalars(picture, None), atol=1e-9)
        assert torch.equal(found.valid[row], picture.valid[0])
    assert torch.equal(found.distance, found.scalars[:, 0])
    assert torch.equal(found.own_distance, found.scalars[:, 2])
    assert torch.equal(found.scalars[:, [0, 1, 4, 5]], found.scalars[:, [2, 3, 6, 7]])  # own stands in for references
    assert found.from_references.tolist() == [False, False]


def test_the_residual_is_the_patch_less_its_soft_neighbour_at_the_first_scale(make: Make) -> None:
    picture, good = make(1, ends=(5, 3)), make(2)
    memory = keep(good)
    alone, referred = look_at(picture), look_at(picture, references=[memory])
    assert alone.residual.shape == (1, CHANNELS[0], *GRIDS[0])
    for y in range(GRIDS[0][0]):
        for x in range(GRIDS[0][1]):
            patch, inside = picture.features[0][:, y, x], float(x < 5)
            others = [picture.features[0][:, v, u] for v, u in own_context(picture, 0, (y, x))]
            expected = residual_of(patch, others) * inside
            assert torch.allclose(alone.residual[0, :, y, x], expected, atol=1e-9)
            expected = residual_of(patch, list(memory.scales[0].patches)) * inside
            assert torch.allclose(referred.residual[0, :, y, x], expected, atol=1e-9)


@pytest.mark.parametrize("count", [1, 3])
def test_with_references_distance_and_excess_are_to_them_and_the_own_ones_stay(make: Make, count: int) -> None:
    memory = keep(*(make(10 + seed, ends=(6, 3)) for seed in range(count)))
    pictures = [make(0, ends=(5, 3)), make(1)]
    found = look_at(*pictures, references=[memory, None])
    assert torch.allclose(found.scalars[0], expected_scalars(pictures[0], memory), atol=1e-9)
    assert torch.allclose(found.scalars[1], expected_scalars(pictures[1], None), atol=1e-9)
    alone = look_at(*pictures)
    assert torch.equal(found.own_distance, alone.own_distance)
    assert not torch.allclose(found.distance[0], alone.distance[0], atol=0.01)
    assert found.from_references.tolist() == [True, False]


def test_the_patches_of_one_reference_know_their_distance_to_the_rest_of_its_picture(make: Make) -> None:
    good = make(3, ends=(6, 3))
    memory = keep(good)
    assert memory.pictures == 1
    for scale, remembered in enumerate(memory.scales):
        places = cells(good, scale)
        assert torch.equal(remembered.patches, torch.stack([good.features[scale][:, y, x] for y, x in places]))
        expected = [own_distance_of(good, scale, place) for place in places]
        assert remembered.distance.tolist() == pytest.approx(expected, abs=1e-9)


def peers_distances(pictures: list[PicturePatches], scale: int, peers: int) -> list[float]:
    """Return each patch's distance to the patches of the `peers` pictures after its own, the last before the first."""
    found = []
    for number, picture in enumerate(pictures):
        following = [pictures[(number + step) % len(pictures)] for step in range(1, peers + 1)]
        others = [peer.features[scale][:, y, x] for peer in following for y, x in cells(peer, scale)]
        for y, x in cells(picture, scale):
            found.append(distance_of(picture.features[scale][:, y, x], others, NEIGHBOURS * peers))
    return found


def test_the_patches_of_several_references_know_their_distance_to_the_other_pictures(make: Make) -> None:
    good = [make(4), make(5, ends=(5, 2)), make(6, ends=(6, 4))]
    memory = keep(*good)
    assert memory.pictures == 3
    for scale, remembered in enumerate(memory.scales):
        assert remembered.distance.tolist() == pytest.approx(peers_distances(good, scale, 2), abs=1e-9)
        kept = [picture.features[scale][:, y, x] for picture in good for y, x in cells(picture, scale)]
        assert torch.equal(remembered.patches, torch.stack(kept))


def test_each_of_many_references_is_compared_with_a_bounded_number_of_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [make(seed, ends=(3, 2)) for seed in range(context.PEERS + 2)]
    memory = keep(*good)
    for scale, remembered in enumerate(memory.scales):
        assert remembered.distance.tolist() == pytest.approx(peers_distances(good, scale, context.PEERS), abs=1e-9)
    monkeypatch.setattr(context, "PEERS", 2)
    assert keep(*good[:5]).scales[1].distance.tolist() == pytest.approx(peers_distances(good[:5], 1, 2), abs=1e-9)


def test_a_patch_that_is_as_rare_as_its_likes_has_little_excess() -> None:
    ground, edge, odd = (F.one_hot(torch.tensor(k), 5).double() for k in range(3))
    row = torch.stack([ground] * 8 + [edge, ground, ground, edge, ground, odd], 1)[:, None]
    picture = PicturePatches((row,), (torch.ones(1, 14, dtype=torch.bool),))
    found = compare([picture], [None], [Scale((0,), 16, 0)], neighbours=1, temperature=TEMPERATURE)
    distance, excess = found.scalars[0, :2, 0]
    assert distance.topk(1).indices.tolist() == [13]
    assert excess[13] > distance[13] > 0.8
    assert distance[8] > distance[0] + 0.1  # an edge is rarer than the ground ...
    assert excess[[8, 11]].tolist() == pytest.approx([0, 0], abs=1e-6)  # ... but no rarer than the other edge


def test_k_equal_neighbours_give_distance_zero_and_one_opposite_gives_two() -> None:
    patch, known = torch.tensor([[1.0, 0.0]]), torch.tensor([0.1, 0.2, 0.6])
    found = soft_nearest(patch, patch.expand(3, 2), known, None, 3, 0.02)
    assert to_distance(found.log_density, 0.02).item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(found.patch, patch, atol=1e-6)
    assert found.distance.item() == pytest.approx(0.3, abs=1e-6)
    found = soft_nearest(patch, -patch, known[:1], None, 1, 0.02)
    assert to_distance(found.log_density, 0.02).item() == pytest.approx(2, abs=1e-6)
    assert found.patch.tolist() == [[-1.0, 0.0]]


def test_doubling_the_memory_and_its_pictures_changes_nothing(make: Make) -> None:
    once = keep(make(1))
    doubled = (Remembered(s.patches.repeat(2, 1), s.distance.repeat(2), s.stands_for.repeat(2)) for s in once.scales)
    twice = ContextMemory(tuple(doubled), 2 * once.pictures)
    one, other = (look_at(make(0), references=[memory]) for memory in (once, twice))
    assert torch.allclose(one.scalars, other.scalars)
    assert torch.allclose(one.residual, other.residual)


def test_neighbours_are_counted_in_rows_and_columns_of_a_grid_that_is_not_square() -> None:
    near = nearby((3, 4), 1, torch.device("cpu")).reshape(3, 4, 3, 4)
    assert near[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert near[1, 3].int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert nearby((3, 4), 0, torch.device("cpu")).equal(torch.eye(12, dtype=torch.bool))


def test_which_patches_are_near_is_told_without_whole_numbers_for_every_pair() -> None:
    """Of 4096 patches these took 277 MB for every picture, the answer takes 16."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as noted:
        found = nearby((24, 30), 2, torch.device("cpu"))
    largest = max(event.cpu_memory_usage for event in noted.events())
    assert found.shape == (720, 720)
    assert largest <= 1.1 * found.nbytes


def test_a_patch_all_of_whose_memory_is_excluded_is_zero_and_so_is_its_gradient() -> None:
    patches = F.normalize(torch.randn(3, 4), dim=1).requires_grad_()
    excluded = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    found = soft_nearest(patches, patches, torch.ones(3), excluded, 1, TEMPERATURE)
    distance = to_distance(found.log_density, TEMPERATURE)
    assert distance[0] == 0
    assert found.distance.tolist() == pytest.approx([0, 1, 1])
    assert (found.patch[0] == 0).all()
    assert distance[1:].isfinite().all()
    (distance.sum() + found.patch.square().sum()).backward()
    assert patches.grad is not None
    assert patches.grad.isfinite().all()
    only_first = soft_nearest(patches, patches.detach(), torch.ones(3), excluded, 1, TEMPERATURE)
    (gradient,) = torch.autograd.grad(to_distance(only_first.log_density, TEMPERATURE)[0], patches)
    assert (gradient == 0).all()


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    patches = F.normalize(torch.randn(11, 6, generator=generator), dim=1)
    memory = F.normalize(torch.randn(9, 6, generator=generator), dim=1)
    known = torch.rand(9, generator=generator)
    excluded = torch.rand(11, 9, generator=generator) < 0.3
    whole = soft_nearest(patches, memory, known, excluded, 2, TEMPERATURE)
    monkeypatch.setattr(context, "CHUNK_PATCHES", 4)
    pieces = soft_nearest(patches, memory, known, excluded, 2, TEMPERATURE)
    for name in ("log_density", "patch", "distance"):
        assert torch.allclose(getattr(whole, name), getattr(pieces, name), atol=1e-6), name


def test_more_patches_than_one_chunk_are_all_compared() -> None:
    generator = torch.Generator().manual_seed(2)
    patches = F.normalize(torch.randn(context.CHUNK_PATCHES + 3, 4, generator=generator, dtype=torch.float64), dim=1)
    known = torch.rand(5, generator=generator, dtype=torch.float64)
    found = soft_nearest(patches, patches[:5], known, None, 2, TEMPERATURE)
    distance = to_distance(found.log_density, TEMPERATURE)
    assert distance.shape == found.distance.shape == (len(patches),)
    others = list(patches[:5])
    assert float(distance[-1]) == pytest.approx(distance_of(patches[-1], others, 2), abs=1e-9)
    excess = excess_of(patches[-1], others, known.tolist(), 2)
    assert float(distance[-1] - found.distance[-1]) == pytest.approx(excess, abs=1e-9)
    assert torch.allclose(patches[-1] - found.patch[-1], residual_of(patches[-1], others))


@pytest.mark.parametrize("with_references", [False, True])
def test_padding_neither_is_compared_nor_serves_as_context(make: Make, with_references: bool) -> None:
    picture, other = make(1, ends=(4, 2)), make(2, ends=(4, 2))
    garbage = [
        PicturePatches(
            tuple(torch.where(v, f, f[:, :, :1]) for f, v in zip(p.features, p.valid, strict=True)), p.valid
        )  # padding that resembles the first column
        for p in (picture, other)
    ]
    assert not torch.equal(garbage[0].features[1], picture.features[1])
    found = [
        look_at(seen, references=[keep(good) if with_references else None])
        for seen, good in ((picture, other), (garbage[0], garbage[1]))
    ]
    assert torch.equal(found[0].scalars, found[1].scalars)
    assert torch.equal(found[0].residual, found[1].residual)
    assert (found[0].scalars[:, :, :, 4:] == 0).all()
    assert (found[0].residual[:, :, :, 4:] == 0).all()
    assert (found[0].scalars[:, :, :, :4] != 0).all()


def test_padding_does_not_thin_out_a_coarse_scale_where_it_meets_the_finer_grid(make: Make) -> None:
    drawn = make(0, ends=(5, 3))
    patches = F.one_hot(torch.arange(12).reshape(GRIDS[1]), 12).permute(2, 0, 1).double()  # each as far from the others
    found = look_at(PicturePatches((drawn.features[0], patches), drawn.valid))
    far = 1 - TEMPERATURE * math.log(8 / NEIGHBOURS)  # of nine patches on the picture, eight others
    assert torch.allclose(found.scalars[0, 4, :, :5], torch.full((4, 5), far, dtype=torch.float64))
    assert (found.scalars[0, 4, :, 5:] == 0).all()


def test_a_picture_of_one_valid_patch_knows_nothing_and_says_zero(make: Make) -> None:
    drawn = make(0)
    valid = tuple(torch.zeros(grid, dtype=torch.bool) for grid in GRIDS)
    for part in valid:
        part[0, 0] = True
    found = look_at(PicturePatches(drawn.features, valid))
    assert (found.scalars == 0).all()
    assert (found.residual == 0).all()


def test_a_picture_whose_grid_is_one_patch_is_zero() -> None:
    picture = PicturePatches((torch.ones(1, 1, 1),) * 2, (torch.ones(1, 1, dtype=torch.bool),) * 2)
    found = look_at(picture)
    assert found.scalars.shape == (1, 8, 1, 1)
    assert found.residual.shape == (1, 1, 1, 1)
    assert (found.scalars == 0).all()


def test_one_reference_of_one_patch_has_the_distance_zero() -> None:
    picture = PicturePatches((torch.ones(1, 1, 1),) * 2, (torch.ones(1, 1, dtype=torch.bool),) * 2)
    assert [remembered.distance.tolist() for remembered in keep(picture).scales] == [[0.0], [0.0]]


def test_a_pictures_context_does_not_depend_on_its_batch(make: Make) -> None:
    pictures, memory = [make(0), make(1, ends=(5, 3))], keep(make(2), make(3))
    together = look_at(*pictures, references=[memory, None])
    for row, known in enumerate([memory, None]):
        alone = look_at(pictures[row], references=[known])
        assert torch.equal(alone.scalars[0], together.scalars[row])
        assert torch.equal(alone.residual[0], together.residual[row])


def test_levels_finer_and_coarser_than_the_grid_meet_on_it_at_unit_length() -> None:
    fine = torch.arange(2 * 4 * 8, dtype=torch.float32).reshape(1, 2, 4, 8)
    coarse = torch.full((1, 3, 1, 2), 50.0)
    patches = context_patches([fine, coarse], (2, 4))
    assert patches.shape == (1, 5, 2, 4)
    assert torch.allclose(patches.norm(dim=1), torch.ones(1, 2, 4))
    mean = fine[0, 1, 2:4, 6:8].mean()
    assert float(patches[0, 1, 1, 3] / patches[0, 4, 1, 3]) == pytest.approx(float(mean) / 50, rel=1e-5)
