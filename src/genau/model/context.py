"""How unlike its context each patch is: the rest of the same picture, or good parts of the same product. (Ours.)

A patch that resembles no other is suspicious, whatever it shows; so this carries over to products never seen.
Shapes: B pictures, C channels, (h, w) the context grid, P = h * w patches, M remembered patches.

The nearest neighbours are soft: with cosine distances d_j and temperature T,
    distance = -T * log( sum_j exp(-d_j / T) / (k * pictures) ),   residual = x - sum_j softmax(-d / T)_j * x_j.
A hard nearest-k gives the same ranking (docs/log.md), but its residual jumps where two neighbours swap, and then one
picture alone and the same picture in a batch would differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_PATCHES = 512  # bounds the distance matrix to 512 x M


@dataclass(frozen=True)
class ContextMemory:
    """Patches of good parts, to which a picture is compared."""

    patches: Tensor  # (M, C), unit length
    pictures: int  # how many pictures they come from


@dataclass(frozen=True)
class Context:
    """What comparing a batch of pictures with their context gives."""

    distance: Tensor  # (B, h, w), to the references if given, else to the rest of the same picture; 0 on padding.
    # Around zero and below where more than k patches are alike; a cosine distance is at most 2.
    self_distance: Tensor  # (B, h, w), to the rest of the same picture, always
    residual: Tensor  # (B, C, h, w), patch minus its soft neighbour
    from_references: Tensor  # (B,) bool


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
    y, x = torch.meshgrid(
        torch.arange(grid_hw[0], device=device), torch.arange(grid_hw[1], device=device), indexing="ij"
    )
    y, x = y.flatten(), x.flatten()
    return ((y[:, None] - y).abs() <= radius) & ((x[:, None] - x).abs() <= radius)


def soft_nearest(
    patches: Tensor, memory: Tensor, excluded: Tensor | None, count: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """Compare unit patches (P, C) with a memory (M, C), leaving out pairs `excluded` (P, M).

    `count` is how many equally near neighbours give distance zero. Returns distance (P,) and residual (P, C).
    A patch all of whose memory is excluded has distance and residual zero: nothing is known about it.
    """
    distances, residuals = [], []
    for start in range(0, len(patches), CHUNK_PATCHES):
        chunk = patches[start : start + CHUNK_PATCHES]
        affinity = (chunk @ memory.T - 1) / temperature  # (p, M), -distance / T
        if excluded is not None:
            affinity = affinity.masked_fill(excluded[start : start + CHUNK_PATCHES], -torch.inf)
        total = affinity.logsumexp(1)  # (p,)
        known = total.isfinite()
        weights = torch.where(known[:, None], affinity - total[:, None], -torch.inf).exp()
        distances.append(torch.where(known, -temperature * (total - math.log(count)), 0.0))
        residuals.append(torch.where(known[:, None], chunk - weights @ memory, 0.0))
    return torch.cat(distances), torch.cat(residuals)


def compare(
    patches: Tensor,
    valid: Tensor,
    references: Sequence[ContextMemory | None],
    *,
    exclusion: int,
    neighbours: int,
    temperature: float,
) -> Context:
    """Compare each picture's patches (B, C, h, w) with themselves and, where given, with references of good parts.

    `valid` (B, h, w) is False on letterbox padding, which neither is compared nor serves as context. Pictures are
    taken one by one, so that a picture's context does not depend on its batch.
    """
    grid_hw = (patches.shape[2], patches.shape[3])
    near = nearby(grid_hw, exclusion, patches.device)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for picture, inside, memory in zip(patches.flatten(2).transpose(1, 2), valid.flatten(1), references, strict=True):
        own, own_residual = soft_nearest(picture, picture, near | ~inside, neighbours, temperature)
        distance, residual = own, own_residual
        if memory is not None:
            count = neighbours * memory.pictures
            distance, residual = soft_nearest(picture, memory.patches, None, count, temperature)
        rows.append((distance * inside, own * inside, residual * inside[:, None]))
    distance, own, residual = (torch.stack(part) for part in zip(*rows, strict=True))
    return Context(
        distance.reshape(-1, *grid_hw),
        own.reshape(-1, *grid_hw),
        residual.transpose(1, 2).reshape(len(distance), -1, *grid_hw),
        torch.tensor([memory is not None for memory in references], device=patches.device),
    )


def remember(patches: Tensor, valid: Tensor) -> ContextMemory:
    """Keep the valid patches of good parts (B, C, h, w), valid (B, h, w), as a memory (M, C)."""
    return ContextMemory(patches.permute(0, 2, 3, 1)[valid], len(patches))
