"""From encoded examples to one training batch: pictures once, several questions each, targets and labels beside them.

Shapes: B pictures, Q questions, T words, (h, w) the finest grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.training.features import Encoded
from genau.training.instructions import Question, ask
from genau.training.words import wordings

UNWORDED = 0.5  # share of general questions drawn by the learned prior alone, which is told to the decoder later


@dataclass(frozen=True)
class BatchMaker:
    """Collates encoded examples. What is asked of one follows from its visit, not from the batch it lies in.

    Only how the types are worded, between which its regions are told apart, follows from the batch's first example.
    """

    processor: GenAUProcessor
    reads: Literal["nothing", "questions", "pictures"]  # what the decoder reads
    analysis: float  # share of general questions answered in full
    types: Sequence[str] = ()  # between which regions are told apart
    seed: int = 0

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """Return the batch; `term_counts` says over how many samples each loss term is averaged."""
        asked: list[tuple[int, Question]] = []
        unworded: list[bool] = []
        joint = self.reads == "pictures"
        for number, row in enumerate(rows):
            rng = np.random.default_rng((self.seed, *row.visit))
            analysis = self.analysis if joint else 0.0
            questions = ask(row.facts, rng, analysis=analysis, type_questions=self.reads != "nothing")
            asked += [(number, question) for question in questions]
            unworded += [question.target is None and rng.random() < UNWORDED for question in questions]
        batch: dict[str, Any] = {
            "pyramid": tuple(torch.stack(level).float() for level in zip(*(row.pyramid for row in rows), strict=True)),
            "scalars": torch.stack([row.scalars for row in rows]),
            "residual": torch.stack([row.residual for row in rows]).float(),
            "from_references": torch.tensor([row.from_references for row in rows]),
            "content_hw": torch.tensor([row.content_hw for row in rows]),
            "image_index": torch.tensor([number for number, _ in asked]),
            "targets": torch.stack([_target(rows[number], question) for number, question in asked]),
            "general": torch.tensor([question.target is None for _, question in asked]),
            "defective": torch.tensor([question.defective for _, question in asked]),
        }
        questions = [question for _, question in asked]
        if self.reads == "nothing":
            return batch
        if joint:
            batch |= self.processor.questions(
                [question.query for question in questions],
                [question.answer for question in questions],
                [question.form for question in questions],
            )
        else:  # few wordings, of which each is read once
            worded = self.processor.questions([question.query for question in questions])
            batch |= {name: worded[name] for name in ("asked_ids", "asked_mask")}
            batch["unworded"] = torch.tensor(unworded)
        return batch | self._regions(rows)

    def _regions(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """Return every typed region (R, h, w), its picture and type, the types (R, K) to rule out, and K wordings."""
        found = [
            (number, name, mask) for number, row in enumerate(rows) for name, mask in row.targets.items() if mask.any()
        ]
        rng = np.random.default_rng((self.seed, *rows[0].visit, 1))
        worded = self.processor.questions(wordings(self.types, rng))
        finest = rows[0].pyramid[0].shape[-2:]
        present = [set(rows[number].targets) - {name} for number, name, _ in found]
        return {
            "regions": torch.stack([mask for *_, mask in found]) if found else torch.zeros(0, *finest).bool(),
            "region_image": torch.tensor([number for number, *_ in found], dtype=torch.long),
            "region_type": torch.tensor([self.types.index(name) for _, name, _ in found], dtype=torch.long),
            "region_rivals": torch.tensor(
                [[name not in others for name in self.types] for others in present], dtype=torch.bool
            ).reshape(len(found), len(self.types)),
            "type_ids": worded["asked_ids"],
            "type_mask": worded["asked_mask"],
        }


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
    counts["typed_image"] = total - counts["image"]
    if "regions" in batch:
        counts["type"] = len(batch["regions"])
    if "labels" in batch:
        counts["language"] = int((batch["labels"] != IGNORED_LABEL).sum())
        counts["verdict"] = total
    return counts
