"""EfficientNet-Lite2 as a plain feature pyramid (Tan & Le 2019; the Lite variant: no squeeze-excite, ReLU6).

Shapes: B images, C channels, (h, w) a stage's grid. TensorFlow's "SAME" padding is kept, because the published
weights were trained with it: at stride 2 it pads more at the bottom and right than at the top and left.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3  # TensorFlow's default, with which the weights were trained
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

    def forward(self, x: Tensor) -> Tensor:
        """Pad bottom and right by the odd remainder, then convolve."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS, momentum=0.01)]


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 linear reduction, with a skip where the shape is kept."""

    def __init__(self, inputs: int, spec: StageSpec, stride: int) -> None:
        super().__init__()
        hidden = inputs * spec.expand
        expansion = [*_conv_norm(inputs, hidden, 1), nn.ReLU6()] if spec.expand != 1 else []
        self.layers = nn.Sequential(
            *expansion,
            *_conv_norm(hidden, hidden, spec.kernel, stride, groups=hidden),
            nn.ReLU6(),
            *_conv_norm(hidden, spec.channels, 1),
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
        self.stem = nn.Sequential(*_conv_norm(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6())
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for spec in stages:
            blocks = []
            for index in range(spec.blocks):
                blocks.append(InvertedBottleneck(inputs, spec, spec.stride if index == 0 else 1))
                inputs = spec.channels
            self.stages.append(nn.Sequential(*blocks))
        self.stage_channels = tuple(spec.channels for spec in stages)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W), scaled as (x - 127) / 128 -> one (B, C, h, w) per stage, finest first."""
        x = self.stem(pixel_values)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return tuple(outputs)


def convert_lite2_state(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published checkpoint's tensors to ours; the classifier (`_conv_head`, `_bn1`, `_fc`) is left out."""
    names = {"_conv_stem": "stem.0", "_bn0": "stem.1"}
    number = 0
    for stage, spec in enumerate(LITE2_STAGES):
        for block in range(spec.blocks):
            first = 0 if spec.expand == 1 else 3  # position of the depthwise convolution inside `layers`
            parts = {"_depthwise_conv": first, "_bn1": first + 1, "_project_conv": first + 3, "_bn2": first + 4}
            parts |= {"_expand_conv": 0, "_bn0": 1} if first else {}
            for theirs, ours in parts.items():
                names[f"_blocks.{number}.{theirs}"] = f"stages.{stage}.{block}.layers.{ours}"
            number += 1
    classifier = ("_conv_head.", "_bn1.", "_fc.")
    converted = {}
    for key, value in published.items():
        module, _, parameter = key.rpartition(".")
        if not key.startswith(classifier):
            converted[f"{names[module]}.{parameter}"] = value
    return converted


def load_published(path: str) -> dict[str, Tensor]:
    """Read the published `.pth` (tensors only, no code is executed) and return our state dict."""
    return convert_lite2_state(torch.load(path, map_location="cpu", weights_only=True))
