"""From map margin and verdict logits to scores in [0, 1].

Paper: the image score fuses the map with the decoder's textual normal/defect decision. Ours: the read-out.
Shapes: Q queries, (h, w) the margin's grid, N the valid cells of one picture.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def valid_cells(content_hw: Tensor, canvas: int, grid_hw: tuple[int, int]) -> Tensor:
    """Return (B, h, w) bool: cells whose centre lies on the picture (B, 2) in canvas pixels, not on its padding.

    The first cell is always valid, so that a sliver of a picture still has a score.
    """
    inside = []
    for axis in (0, 1):
        # (i + 0.5) * canvas / grid < content, in integers: a centre on the edge must fall as in images.Letterbox.
        centres = (2 * torch.arange(grid_hw[axis], device=content_hw.device) + 1) * canvas
        covered = centres < 2 * grid_hw[axis] * content_hw[:, axis, None]
        covered[:, 0] = True
        inside.append(covered)
    return inside[0][:, :, None] & inside[1][:, None, :]


def read_out(margin: Tensor, valid: Tensor, fractions: Sequence[float]) -> Tensor:
    """Return (Q,): over the fractions rho, the mean of the mean of the top max(1, ceil(rho N)) margins.

    `margin` and `valid` are (Q, h, w). It is read before the sigmoid, because a saturated map has ties, and at
    several fractions, because one alone fails on tiny or on large defects.
    """
    cells = margin.flatten(1).masked_fill(~valid.flatten(1), -torch.inf)
    count = valid.flatten(1).sum(1)  # (Q,)
    largest = max(1, math.ceil(max(fractions) * cells.shape[1]))
    top = cells.topk(largest, dim=1).values
    padding = torch.arange(largest, device=cells.device) >= count[:, None]  # by rank: a margin may be infinite itself
    running = top.masked_fill(padding, 0.0).cumsum(1)
    means = []
    for fraction in fractions:
        # In fp32, 0.002 * 1500 is above 3 and would take a fourth cell.
        kept = (fraction * count.double()).ceil().long().clamp_min(1)  # (Q,)
        means.append(running.gather(1, kept[:, None] - 1)[:, 0] / kept)
    return torch.stack(means).mean(0)


def map_score(margin: Tensor, valid: Tensor, fractions: Sequence[float], offset: float) -> Tensor:
    """Return s_map (Q,) in [0, 1]: the read-out through one sigmoid with a fixed offset."""
    return torch.sigmoid(read_out(margin.float(), valid, fractions) - offset)


def text_score(verdict_logits: Tensor) -> Tensor:
    """Return p_text (Q,): the probability of the word for defect, over the two verdict words (Q, 2) only."""
    return verdict_logits.float().softmax(-1)[:, 1]


def fuse(s_map: Tensor, p_text: Tensor, weight: float) -> Tensor:
    """Return pred_score (Q,) = (1 - w) * s_map + w * p_text."""
    return s_map if weight == 0 else (1 - weight) * s_map + weight * p_text
