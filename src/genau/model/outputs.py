"""What the model gives at each stage: what it sees of pictures, what it has read of them, and what it answers.

Shapes: B pictures, Q questions, T words, D the decoder's width, W the head's, (h_l, w_l) a level, (h, w) the finest.
"""

from dataclasses import dataclass

from torch import Tensor

from genau.model.backbones import Memory
from genau.model.context import Context


@dataclass(frozen=True)
class View:
    """What the map head sees of a batch of pictures, before the decoder reads anything."""

    features: tuple[Tensor, ...]  # f_l (B, W, h_l, w_l), unit length
    context: Context
    unprompted: Tensor  # (B, h, w), the part of the margin that no question changes
    prior: Tensor  # (B, h, w), the margin before anything is asked
    valid: Tensor  # (B, h, w) bool, False on padding


@dataclass(frozen=True)
class Seen(View):
    """A batch of pictures, seen once; any number of questions can be asked of it."""

    memory: Memory  # of B rows: the decoder has read the instruction and the picture


@dataclass(frozen=True)
class Decision:
    """What Q questions give, in maps and scores."""

    margin: Tensor  # z (Q, h, w); sigmoid(z) is the anomaly map
    map_score: Tensor  # (Q,) in [0, 1]
    text_score: Tensor  # (Q,) in [0, 1]
    pred_score: Tensor  # (Q,) in [0, 1]
    verdict_logits: Tensor  # (Q, 2): normal, defect


@dataclass(frozen=True)
class Answer(Decision):
    """What Q questions give, and where generation goes on."""

    hidden: Tensor  # (Q, T, D)
    memory: Memory  # of Q rows, the question included
