"""The model as a training sees it: a batch in, the totals of all loss terms out, in one `forward`.

What wraps a module to share its work among processes (DDP, FSDP, ZeRO) acts in `forward` only, so nothing else of the
model may be called while training.
Shapes: B pictures, R references, Q questions, T words, M masks, S canvas side, (h, w) the finest grid, N wordings.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genau.model.backbones import Shown, Sight
from genau.model.backbones.packing import Asked, read_packed
from genau.model.context import Context
from genau.model.modeling import GenAUModel
from genau.model.outputs import Decision, View
from genau.processor import IGNORED_LABEL
from genau.training.live.batches import TERMS
from genau.training.losses import LossTerm, image, language, segmentation
from genau.training.trainer import type_term

Batch = dict[str, Tensor]


class LiveModule(nn.Module):
    """Wraps a `GenAUModel`; it has no `config`, into which the framework's Trainer would write."""

    def __init__(self, model: GenAUModel, *, bf16: bool) -> None:
        super().__init__()
        self.model, self.bf16 = model, bf16
        self.readings: Tensor | None = None  # (N, 2, D), what the decoder first read in all wordings

    @property
    def _no_split_modules(self) -> list[str]:
        """The layers that FSDP divides one by one: those of the decoder and of the tower, by name."""
        parts = [part for part in self.model.modules() if part is not self.model]
        named = {name for part in parts for name in getattr(part, "_no_split_modules", None) or ()}
        return sorted(named & {type(part).__name__ for part in parts})  # families also name layers of other models

    def train(self, mode: bool = True) -> "LiveModule":
        """Let only what is trained behave so: dropout and statistics of frozen parts stay as in use."""
        super().train(mode)
        _still(self.model.backbone)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Return the totals of `TERMS` (terms,) of a batch, or the states (Q, 2, D) of bare questions (Q, T)."""
        if "asked_ids" in batch:
            instruction = self.model.read_instruction(batch["instruction_ids"])
            return self.model.read_questions(instruction, batch["asked_ids"], batch["asked_mask"])
        model, index = self.model, batch["image_index"]
        sight, context = self._look(batch)
        view = model.view(sight, context, batch["content_hw"][: len(batch["picture_ids"])])
        asked = self._read_before(batch["asked_row"])
        hidden, said = self._read(batch, sight, view, asked)
        decision = model.decide(view, asked, hidden, batch["query_ids"], batch["verdict_at"], index)
        cells = F.adaptive_max_pool2d(batch["masks"].float(), view.valid.shape[-2:])  # (M, h, w), nothing is too small
        terms = self._drawn(batch, decision, view, cells)
        kept, spoken = batch["labels"] != IGNORED_LABEL, batch["talk_labels"] != IGNORED_LABEL
        logits = model.backbone.logits(torch.cat([hidden[kept], said[spoken]]))
        terms["language"] = language(logits, torch.cat([batch["labels"][kept], batch["talk_labels"][spoken]]))
        return torch.stack([terms[name].total for name in TERMS])

    def _look(self, batch: Batch) -> tuple[Sight, Context]:
        """Look at pictures and references together (B + R); return the pictures' sight and context."""
        count = len(batch["picture_ids"])
        everything = self.model.backbone.look(batch["pixel_values"], batch["content_hw"])
        with torch.no_grad():
            pyramid = tuple(level[:count] for level in everything.pyramid)
            references = [level[count:] for level in everything.pyramid]
            patches = self.model.patches(references, batch["content_hw"][count:])
            owners = batch["reference_of"].tolist()
            own = [[one for one, owner in zip(patches, owners, strict=True) if owner == at] for at in range(count)]
            memories = [self.model.remember(one) if one else None for one in own]
            context = self.model.compare(pyramid, batch["content_hw"][:count], memories)
        return first(everything, count), context

    def _read_before(self, rows: Tensor) -> Tensor:
        if self.readings is None:
            raise RuntimeError("The wordings must be read before the first step: see `readings.read_first`.")
        return self.readings[rows.to(self.readings.device)].to(rows.device)

    def _read(self, batch: Batch, sight: Sight, view: View, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's states of questions (Q, T, D) and of conversations (Q', T', D), all read in one pass."""
        model, embed = self.model, self.model.backbone.embed
        shown = Shown(batch["picture_ids"] == model.config.image_token_id, sight)
        questions = model.word(view, asked, batch["query_ids"], batch["image_index"])
        lines = Asked(
            _stack([questions, embed(batch["talk_ids"])]),
            _stack([batch["query_mask"], batch["talk_mask"]]),
            torch.cat([batch["image_index"], batch["talk_index"]]),
        )
        instruction, picture = embed(batch["instruction_ids"]), model.show(view, shown, batch["picture_ids"])
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.bf16):
            hidden = read_packed(model.backbone, instruction, picture, batch["picture_mask"], shown, lines)
        count = len(questions)
        return hidden[:count, : questions.shape[1]], hidden[count:, : batch["talk_ids"].shape[1]]

    def _drawn(self, batch: Batch, decision: Decision, view: View, cells: Tensor) -> dict[str, LossTerm]:
        """Return the terms of maps, scores, verdicts and types; (M, h, w) `cells` hold what is defective."""
        counted, general = batch["counted"], batch["general"] & batch["counted"]
        typed, named = ~batch["general"] & counted, batch["mask_type"] >= 0
        targets = (batch["wanted"].float() @ cells.flatten(1)).clamp_max(1).unflatten(1, cells.shape[1:])  # (Q, h, w)
        valid = view.valid[batch["image_index"]]
        terms = segmentation(decision.margin[counted], targets[counted], valid[counted])
        terms["image"] = image(decision.map_score[general], batch["defective"][general])
        terms["typed_image"] = image(decision.map_score[typed], batch["defective"][typed])
        terms["verdict"] = language(decision.verdict_logits[counted], batch["defective"][counted].long())
        regions = {
            "regions": cells[named],
            "region_image": batch["mask_image"][named],
            "region_type": batch["mask_type"][named],
            "region_rivals": batch["mask_rivals"][named],
        }
        terms["type"] = type_term(self.model, regions, view.features, self._read_before(batch["type_row"]))
        return terms


def _still(part: nn.Module) -> None:
    """Set all below a part that holds frozen weights only as in use, a tower whose merger is trained included."""
    for child in part.children():
        weights = list(child.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            child.eval()
        else:
            _still(child)  # a dropout, which has no weights, is as what it lies in


def first(sight: Sight, count: int) -> Sight:
    """Return the sight of the first `count` pictures of a batch."""
    return replace(
        sight,
        visual_tokens=sight.visual_tokens[:count],
        token_counts=sight.token_counts[:count],
        token_cells=sight.token_cells[:count],
        pyramid=tuple(level[:count] for level in sight.pyramid),
        deep_tokens=tuple(tokens[:count] for tokens in sight.deep_tokens),
        grids_hw=None if sight.grids_hw is None else sight.grids_hw[:count],
    )


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """Put (Q, T, ...) and (Q', T', ...) below each other, right-padded by zeros."""
    length = max(part.shape[1] for part in parts)
    return torch.cat(
        [torch.cat([part, part.new_zeros(len(part), length - part.shape[1], *part.shape[2:])], 1) for part in parts]
    )
