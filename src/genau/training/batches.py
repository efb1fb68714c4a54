"""From encoded examples to one training batch: pictures once, several questions each, targets and labels beside them.

Shapes: B pictures, Q questions, T words, (h, w) the finest grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.training.features import Encoded, stack_context
from genau.training.instructions import Question, ask


@dataclass(frozen=True)
class BatchMaker:
    """Collates encoded examples. What is asked of one follows from its visit, not from the batch it lies in."""

    processor: GenAUProcessor
    joint: bool  # whether the decoder is asked: type questions, words, labels
    analysis: float  # share of general questions answered in full
    seed: int = 0

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """Return the batch; its `sizes` say over how many samples each loss term is averaged."""
        asked: list[tuple[int, Question]] = []
        for number, row in enumerate(rows):
            rng = np.random.default_rng((self.seed, *row.visit))
            questions = ask(row.facts, rng, analysis=self.analysis if self.joint else 0.0, type_questions=self.joint)
            asked += [(number, question) for question in questions]
        targets = torch.stack([_target(rows[number], question) for number, question in asked])
        batch: dict[str, Any] = {
            "pyramid": tuple(torch.stack(level).float() for level in zip(*(row.pyramid for row in rows), strict=True)),
            "context": stack_context(rows),
            "content_hw": torch.tensor([row.content_hw for row in rows]),
            "image_index": torch.tensor([number for number, _ in asked]),
            "targets": targets,
            "general": torch.tensor([question.target is None for _, question in asked]),
            "defective": torch.tensor([question.defective for _, question in asked]),
        }
        if self.joint:
            questions = [question for _, question in asked]
            batch |= self.processor.questions(
                [question.query for question in questions],
                [question.answer for question in questions],
                [question.form for question in questions],
            )
        return batch


def _target(row: Encoded, question: Question) -> Tensor:
    """Return the wanted mask (h, w), as 0/1."""
    empty = torch.zeros(row.pyramid[0].shape[-2:], dtype=torch.bool)
    if question.target is not None:
        return row.targets.get(question.target, empty).float()
    for mask in row.targets.values():
        empty = empty | mask
    return empty.float()


def term_counts(batch: dict[str, Any]) -> dict[str, int]:
    """Return over how many samples each loss term is averaged, known before the model runs."""
    filled = int(batch["targets"].flatten(1).any(1).sum())
    total = len(batch["targets"])
    counts = {"focal": total, "dice_defect": filled, "empty": total - filled, "dice_normal": total}
    counts["image"] = int(batch["general"].sum())
    if "labels" in batch:
        counts["language"] = int((batch["labels"] != IGNORED_LABEL).sum())
    return counts
