"""How unlike its context each patch is: the rest of the same picture, and good parts of the same product. (Ours.)

A patch that resembles no other is suspicious, whatever it shows; so this carries over to products never seen.
Shapes: B pictures, C channels, (h, w) a scale's grid, P = h * w patches, M remembered patches, S scales.

The nearest neighbours are soft: with cosine distances d_j, k neighbours and temperature T,
    density = sum_j exp(-d_j / T) / (k * pictures),   distance = -T * log(density),
    residual = x - sum_j w_j * x_j,   excess = distance - sum_j w_j * distance_j,   w = softmax(-d / T).
A hard nearest-k gives the same ranking (docs/log.md), but its residual jumps where two neighbours swap, and then one
picture alone and the same picture in a batch would differ. The excess says how much rarer a patch is than those that
it resembles: an edge or a highlight is far from everything, and so are its neighbours (compare the local outlier
factor, Breunig et al. 2000).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model.coreset import farthest_first, nearest_chosen

CHUNK_PATCHES = 512  # bounds the distance matrix to 512 x M
LEAST_AFFINITY = -1e4  # below that of any pair; where a patch has no neighbours it stands for minus infinity
PEERS = 8  # with so many other references each reference is compared, so that remembering stays linear in their number
PROJECTED_WIDTH = 32  # in which patches are chosen
MOST_GRIDS = 2  # good parts whose places are kept: four find no more and cost twice as much (docs/inspect.md)
ODD_SHARE = 0.01  # of a good part's patches say how unlike the others it is
REMEMBERED_FIELDS = ("patches", "distance", "stands_for")
SCALARS_PER_SCALE = 4  # distance and excess with references (if any), then within the picture


class Scale(NamedTuple):
    """One size of patch."""

    levels: tuple[int, ...]  # indices of the pyramid levels whose features are compared
    stride: int  # pixels of the canvas
    exclusion: int  # cells around a patch that are not its context


@dataclass(frozen=True)
class PicturePatches:
    """One picture's patches at every scale."""

    features: tuple[Tensor, ...]  # (C_s, h_s, w_s), unit length
    valid: tuple[Tensor, ...]  # (h_s, w_s) bool, False on letterbox padding


@dataclass(frozen=True)
class Remembered:
    """The patches of good parts at one scale."""

    patches: Tensor  # (M, C), unit length
    distance: Tensor  # (M,), of each to the other good parts; of a single one, to the rest of its picture
    stands_for: Tensor  # (M,), how many patches of the good parts each one is


@dataclass(frozen=True)
class ReferenceGrids:
    """Patches of a few good parts, each in its place, first scale; see `correspondence`."""

    features: tuple[Tensor, ...]  # (C, h, w) each, unit length, half precision
    valid: tuple[Tensor, ...]  # (h, w) bool each, False on letterbox padding


@dataclass(frozen=True)
class ContextMemory:
    """Patches of good parts, to which a picture is compared."""

    scales: tuple[Remembered, ...]
    pictures: int  # how many pictures they come from
    oddness: tuple[float, ...] = ()  # of each picture: mean distance of its most unusual patches to the others
    grids: ReferenceGrids | None = None  # of the first few pictures


@dataclass(frozen=True)
class Context:
    """What comparing a batch of pictures with their context gives, on the grid of the first scale; 0 on padding."""

    scalars: Tensor  # (B, 4 S, h, w): each scale's distance, excess, own distance, own excess
    # Own is within the picture; the first two are to the references, if there are any, else the same.
    residual: Tensor  # (B, C, h, w), patch minus its soft neighbour, first scale
    from_references: Tensor  # (B,) bool
    valid: Tensor  # (B, h, w) bool

    @property
    def distance(self) -> Tensor:
        """(B, h, w), first scale: around zero where more than k patches are alike, at most 2."""
        return self.scalars[:, 0]

    @property
    def own_distance(self) -> Tensor:
        """(B, h, w), first scale, to the rest of the same picture only."""
        return self.scalars[:, 2]


@dataclass(frozen=True)
class Neighbours:
    """What patches (P, C) find in a memory."""

    log_density: Tensor  # (P,), -inf where there is nothing to compare with
    patch: Tensor  # (P, C), the soft neighbour
    distance: Tensor  # (P,), the soft neighbour's own distance


def context_patches(levels: Sequence[Tensor], grid_hw: tuple[int, int]) -> Tensor:
    """Return unit-length patch features (B, C, h, w) of levels (B, C_l, h_l, w_l) brought to one grid.

    No further smoothing: a 3x3 mean costs 0.19 image AUROC on printed circuit boards (docs/log.md).
    """
    resized = [
        F.adaptive_avg_pool2d(level, grid_hw)
        if level.shape[-1] > grid_hw[1]
        else F.interpolate(level, grid_hw, mode="bilinear", align_corners=False)
        for level in levels
    ]
    return F.normalize(torch.cat(resized, 1).float(), dim=1)


def nearby(grid_hw: tuple[int, int], radius: int, device: torch.device) -> Tensor:
    """Return (P, P) bool: which patches lie within `radius` cells of each other, themselves included."""
    steps = [torch.arange(side, device=device) for side in grid_hw]  # P x P whole numbers took 14 times as much
    rows, columns = ((step[:, None] - step).abs() <= radius for step in steps)
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2).flatten(0, 1)


def soft_nearest(
    patches: Tensor,
    memory: Tensor,
    distance: Tensor,
    excluded: Tensor | None,
    count: float,
    temperature: float,
    stands_for: Tensor | None = None,
) -> Neighbours:
    """Find unit patches (P, C) in a memory (M, C) of known own `distance` (M,), leaving out pairs `excluded` (P, M).

    `count` is how many equally near neighbours give distance zero; `stands_for` (M,) how often each is counted, once
    if not given.
    """
    densities, neighbours = [], []
    known = torch.cat([memory, distance[:, None]], 1)
    often = 0.0 if stands_for is None else stands_for.log()
    for start in range(0, len(patches), CHUNK_PATCHES):
        affinity = (patches[start : start + CHUNK_PATCHES] @ memory.T - 1) / temperature + often  # (p, M)
        if excluded is not None:
            affinity = affinity.masked_fill(excluded[start : start + CHUNK_PATCHES], -torch.inf)
        largest = affinity.detach().amax(1, keepdim=True).clamp_min(LEAST_AFFINITY)
        weights = affinity.sub_(largest).exp_()  # in place: the matrix is large
        total = weights.sum(1, keepdim=True)
        alone = total == 0
        total = total.masked_fill(alone, 1)  # whose logarithm has a gradient
        densities.append((total.log() + largest).masked_fill(alone, -torch.inf)[:, 0] - math.log(count))
        neighbours.append(weights @ known / total)
    found = torch.cat(neighbours)
    return Neighbours(torch.cat(densities), found[:, :-1], found[:, -1])


def to_distance(log_density: Tensor, temperature: float) -> Tensor:
    """Return the distance (P,); zero where nothing could be compared: nothing is known there."""
    return torch.where(log_density.isfinite(), -temperature * log_density, 0.0)


def own_neighbours(patches: Tensor, excluded: Tensor, neighbours: int, temperature: float) -> Neighbours:
    """Find each patch (P, C) among the others of its own picture, pairs `excluded` (P, P) left out."""
    first = soft_nearest(patches, patches, patches.new_zeros(len(patches)), excluded, neighbours, temperature)
    distance = to_distance(first.log_density, temperature)  # now every neighbour's own distance is known
    return soft_nearest(patches, patches, distance, excluded, neighbours, temperature)


def compare(
    pictures: Sequence[PicturePatches],
    references: Sequence[ContextMemory | None],
    scales: Sequence[Scale],
    *,
    neighbours: int,
    temperature: float,
) -> Context:
    """Compare each picture with the rest of itself and, where given, with references of good parts.

    Padding neither is compared nor serves as context. Pictures are taken one by one, so that a picture's context does
    not depend on its batch.
    """
    rows = []
    for picture, memory in zip(pictures, references, strict=True):
        remembered = memory.scales if memory else [None] * len(scales)
        count = neighbours * memory.pictures if memory else 0
        parts = [
            _compare_scale(features, valid, scale, known, neighbours, count, temperature)
            for features, valid, scale, known in zip(picture.features, picture.valid, scales, remembered, strict=True)
        ]
        grid = picture.valid[0].shape
        scalars = torch.cat([_on_grid(part[0], valid, grid) for part, valid in zip(parts, picture.valid, strict=True)])
        rows.append((scalars * picture.valid[0], parts[0][1], picture.valid[0]))
    scalars, residual, valid = (torch.stack(part) for part in zip(*rows, strict=True))
    given = torch.tensor([memory is not None for memory in references], device=valid.device)
    return Context(scalars, residual, given, valid)


def _compare_scale(
    features: Tensor,
    valid: Tensor,
    scale: Scale,
    memory: Remembered | None,
    neighbours: int,
    count: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Return scalars (4, h, w) and residual (C, h, w) of one picture at one scale."""
    grid, inside = valid.shape, valid.flatten()
    patches = features.flatten(1).T  # (P, C)
    excluded = nearby((grid[0], grid[1]), scale.exclusion, valid.device) | ~inside
    own = found = own_neighbours(patches, excluded, neighbours, temperature)
    if memory is not None:
        found = soft_nearest(patches, memory.patches, memory.distance, None, count, temperature, memory.stands_for)
    distance, own_distance = (to_distance(part.log_density, temperature) for part in (found, own))
    scalars = torch.stack([distance, distance - found.distance, own_distance, own_distance - own.distance])
    residual = (patches - found.patch) * (found.log_density.isfinite() & inside)[:, None]
    return (scalars * inside).unflatten(1, grid), residual.T.unflatten(1, grid)


def _on_grid(maps: Tensor, valid: Tensor, grid: torch.Size) -> Tensor:
    """Bring (K, h, w) with its valid cells (h, w) to another grid; padding does not bleed in."""
    if maps.shape[1:] == grid:
        return maps
    both = torch.cat([maps, valid[None].to(maps.dtype)])[None]
    resized = F.interpolate(both, grid, mode="bilinear", align_corners=False)[0]
    return resized[:-1] / resized[-1].clamp_min(1e-3)


def remember(
    pictures: Sequence[PicturePatches], scales: Sequence[Scale], *, neighbours: int, temperature: float, most: int
) -> ContextMemory:
    """Keep the valid patches of good parts, each with its own distance to the others (at most PEERS of them).

    Of more than `most` patches at the first scale a choice is kept; `condense` says which.
    """
    remembered, oddness = [], tuple[float, ...]()
    for number, scale in enumerate(scales):
        kept = [picture.features[number][:, picture.valid[number]].T for picture in pictures]  # each (P', C)
        distances = []
        for index, patches in enumerate(kept):
            peers = [kept[(index + step) % len(kept)] for step in range(1, min(PEERS, len(kept) - 1) + 1)]
            others, near = torch.cat(peers or [patches]), None
            if not peers:  # one reference is compared with the rest of itself
                inside = pictures[index].valid[number]
                near = nearby((inside.shape[0], inside.shape[1]), scale.exclusion, inside.device)
                near = near[inside.flatten()][:, inside.flatten()]
            count, unknown = neighbours * max(1, len(peers)), others.new_zeros(len(others))
            found = soft_nearest(patches, others, unknown, near, count, temperature)
            distances.append(to_distance(found.log_density, temperature))
        all_kept = torch.cat(kept)
        remembered.append(Remembered(all_kept, torch.cat(distances), all_kept.new_ones(len(all_kept))))
        if number == 0:
            tops = [one.topk(max(1, round(ODD_SHARE * len(one)))).values.mean() for one in distances]
            oddness = tuple(torch.stack(tops).tolist())
    few = pictures[:MOST_GRIDS]
    grids = ReferenceGrids(tuple(one.features[0].half() for one in few), tuple(one.valid[0] for one in few))
    return condense(ContextMemory(tuple(remembered), len(pictures), oddness, grids), scales, most)


def gather(memories: Sequence[ContextMemory], scales: Sequence[Scale], most: int) -> ContextMemory:
    """Return one memory of the good parts of all, as large as one of them may be."""
    together = tuple(
        Remembered(*(torch.cat([getattr(part, name) for part in parts]) for name in REMEMBERED_FIELDS))
        for parts in zip(*(memory.scales for memory in memories), strict=True)
    )
    oddness = tuple(one for memory in memories for one in memory.oddness)
    kept = [memory.grids for memory in memories if memory.grids]
    features, valid = ([one for grids in kept for one in getattr(grids, name)] for name in ("features", "valid"))
    grids = ReferenceGrids(tuple(features[:MOST_GRIDS]), tuple(valid[:MOST_GRIDS])) if kept else None
    pictures = sum(memory.pictures for memory in memories)
    return condense(ContextMemory(together, pictures, oddness, grids), scales, most)


def condense(memory: ContextMemory, scales: Sequence[Scale], most: int) -> ContextMemory:
    """Keep at most `most` patches of the first scale, and as many pictures' worth of the others.

    They are chosen greedily, so that none that is left out is far from all; each stands for those that are nearest to
    it, so that densities hardly change (docs/log.md).
    """
    condensed = []
    for scale, known in zip(scales, memory.scales, strict=True):
        count = most * scales[0].stride ** 2 // scale.stride**2
        if len(known.patches) <= count:
            condensed.append(known)
            continue
        chosen = farthest_first(known.patches, count, 0, exact_up_to=0, width=PROJECTED_WIDTH)
        nearest = nearest_chosen(known.patches, known.patches[chosen])
        stands_for = torch.zeros_like(known.stands_for[: len(chosen)]).index_add_(0, nearest, known.stands_for)
        distance = torch.zeros_like(stands_for).index_add_(0, nearest, known.distance * known.stands_for)
        inhabited = stands_for > 0  # of two equal patches one may be nobody's nearest
        own = (distance / stands_for)[inhabited]
        condensed.append(Remembered(known.patches[chosen][inhabited], own, stands_for[inhabited]))
    return replace(memory, scales=tuple(condensed))
