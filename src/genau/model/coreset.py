"""A few patches that stand for many: the memory of hundreds of good parts stays as small as that of a few.

Shapes: N patches of C channels, M of them chosen.
"""

import math

import torch
from torch import Tensor

CHUNK_PATCHES = 2048  # bounds the similarity matrix to 2048 x M


def farthest_first(patches: Tensor, count: int, seed: int, *, exact_up_to: int, width: int) -> Tensor:
    """Return the indices (at most `count`,) of a greedy k-center choice among patches (N, C).

    Always the patch that is farthest from all chosen ones is next (Gonzalez 1985; for anomaly detection Roth et al.
    2022); the first is drawn by `seed`. Above `exact_up_to` patches the distances are those of a random projection to
    `width` dimensions (Johnson & Lindenstrauss 1984). It ends early where every patch is equal to a chosen one.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(patches), (1,), generator=generator))]
    if len(patches) > exact_up_to and patches.shape[1] > width:
        matrix = torch.randn(patches.shape[1], width, generator=generator) / math.sqrt(width)
        patches = patches @ matrix.to(patches.device)
    squares = patches.square().sum(1)

    def to_chosen(index: int) -> Tensor:
        distance = squares + squares[index] - 2 * patches @ patches[index]
        distance[index] = 0  # exactly, so that it is not drawn twice
        return distance

    farthest = to_chosen(chosen[0])
    while len(chosen) < count:
        value, index = farthest.max(0)
        if float(value) <= 1e-6:  # rounding of equal fp32 vectors
            break
        chosen.append(int(index))
        farthest = torch.minimum(farthest, to_chosen(chosen[-1]))
    return torch.tensor(chosen, device=patches.device)


def nearest_chosen(patches: Tensor, chosen: Tensor) -> Tensor:
    """Return which of the chosen (M, C) each unit patch (N, C) is most like, as (N,)."""
    starts = range(0, len(patches), CHUNK_PATCHES)
    return torch.cat([(patches[start : start + CHUNK_PATCHES] @ chosen.T).argmax(1) for start in starts])
