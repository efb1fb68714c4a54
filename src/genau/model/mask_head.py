"""From query states and the feature pyramid to map logits.

    z = g * tau * mean over l of (cos(f_l, h_d) - cos(f_l, h_n)) + a * (d - b) + e

Paper: language-grounded queries h_d, h_n against projected multi-scale features f_l. Ours: the context distance d
with gain a and offset b; e, what the distances of all scales say together; and g, which starts at 0 as e does: an
untrained model is exactly the context-distance baseline.
Shapes: B pictures, Q queries, C_l and (h_l, w_l) a level, W the head's width, D the decoder's width, K scalars.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genau.model.configuration import GenAUConfig
from genau.model.context import SCALARS_PER_SCALE, Context

DISTANCE_UNIT = 0.1  # cosine distance: defects stand out by about that much
EVIDENCE_WIDTH = 32
QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.97, 0.99)  # of a picture's cells: what is usual in it


def context_scalars(context: Context) -> Tensor:
    """Return what is told of the context at each place (B, K, h, w): all scalars, and whether there are references."""
    flag = context.from_references.to(context.scalars.dtype)[:, None, None, None]
    return torch.cat([context.scalars / DISTANCE_UNIT, flag.expand_as(context.scalars[:, :1])], 1)


class LevelIn(nn.Module):
    """A level's channels to the head's width; normalised, so that stages of different magnitude weigh the same."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.into = nn.Linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, W, h, w), channels last in memory."""
        y: Tensor = self.into(self.norm(x.permute(0, 2, 3, 1)))
        return y.permute(0, 3, 1, 2)


class LevelOut(nn.Module):
    """Looks around each place and returns unit features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) -> (B, W, h, w), channels last in memory."""
        y: Tensor = self.out(F.gelu(self.around(F.gelu(x))).permute(0, 2, 3, 1))
        length = y.float().norm(dim=-1, keepdim=True).clamp_min(1e-6).to(y.dtype)  # in bf16, where autocast is on
        unit: Tensor = (y / length).permute(0, 3, 1, 2)
        return unit


class Finer(nn.Module):
    """Draws each cell of a level as several; untrained, they are all like it."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.spread = nn.Conv2d(width, width * factor**2, 3, padding=1)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) -> (B, W, factor h, factor w)."""
        same = x.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        return same + F.pixel_shuffle(self.spread(x), self.factor)


class Evidence(nn.Module):
    """Weighs the distances of all scales at each place, knowing what is usual in this picture; zero when untrained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Conv2d(channels, EVIDENCE_WIDTH, 3, padding=1)
        self.usual = nn.Linear(len(QUANTILES) * (channels - 1), EVIDENCE_WIDTH)  # of all but the flag
        self.mix = nn.Conv2d(EVIDENCE_WIDTH, EVIDENCE_WIDTH, 3, padding=1)
        self.out = nn.Conv2d(EVIDENCE_WIDTH, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, scalars: Tensor, valid: Tensor) -> Tensor:
        """Scalars (B, K, h, w), the flag last, and valid cells (B, h, w) -> e (B, h, w)."""
        cells = scalars[:, :-1].masked_fill(~valid[:, None], torch.nan).flatten(2)  # (B, K - 1, P)
        levels = torch.tensor(QUANTILES, device=cells.device, dtype=cells.dtype)
        usual = cells.nanquantile(levels, dim=2).permute(1, 2, 0).flatten(1)  # (B, (K - 1) * quantiles)
        x = F.gelu(self.into(scalars) + self.usual(usual)[:, :, None, None])
        e: Tensor = self.out(F.gelu(self.mix(x)))
        return e[:, 0] * valid


class MaskHead(nn.Module):
    """Projects the pyramid once per picture, then answers any number of queries on it."""

    def __init__(self, config: GenAUConfig, level_channels: tuple[int, ...], hidden_size: int) -> None:
        super().__init__()
        width = config.head_width
        scalars = SCALARS_PER_SCALE * len(config.context_scales) + 1
        residual = sum(level_channels[level] for level in config.context_scales[0][0])
        self.level_in = nn.ModuleList(LevelIn(channels, width) for channels in level_channels)
        self.context_in = nn.Conv2d(residual + scalars, width, 1)
        self.level_out = nn.ModuleList(LevelOut(width) for _ in level_channels)
        self.evidence = Evidence(scalars)
        self.normal_query, self.with_context = config.normal_query, config.context
        self.bf16 = False  # training may project in bf16; scores are always made in fp32
        self.state_norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.query = nn.Linear(hidden_size, width, bias=False)  # of the question by itself
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
        self.query_seen = nn.Linear(hidden_size, width, bias=False)  # of the question after the picture
        nn.init.zeros_(self.query_seen.weight)
        self.finer = Finer(width, config.upsample) if config.upsample > 1 else None

    @property
    def scale(self) -> Tensor:
        """The factor g * tau of the cosines."""
        return self.gain * self.log_tau.clamp_max(self.log_tau_max).exp()

    def finest_hw(self, pyramid: tuple[Tensor, ...]) -> tuple[int, int]:
        """Return the grid on which maps are drawn of a pyramid (B, C_l, h_l, w_l)."""
        factor = self.finer.factor if self.finer else 1
        return pyramid[0].shape[-2] * factor, pyramid[0].shape[-1] * factor

    def project(self, pyramid: tuple[Tensor, ...], context: Context) -> tuple[Tensor, ...]:
        """Return unit features f_l (B, W, h_l, w_l) that know the picture, the coarser levels and the context."""
        told = torch.cat([context.residual, context_scalars(context)], 1) * self.with_context
        features: list[Tensor] = []
        coarser: Tensor | None = None
        with torch.autocast(told.device.type, torch.bfloat16, enabled=self.bf16):
            known = self.context_in(told).contiguous(memory_format=torch.channels_last)  # (B, W, h, w)
            for level, into, out in zip(pyramid[::-1], self.level_in[::-1], self.level_out[::-1], strict=True):
                size = level.shape[-2:]
                x = into(level.to(told.dtype))
                if level is pyramid[0] and self.finer is not None:
                    x = self.finer(x)
                    size = x.shape[-2:]
                x = x + _resize(known, size)
                coarser = x if coarser is None else x + _resize(coarser, size)
                features.append(out(coarser))
        return tuple(features[::-1])

    def queries(self, asked: Tensor, told: Tensor | None = None) -> Tensor:
        """Return queries (Q, 2, W) in the head's space from the two tokens' hidden states (Q, 2, D).

        `asked` are their states where the question is read by itself, `told` where it is read after the picture: the
        first says what is looked for, the second may change it for this picture.
        """
        states: Tensor = self.query(self.state_norm(asked.float())) + self.query_prior
        return states if told is None else states + self.query_seen(self.state_norm(told.float()))

    def directions(self, queries: Tensor) -> Tensor:
        """Return h_d - h_n (Q, W) of queries (Q, 2, W): cos(f, h_d) - cos(f, h_n) = f . (h_d - h_n) at unit length."""
        defect, normal = F.normalize(queries, dim=-1).unbind(-2)
        return defect - normal if self.normal_query else defect

    def unprompted(self, context: Context, finest: tuple[int, int]) -> Tensor:
        """Return the part of the margin that no query changes, a * (d - b) + e, as (B, h, w) on the finest grid."""
        kind = context.from_references.long()  # (B,)
        gain, offset = self.log_distance_gain.exp()[kind], self.distance_offset[kind]
        distance = gain[:, None, None] * (context.distance * self.with_context - offset[:, None, None])
        evidence = self.evidence(context_scalars(context), context.valid) * self.with_context
        return _resize((distance + evidence)[:, None], finest)[:, 0]

    def draw(self, features: tuple[Tensor, ...], unprompted: Tensor, queries: Tensor, image_index: Tensor) -> Tensor:
        """Return the margin z (Q, h, w) on the finest grid of queries (Q, 2, W).

        `unprompted` (B, h, w) is what that method returns; `image_index` (Q,) the picture of each query.
        """
        direction = self.directions(queries)
        finest = features[0].shape[-2:]
        cosine = torch.zeros(len(image_index), *finest, device=direction.device)
        for feature in features:
            level = per_picture(feature, direction, image_index).unflatten(1, feature.shape[-2:])
            cosine = cosine + _resize(level[:, None], finest)[:, 0]
        return self.scale * cosine / len(features) + unprompted[image_index]


def per_picture(features: Tensor, rows: Tensor, image_index: Tensor) -> Tensor:
    """Return rows (Q, W) times the features (B, W, h, w) of each row's own picture, as (Q, h * w).

    One product per picture: a copy of the features for every row would cost more than the products.
    """
    asked = [torch.nonzero(image_index == picture)[:, 0] for picture in range(len(features))]
    maps = [
        (feature.permute(1, 2, 0).flatten(0, 1) @ rows[own].to(feature.dtype).T).T  # channels last: no copy
        for own, feature in zip(asked, features.unbind(), strict=True)
    ]
    return torch.cat(maps)[torch.cat(asked).argsort()].float()


def pooled(features: tuple[Tensor, ...], regions: Tensor, image_index: Tensor) -> Tensor:
    """Return the mean feature (R, W) of regions (R, h, w) on the finest grid, averaged over the levels.

    By it a query's mean cosine over the region is one product.
    """
    found = []
    for feature in features:
        weight = F.interpolate(regions[:, None], feature.shape[-2:], mode="area").flatten(1)  # (R, h_l * w_l)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
        means = [
            weight[image_index == number].to(one.dtype) @ one.permute(1, 2, 0).flatten(0, 1)
            for number, one in enumerate(feature.unbind())
        ]
        found.append(torch.cat(means)[image_index.argsort(stable=True).argsort()])
    return torch.stack(found).mean(0).float()


def _resize(maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Bilinear (Q, C, h', w') -> (Q, C, h, w)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
