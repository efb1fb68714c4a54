"""From a batch's features to the comparison of each picture's places with those of good parts."""

from collections.abc import Sequence

from torch import Tensor

from genau.images import Letterbox
from genau.model.context import ContextMemory
from genau.model.correspondence import correspond
from genau.model.modeling import GenAUModel
from genau.relations import Places

__all__ = ["Places", "compare_places"]


def compare_places(
    model: GenAUModel,
    pyramid: Sequence[Tensor],
    content_hw: Tensor,
    boxes: Sequence[Letterbox],
    memory: ContextMemory | None,
) -> list[Places | None]:
    """Return how each picture's places compare with good parts that lie in place; None where there are none.

    `pyramid` and `content_hw` are as in `GenAUModel.patches`; `boxes` are the pictures' letterboxes.
    """
    if memory is None or memory.grids is None:
        return [None] * len(boxes)
    found = [correspond(patches, memory.grids) for patches in model.patches(pyramid, content_hw)]
    return [
        None
        if one is None
        else Places(one.missing.cpu().numpy(), one.extra.cpu().numpy(), one.plainer.cpu().numpy(), box)
        for one, box in zip(found, boxes, strict=True)
    ]
