"""From query states and the feature pyramid to map logits.

    z = g * tau * mean over l of (cos(f_l, h_d) - cos(f_l, h_n)) + a * (d - b)

Paper: language-grounded queries h_d, h_n against projected multi-scale features f_l. Ours: the context distance d
with gain a and offset b, and g, which starts at 0: an untrained model is exactly the context-distance baseline.
Shapes: B pictures, Q queries, C_l and (h_l, w_l) a level, W the head's width, D the decoder's width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genau.model.configuration import GenAUConfig
from genau.model.context import Context

CONTEXT_SCALARS = 3  # distance, self-distance, whether there are references


def context_scalars(context: Context) -> Tensor:
    """Return the context's three scalar channels (B, 3, h, w)."""
    flag = context.from_references.to(context.distance.dtype)[:, None, None].expand_as(context.distance)
    return torch.stack([context.distance, context.self_distance, flag], 1)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each place, so that stages of different magnitude weigh the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class MaskHead(nn.Module):
    """Projects the pyramid once per picture, then answers any number of queries on it."""

    def __init__(self, config: GenAUConfig, level_channels: tuple[int, ...], hidden_size: int) -> None:
        super().__init__()
        width = config.head_width
        context_channels = sum(level_channels[level] for level in config.context_levels) + CONTEXT_SCALARS
        self.level_in = nn.ModuleList(
            nn.Sequential(ChannelNorm(channels), nn.Conv2d(channels, width, 1)) for channels in level_channels
        )
        self.context_in = nn.Conv2d(context_channels, width, 1)
        self.level_out = nn.ModuleList(
            nn.Sequential(
                nn.GELU(), nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GELU(), nn.Conv2d(width, width, 1)
            )
            for _ in level_channels
        )
        self.state_norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.query = nn.Linear(hidden_size, width, bias=False)
        nn.init.zeros_(self.query.weight)  # the decoder's states refine the prior; they do not replace it by noise
        self.query_prior = nn.Parameter(torch.randn(2, width))  # the queries before the decoder says anything
        self.log_tau = nn.Parameter(torch.tensor(math.log(config.tau_init)))
        self.log_tau_max = math.log(config.tau_max)
        self.gain = nn.Parameter(torch.zeros(()))  # g
        # First compared with itself, then with references.
        self.log_distance_gain = nn.Parameter(torch.full((2,), math.log(config.distance_gain_init)))  # log a
        self.distance_offset = nn.Parameter(
            torch.tensor([config.distance_offset_init, config.reference_offset_init])  # b
        )

    def project(self, pyramid: tuple[Tensor, ...], context: Context) -> tuple[Tensor, ...]:
        """Return unit features f_l (B, W, h_l, w_l) that know the picture and its context."""
        known = self.context_in(torch.cat([context.residual, context_scalars(context)], 1))  # (B, W, h, w)
        features = []
        for level, into, out in zip(pyramid, self.level_in, self.level_out, strict=True):
            x = into(level.float()) + _resize(known, level.shape[-2:])
            features.append(F.normalize(out(x), dim=1))
        return tuple(features)

    def forward(
        self, features: tuple[Tensor, ...], context: Context, query_states: Tensor, image_index: Tensor
    ) -> Tensor:
        """Return the margin z (Q, h, w) on the finest grid.

        `query_states` (Q, 2, D) are the hidden states of the two tokens, `image_index` (Q,) the picture of each query.
        """
        queries = self.query(self.state_norm(query_states.float())) + self.query_prior
        return self.draw(features, context, queries, image_index)

    def draw(self, features: tuple[Tensor, ...], context: Context, queries: Tensor, image_index: Tensor) -> Tensor:
        """Return the margin z (Q, h, w) of queries (Q, 2, W) in the head's own space."""
        queries = F.normalize(queries, dim=-1)
        direction = queries[:, 0] - queries[:, 1]  # cos(f, h_d) - cos(f, h_n) = f . (h_d - h_n), all of unit length
        scale = self.gain * self.log_tau.clamp_max(self.log_tau_max).exp()
        finest = features[0].shape[-2:]
        cosine = torch.zeros(len(image_index), *finest, device=direction.device)
        for feature in features:
            level = torch.einsum("qchw,qc->qhw", feature[image_index], direction)
            cosine = cosine + _resize(level[:, None], finest)[:, 0]
        kind = context.from_references.long()  # (B,)
        gain, offset = self.log_distance_gain.exp()[kind], self.distance_offset[kind]
        distance = gain[:, None, None] * (_resize(context.distance[:, None], finest)[:, 0] - offset[:, None, None])
        return scale * cosine / len(features) + distance[image_index]


def _resize(maps: Tensor, size: torch.Size) -> Tensor:
    """Bilinear (Q, C, h', w') -> (Q, C, h, w)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
