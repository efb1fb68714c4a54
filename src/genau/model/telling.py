"""What the decoder is told of the map, in numbers that two small matrices bring into its width.

Visual tokens alone do not show a small defect; the map does.
Shapes: B pictures, Q questions, N visual tokens, W the head's width, (h, w) the finest grid.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genau.model.backbones import Sight
from genau.model.context import Context
from genau.model.fusion import read_out
from genau.model.mask_head import MaskHead, context_scalars

QUIET = -20.0  # margin of padding: it attracts no attention
QUIET_UNIT = 4.0  # margins are told to the decoder in this unit
FOUND_FRACTIONS = (0.0005, 0.005, 0.05)  # shares of the cells whose largest margins are told with a question


def told(
    head: MaskHead, features: tuple[Tensor, ...], context: Context, margin: Tensor, valid: Tensor, sight: Sight
) -> Tensor:
    """Return for each visual token (B, N, told) what stands out at its place before anything is asked.

    Largest and mean `margin` (B, h, w), the largest context scalars, and the finest features where the margin is
    largest. A token that stands for no one place is told nothing.
    """
    grid = sight.token_grid
    shown = margin.masked_fill(~valid, QUIET)[:, None] / QUIET_UNIT
    weight = shown.exp()  # attention within each token's cells
    seen = F.adaptive_avg_pool2d(weight * features[0].float(), grid) / F.adaptive_avg_pool2d(weight, grid)
    scalars = context_scalars(context) * head.with_context
    near = F.adaptive_max_pool2d(valid[:, None].float(), (scalars.shape[-2], scalars.shape[-1]))
    scalars = torch.cat([scalars[:, :-1] * near, scalars[:, -1:]], 1)  # the flag holds everywhere
    parts = [
        F.adaptive_max_pool2d(shown, grid),
        F.adaptive_avg_pool2d(shown, grid),
        F.adaptive_max_pool2d(scalars, grid),
        seen * math.sqrt(seen.shape[1]),  # entries of about one
    ]
    cells = torch.cat(parts, 1).flatten(2).transpose(1, 2)  # (B, h * w, told)
    placed = (sight.token_cells >= 0)[..., None]
    at = sight.token_cells.clamp_min(0)[..., None].expand(-1, -1, cells.shape[-1])
    return cells.gather(1, at) * placed


def found(margins: Sequence[Tensor], valid: Tensor) -> Tensor:
    """Return the largest margins of maps (Q, h, w), each at several shares of the valid cells, side by side."""
    tops = [read_out(margin.float(), valid, (fraction,)) for margin in margins for fraction in FOUND_FRACTIONS]
    return torch.stack(tops, 1).clamp(-QUIET_UNIT, QUIET_UNIT) / QUIET_UNIT
