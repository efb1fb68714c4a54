"""CLIP without training as a detector: is the picture, and each patch of it, closer to "good" or to "defective"?

B: pictures; (h, w): grid of patches; Q: questions, "any defect" first, then one per type; H, W: original picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from genau.baselines.clip_prompts import Directions, PromptKind
from genau.baselines.clip_tower import ClipTower, to_original
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import UsageError
from genau.images import Picture
from genau.judgement import Reply

NAMES: Mapping[PromptKind, str] = {"single": "clip", "ensemble": "clip-ac"}


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """The encoded prompts of a task."""

    types: tuple[str, ...]
    directions: Directions


@dataclass(frozen=True, eq=False)
class Clip:
    """CLIP zero-shot: one pair of prompts ("clip"), or WinCLIP's prompt ensemble ("clip-ac").

    The score is the softmax of the class token's two cosines at CLIP's own logit scale, the map that of the last
    block's patches. Published rows of these names come from several CLIPs: WinCLIP's from LAION-400M's ViT-B/16+ at
    240 px, which transformers does not have, AnomalyCLIP's from OpenAI's ViT-L/14 at 336 px. Compare like with like.
    """

    tower: ClipTower
    prompts: PromptKind = "single"
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        """Refuse prompts that there are not."""
        if self.prompts not in NAMES:
            raise UsageError(f"prompts={self.prompts!r} is unknown. Use {' or '.join(map(repr, NAMES))}.")

    @classmethod
    def from_pretrained(
        cls, base: str | Path, device: str = "cpu", prompts: PromptKind = "single", image_size: int | None = None
    ) -> "Clip":
        """Load a CLIP by its folder or hub id; `image_size` and errors as for `ClipTower`."""
        return cls(ClipTower.from_pretrained(base, device, image_size), prompts)

    @property
    def name(self) -> str:
        """The row's name in the tables."""
        return NAMES[self.prompts]

    @property
    def trained_products(self) -> Sequence[str]:
        """None: CLIP was taught no product."""
        return ()

    @property
    def trained_data(self) -> Sequence[str]:
        """None that is known by name."""
        return ()

    @property
    def settings(self) -> Mapping[str, str]:
        """What decides the scores."""
        return settings_of(self.tower, self.thresholds) | {"prompts": self.prompts}

    def prepare(self, task: Task) -> PreparedClip:
        """Encode the prompts.

        Raises:
            UsageError: the task has references, or its words are longer than CLIP reads.
        """
        if task.references:
            raise UsageError(
                f"{self.name} got {len(task.references)} reference pictures, but it is zero-shot and uses none. "
                "Leave them out, or take winclip."
            )
        return PreparedClip(tuple(task.types), Directions.of(self.tower, task, self.prompts))

    @torch.no_grad()
    def detect(self, pictures: Sequence[Picture], prepared: PreparedClip) -> list[Detection]:
        """Inspect a batch."""
        tower, scale = self.tower, self.tower.logit_scale
        seen = tower.encode_pixels(tower.pixels(pictures), (tower.depth,))
        scores = prepared.directions.scores(seen.image, scale)  # (B, Q)
        maps = prepared.directions.scores(seen.patches[0], scale).movedim(-1, 1)  # (B, Q, h, w)
        detections = []
        for picture, row, drawings in zip(pictures, scores, maps, strict=True):
            general, *typed = (reply_of(s, m, picture) for s, m in zip(row, drawings, strict=True))
            types = dict(zip(prepared.types, typed, strict=True))
            detections.append(conclude(picture, general, types, self.thresholds))
        return detections


def reply_of(score: Tensor, cells: Tensor, picture: Picture, map_score: float = float("nan")) -> Reply:
    """Return the answer to one question: a score () and a map (h, w) that covers the stretched picture."""
    return Reply(float(score), map_score, draw=partial(to_original, cells.cpu(), (picture.height, picture.width)))


def settings_of(tower: ClipTower, thresholds: Thresholds) -> dict[str, str]:
    """Return what decides the scores of any detector on CLIP."""
    return {
        "backbone": tower.model.name_or_path,
        "image size": f"{tower.image_size} px, stretched to the square",
        "threshold": f"{thresholds.image:g} ({thresholds.method})",
        "mask threshold": f"{thresholds.pixel:g}",
    }
