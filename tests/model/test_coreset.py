"""The greedy choice of patches, and a memory that is condensed by it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model import context
from genau.model.context import ContextMemory, PicturePatches, Scale, compare, gather, remember
from genau.model.coreset import farthest_first, nearest_chosen

SCALES = (Scale((0,), 16, 0), Scale((1,), 32, 0))
Make = Callable[..., PicturePatches]


def unit(count: int, width: int) -> Tensor:
    """Draw patches (count, width) of unit length."""
    return F.normalize(
        torch.randn(count, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )


def test_the_coreset_always_takes_the_patch_farthest_from_all_that_are_chosen() -> None:
    patches = unit(40, 6)
    chosen = farthest_first(patches, 12, 3, exact_up_to=50, width=8).tolist()
    assert len(set(chosen)) == 12
    for step in range(1, 12):
        gaps = [min(float((patch - patches[j]).norm()) for j in chosen[:step]) for patch in patches]
        assert gaps[chosen[step]] == pytest.approx(max(gaps), abs=1e-9)


def test_the_coreset_ends_where_only_copies_are_left() -> None:
    patches = unit(5, 4).float().repeat(20, 1)
    chosen = farthest_first(patches, 50, 0, exact_up_to=50, width=8)
    assert len(chosen) == 5
    assert len(patches[chosen].unique(dim=0)) == 5


def test_a_projected_coreset_covers_nearly_as_well() -> None:
    patches = unit(600, 300)
    patches[:, 30:] *= 0.1  # a few directions matter, as in real features
    patches = F.normalize(patches, dim=-1).float()

    def radius(chosen: Tensor) -> float:
        return float(torch.cdist(patches, patches[chosen]).min(1).values.max())

    exact = farthest_first(patches, 60, 0, exact_up_to=600, width=128)
    projected = farthest_first(patches, 60, 0, exact_up_to=100, width=128)
    assert not torch.equal(projected, exact)
    assert torch.equal(projected, farthest_first(patches, 60, 0, exact_up_to=100, width=128))
    assert radius(projected) < 1.1 * radius(exact)


def test_each_patch_goes_to_the_chosen_one_that_is_most_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genau.model.coreset.CHUNK_PATCHES", 7)
    patches = unit(30, 5)
    chosen = patches[[3, 8, 21]]
    expected = [max(range(3), key=lambda k: float(patch @ chosen[k])) for patch in patches]
    assert nearest_chosen(patches, chosen).tolist() == expected


@pytest.fixture
def make() -> Make:
    """Draw a picture's patches around a few centres, as in real pictures: (4, 6) and (2, 3) cells."""
    centres = [
        F.normalize(torch.randn(channels, 4, generator=torch.Generator().manual_seed(9)), dim=0) for channels in (8, 9)
    ]

    def draw(seed: int, noise: float = 0.1) -> PicturePatches:
        generator = torch.Generator().manual_seed(seed)
        features = []
        for centre, grid in zip(centres, ((4, 6), (2, 3)), strict=True):
            which = torch.randint(4, grid, generator=generator)
            drawn = centre[:, which] + noise * torch.randn(len(centre), *grid, generator=generator)
            features.append(F.normalize(drawn, dim=0))
        valid = tuple(torch.ones(grid, dtype=torch.bool) for grid in ((4, 6), (2, 3)))
        return PicturePatches(tuple(features), valid)

    return draw


def keep(*pictures: PicturePatches, most: int = 10_000) -> ContextMemory:
    return remember(pictures, SCALES, neighbours=2, temperature=0.02, most=most)


def look_at(picture: PicturePatches, memory: ContextMemory) -> Tensor:
    """Return distance and excess at both scales (4, h, w)."""
    return compare([picture], [memory], SCALES, neighbours=2, temperature=0.02).scalars[0, [0, 1, 4, 5]]


def test_a_memory_is_bounded_and_every_patch_is_stood_for(make: Make) -> None:
    memory = keep(*(make(seed) for seed in range(10)), most=60)
    first, second = memory.scales
    assert len(first.patches) <= 60
    assert len(second.patches) <= 15  # patches of twice the side: a quarter as many per picture
    assert first.stands_for.sum() == 240
    assert second.stands_for.sum() == 60
    assert (first.stands_for > 0).all()
    assert memory.pictures == 10


def test_a_small_memory_is_kept_as_it_is(make: Make) -> None:
    pictures = [make(seed) for seed in range(3)]
    memory = keep(*pictures, most=72)
    assert torch.equal(memory.scales[0].patches, torch.cat([picture.features[0].flatten(1).T for picture in pictures]))
    assert (memory.scales[0].stands_for == 1).all()


def test_a_condensed_memory_says_nearly_what_the_whole_one_says(make: Make) -> None:
    pictures = [make(seed, noise=0.02) for seed in range(12)]
    whole, condensed = keep(*pictures), keep(*pictures, most=144)
    inspected, odd = make(50, noise=0.02), make(51, noise=1.0)
    assert torch.allclose(look_at(inspected, whole), look_at(inspected, condensed), atol=0.02)
    assert torch.allclose(look_at(odd, whole), look_at(odd, condensed), atol=0.1)
    assert look_at(odd, whole)[0].max() > look_at(inspected, whole)[0].max() + 0.3


def test_copies_that_are_left_out_count_in_those_that_stand_for_them(make: Make) -> None:
    once = keep(make(1))
    copies = ContextMemory(
        tuple(
            context.Remembered(part.patches.repeat(5, 1), part.distance.repeat(5), part.stands_for.repeat(5))
            for part in once.scales
        ),
        5,
    )
    condensed = context.condense(copies, SCALES, 40)
    assert len(condensed.scales[0].patches) == 24
    assert torch.allclose(look_at(make(2), condensed), look_at(make(2), once), atol=1e-4)


def test_memories_are_gathered_into_one_that_is_no_larger(make: Make) -> None:
    pictures = [make(seed) for seed in range(8)]
    parts = [keep(*pictures[:3], most=100), keep(*pictures[3:], most=100)]
    together = gather(parts, SCALES, 100)
    assert together.pictures == 8
    assert len(together.scales[0].patches) <= 100
    assert together.scales[0].stands_for.sum() == 8 * 24
    loose = gather([keep(*pictures[:3]), keep(*pictures[3:])], SCALES, 10_000)
    assert torch.equal(loose.scales[1].patches, keep(*pictures).scales[1].patches)


def test_what_a_kept_patch_knows_of_its_own_distance_is_the_mean_of_those_it_stands_for(make: Make) -> None:
    whole = keep(*(make(seed) for seed in range(4)))
    condensed = context.condense(whole, SCALES, 30)
    for all_of, kept in zip(whole.scales, condensed.scales, strict=True):
        nearest = nearest_chosen(all_of.patches, kept.patches)
        for row, distance in enumerate(kept.distance):
            assert float(distance) == pytest.approx(float(all_of.distance[nearest == row].mean()), abs=1e-5)
