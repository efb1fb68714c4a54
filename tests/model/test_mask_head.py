"""The map equation, computed a second time with explicit cosines; its parts, each by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genau.model.configuration import GenAUConfig
from genau.model.context import Context
from genau.model.mask_head import (
    DISTANCE_UNIT,
    QUANTILES,
    Evidence,
    Finer,
    MaskHead,
    context_scalars,
    per_picture,
    pooled,
)

CHANNELS = (4, 6, 8)
GRIDS = ((8, 12), (4, 6), (2, 3))
CONTEXT_GRID = (4, 6)
SCALARS = 8  # four at each of two scales
HIDDEN, WIDTH = 10, 5
INDEX = torch.tensor([0, 1, 1, 0, 1])


@pytest.fixture
def head() -> MaskHead:
    """A head in which every path matters."""
    torch.manual_seed(0)
    made = MaskHead(GenAUConfig(head_width=WIDTH, reference_offset_init=0.3), CHANNELS, HIDDEN)
    with torch.no_grad():
        made.gain.fill_(0.7)
        torch.nn.init.normal_(made.query.weight)
        torch.nn.init.normal_(made.evidence.out.weight)
        torch.nn.init.normal_(made.query_seen.weight)
        made.log_distance_gain.copy_(torch.tensor([math.log(16.0), math.log(8.0)]))
    return made


@pytest.fixture
def context() -> Context:
    """Two pictures, the second with references and two columns of padding."""
    generator = torch.Generator().manual_seed(1)
    valid = torch.ones(2, *CONTEXT_GRID, dtype=torch.bool)
    valid[1, :, 4:] = False
    scalars = torch.rand(2, SCALARS, *CONTEXT_GRID, generator=generator) * valid[:, None]
    residual = torch.randn(2, CHANNELS[1] + CHANNELS[2], *CONTEXT_GRID, generator=generator) * valid[:, None]
    return Context(scalars, residual, torch.tensor([False, True]), valid)


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


@pytest.fixture
def told() -> Tensor:
    return torch.randn(len(INDEX), 2, HIDDEN, generator=torch.Generator().manual_seed(8))


@pytest.fixture
def queries() -> Tensor:
    return torch.randn(len(INDEX), 2, WIDTH, generator=torch.Generator().manual_seed(4))


def up(maps: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], GRIDS[0], mode="bilinear")[:, 0]


def parts(module: nn.Module) -> tuple[Tensor, Tensor]:
    return module.get_parameter("weight"), module.get_parameter("bias")


def distance_part(context: Context) -> Tensor:
    distance = up(context.scalars[:, 0])
    return torch.stack([16 * (distance[0] - 0.42), 8 * (distance[1] - 0.3)])  # alone; with references


def of_cosines(head: MaskHead, features: tuple[Tensor, ...], queries: Tensor, index: Tensor) -> Tensor:
    """Return what is drawn where nothing is known before the question."""
    return head.draw(features, torch.zeros(2, *GRIDS[0]), queries, index)


# The map


@torch.no_grad()
def test_a_map_is_the_equation_with_explicit_cosines(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    features = head.project(pyramid, context)
    unprompted = torch.randn(2, *GRIDS[0])
    found = head.draw(features, unprompted, queries, INDEX)
    assert found.shape == (5, 8, 12)
    for number, b in enumerate(INDEX.tolist()):
        h_d, h_n = queries[number]
        z = torch.zeros(GRIDS[0])
        for feature in features:
            level = torch.zeros(1, *feature.shape[-2:])
            for y in range(feature.shape[-2]):
                for x in range(feature.shape[-1]):
                    f = feature[b, :, y, x]
                    level[0, y, x] = F.cosine_similarity(f, h_d, dim=0) - F.cosine_similarity(f, h_n, dim=0)
            z += up(level)[0] / len(features)
        assert torch.allclose(found[number], 0.7 * 10 * z + unprompted[b], atol=1e-4)


@torch.no_grad()
def test_queries_are_the_normalised_states_seen_through_one_matrix_beside_the_prior(
    head: MaskHead, states: Tensor
) -> None:
    found = head.queries(7 * states + 3)  # neither length nor mean matters
    for number in range(len(states)):
        for word in range(2):
            s = states[number, word]
            normed = (s - s.mean()) / (s.var(unbiased=False) + 1e-5).sqrt()
            assert torch.allclose(found[number, word], head.query.weight @ normed + head.query_prior[word], atol=1e-4)


@torch.no_grad()
def test_the_states_after_the_picture_are_added_through_a_matrix_of_their_own(
    head: MaskHead, states: Tensor, told: Tensor
) -> None:
    found = head.queries(states, 5 * told - 2) - head.queries(states)
    for number in range(len(states)):
        for word in range(2):
            s = told[number, word]
            normed = (s - s.mean()) / (s.var(unbiased=False) + 1e-5).sqrt()
            assert torch.allclose(found[number, word], head.query_seen.weight @ normed, atol=1e-4)


@torch.no_grad()
def test_the_unprompted_margin_is_the_distance_beyond_its_offset_and_the_evidence(
    head: MaskHead, context: Context
) -> None:
    evidence = head.evidence(context_scalars(context), context.valid)
    assert evidence.abs().max() > 0.1
    assert torch.allclose(head.unprompted(context, GRIDS[0]), distance_part(context) + up(evidence), atol=1e-5)


@torch.no_grad()
def test_without_gain_and_evidence_the_map_is_exactly_the_distance(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    head.gain.zero_()
    head.evidence.out.weight.zero_()
    found = head.draw(head.project(pyramid, context), head.unprompted(context, GRIDS[0]), queries, INDEX)
    assert torch.allclose(found, distance_part(context)[INDEX], atol=1e-6)


def test_a_new_head_starts_without_gain_without_evidence_and_with_the_prior_alone(
    context: Context, states: Tensor, told: Tensor
) -> None:
    config = GenAUConfig()
    head = MaskHead(config, (4, 6, 8, 16), HIDDEN)
    assert head.gain.item() == 0
    assert head.scale.item() == 0
    assert head.log_tau.exp().item() == pytest.approx(config.tau_init)
    for found in (head.queries(states), head.queries(states, told)):
        assert torch.equal(found, head.query_prior.expand(len(states), -1, -1))
    assert (head.evidence(context_scalars(context), context.valid) == 0).all()
    assert head.log_distance_gain.exp().tolist() == pytest.approx([config.distance_gain_init] * 2)


@torch.no_grad()
def test_the_temperature_is_clamped(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    features = head.project(pyramid, context)
    maps = []
    for tau in (50.0, 100.0, 1e6):
        head.log_tau.fill_(math.log(tau))
        maps.append(of_cosines(head, features, queries, INDEX))
    assert torch.allclose(2 * maps[0], maps[1], atol=1e-3)
    assert torch.equal(maps[1], maps[2])


@torch.no_grad()
def test_swapping_the_two_queries_flips_the_sign_of_the_cosine_part(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    features = head.project(pyramid, context)
    one, other = (of_cosines(head, features, asked, INDEX) for asked in (queries, queries.flip(1)))
    assert one.abs().max() > 0.1
    assert torch.allclose(one, -other, atol=1e-5)


@torch.no_grad()
def test_the_length_of_a_query_does_not_matter(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    features = head.project(pyramid, context)
    longer = queries * torch.tensor([30.0, 0.2])[:, None]  # each of the two by its own factor
    one, other = (of_cosines(head, features, asked, INDEX) for asked in (queries, longer))
    assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(head.directions(longer), head.directions(queries), atol=1e-5)


@torch.no_grad()
def test_each_query_is_drawn_on_its_own_picture(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    features = head.project(pyramid, context)
    found = head.draw(features, head.unprompted(context, GRIDS[0]), queries[:1].expand(5, -1, -1), INDEX)
    assert torch.allclose(found[0], found[3])
    assert torch.allclose(found[1], found[4])
    assert not torch.allclose(found[0], found[1], atol=0.1)


@torch.no_grad()
def test_without_the_normal_query_the_map_is_the_cosine_to_the_defect_alone(queries: Tensor) -> None:
    made = MaskHead(GenAUConfig(head_width=WIDTH, normal_query=False), CHANNELS, HIDDEN)
    made.gain.fill_(0.7)
    feature = F.normalize(torch.randn(2, WIDTH, *GRIDS[0]), dim=1)
    found = of_cosines(made, (feature,), queries, INDEX)
    for number, b in enumerate(INDEX.tolist()):
        expected = F.cosine_similarity(feature[b], queries[number, 0][:, None, None], dim=0)
        assert torch.allclose(found[number], 0.7 * 10 * expected, atol=1e-4)


@torch.no_grad()
def test_a_head_without_context_draws_the_same_whatever_the_context_is(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    other = Context(context.scalars.flip(0) + 1, context.residual.flip(0), ~context.from_references, context.valid)

    def drawn(known: Context) -> Tensor:
        return head.draw(head.project(pyramid, known), head.unprompted(known, GRIDS[0]), queries[:2], INDEX[:2])

    assert not torch.allclose(drawn(context), drawn(other), atol=0.1)
    head.with_context = False
    head.log_distance_gain.zero_()  # gain and offset differ between kinds; that is no knowledge of the picture
    head.distance_offset.zero_()
    assert torch.equal(drawn(context), drawn(other))


# One product per picture


def looped_product(features: Tensor, rows: Tensor, index: Tensor) -> Tensor:
    found = torch.zeros(len(rows), *features.shape[-2:])
    for number, b in enumerate(index.tolist()):
        for y in range(features.shape[-2]):
            for x in range(features.shape[-1]):
                found[number, y, x] = sum(
                    float(a) * float(c) for a, c in zip(features[b, :, y, x], rows[number], strict=True)
                )
    return found


@pytest.mark.parametrize("index", [[2, 0, 2, 3, 0], [1], [3, 2, 1, 0], [1, 1, 1]], ids=str)
def test_rows_meet_their_own_picture_in_any_order_also_where_a_picture_has_none(index: list[int]) -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(4, WIDTH, 3, 4, generator=generator)
    rows = torch.randn(len(index), WIDTH, generator=generator)
    expected = looped_product(features, rows, torch.tensor(index))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        found = per_picture(features.contiguous(memory_format=memory_format), rows, torch.tensor(index))
        assert found.shape == (len(index), 12)
        assert torch.allclose(found.unflatten(1, (3, 4)), expected, atol=1e-5)


def looped_mean(features: tuple[Tensor, ...], region: Tensor, b: int) -> Tensor:
    """Average over levels of the mean feature, each cell as heavy as the share of it that the region covers."""
    mean = torch.zeros(features[0].shape[1])
    for level in features:
        height, width = level.shape[-2:]
        rows, columns = region.shape[0] // height, region.shape[1] // width
        total, weight = torch.zeros(level.shape[1]), 0.0
        for y in range(height):
            for x in range(width):
                cover = float(
                    region[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns].sum() / (rows * columns)
                )
                total, weight = total + cover * level[b, :, y, x], weight + cover
        mean += total / weight / len(features)
    return mean


@pytest.mark.parametrize("index", [[2, 0, 2, 3, 0], [1], [3, 2, 1, 0]], ids=str)
def test_regions_are_pooled_on_their_own_picture_at_every_level(index: list[int]) -> None:
    generator = torch.Generator().manual_seed(6)
    features = tuple(torch.randn(4, WIDTH, *grid, generator=generator) for grid in GRIDS)
    regions = (torch.rand(len(index), *GRIDS[0], generator=generator) < 0.2).float()
    regions[0] = 0
    regions[0, 7, 11] = 1  # one cell, in the last corner
    found = pooled(features, regions, torch.tensor(index))
    for number, b in enumerate(index):
        assert torch.allclose(found[number], looped_mean(features, regions[number], b), atol=1e-5)


def test_a_query_times_a_pooled_region_is_its_mean_cosine_there(head: MaskHead, queries: Tensor) -> None:
    features = (F.normalize(torch.randn(2, WIDTH, *GRIDS[0]), dim=1),)
    regions = (torch.rand(2, *GRIDS[0]) < 0.3).float()
    index = torch.tensor([1, 0])
    with torch.no_grad():
        drawn = of_cosines(head, features, queries[:2], index)
        means = (drawn * regions).sum((1, 2)) / regions.sum((1, 2))
        found = head.scale * (pooled(features, regions, index) * head.directions(queries[:2])).sum(1)
    assert torch.allclose(found, means, atol=1e-4)


def test_no_regions_are_pooled_to_no_rows() -> None:
    features = tuple(torch.randn(2, WIDTH, *grid, requires_grad=True) for grid in GRIDS)
    found = pooled(features, torch.zeros(0, *GRIDS[0]), torch.zeros(0, dtype=torch.long))
    assert found.shape == (0, WIDTH)
    found.sum().backward()


# Evidence


def usual_of(scalars: Tensor, valid: Tensor) -> Tensor:
    """Return the quantiles of one picture's scalars (K, h, w) over its valid cells, scalar by scalar."""
    kept = scalars[:, valid].double().numpy()
    return torch.tensor([np.quantile(row, level) for row in kept for level in QUANTILES]).float()


@torch.no_grad()
def test_evidence_is_two_looks_around_that_know_the_quantiles_of_the_picture(head: MaskHead, context: Context) -> None:
    scalars, evidence = context_scalars(context), head.evidence
    found = evidence(scalars, context.valid)
    assert found.shape == (2, *CONTEXT_GRID)
    for b in range(2):
        usual = usual_of(scalars[b, :-1], context.valid[b])  # of all but the flag
        known = evidence.usual.weight @ usual + evidence.usual.bias
        x = F.conv2d(scalars[b], evidence.into.weight, evidence.into.bias, padding=1) + known[:, None, None]
        x = F.gelu(F.conv2d(F.gelu(x), evidence.mix.weight, evidence.mix.bias, padding=1))
        weight, bias = parts(evidence.out)
        e = torch.einsum("ok,khw->ohw", weight[:, :, 0, 0], x)[0] + bias
        assert torch.allclose(found[b], e * context.valid[b], atol=1e-3)


@torch.no_grad()
def test_what_is_usual_ignores_the_padding() -> None:
    torch.manual_seed(7)
    evidence = Evidence(3)
    torch.nn.init.normal_(evidence.out.weight)
    scalars = torch.rand(1, 3, 3, 12)
    valid = (torch.arange(12) < 8).expand(1, 3, 12)
    garbage = torch.where(valid[:, None], scalars, 1e3)
    one, other = evidence(scalars, valid), evidence(garbage, valid)
    assert torch.equal(one[..., :6], other[..., :6])  # beyond the reach of two 3x3 looks
    assert one[..., :6].abs().max() > 0.01
    scalars[0, 0, 2, 7] = 50.0  # but what lies on the picture is usual or not everywhere
    assert not torch.allclose(evidence(scalars, valid)[..., :5], one[..., :5], atol=1e-3)


@torch.no_grad()
def test_evidence_is_zero_on_padding(head: MaskHead, context: Context) -> None:
    torch.nn.init.ones_(head.evidence.out.bias)  # type: ignore[arg-type]
    found = head.evidence(context_scalars(context), context.valid)
    assert (found[~context.valid] == 0).all()
    assert (found[context.valid] != 0).all()


@torch.no_grad()
def test_the_evidence_of_a_picture_does_not_depend_on_its_batch(head: MaskHead, context: Context) -> None:
    scalars = context_scalars(context)
    together = head.evidence(scalars, context.valid)
    for b in range(2):
        alone = head.evidence(scalars[b : b + 1], context.valid[b : b + 1])
        assert torch.allclose(alone[0], together[b], atol=1e-5)


@torch.no_grad()
def test_evidence_of_a_picture_of_one_cell_is_finite(head: MaskHead) -> None:
    scalars = torch.rand(1, SCALARS + 1, *CONTEXT_GRID)
    valid = torch.zeros(1, *CONTEXT_GRID, dtype=torch.bool)
    valid[0, 0, 0] = True
    assert head.evidence(scalars, valid).isfinite().all()


def test_context_scalars_are_all_of_them_in_their_unit_and_whether_there_are_references(context: Context) -> None:
    scalars = context_scalars(context)
    assert scalars.shape == (2, SCALARS + 1, *CONTEXT_GRID)
    assert torch.equal(scalars[:, :-1], context.scalars / DISTANCE_UNIT)
    assert (scalars[0, -1] == 0).all()
    assert (scalars[1, -1] == 1).all()


# Features


def projected(head: MaskHead, pyramid: tuple[Tensor, ...], context: Context) -> list[Tensor]:
    """Project channels first with the functions alone, coarsest level first, as the words say."""
    told = torch.cat([context.residual, context.scalars / DISTANCE_UNIT], 1)
    told = torch.cat([told, context.from_references.float()[:, None, None, None].expand(2, 1, *CONTEXT_GRID)], 1)
    weight, bias = parts(head.context_in)
    known = torch.einsum("wk,bkyx->bwyx", weight[:, :, 0, 0], told) + bias[:, None, None]
    found: list[Tensor] = []
    above: Tensor | None = None
    for number in reversed(range(len(pyramid))):
        level, out = pyramid[number], head.level_out[number]
        mean, variance = level.mean(1, keepdim=True), level.var(1, unbiased=False, keepdim=True)
        normed = (level - mean) / (variance + 1e-5).sqrt()
        weight, bias = parts(head.level_in[number].get_submodule("into"))
        x = torch.einsum("wc,bcyx->bwyx", weight, normed) + bias[:, None, None]
        x = x + F.interpolate(known, level.shape[-2:], mode="bilinear")
        if above is not None:
            x = x + F.interpolate(above, level.shape[-2:], mode="bilinear")
        above = x
        y = torch.zeros_like(x)
        weight, bias = parts(out.get_submodule("around"))
        padded = F.pad(F.gelu(x), (1, 1, 1, 1))
        for v in range(3):
            for u in range(3):
                window = padded[:, :, v : v + level.shape[-2], u : u + level.shape[-1]]
                y = y + weight[:, 0, v, u][:, None, None] * window
        y = F.gelu(y + bias[:, None, None])
        weight, bias = parts(out.get_submodule("out"))
        y = torch.einsum("vw,bwyx->bvyx", weight, y) + bias[:, None, None]
        found.insert(0, y / y.norm(dim=1, keepdim=True))
    return found


@torch.no_grad()
def test_features_are_picture_context_and_coarser_levels_looked_around_in(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    features = head.project(pyramid, context)
    assert [feature.shape for feature in features] == [(2, WIDTH, *grid) for grid in GRIDS]
    for found, expected in zip(features, projected(head, pyramid, context), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
        assert torch.allclose(found.norm(dim=1), torch.ones(2, *found.shape[-2:]), atol=1e-5)


@torch.no_grad()
def test_a_finer_level_knows_the_coarser_ones_and_not_the_other_way_round(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    before = head.project(pyramid, context)
    for changed in range(3):
        other = tuple(level.roll(1, 1) if number == changed else level for number, level in enumerate(pyramid))
        after = head.project(other, context)
        for number in range(3):
            same = torch.allclose(before[number], after[number], atol=1e-5)
            assert same == (number > changed), (changed, number)


@torch.no_grad()
def test_a_level_of_large_magnitude_does_not_drown_the_others(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    scaled = tuple(1000 * level for level in pyramid)
    for one, other in zip(head.project(pyramid, context), head.project(scaled, context), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


@torch.no_grad()
def test_projected_in_bf16_the_map_stays_close_and_is_drawn_in_fp32(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], queries: Tensor
) -> None:
    exact = head.project(pyramid, context)
    head.bf16 = True
    features = head.project(pyramid, context)
    for one, other in zip(features, exact, strict=True):
        assert one.dtype is torch.bfloat16
        assert other.dtype is torch.float32
        assert torch.allclose(one.float(), other, atol=0.05)
        assert torch.allclose(one.float().norm(dim=1), torch.ones(2, *one.shape[-2:]), atol=0.02)
    unprompted = head.unprompted(context, GRIDS[0])
    rough, fine = (head.draw(levels, unprompted, queries, INDEX) for levels in (features, exact))
    assert rough.dtype is torch.float32
    assert per_picture(features[0], queries[:, 0], INDEX).dtype is torch.float32  # resized and summed exactly
    assert torch.allclose(rough, fine, atol=0.2)  # of margins up to 14
    regions = (torch.rand(2, *GRIDS[0]) < 0.3).float()
    means = [pooled(levels, regions, torch.tensor([1, 0])) for levels in (features, exact)]
    assert means[0].dtype is torch.float32
    assert torch.allclose(means[0], means[1], atol=0.02)


@pytest.mark.parametrize("bf16", [False, True])
def test_everything_that_should_learn_gets_a_gradient(
    head: MaskHead, context: Context, pyramid: tuple[Tensor, ...], states: Tensor, told: Tensor, bf16: bool
) -> None:
    head.bf16 = bf16
    queries = head.queries(states, told)
    found = head.draw(head.project(pyramid, context), head.unprompted(context, GRIDS[0]), queries, INDEX)
    found.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_finer_grid_repeats_each_cell_and_a_trained_one_draws_within_it() -> None:
    finer = Finer(2, 3)
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    drawn = finer(x)
    assert drawn.shape == (1, 2, 6, 6)
    assert torch.equal(drawn, x.repeat_interleave(3, 2).repeat_interleave(3, 3))
    with torch.no_grad():
        finer.spread.bias[4] = 1.0  # type: ignore[index] # of channel 0, the middle of each cell
    added = finer(x) - drawn
    assert added[0, 0, 1::3, 1::3].eq(1).all()
    assert added.sum() == 4


def test_a_finer_head_draws_on_a_finer_grid_and_nothing_else_changes(
    context: Context, pyramid: tuple[Tensor, ...]
) -> None:
    torch.manual_seed(0)
    plain = MaskHead(GenAUConfig(head_width=WIDTH), CHANNELS, HIDDEN)
    finer = MaskHead(GenAUConfig(head_width=WIDTH, upsample=2), CHANNELS, HIDDEN)
    finer.load_state_dict(plain.state_dict(), strict=False)
    assert plain.finest_hw(pyramid) == GRIDS[0]
    assert finer.finest_hw(pyramid) == (2 * GRIDS[0][0], 2 * GRIDS[0][1])
    (coarse, *others), (fine, *same) = plain.project(pyramid, context), finer.project(pyramid, context)
    assert fine.shape[-2:] == finer.finest_hw(pyramid)
    assert coarse.shape[-2:] == GRIDS[0]
    assert all(torch.equal(a, b) for a, b in zip(others, same, strict=True))
    margin = finer.draw(
        (fine, *same), finer.unprompted(context, finer.finest_hw(pyramid)), torch.randn(5, 2, WIDTH), INDEX
    )
    assert margin.shape == (5, *finer.finest_hw(pyramid))
