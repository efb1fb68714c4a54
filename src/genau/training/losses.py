"""The joint loss, part by part: L = L_LM + lambda * L_seg (+ optional image BCE on s_map).

Paper: language modelling and segmentation are trained jointly. Ours: how empty masks are taught.
Each term is averaged over its own samples, so that parts do not depend on how a batch is cut into pieces.
Shapes: Q questions, (h, w) the finest grid, T words, V the vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genau.processor import IGNORED_LABEL

FOCAL_GAMMA = 2.0
EMPTY_TOP_FRACTION = 0.01  # of the valid cells of a picture without the defect that was asked for


@dataclass(frozen=True)
class LossTerm:
    """A loss summed over its samples, and how many they are; the mean is taken over the whole optimizer step."""

    total: Tensor  # scalar
    count: int

    @property
    def mean(self) -> Tensor:
        """The average, or zero without samples."""
        return self.total / max(self.count, 1)


def focal(margin: Tensor, target: Tensor, valid: Tensor) -> LossTerm:
    """Focal loss (Lin et al. 2017, gamma = 2) of logits (Q, h, w) against 0/1 targets, valid cells only; one per Q."""
    cross_entropy = F.binary_cross_entropy_with_logits(margin, target, reduction="none")
    missed = 1 - torch.exp(-cross_entropy)
    cells = (missed**FOCAL_GAMMA * cross_entropy * valid).sum((1, 2))
    return LossTerm((cells / valid.sum((1, 2)).clamp_min(1)).sum(), len(margin))


def dice(probability: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return 1 - Dice per question (Q,) of probabilities (Q, h, w) and targets, valid cells only.

    Undefined where target and probability are all zero, so callers choose the questions; smoothed by one cell.
    """
    probability, target = probability * valid, target * valid
    overlap = (probability * target).sum((1, 2))
    return 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)


def empty_top(margin: Tensor, valid: Tensor) -> Tensor:
    """Return per question (Q,) the mean of the top 1 % of -log(1 - A): pushes down what fires where nothing is.

    Dice has no gradient there (2e-9 per pixel).
    """
    cells = F.softplus(margin).masked_fill(~valid, 0.0).flatten(1)  # -log(1 - sigmoid(z)) = softplus(z)
    kept = (valid.flatten(1).sum(1) * EMPTY_TOP_FRACTION).ceil().long().clamp_min(1)
    top = cells.topk(int(kept.max()), dim=1).values.cumsum(1)
    return top.gather(1, kept[:, None] - 1)[:, 0] / kept


def segmentation(margin: Tensor, target: Tensor, valid: Tensor) -> dict[str, LossTerm]:
    """Return the parts of L_seg for margins (Q, h, w), 0/1 targets (Q, h, w) and valid cells (Q, h, w).

    focal: always. dice_defect: Dice(A_defect, Y) where Y is not empty. empty: where it is. dice_normal:
    Dice(A_normal, 1 - Y) always.
    """
    margin = margin.float()
    filled = (target * valid).flatten(1).any(1)
    defect = dice(torch.sigmoid(margin), target, valid)
    normal = dice(torch.sigmoid(-margin), 1 - target, valid)
    count = int(filled.sum())
    return {
        "focal": focal(margin, target, valid),
        "dice_defect": LossTerm(defect[filled].sum(), count),
        "empty": LossTerm(
            empty_top(margin[~filled], valid[~filled]).sum() if count < len(margin) else margin.sum() * 0,
            len(margin) - count,
        ),
        "dice_normal": LossTerm(normal.sum(), len(margin)),
    }


def language(logits: Tensor, labels: Tensor) -> LossTerm:
    """Cross entropy of logits (n, V) at the labelled words (n,): one sample per word, the end of the turn included."""
    kept = labels != IGNORED_LABEL
    return LossTerm(F.cross_entropy(logits.float()[kept], labels[kept], reduction="sum"), int(kept.sum()))


def region_types(logits: Tensor, wanted: Tensor, allowed: Tensor) -> LossTerm:
    """Cross entropy of regions (R, K) between the `allowed` (R, K) types against the one that is there (R,)."""
    rivals = logits.float().masked_fill(~allowed, -torch.inf)
    return LossTerm(F.cross_entropy(rivals, wanted, reduction="sum"), len(logits))


def image(score: Tensor, label: Tensor) -> LossTerm:
    """Binary cross entropy of s_map (Q,) in [0, 1] against whether the picture is defective (Q,)."""
    score = score.float().clamp(1e-6, 1 - 1e-6)
    return LossTerm(F.binary_cross_entropy(score, label.float(), reduction="sum"), len(score))


def weigh(parts: dict[str, LossTerm], lam: float, image_weight: float) -> Tensor:
    """Return L_LM + lambda * L_seg + image_weight * L_image; L_seg is the sum of its parts.

    L_LM is the mean over all words plus that over the decisions alone, which few words would drown otherwise.
    """
    weights = {"language": 1.0, "verdict": 1.0, "image": image_weight, "typed_image": image_weight}
    return torch.stack([weights.get(name, lam) * term.mean for name, term in parts.items()]).sum()
