"""Patch memory, after PatchCore (Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection").

M remembered patches of good parts, N patches of which they are chosen, P patches of one picture, C channels, b
neighbours. All patches are unit vectors, so a Euclidean distance is in [0, 2] and its half in [0, 1]: scores and maps
need no statistics of the test set, and are comparable between pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from genau.arguments import read_reference
from genau.baselines.vision_tower import NANO, VisionTower, back
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import UsageError
from genau.images import Letterbox, Picture
from genau.judgement import Reply
from genau.model.coreset import farthest_first

SMOOTHING_PX = 4.0  # standard deviation of the map's Gaussian in pixels of the canvas, as published
CORESET_FRACTION = 0.1  # as published for its tables
MOST_REMEMBERED = 10_000  # patches; bounds memory and the time of one picture
EXACT_UP_TO = 5_000  # patches that are compared in full width; more are projected first
PROJECTED_WIDTH = 128  # d* of the random projection (the paper's section 3.2; the width is its authors' code's)
REFERENCES_AT_ONCE = 8
CHUNK_PATCHES = 512  # bounds the distance matrix to 512 x M


@dataclass(frozen=True, eq=False)
class Remembered:
    """What `prepare` keeps of the good parts."""

    memory: Tensor  # (M, C) unit length


@dataclass(frozen=True, eq=False)
class PatchMemory:
    """Few-shot detector: how far is each patch from the nearest one of good parts?

    It knows no types and says nothing of them.
    """

    tower: VisionTower
    neighbourhood: int = 3  # side of the mean over patches, in cells; 1: none, which is better on boards (docs/log.md)
    fraction: float = CORESET_FRACTION
    reweighting: int = 9  # b nearest remembered patches of the image score's re-weighting; 1: none
    seed: int = 0
    name: str = "patch-memory"
    trained_products: Sequence[str] = ()
    trained_data: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.neighbourhood < 1 or self.neighbourhood % 2 == 0:
            raise UsageError(f"neighbourhood={self.neighbourhood} has no middle cell. Use an odd number: 1, 3, 5.")
        if not 0 < self.fraction <= 1:
            raise UsageError(f"fraction={self.fraction} is not above 0 and at most 1. Use for example 0.1.")
        if self.reweighting < 1:
            raise UsageError(f"reweighting={self.reweighting} must be at least 1, which means none.")

    @classmethod
    def from_pretrained(cls, base: str = NANO, device: str = "cpu") -> "PatchMemory":
        """Load the vision tower; errors as in `VisionTower.from_pretrained`."""
        return cls(VisionTower.from_pretrained(base, device))

    @property
    def settings(self) -> Mapping[str, str]:
        """Base, canvas, neighbourhood, coreset."""
        return {
            "base": self.tower.name,
            "image_size": str(self.tower.size),
            "neighbourhood": str(self.neighbourhood),
            "coreset_fraction": str(self.fraction),
            "most_remembered": str(MOST_REMEMBERED),
            "reweighting": str(self.reweighting),
            "seed": str(self.seed),
            "thresholds": Thresholds().method,
        }

    @torch.inference_mode()
    def prepare(self, task: Task) -> Remembered:
        """Remember a coreset of the references' patches.

        Raises:
            UsageError: there are no references. ImageError: one cannot be read.
        """
        if not task.references:
            raise UsageError(
                f"{self.name} compares with pictures of good parts, but none are given. Use --references K, or the "
                "baseline self-similarity, which needs none."
            )
        kept = []
        for start in range(0, len(task.references), REFERENCES_AT_ONCE):
            pictures = [read_reference(path) for path in task.references[start : start + REFERENCES_AT_ONCE]]
            features, valid, _ = self._look(pictures)
            kept.append(features[valid])
        patches = torch.cat(kept)  # (N, C)
        count = min(MOST_REMEMBERED, math.ceil(self.fraction * len(patches)))
        chosen = farthest_first(patches, count, self.seed, exact_up_to=EXACT_UP_TO, width=PROJECTED_WIDTH)
        return Remembered(patches[chosen])

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Picture], prepared: Remembered) -> list[Detection]:
        """Compare each picture's patches with the memory."""
        features, valid, boxes = self._look(pictures)
        found = []
        for row, picture in enumerate(pictures):
            inside = valid[row]
            patches = features[row][inside]  # (P, C)
            distance, nearest = nearest_distance(patches, prepared.memory)
            score = image_score(patches, distance, nearest, prepared.memory, self.reweighting) / 2
            grid = torch.zeros(inside.shape).masked_scatter(inside.cpu(), (distance / 2).cpu()).numpy()
            reply = Reply(score, score, draw=partial(back, boxes[row], grid, SMOOTHING_PX))
            found.append(conclude(picture, reply, {}, Thresholds()))
        return found

    def _look(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor, tuple[Letterbox, ...]]:
        patches = self.tower.patches(pictures)
        return locally_aware(patches.features, patches.valid, self.neighbourhood), patches.valid, patches.boxes


def locally_aware(features: Tensor, valid: Tensor, side: int) -> Tensor:
    """Return features (B, h, w, C) averaged over side x side `valid` (B, h, w) cells, again of unit length."""
    if side == 1:
        return features
    weight = valid[:, None].to(features.dtype)  # (B, 1, h, w)
    sums, counts = (
        F.avg_pool2d(part, side, stride=1, padding=side // 2)  # both over side * side, which cancels
        for part in (features.permute(0, 3, 1, 2) * weight, weight)
    )
    return F.normalize(sums / counts.clamp_min(1e-6), dim=1).permute(0, 2, 3, 1)


def nearest_distance(patches: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance (P,) in [0, 2] of unit patches (P, C) to the memory (M, C), and to which (P,)."""
    distances, indices = [], []
    for start in range(0, len(patches), CHUNK_PATCHES):
        cosine, index = (patches[start : start + CHUNK_PATCHES] @ memory.T).max(1)
        distances.append((2 - 2 * cosine).clamp(0, 4).sqrt())
        indices.append(index)
    return torch.cat(distances), torch.cat(indices)


def image_score(patches: Tensor, distance: Tensor, nearest: Tensor, memory: Tensor, neighbours: int) -> float:
    """Return s = (1 - exp(s*) / sum over m in N_b(m*) of exp(|x* - m|)) * s*, in [0, 2] (the paper's section 3.3).

    x* is the patch (P, C) with the largest distance s*, m* its nearest remembered patch, N_b(m*) the b remembered
    patches nearest to m*, itself among them: a nearest patch that is rare itself counts for more. With b = 1, or a
    memory of one patch, s is s*.
    """
    worst = int(distance.argmax())
    largest = float(distance[worst])
    count = min(neighbours, len(memory))
    if count == 1:
        return largest
    around = (memory @ memory[nearest[worst]]).topk(count).indices  # of unit vectors the nearest
    others = (2 - 2 * memory[around] @ patches[worst]).clamp(0, 4).sqrt()
    # m* is one of its own neighbours; rounding or a duplicate must not make the weight negative.
    weight = 1 - math.exp(largest) / max(float(others.exp().sum()), math.exp(largest))
    return weight * largest
