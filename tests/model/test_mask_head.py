"""The map equation, computed a second time with explicit cosines."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model.configuration import GenAUConfig
from genau.model.context import Context
from genau.model.mask_head import MaskHead, context_scalars

CHANNELS = (4, 6, 8)
GRIDS = ((8, 12), (4, 6), (2, 3))
HIDDEN = 10
INDEX = torch.tensor([0, 1, 1, 0, 1])


@pytest.fixture
def head() -> MaskHead:
    torch.manual_seed(0)
    made = MaskHead(GenAUConfig(head_width=5, reference_offset_init=0.3), CHANNELS, HIDDEN)
    with torch.no_grad():
        made.gain.fill_(0.7)
        torch.nn.init.normal_(made.query.weight)
        made.log_distance_gain.copy_(torch.tensor([math.log(16.0), math.log(8.0)]))
    return made


@pytest.fixture
def context() -> Context:
    generator = torch.Generator().manual_seed(1)
    distance, own = torch.rand(2, 2, 4, 6, generator=generator)
    residual = torch.randn(2, CHANNELS[1] + CHANNELS[2], 4, 6, generator=generator)
    return Context(distance, own, residual, torch.tensor([False, True]))


@pytest.fixture
def pyramid() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple(
        torch.randn(2, channels, *grid, generator=generator) * 10**number
        for number, (channels, grid) in enumerate(zip(CHANNELS, GRIDS, strict=True))
    )


@pytest.fixture
def states() -> Tensor:
    return torch.randn(len(INDEX), 2, HIDDEN, generator=torch.Generator().manual_seed(3))


def distance_part(context: Context) -> Tensor:
    up = F.interpolate(context.distance[:, None], GRIDS[0], mode="bilinear")[:, 0]
    return torch.stack([16 * (up[0] - 0.42), 8 * (up[1] - 0.3)])  # alone; with references


@torch.no_grad()
def test_forward_is_the_equation_with_explicit_cosines(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    features = head.project(pyramid, context)
    found = head(features, context, states, INDEX)
    assert found.shape == (5, 8, 12)
    for number, b in enumerate(INDEX.tolist()):
        normed = [(s - s.mean()) / (s.var(unbiased=False) + 1e-5).sqrt() for s in states[number]]
        h_d, h_n = (head.query.weight @ s + prior for s, prior in zip(normed, head.query_prior, strict=True))
        z = torch.zeros(GRIDS[0])
        for feature in features:
            level = torch.zeros(1, 1, *feature.shape[-2:])
            for y in range(feature.shape[-2]):
                for x in range(feature.shape[-1]):
                    f = feature[b, :, y, x]
                    level[0, 0, y, x] = F.cosine_similarity(f, h_d, dim=0) - F.cosine_similarity(f, h_n, dim=0)
            z += F.interpolate(level, GRIDS[0], mode="bilinear")[0, 0] / len(features)
        assert torch.allclose(found[number], 0.7 * 10 * z + distance_part(context)[b], atol=1e-4)


@torch.no_grad()
def test_without_gain_the_map_is_exactly_the_distance(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    head.gain.zero_()
    found = head(head.project(pyramid, context), context, states, INDEX)
    assert torch.allclose(found, distance_part(context)[INDEX], atol=1e-6)


def test_a_new_head_starts_without_gain_and_with_the_prior_alone(states: Tensor) -> None:
    config = GenAUConfig()
    head = MaskHead(config, (4, 6, 8, 16), HIDDEN)
    assert head.gain.item() == 0
    assert head.log_tau.exp().item() == pytest.approx(config.tau_init)
    assert (head.query(states) == 0).all()
    assert head.log_distance_gain.exp().tolist() == pytest.approx([config.distance_gain_init] * 2)


@torch.no_grad()
def test_the_temperature_is_clamped(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    features = head.project(pyramid, context)
    maps = []
    for tau in (50.0, 100.0, 1e6):
        head.log_tau.fill_(math.log(tau))
        maps.append(head(features, context, states, INDEX) - distance_part(context)[INDEX])
    assert torch.allclose(2 * maps[0], maps[1], atol=1e-3)
    assert torch.equal(maps[1], maps[2])


@torch.no_grad()
def test_projected_features_have_unit_length_on_every_level(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    features = head.project(pyramid, context)
    assert [feature.shape for feature in features] == [(2, 5, *grid) for grid in GRIDS]
    for feature in features:
        assert torch.allclose(feature.norm(dim=1), torch.ones(2, *feature.shape[-2:]), atol=1e-5)


@torch.no_grad()
def test_swapping_the_two_queries_flips_the_sign_of_the_cosine_part(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    features = head.project(pyramid, context)
    queries = torch.randn(len(INDEX), 2, 5)
    distance = distance_part(context)[INDEX]
    one = head.draw(features, context, queries, INDEX) - distance
    other = head.draw(features, context, queries.flip(1), INDEX) - distance
    assert one.abs().max() > 0.1
    assert torch.allclose(one, -other, atol=1e-5)


@torch.no_grad()
def test_the_length_of_a_query_does_not_matter(head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]) -> None:
    features = head.project(pyramid, context)
    queries = torch.randn(len(INDEX), 2, 5)
    one, other = (head.draw(features, context, factor * queries, INDEX) for factor in (1, 30))
    assert torch.allclose(one, other, atol=1e-4)


@torch.no_grad()
def test_each_query_is_drawn_on_its_own_picture(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    features = head.project(pyramid, context)
    found = head(features, context, states[:1].expand(5, -1, -1), INDEX)
    assert torch.allclose(found[0], found[3])
    assert torch.allclose(found[1], found[4])
    assert not torch.allclose(found[0], found[1], atol=0.1)


@torch.no_grad()
def test_a_level_of_large_magnitude_does_not_drown_the_others(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    scaled = tuple(1000 * level for level in pyramid)
    for one, other in zip(head.project(pyramid, context), head.project(scaled, context), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_everything_that_should_learn_gets_a_gradient(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor
) -> None:
    head(head.project(pyramid, context), context, states, INDEX).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_context_scalars_are_distance_self_distance_and_whether_there_are_references(context: Context) -> None:
    scalars = context_scalars(context)
    assert scalars.shape == (2, 3, 4, 6)
    assert torch.equal(scalars[:, 0], context.distance)
    assert torch.equal(scalars[:, 1], context.self_distance)
    assert (scalars[0, 2] == 0).all()
    assert (scalars[1, 2] == 1).all()
