"""How a picture lies among the words that a decoder reads: which control words stand around its visual tokens.

Each family of backbones has its own layout. It is plain arithmetic on the picture's size, which the processor and the
backbone both follow, so that neither needs to know the other. Content (h, w) is the picture's part of the square
canvas, in canvas pixels, from the top left corner on; see `images.Letterbox`.
"""

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


LAYOUTS: dict[str, type[Any]] = {  # name -> layout; a family adds its own
    "fixed": FixedLayout,
    "qwen-vl": QwenLayout,
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
