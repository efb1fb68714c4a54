"""What a run would send, before it is sent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genau.errors import ImageError
from genau.evaluation.dialogue.items import Chain
from genau.reading import read_size

CHARACTERS_PER_TOKEN = 4  # of English, a rule of thumb
PATCH = 28  # pixels; a token of a Qwen-VL picture. Others count otherwise: this is an order of magnitude


@dataclass(frozen=True)
class Cost:
    """An estimate."""

    questions: int
    pictures: int  # how many times a picture is sent
    tokens_in: int  # about
    tokens_out: int  # at most

    def words(self, price_in: float | None = None, price_out: float | None = None) -> str:
        """Return it in one line; prices are per million tokens, in whatever money."""
        line = (
            f"To ask: {self.questions} questions, {self.pictures} pictures to send, about {self.tokens_in:,} tokens in "
            f"and at most {self.tokens_out:,} out"
        )
        if price_in is None and price_out is None:
            return line + "."
        price = (self.tokens_in * (price_in or 0) + self.tokens_out * (price_out or 0)) / 1e6
        return f"{line}: about {price:.2f} at most at these prices."


def estimate(chains: Sequence[Chain], longest_side: int | None, max_tokens: int) -> Cost:
    """Return what asking these chains would send; in a chain everything said before is sent again."""
    questions = pictures = tokens_in = 0
    for chain in chains:
        before = 0
        for place, item in enumerate(chain):
            shown = [picture.path for earlier in chain[: place + 1] for picture in earlier.prompt.pictures]
            words = sum(len(part) for turn in item.prompt.turns for part in turn.parts if isinstance(part, str))
            before += math.ceil(words / CHARACTERS_PER_TOKEN)
            questions += 1
            pictures += len(shown)
            tokens_in += before + sum(_tokens(str(path), longest_side) for path in shown)
            before += max_tokens
    return Cost(questions, pictures, tokens_in, questions * max_tokens)


def _tokens(path: str, longest_side: int | None) -> int:
    try:
        height, width = read_size(path)
    except ImageError:
        return 0
    scale = 1.0 if longest_side is None else min(1.0, longest_side / max(height, width))
    return math.ceil(height * scale / PATCH) * math.ceil(width * scale / PATCH)
