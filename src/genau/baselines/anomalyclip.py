"""AnomalyCLIP, after Zhou et al. 2024, "Object-agnostic Prompt Learning for Zero-shot Anomaly Detection" (ICLR).

CLIP stays frozen. Learned are two prompts, of a good part and of a defective one, whatever the product.
B: pictures; L: depths whose patches are compared; (h, w): grid of patches; S: side of the square input in pixels;
D: width of the space shared by pictures and words; H, W: the original picture.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

from genau.arguments import check_device
from genau.baselines.anomalyclip_prompts import ObjectAgnosticPrompts
from genau.baselines.clip_tower import ClipTower, to_original
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import CheckpointError, UsageError
from genau.images import Picture
from genau.judgement import Reply

TEMPERATURE = 0.07  # of cosines, in training and after
SMOOTHING_PX = 4.0  # standard deviation of the map's Gaussian in pixels of the square input, as published
CONFIG_FILE, PROMPTS_FILE = "config.json", "prompts.safetensors"


@dataclass(frozen=True)
class AnomalyClipConfig:
    """Everything but the learned words; the sizes of the words are the published ones."""

    base: str  # hub id or folder of the frozen CLIP
    image_size: int  # S
    depths: tuple[int, ...]  # blocks of the vision tower, from 1
    context_tokens: int = 12
    deep_tokens: int = 4
    deep_layers: int = 9
    base_fingerprint: str = ""  # of the CLIP that the words were learned on
    trained_products: tuple[str, ...] = ()
    trained_data: tuple[str, ...] = ()


class AnomalyClip(nn.Module):
    """Zero-shot detector whose prompts are learned on other products; a module, so that it can be trained.

    It knows no types and says nothing of them. Differs from the authors' code:
    CLIP's last layer norm is applied to the class token too, positions are interpolated bicubically, and the map is the
    mean over depths instead of the sum, so that it lies in [0, 1]. As there, the score is the picture's alone.
    """

    name = "anomalyclip"

    def __init__(self, tower: ClipTower, config: AnomalyClipConfig, seed: int = 0) -> None:
        """Stand on `tower`, which stays out of the module's parameters, with prompts drawn by `seed`.

        Raises:
            UsageError: the sizes do not fit the tower.
        """
        super().__init__()
        if unknown := [depth for depth in config.depths if not 1 <= depth <= tower.depth]:
            raise UsageError(f"depths holds {unknown[0]}, which is no block of {config.base}. Use 1 to {tower.depth}.")
        if not config.depths:
            raise UsageError("depths is empty, so there is no map. Name blocks of the vision tower: 6, 12, 18, 24.")
        self.tower = tower
        self.facts = config  # not named config: the framework's Trainer writes into a module's `config`
        self.prompts = ObjectAgnosticPrompts(tower, config.context_tokens, config.deep_tokens, config.deep_layers, seed)

    @classmethod
    def untrained(
        cls,
        base: str | Path,
        device: str = "cpu",
        seed: int = 0,
        *,
        image_size: int | None = None,
        depths: Sequence[int] | None = None,
        context_tokens: int = AnomalyClipConfig.context_tokens,
        deep_tokens: int = AnomalyClipConfig.deep_tokens,
        deep_layers: int = AnomalyClipConfig.deep_layers,
    ) -> "AnomalyClip":
        """Return random prompts on a CLIP, ready to be trained; `depths` None: its four quarters, as published.

        Raises:
            UsageError, WeightsError, CheckpointError: as `ClipTower.from_pretrained`, or sizes that do not fit.
        """
        tower = ClipTower.from_pretrained(base, str(check_device(device)), image_size)
        quarters = tuple(sorted({max(1, round(tower.depth * quarter / 4)) for quarter in (1, 2, 3, 4)}))
        config = AnomalyClipConfig(
            str(base),
            tower.image_size,
            quarters if depths is None else tuple(depths),
            context_tokens,
            deep_tokens,
            deep_layers,
            fingerprint(tower),
        )
        return cls(tower, config, seed)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> "AnomalyClip":
        """Load what `save_pretrained` wrote; the frozen CLIP comes from the base that the config names.

        Raises:
            UsageError: no such folder or device. CheckpointError: files are damaged or for another base.
            WeightsError: the base cannot be had.
        """
        folder = Path(folder).expanduser()
        config = _read_config(folder)
        tower = ClipTower.from_pretrained(config.base, str(check_device(device)), config.image_size)
        if (found := fingerprint(tower)) != config.base_fingerprint:
            raise CheckpointError(
                f"{folder} was trained on a CLIP with fingerprint {config.base_fingerprint}, but {config.base} has "
                f"{found}. Put the CLIP of the training there, or train anew."
            )
        try:
            detector = cls(tower, config)
            detector.prompts.load_state_dict(load_file(folder / PROMPTS_FILE))
        except (OSError, RuntimeError, SafetensorError, UsageError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{folder} is not a complete AnomalyCLIP ({reason}). Save or copy it again."
            ) from error
        return detector.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and the learned words; the frozen CLIP is named, not copied."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(json.dumps(asdict(self.facts), indent=2) + "\n", encoding="utf-8")
        words = {key: value.detach().cpu().contiguous() for key, value in self.prompts.state_dict().items()}
        save_file(words, folder / PROMPTS_FILE, metadata={"format": "pt"})

    @property
    def trained_products(self) -> Sequence[str]:
        """Products, in words, whose pictures the prompts were learned on."""
        return self.facts.trained_products

    @property
    def trained_data(self) -> Sequence[str]:
        """Names of the data sets that the words were learned on."""
        return self.facts.trained_data

    @property
    def settings(self) -> Mapping[str, str]:
        """Base, its fingerprint, input, depths, training data."""
        return {
            "base": self.facts.base,
            "base_fingerprint": self.facts.base_fingerprint,
            "image_size": str(self.facts.image_size),
            "depths": ", ".join(map(str, self.facts.depths)),
            "trained_data": "; ".join(self.facts.trained_data) or "none: random prompts",
            "thresholds": Thresholds().method,
        }

    @torch.inference_mode()
    def prepare(self, task: Task) -> Tensor:
        """Return the two prompts (2, D), unit length, good and defective; the product is not named to them.

        Raises:
            UsageError: there are references, which this method cannot use.
        """
        if task.references:
            raise UsageError(
                f"{self.name} compares with words only, but {len(task.references)} references are given. Leave them "
                "out, or use patch-memory or winclip."
            )
        directions: Tensor = self.prompts(self.tower)
        return directions

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Picture], prepared: Tensor) -> list[Detection]:
        """Compare each picture, and each patch of it, with the two prompts."""
        margins = self._margins(self.tower.pixels(pictures), prepared)
        scores = torch.sigmoid(margins["image"]).tolist()
        probability = torch.sigmoid(margins["maps"]).mean(1).cpu()  # (B, h, w)
        found = []
        for picture, score, grid in zip(pictures, scores, probability, strict=True):
            size_hw = (picture.height, picture.width)
            general = Reply(score, draw=partial(draw_map, grid, self.facts.image_size, size_hw))
            found.append(conclude(picture, general, {}, Thresholds()))
        return found

    def collate(self, pictures: Sequence[Picture], masks: Sequence[NDArray[np.bool_]]) -> dict[str, Tensor]:
        """Return `pixels` (B, 3, S, S) and `targets` (B, S, S), 0/1: a square pixel with any defect is defective."""
        side = self.facts.image_size
        stretched = [F.adaptive_max_pool2d(torch.tensor(mask, dtype=torch.float32)[None], side) for mask in masks]
        return {"pixels": self.tower.pixels(pictures), "targets": torch.cat(stretched)}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return margins of `collate`'s pixels, with a gradient to the prompts: `image` (B,), `maps` (B, L, h, w)."""
        return self._margins(batch["pixels"], self.prompts(self.tower))

    def note_training(self, products: Sequence[str], data: Sequence[str]) -> None:
        """Add to what the prompts were learned on."""
        self.facts = replace(
            self.facts,
            trained_products=tuple(sorted({*self.facts.trained_products, *products})),
            trained_data=tuple(sorted({*self.facts.trained_data, *data})),
        )

    def _margins(self, pixels: Tensor, directions: Tensor) -> dict[str, Tensor]:
        """Return logits of "defective": (cos(x, defective) - cos(x, good)) / temperature.

        Their sigmoid is the two-way softmax of the method.
        """
        with torch.no_grad():
            seen = self.tower.encode_pixels(pixels, self.facts.depths, vv=True)
        difference = (directions[1] - directions[0]) / TEMPERATURE  # (D,)
        maps = torch.stack([patches @ difference for patches in seen.patches], 1)  # (B, L, h, w)
        return {"image": seen.image @ difference, "maps": maps}


def draw_map(probability: Tensor, side: int, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map (H, W) in [0, 1] of probabilities (h, w): up-sampled to the input, smoothed there, stretched."""
    square = F.interpolate(probability[None, None].float(), (side, side), mode="bilinear", align_corners=False)[0, 0]
    smooth = ndimage.gaussian_filter(square.numpy(), SMOOTHING_PX)
    return to_original(torch.from_numpy(smooth), size_hw)


def fingerprint(tower: ClipTower) -> str:
    """Return 12 hexadecimal digits of the two projections into the shared space: another CLIP has others."""
    digest = hashlib.sha256()
    for projection in (tower.model.visual_projection, tower.model.text_projection):
        digest.update(projection.weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _read_config(folder: Path) -> AnomalyClipConfig:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no {CONFIG_FILE}. Give the folder that training AnomalyCLIP wrote.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return AnomalyClipConfig(**{**values, **tuples})
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not AnomalyCLIP's ({error}). Save or copy the folder again.") from error
