"""In-image self-similarity: a patch that resembles no other patch of its picture is suspicious. (Ours, untrained.)

The distance of `genau.model.context` with a hard nearest k, on any vision tower: what GenAU adds is measured against
it. (The soft minimum there is for training; see docs/log.md for both.)
P patches of one picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from genau.baselines.vision_tower import NANO, VisionTower, back
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import UsageError
from genau.images import Picture
from genau.judgement import Reply
from genau.model.configuration import GenAUConfig
from genau.model.context import nearby

TOP_FRACTION = 0.01  # of the patches, whose mean distance is the picture's score
SMOOTHING_PX = 4.0  # of the drawn map, in pixels of the canvas; as patch_memory
CHUNK_PATCHES = 512  # bounds the distance matrix


@dataclass(frozen=True, eq=False)
class SelfSimilarity:
    """Zero-shot detector without words, training or references.

    Scores and map are cosine distances divided by 2, so in [0, 1] without any statistics of other pictures. It knows
    no types and says nothing of them.
    """

    tower: VisionTower
    neighbours: int = GenAUConfig.context_neighbours  # k
    exclusion: int = GenAUConfig.context_scales[0][2]  # cells around a patch that are not compared with it
    name: str = "self-similarity"
    trained_products: Sequence[str] = ()
    trained_data: Sequence[str] = ()

    @classmethod
    def from_pretrained(cls, base: str = NANO, device: str = "cpu") -> "SelfSimilarity":
        """Load the vision tower; errors as in `VisionTower.from_pretrained`."""
        return cls(VisionTower.from_pretrained(base, device))

    @property
    def settings(self) -> Mapping[str, str]:
        """Base, canvas, neighbours."""
        return {
            "base": self.tower.name,
            "image_size": str(self.tower.size),
            "neighbours": str(self.neighbours),
            "exclusion_cells": str(self.exclusion),
            "top_fraction": str(TOP_FRACTION),
            "thresholds": Thresholds().method,
        }

    def prepare(self, task: Task) -> Task:
        """Return the task: there is nothing to prepare, but references are refused.

        Raises:
            UsageError: references are given.
        """
        if task.references:
            raise UsageError(
                f"{self.name} compares a picture with itself and takes no references, but {len(task.references)} are "
                "given. Leave them out (--references 0), or use patch-memory."
            )
        return task

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Picture], prepared: Task) -> list[Detection]:
        """Compare each picture's patches with the rest of it."""
        patches = self.tower.patches(pictures)
        found = []
        for row, picture in enumerate(pictures):
            valid = patches.valid[row]
            distance = self_distance(patches.features[row], valid, self.neighbours, self.exclusion) / 2
            score = float(top_mean(distance[valid]).clamp(0, 1))
            grid = distance.clamp(0, 1).cpu().numpy()
            reply = Reply(score, score, draw=partial(back, patches.boxes[row], grid, SMOOTHING_PX))
            found.append(conclude(picture, reply, {}, Thresholds()))
        return found


def self_distance(features: Tensor, valid: Tensor, neighbours: int, exclusion: int) -> Tensor:
    """Return (h, w): the mean cosine distance of each unit patch (h, w, C) to its nearest k others of the picture.

    Others are `valid` (h, w) and more than `exclusion` cells away; where there are fewer than k, those count; where
    there are none, and on padding, the distance is 0: nothing is known there.
    """
    grid_hw = (features.shape[0], features.shape[1])
    flat, inside = features.flatten(0, 1), valid.flatten()
    left_out = nearby(grid_hw, exclusion, flat.device) | ~inside  # (P, P)
    rows = []
    for start in range(0, len(flat), CHUNK_PATCHES):
        chunk = slice(start, start + CHUNK_PATCHES)
        distance = (1 - flat[chunk] @ flat.T).masked_fill(left_out[chunk], torch.inf)
        nearest = distance.topk(min(neighbours, len(flat)), largest=False).values
        known = nearest.isfinite()
        rows.append(torch.where(known, nearest, 0).sum(1) / known.sum(1).clamp_min(1))
    return (torch.cat(rows).clamp(0, 2) * inside).reshape(grid_hw)


def top_mean(distances: Tensor) -> Tensor:
    """Return the mean of the largest `TOP_FRACTION` of distances (N,), of at least one."""
    # In whole numbers of patches: 0.01 * 300 is above 3 in floating point and would take a fourth.
    count = max(1, -(-len(distances) // round(1 / TOP_FRACTION)))
    return distances.topk(count).values.mean()
