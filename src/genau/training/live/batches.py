"""From samples to one batch: pictures, what is asked of them, what is said about them, the wanted masks and words.

Everything here runs in the data loader's own processes.
Shapes: B pictures, R references, S canvas side, Q questions, T words, M masks, K types.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genau.datasets.sample import UNTYPED
from genau.images import Letterbox
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.prompts import NORMAL_WORD, Query, answer_text
from genau.training.examples import Example
from genau.training.instructions import Question, ask, facts_of
from genau.training.live.rows import Row, Talk
from genau.training.live.wordings import Wordings
from genau.training.words import wordings

# The terms of the loss, in the order of all vectors of them.
TERMS = (
    "language", "verdict", "focal", "dice_defect", "empty", "dice_normal", "image", "typed_image", "type",
)  # fmt: skip


@dataclass(frozen=True)
class LiveBatchMaker:
    """Collates samples. What is asked of one follows from its place in the run, not from the batch it lies in."""

    processor: GenAUProcessor
    wordings: Wordings
    analysis: float  # share of general questions answered in full
    seed: int = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Return the batch; `counts` says over how many samples each term of `TERMS` is summed.

        A batch without an inspection asks one all the same, which does not count: every trained parameter takes part
        in every step of every process, and none waits for another.
        """
        examples = [(at, row.sample, row.seed) for at, row in enumerate(rows) if isinstance(row.sample, Example)]
        asked = [(at, question) for at, example, seed in examples for question in self._ask(example, seed)]
        counted = bool(asked)
        asked = asked or [(0, Question(Query(), 0, answer_text(NORMAL_WORD), None, False))]
        batch = self._pictures(rows) | self._questions(asked, counted) | self._masks(rows, asked, rows[0].step)
        talks = [(at, row.sample.turns) for at, row in enumerate(rows) if isinstance(row.sample, Talk)]
        said = self.processor.talks([turns for _, turns in talks]) if talks else _no_talk()
        batch |= said | {"talk_index": torch.tensor([at for at, _ in talks], dtype=torch.long)}
        return batch | {"instruction_ids": self.processor.instruction_ids(), "counts": counts(batch)}

    def _ask(self, example: Example, seed: tuple[int, ...]) -> list[Question]:
        """Return questions about a picture; of one whose defects have no names, the general one only."""
        named = UNTYPED not in example.masks
        rng = np.random.default_rng(seed)
        return ask(facts_of(example), rng, analysis=self.analysis if named else 0.0, type_questions=named)

    def _pictures(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Return pictures and references on their canvases (B + R), and the pictures' places among the words."""
        references = [
            (at, rgb) for at, row in enumerate(rows) if isinstance(row.sample, Example) for rgb in row.sample.references
        ]
        shown = [row.sample.rgb for row in rows] + [rgb for _, rgb in references]
        batch: dict[str, Tensor] = self.processor.image_processor(shown)
        batch |= self.processor.picture_ids(batch["content_hw"][: len(rows)])
        return batch | {"reference_of": torch.tensor([at for at, _ in references], dtype=torch.long)}

    def _questions(self, asked: Sequence[tuple[int, Question]], counted: bool) -> dict[str, Tensor]:
        questions = [question for _, question in asked]
        batch = self.processor.questions(
            [question.query for question in questions],
            [question.answer for question in questions],
            [question.form for question in questions],
        )
        batch["asked_row"] = self.wordings.rows(batch.pop("asked_ids"), batch.pop("asked_mask"))
        if not counted:
            batch["labels"] = torch.full_like(batch["labels"], IGNORED_LABEL)
        return batch | {
            "image_index": torch.tensor([at for at, _ in asked]),
            "general": torch.tensor([question.target is None for question in questions]),
            "defective": torch.tensor([question.defective for question in questions]),
            "counted": torch.full((len(questions),), counted),
        }

    def _masks(self, rows: Sequence[Row], asked: Sequence[tuple[int, Question]], step: int) -> dict[str, Tensor]:
        """Return masks (M, S, S) on the canvas, which of them each question wants (Q, M), and their types.

        `mask_type` (M,) is -1 where a mask has no name; `mask_rivals` (M, K) are the types to tell it from; the types
        are worded alike in all batches of a step.
        """
        found = [
            (at, name, mask)
            for at, row in enumerate(rows)
            if isinstance(row.sample, Example)
            for name, mask in row.sample.masks.items()
            if mask.any()
        ]
        size, types = self.processor.image_processor.size, self.wordings.types
        canvases = [torch.from_numpy(Letterbox.of(mask, size).apply_mask(mask)).bool() for *_, mask in found]
        present = [{other for where, other, _ in found if where == at} - {name} for at, name, _ in found]
        wanted = [
            [at == where and question.target in (None, name) for where, name, _ in found] for at, question in asked
        ]
        worded = self.processor.questions(wordings(types, np.random.default_rng((self.seed, step))))
        return {
            "masks": torch.stack(canvases) if found else torch.zeros(0, size, size, dtype=torch.bool),
            "mask_image": torch.tensor([at for at, *_ in found], dtype=torch.long),
            "mask_type": torch.tensor([_number(name, types) for _, name, _ in found], dtype=torch.long),
            "mask_rivals": torch.tensor([[name not in others for name in types] for others in present])
            .reshape(len(found), len(types))
            .bool(),
            "wanted": torch.tensor(wanted, dtype=torch.bool).reshape(len(asked), len(found)),
            "type_row": self.wordings.rows(worded["asked_ids"], worded["asked_mask"]),
        }


def counts(batch: dict[str, Any]) -> Tensor:
    """Return over how many samples each of `TERMS` is summed (terms,), known before the model runs."""
    total = int(batch["counted"].sum())
    filled = int((batch["wanted"].any(1) & batch["counted"]).sum())
    general = int((batch["general"] & batch["counted"]).sum())
    words = sum(int((batch[name] != IGNORED_LABEL).sum()) for name in ("labels", "talk_labels"))
    found = {
        "language": words,
        "verdict": total,
        "focal": total,
        "dice_defect": filled,
        "empty": total - filled,
        "dice_normal": total,
        "image": general,
        "typed_image": total - general,
        "type": int((batch["mask_type"] >= 0).sum()),
    }
    return torch.tensor([found[name] for name in TERMS])


def _no_talk() -> dict[str, Tensor]:
    ids = torch.zeros(0, 1, dtype=torch.long)
    return {"talk_ids": ids, "talk_mask": ids.bool(), "talk_labels": ids}


def _number(name: str, types: Sequence[str]) -> int:
    """Return which type it is, -1 for a mask without a name."""
    return -1 if name == UNTYPED else types.index(name)
