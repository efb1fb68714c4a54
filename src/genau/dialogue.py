"""`Answerer`: what endpoints, local models and GenAU have in common where words are measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from genau.reading import read_picture


@dataclass(frozen=True)
class Shown:
    """A picture within a prompt."""

    path: Path
    reference: bool = False  # a good part to compare with; nothing is asked about it


Part = str | Shown


@dataclass(frozen=True)
class Turn:
    """What one side says: words and pictures in their order."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Prompt:
    """One question with all that is said before it."""

    turns: tuple[Turn, ...]  # the last one is the user's
    question: str  # the bare question, for a model that reads no prompt
    options: Mapping[str, str] = field(default_factory=dict, hash=False)  # what may be answered -> what it means
    task: str = ""  # the benchmark's name of what is asked, for example "Defect Localization"

    def after(self, said: Sequence[Turn]) -> "Prompt":
        """Return the prompt with earlier turns in front."""
        return replace(self, turns=(*said, *self.turns))

    @property
    def pictures(self) -> Iterator[Shown]:
        """All pictures in the order in which they are shown."""
        return (part for turn in self.turns for part in turn.parts if isinstance(part, Shown))


def open_picture(shown: Shown, longest_side: int | None) -> Image.Image:
    """Return the upright RGB picture, its longer side at most so many pixels; it is never enlarged.

    Raises:
        ImageError: it cannot be read.
    """
    picture = Image.fromarray(read_picture(shown.path).rgb)
    if longest_side is None or max(picture.size) <= longest_side:
        return picture
    scale = longest_side / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)  # the mean of each cell, as cv2's INTER_AREA


class Outcome(StrEnum):
    """What became of a question. Only `ANSWERED` can be right."""

    ANSWERED = "answered"
    UNREADABLE = "unreadable"  # refused, cut off, filtered, empty, or its picture cannot be read
    UNSUPPORTED = "unsupported"  # this model does not answer such questions
    FAILED = "failed"  # nothing came back; asked again by the next run


@dataclass(frozen=True)
class Said:
    """What came back to one prompt."""

    text: str | None  # None if and only if it is not answered
    outcome: Outcome = Outcome.ANSWERED
    reason: str = ""  # why there is no text
    tokens_in: int | None = None  # as the model counts them; None where it does not
    tokens_out: int | None = None

    def __post_init__(self) -> None:
        """Refuse an answer without words, and silence without a reason."""
        answered = self.outcome is Outcome.ANSWERED
        if answered is (self.text is None) or answered is bool(self.reason):
            raise ValueError(f"text={self.text!r} and reason={self.reason!r} do not fit the outcome {self.outcome}.")

    @classmethod
    def nothing(cls, outcome: Outcome, reason: str) -> "Said":
        """Return what stands for an answer that is not there."""
        return cls(None, outcome, reason)


class Answerer(Protocol):
    """Anything that can be asked about pictures in words."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def settings(self) -> Mapping[str, str]:
        """All that changes an answer beside the prompt; no secrets, it is written down."""

    @property
    def workers(self) -> int:
        """How many questions it may be asked at once."""

    def answer(self, prompt: Prompt) -> Said:
        """Answer one prompt.

        Raises:
            ImageError: a picture cannot be read. UsageError: no question can ever be answered so.
        """
