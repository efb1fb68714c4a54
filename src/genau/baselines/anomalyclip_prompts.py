"""The learned half of AnomalyCLIP (Zhou et al. 2024): two prompts that name no product, and tokens inside the tower.

T: words of a prompt; W: width of the text tower; D: width of the space shared with pictures. Blocks count from 1.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from genau.baselines.clip_tower import ClipTower
from genau.errors import UsageError

TEMPLATES = ("object.", "damaged object.")  # what follows the learned words: of a good part, of a defective one
INITIAL_SPREAD = 0.02  # standard deviation, as published


class ObjectAgnosticPrompts(nn.Module):
    """`[V1]…[Vn] object.` and `[W1]…[Wn] damaged object.`, all V and W learned.

    From block 2 on, the places after the start token are overwritten by learned tokens of that block, the same for both
    prompts; the published code does so in blocks 2 to 9.
    """

    def __init__(self, tower: ClipTower, context_tokens: int, deep_tokens: int, deep_layers: int, seed: int) -> None:
        """Draw words for `tower`. `deep_layers` counts block 1, whose learned tokens are the context itself.

        Raises:
            UsageError: the sizes do not fit each other or the tower.
        """
        super().__init__()
        text: Any = tower.model.config.text_config
        if not 1 <= deep_layers <= text.num_hidden_layers:
            raise UsageError(
                f"deep_layers={deep_layers} is no depth of this text tower. Use 1 to {len(blocks(tower))}."
            )
        if not 0 <= deep_tokens <= context_tokens or context_tokens < 1:
            raise UsageError(
                f"deep_tokens={deep_tokens} must lie between 0 and context_tokens={context_tokens}, whose places they "
                "take. Use for example 4 and 12."
            )
        words = tower.tokenize(TEMPLATES)  # (2, T - n)
        place = words[:, 1:2].expand(-1, context_tokens)  # any word: its embedding is replaced
        ids = torch.cat([words[:, :1], place, words[:, 1:]], 1)  # (2, T)
        if ids.shape[1] > text.max_position_embeddings:
            most = text.max_position_embeddings - words.shape[1]
            raise UsageError(f"context_tokens={context_tokens} does not fit into a prompt. Use at most {most}.")
        self.ids = nn.Buffer(ids.to(tower.model.device), persistent=False)
        drawn = torch.Generator().manual_seed(seed)
        sizes = {"context": (2, context_tokens), "deep": (deep_layers - 1, deep_tokens)}
        for name, size in sizes.items():
            values = INITIAL_SPREAD * torch.randn(*size, text.hidden_size, generator=drawn)
            self.register_parameter(name, nn.Parameter(values.to(tower.model.device)))

    def forward(self, tower: ClipTower) -> Tensor:
        """Return (2, D) unit length: the good part's direction, then the defective one's; differentiable."""
        context: Tensor = self.get_parameter("context")  # (2, n, W)
        words = tower.word_embeddings(self.ids)  # (2, T, W)
        embeddings = torch.cat([words[:, :1], context, words[:, 1 + context.shape[1] :]], 1)
        with _overwritten(blocks(tower)[1:], self.get_parameter("deep")):
            return tower.encode_prompt_embeddings(embeddings, self.ids)


def blocks(tower: ClipTower) -> Sequence[nn.Module]:
    """Return the text tower's blocks."""
    found: Sequence[nn.Module] = tower.model.text_model.encoder.layers
    return found


@contextmanager
def _overwritten(layers: Sequence[nn.Module], tokens: Tensor) -> Iterator[None]:
    """Put tokens (k, m, W) after the start token into what the first k layers read; hooks live inside `with` only."""
    handles = [
        layer.register_forward_pre_hook(partial(_overwrite, own)) for layer, own in zip(layers, tokens, strict=False)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _overwrite(tokens: Tensor, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    states, *rest = inputs  # (2, T, W)
    own = tokens.expand(len(states), -1, -1)
    return torch.cat([states[:, :1], own, states[:, 1 + own.shape[1] :]], 1), *rest
