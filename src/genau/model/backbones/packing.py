"""Pictures and all that is asked of them in one pass: each picture is one sequence, [instruction | picture | question |
question | ...], in which questions do not see one another and each begins at the position after the picture.

It gives what reading with memories gives. Nothing is read twice, and no memory is kept, so that checkpointed layers
can train.
Shapes: B pictures, T0 words of the instruction, T1 of a picture, Q questions, T words of a question, L words of the
longest sequence, D the decoder's width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genau.model.backbones import Backbone, Shown

PADDING, PREFIX = -1, 0  # groups of words; question q is group q + 1


@dataclass(frozen=True)
class Asked:
    """Questions, right-padded."""

    words: Tensor  # (Q, T, D)
    mask: Tensor  # (Q, T) bool
    image_index: Tensor  # (Q,) whose picture is asked


@dataclass(frozen=True)
class Packed:
    """Sequences without gaps, the padding at their ends."""

    embeddings: Tensor  # (B, L, D)
    positions: Tensor  # (B, L) or (B, L, 3)
    groups: Tensor  # (B, L): PADDING, PREFIX or the question that a word belongs to
    shown: Shown  # (B, L)
    columns: Tensor  # (Q, T), where the words of questions stand

    @property
    def allowed(self) -> Tensor:
        """What each word sees, (B, L, L) bool: all before it of the prefix and of its own question."""
        own, other = self.groups[:, :, None], self.groups[:, None, :]
        earlier = torch.ones(own.shape[1], own.shape[1], dtype=torch.bool, device=own.device).tril()
        alone = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)  # a word that sees nothing is not a number
        return ((other == PREFIX) | ((other == own) & (own != PADDING))) & earlier | alone


def read_packed(
    backbone: Backbone, instruction: Tensor, picture: Tensor, picture_mask: Tensor, shown: Shown, asked: Asked
) -> Tensor:
    """Return the last hidden states (Q, T, D) of questions, as reading them after their pictures' memories gives.

    `instruction` (1, T0, D) and `picture` (B, T1, D) are words, `picture_mask` (B, T1) is False on padding, `shown`
    says where visual tokens stand in (B, T1). States of padding are of no use.
    """
    packed = pack(backbone, instruction, picture, picture_mask, shown, asked)
    hidden = backbone.read_whole(packed.embeddings, packed.allowed, packed.positions, packed.shown)
    return hidden[asked.image_index[:, None], packed.columns]


def pack(
    backbone: Backbone, instruction: Tensor, picture: Tensor, picture_mask: Tensor, shown: Shown, asked: Asked
) -> Packed:
    """Put the sequences together; arguments as in `read_packed`."""
    count, device, index = len(picture), picture.device, asked.image_index
    instruction = instruction.expand(count, -1, -1)
    instruction_mask = torch.ones(instruction.shape[:2], dtype=torch.bool, device=device)
    first = torch.zeros(count, dtype=torch.long, device=device)
    places, following = backbone.positions(instruction_mask, first)
    picture_places, following = backbone.positions(picture_mask, following, shown)
    asked_places, _ = backbone.positions(asked.mask, following[index])

    before = instruction.shape[1] + picture_mask.sum(1)  # (B,) words of the prefix
    lengths = asked.mask.sum(1)
    same = (index[:, None] == index).tril(-1)  # (Q, Q): asked of the same picture, earlier
    starts = before[index] + (same * lengths).sum(1)
    columns = starts[:, None] + _steps(asked.mask)
    length = int(torch.cat([before, starts + lengths]).max())
    rows = torch.arange(count, device=device)
    masks = (instruction_mask, picture_mask, asked.mask)
    placed = (
        (rows, _steps(instruction_mask)),
        (rows, instruction.shape[1] + _steps(picture_mask)),
        (index, columns),
    )
    at = torch.cat([(row[:, None] * length + column)[mask] for (row, column), mask in zip(placed, masks, strict=True)])

    def put(empty: float, *values: Tensor) -> Tensor:
        found = torch.cat([value[mask] for value, mask in zip(values, masks, strict=True)])
        whole = found.new_full((count * length, *found.shape[1:]), empty)
        sequences: Tensor = whole.index_copy(0, at, found).unflatten(0, (count, length))
        return sequences

    groups = torch.arange(1, len(index) + 1, device=device)[:, None].expand_as(asked.mask)
    prefix = [torch.full_like(mask, PREFIX, dtype=torch.long) for mask in masks[:2]]
    unseen = [torch.zeros_like(mask) for mask in masks]
    return Packed(
        put(0, instruction, picture, asked.words),
        put(0, places, picture_places, asked_places),
        put(PADDING, *prefix, groups),
        replace(shown, at=put(False, unseen[0], shown.at, unseen[2])),
        columns,
    )


def _steps(mask: Tensor) -> Tensor:
    """Return which word of its row each is (Q, T), from 0; padding counts as the word before it."""
    return (mask.long().cumsum(1) - 1).clamp_min(0)
