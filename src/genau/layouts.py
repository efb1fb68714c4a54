"""How a picture lies among the words that a decoder reads: which control words stand around its visual tokens.

Each family of backbones has its own layout. It is plain arithmetic on the picture's size, which the processor and the
backbone both follow, so that neither needs to know the other. Content (h, w) is the picture's part of the square
canvas, in canvas pixels, from the top left corner on; see `images.Letterbox`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from genau.errors import CheckpointError, suggest

Piece = str | int  # words of the family's own, or so many visual tokens


class Layout(Protocol):
    """How pictures of one family lie among the words."""

    def pieces(self, content_hw: tuple[int, int]) -> list[Piece]:
        """Return what is read of a picture, in order."""
        ...


@dataclass(frozen=True)
class FixedLayout:
    """The same number of visual tokens for every picture, without words around them."""

    tokens: int

    def pieces(self, content_hw: tuple[int, int]) -> list[Piece]:
        """Return the one run of visual tokens."""
        return [self.tokens]


@dataclass(frozen=True)
class QwenLayout:
    """One visual token for each square of the canvas that the picture reaches into, between two control words."""

    cell: int  # side of a square, canvas pixels

    def pieces(self, content_hw: tuple[int, int]) -> list[Piece]:
        """Return the word before the picture, its visual tokens, the word after it."""
        rows, columns = (-(-side // self.cell) for side in content_hw)
        return ["<|vision_start|>", rows * columns, "<|vision_end|>"]


@dataclass(frozen=True)
class LlavaOnevisionLayout:
    """The whole picture's visual tokens, then a line for each row of cells with content, which a newline ends."""

    whole_tokens: int
    cell: int  # side in canvas pixels

    def pieces(self, content_hw: tuple[int, int]) -> list[Piece]:
        """Return the one run of visual tokens; newlines are among them."""
        rows, columns = (math.ceil(side / self.cell) for side in content_hw)
        return [self.whole_tokens + rows * (columns + 1)]


@dataclass(frozen=True)
class SmolVLMLayout:
    """Crops by row and column, then the whole picture; a picture of one crop is that alone."""

    crop: int  # side in canvas pixels
    crop_tokens: int

    def pieces(self, content_hw: tuple[int, int]) -> list[Piece]:
        """Return runs of visual tokens, and before each what it shows."""
        rows, columns = (math.ceil(side / self.crop) for side in content_hw)
        found, between = list[Piece](), ""
        for row in range(rows) if rows * columns > 1 else ():
            for column in range(columns):
                found += [f"{between}<fake_token_around_image><row_{row + 1}_col_{column + 1}>", self.crop_tokens]
                between = ""
            between = "\n"
        before = f"{between * 2}<fake_token_around_image><global-img>"  # two line ends are one word of the vocabulary
        return [*found, before, self.crop_tokens, "<fake_token_around_image>"]


LAYOUTS: dict[str, type[Any]] = {  # name -> layout; a family adds its own
    "fixed": FixedLayout,
    "qwen-vl": QwenLayout,
    "llava-onevision": LlavaOnevisionLayout,
    "smolvlm": SmolVLMLayout,
}


def layout_of(settings: Mapping[str, Any]) -> Layout:
    """Return the layout that `settings` describe: its name as `kind`, and its numbers.

    Raises:
        CheckpointError: no such kind, or other numbers than it has.
    """
    kind = str(settings.get("kind"))
    if kind not in LAYOUTS:
        raise CheckpointError(f"layout kind {kind!r} is not one of {', '.join(LAYOUTS)}.{suggest(kind, LAYOUTS)}")
    try:
        layout: Layout = LAYOUTS[kind](**{key: value for key, value in settings.items() if key != "kind"})
    except TypeError as error:
        raise CheckpointError(f"The layout {dict(settings)} does not fit {kind!r} ({error}). Save it again.") from error
    return layout


def layout_settings(layout: Layout) -> dict[str, Any]:
    """Return a layout as plain JSON types, the inverse of `layout_of`."""
    (kind,) = (name for name, form in LAYOUTS.items() if type(layout) is form)
    return {"kind": kind, **asdict(layout)}  # type: ignore[call-overload]
