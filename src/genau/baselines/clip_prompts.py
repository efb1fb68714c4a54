"""What CLIP is asked about a product: prompts for good and for defective, and their directions in its space.

D: width of the space that CLIP's pictures and texts share; Q: questions, "any defect" first, then one per type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from genau.baselines.clip_tower import ClipTower
from genau.detection import Task

ANY_PRODUCT = "object"  # where the task names none
PromptKind: TypeAlias = Literal["single", "ensemble"]


@dataclass(frozen=True)
class PromptSet:
    """Every state goes into every template; {} is the product in a state, and the state in a template."""

    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    typed: str  # state of a part with a type of defect, to be continued by " with TYPE"; ours
    templates: tuple[str, ...]


_FRAMES = (
    "a cropped photo of {} {{}}.",
    "a close-up photo of {} {{}}.",
    "a bright photo of {} {{}}.",
    "a dark photo of {} {{}}.",
    "a jpeg corrupted photo of {} {{}}.",
    "a blurry photo of {} {{}}.",
    "a photo of {} {{}}.",
    "a photo of {} small {{}}.",
    "a photo of {} large {{}}.",
    "a photo of {} {{}} for visual inspection.",
    "a photo of {} {{}} for anomaly detection.",
)
PROMPTS: Mapping[PromptKind, PromptSet] = {
    # The rows "CLIP" of AnomalyCLIP's tables (Zhou et al. 2024).
    "single": PromptSet(("a normal {}",), ("an anomalous {}",), "a {}", ("a photo of {}.",)),
    # WinCLIP's compositional prompt ensemble (Jeong et al. 2023, appendix): 22 templates, 11 of "a" and 11 of "the".
    # Public re-implementations lack "a cropped photo of a" and "a jpeg corrupted photo of a".
    "ensemble": PromptSet(
        normal=(
            "{}",
            "flawless {}",
            "perfect {}",
            "unblemished {}",
            "{} without flaw",
            "{} without defect",
            "{} without damage",
        ),
        anomalous=("damaged {}", "{} with flaw", "{} with defect", "{} with damage"),
        typed="{}",
        templates=tuple(frame.format(article) for frame in _FRAMES for article in ("a", "the")),
    ),
}


def fill(templates: Iterable[str], words: str) -> list[str]:
    """Return each template with the words in its place."""
    return [template.replace("{}", words) for template in templates]  # not str.format: words may hold braces


@dataclass(frozen=True, eq=False)
class Directions:
    """Where good and where each kind of defective lie in CLIP's space."""

    good: Tensor  # (D,) unit length
    bad: Tensor  # (Q, D) unit length

    @classmethod
    def of(cls, tower: ClipTower, task: Task, kind: PromptKind) -> "Directions":
        """Encode the task's prompts; each direction is the mean of its prompts' unit vectors.

        Types are ours, WinCLIP does not ask for any: "a photo of a {product} with {type}, {description}.". Raises
        UsageError if product, type and description together are longer than CLIP reads.
        """
        product, prompts = task.product or ANY_PRODUCT, PROMPTS[kind]
        phrases = [fill(prompts.normal, product), fill(prompts.anomalous, product)]
        for name, description in task.types.items():
            words = f"{name}, {description}" if description else name
            phrases.append([f"{fill([prompts.typed], product)[0]} with {words}"])
        rows = []
        for variants in phrases:
            encoded = tower.encode_texts([text for phrase in variants for text in fill(prompts.templates, phrase)])
            rows.append(functional.normalize(encoded.mean(0), dim=0))
        return cls(rows[0], torch.stack(rows[1:]))

    def scores(self, features: Tensor, scale: float) -> Tensor:
        """Return (..., Q) in [0, 1]: for unit vectors (..., D) the softmax of each kind of defective against good."""
        return torch.sigmoid(scale * (features @ self.bad.T - (features @ self.good)[..., None]))
