"""Any vision tower as a source of patch features: pictures in, one unit vector per patch out, and the way back.

B pictures; H, W: an original picture; S: side of the square canvas in pixels; h, w: the patch grid, which covers the
whole canvas; C channels. Every tower sees a picture letterboxed: nothing is cut off or distorted, as the
published centre crop and stretch would, and padding is marked so that nobody compares it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from genau.arguments import check_device
from genau.errors import UsageError
from genau.images import Letterbox, Picture
from genau.model.backbones.efficientnet_lite import EfficientNetLite
from genau.model.backbones.nano import LEVEL_STAGES
from genau.model.configuration import GenAUConfig
from genau.model.context import context_patches

NANO = "nano"
DEPTHS = (
    0.5,
    0.75,
)  # of a transformer's layers: middle ones still say where, as PatchCore takes them (its section 3.1)


@dataclass(frozen=True, eq=False)
class Patches:
    """Patch features of a batch, and the way back to its pictures."""

    features: Tensor  # (B, h, w, C) float32, unit length
    valid: Tensor  # (B, h, w) bool, False on letterbox padding
    boxes: tuple[Letterbox, ...]  # B

    def to_original(self, row: int, grid: NDArray[np.float32], smoothing_px: float = 0.0) -> NDArray[np.float32]:
        """Return the map (H, W) of picture `row` from values (h, w), bilinear; it stays in their range.

        `smoothing_px` is the standard deviation of a Gaussian in pixels of the canvas; padding does not bleed in.
        """
        return back(self.boxes[row], grid, smoothing_px)


def back(box: Letterbox, grid: NDArray[np.float32], smoothing_px: float = 0.0) -> NDArray[np.float32]:
    """Return the map (H, W) of values (h, w) that cover the whole canvas of `box`; see `Patches.to_original`."""
    if smoothing_px == 0:
        return box.back(grid)
    height, width = box.content_hw
    content = Letterbox((height, width), box.size).back(grid)  # canvas pixels, padding cut off
    canvas = np.zeros((box.size, box.size), np.float32)
    canvas[:height, :width] = ndimage.gaussian_filter(content, smoothing_px, mode="nearest")
    return box.back(np.clip(canvas, grid.min(), grid.max()))


@dataclass(frozen=True, eq=False)
class VisionTower:
    """One frozen encoder, either nano's or a Hugging Face vision transformer."""

    name: str
    size: int  # S, pixels of the canvas that the patch grid covers
    fill: tuple[int, int, int]  # colour of the padding: the encoder's zero
    normalise: Callable[[NDArray[np.uint8]], Tensor]  # canvases (B, S, S, 3) -> what the encoder takes
    encode: Callable[[Tensor], Tensor]  # -> (B, h, w, C), unit length
    device: torch.device

    @classmethod
    def from_pretrained(cls, base: str = NANO, device: str = "cpu") -> "VisionTower":
        """Load nano's encoder ("nano": works offline) or a vision model from a folder or the hub.

        Raises:
            UsageError: no such device, or not a vision transformer. WeightsError: the weights cannot be had.
        """
        check_device(device)
        if base != NANO:
            return _load_transformer(base, device)
        from safetensors.torch import load_file

        from genau.weights import ensure_base

        encoder = EfficientNetLite()
        encoder.load_state_dict(load_file(ensure_base() / "encoder.safetensors"))
        return cls.of_nano(encoder, GenAUConfig.image_size, device)

    @classmethod
    def of_nano(cls, encoder: EfficientNetLite, size: int, device: str = "cpu") -> "VisionTower":
        """Use nano's encoder: the levels and the grid that GenAU's own context distance has."""
        from genau.processor import LetterboxImageProcessor

        scaling = LetterboxImageProcessor(size)
        encoder = encoder.to(device).eval()
        chosen, stride, _ = GenAUConfig.context_scales[0]
        side = size // stride

        def encode(pixels: Tensor) -> Tensor:
            stages = encoder(pixels)
            levels = [stages[LEVEL_STAGES[level]] for level in chosen]
            return context_patches(levels, (side, side)).permute(0, 2, 3, 1)

        def normalise(canvases: NDArray[np.uint8]) -> Tensor:
            return scaling(list(canvases))["pixel_values"]

        return cls(NANO, size, scaling.padding, normalise, encode, torch.device(device))

    @classmethod
    def of_transformer(
        cls,
        model: Any,  # noqa: ANN401 - any PreTrainedModel with pixel_values
        image_processor: Any,  # noqa: ANN401
        name: str,
        device: str = "cpu",
    ) -> "VisionTower":
        """Use a Hugging Face vision transformer: its patch tokens at `DEPTHS`, each of unit length, side by side.

        Raises:
            UsageError: it has no square input with square patches.
        """
        model = getattr(model, "vision_model", model).to(device).eval()  # the tower of CLIP, SigLIP
        config = model.config
        image_size, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
        if not (isinstance(image_size, int) and isinstance(patch, int)):
            raise UsageError(
                f"{name} ({config.model_type}) has image_size={image_size} and patch_size={patch}; both must be one "
                "number. Use a plain vision transformer: DINOv2, ViT, CLIP or SigLIP."
            )
        side = image_size // patch
        size = side * patch  # 27 patches of 14 pixels cover 378 of SigLIP's 384; the rest is no cell's
        extra = _extra_tokens(config)

        def normalise(canvases: NDArray[np.uint8]) -> Tensor:
            fixed = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
            pixels: Tensor = image_processor(images=list(canvases), **fixed)["pixel_values"]
            return F.pad(pixels, (0, image_size - size, 0, image_size - size))

        def encode(pixels: Tensor) -> Tensor:
            states = model(pixel_values=pixels, output_hidden_states=True).hidden_states
            chosen = [states[math.ceil(depth * (len(states) - 1))] for depth in DEPTHS]
            parts = [F.normalize(_patch_tokens(state, side, extra, name).float(), dim=-1) for state in chosen]
            return F.normalize(torch.cat(parts, -1), dim=-1)

        mean = getattr(image_processor, "image_mean", None) or (0.5, 0.5, 0.5)
        red, green, blue = (round(255 * value) for value in mean)
        return cls(name, size, (red, green, blue), normalise, encode, torch.device(device))

    @torch.inference_mode()
    def patches(self, pictures: Sequence[Picture]) -> Patches:
        """Return the features of pictures of any sizes."""
        boxes = tuple(Letterbox.of(picture.rgb, self.size) for picture in pictures)
        canvases = np.stack([box.apply(p.rgb, self.fill) for box, p in zip(boxes, pictures, strict=True)])
        features = self.encode(self.normalise(canvases).to(self.device))
        grid_hw = (features.shape[1], features.shape[2])
        valid = torch.from_numpy(np.stack([box.valid_cells(grid_hw) for box in boxes]))
        return Patches(features, valid.to(self.device), boxes)


def _load_transformer(base: str, device: str) -> VisionTower:
    from transformers import AutoImageProcessor, AutoModel

    from genau.baselines.hub import LOADING, weights_of

    with weights_of(base, "a vision transformer"):
        where = str(Path(base).expanduser()) if Path(base).expanduser().is_dir() else base
        image_processor = AutoImageProcessor.from_pretrained(where, backend="pil")  # torchvision is not needed
        model = AutoModel.from_pretrained(where, **LOADING)
    return VisionTower.of_transformer(model, image_processor, base, device)


def _extra_tokens(config: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Return how many tokens may stand before the patches: none, a class token, or one and the registers."""
    registers = getattr(config, "num_register_tokens", 0) or 0
    return (1 + registers,) if registers else (0, 1)


def _patch_tokens(state: Tensor, side: int, extra: tuple[int, ...], name: str) -> Tensor:
    """(B, T, C) -> (B, side, side, C), without class and register tokens, which all families put first."""
    before = (state.shape[1] if state.ndim == 3 else 0) - side * side
    if before not in extra:
        allowed = " or ".join(str(side * side + count) for count in extra)
        raise UsageError(
            f"{name} gives hidden states of shape {tuple(state.shape)}; a {side}x{side} grid of patches needs "
            f"{allowed} tokens. Use a plain vision transformer that keeps one grid: DINOv2, ViT, CLIP or SigLIP."
        )
    return state[:, before:].reshape(len(state), side, side, -1)
