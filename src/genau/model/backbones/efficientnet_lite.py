"""EfficientNet-Lite2 as a plain feature pyramid (Tan & Le 2019; the Lite variant: no squeeze-excite, ReLU6).

Shapes: B images, C channels, (h, w) a stage's grid. TensorFlow's "SAME" padding is kept, because the published
weights were trained with it: at stride 2 it pads more at the bottom and right than at the top and left. Batch
normalisation is folded into the convolutions when the weights are converted: the same function, half the time, and no
batch statistics that training could spoil.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3  # TensorFlow's default, with which the published weights were trained
STEM_CHANNELS = 32


@dataclass(frozen=True)
class StageSpec:
    """One stage: `blocks` inverted bottlenecks, of which the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


LITE2_STAGES = (
    StageSpec(1, 3, 1, 1, 16),
    StageSpec(3, 3, 2, 6, 24),
    StageSpec(3, 5, 2, 6, 48),
    StageSpec(4, 3, 2, 6, 88),
    StageSpec(4, 5, 1, 6, 120),
    StageSpec(5, 5, 2, 6, 208),
    StageSpec(1, 3, 1, 6, 352),
)
# Total strides of the seven stages' outputs: 2, 4, 8, 16, 16, 32, 32.


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: the output grid is ceil(input / stride)."""

    def reset_parameters(self) -> None:
        """Draw weights that keep the variance (He et al. 2015), as there is no normalisation to mend it."""
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pad bottom and right by the odd remainder, then convolve."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:  # the convolution pads by itself, without a copy
            return F.conv2d(x, self.weight, self.bias, self.stride, (pads[2], pads[0]), 1, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 linear reduction, with a skip where the shape is kept."""

    def __init__(self, inputs: int, spec: StageSpec, stride: int) -> None:
        super().__init__()
        hidden = inputs * spec.expand
        expansion = [SameConv2d(inputs, hidden, 1), nn.ReLU6(inplace=True)] if spec.expand != 1 else []
        self.layers = nn.Sequential(
            *expansion,
            SameConv2d(hidden, hidden, spec.kernel, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            SameConv2d(hidden, spec.channels, 1),
        )
        self.skip = stride == 1 and inputs == spec.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


class EfficientNetLite(nn.Module):
    """The convolutional trunk without classifier: a picture in, the outputs of its stages out."""

    def __init__(self, stages: tuple[StageSpec, ...] = LITE2_STAGES) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for spec in stages:
            blocks = []
            for index in range(spec.blocks):
                blocks.append(InvertedBottleneck(inputs, spec, spec.stride if index == 0 else 1))
                inputs = spec.channels
            self.stages.append(nn.Sequential(*blocks))
        self.stage_channels = tuple(spec.channels for spec in stages)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W), scaled as (x - 127) / 128 -> one (B, C, h, w) per stage, finest first."""
        x = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))  # two to three times faster
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return tuple(outputs)


def convert_lite2_state(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict of the published one: renamed, each batch normalisation folded into its convolution.

    w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps). The classifier is left out.
    """
    pairs = {"stem.0": ("_conv_stem", "_bn0")}  # ours: (convolution, batch normalisation)
    number = 0
    for stage, spec in enumerate(LITE2_STAGES):
        for block in range(spec.blocks):
            ours, theirs = f"stages.{stage}.{block}.layers", f"_blocks.{number}"
            depthwise = 0 if spec.expand == 1 else 2  # its position inside `layers`
            pairs[f"{ours}.{depthwise}"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            pairs[f"{ours}.{depthwise + 2}"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
            if depthwise:
                pairs[f"{ours}.0"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
            number += 1
    converted = {}
    for name, (convolution, norm) in pairs.items():
        gamma, beta = published[f"{norm}.weight"], published[f"{norm}.bias"]
        scale = gamma / (published[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        converted[f"{name}.weight"] = published[f"{convolution}.weight"] * scale[:, None, None, None]
        converted[f"{name}.bias"] = beta - published[f"{norm}.running_mean"] * scale
    return converted


def load_published(path: str) -> dict[str, Tensor]:
    """Read the published `.pth` (tensors only, no code is executed) and return our state dict."""
    return convert_lite2_state(torch.load(path, map_location="cpu", weights_only=True))
