"""One conversation about pictures, as every reader delivers it and every training takes it.

Checked at birth: a conversation with a picture too many or too few would train a model on the wrong picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genau.errors import DataError
from genau.prompts import IMAGE_TOKEN

Role = Literal["user", "assistant"]
Picture: TypeAlias = Path | bytes  # a file, or the bytes of one that lies in a tar; `genau.reading` takes both


@dataclass(frozen=True)
class Turn:
    """What one side says; `<image>` stands where the user shows the next picture."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """Questions about pictures with their answers, and what else the source knows of the last picture."""

    id: str
    images: tuple[Picture, ...] = field(repr=False)  # in the order of their placeholders
    turns: tuple[Turn, ...]
    source: str  # where it was read, for messages: "train.jsonl, record 7"
    product: str | None = None  # the part in words
    kind: str | None = None  # what is asked for, as the source calls it: "detection", "Defect Localization"
    defective: bool | None = None  # None where the source does not say
    types: tuple[str, ...] = ()  # defect types that are present
    asked: str | None = None  # the one type that the question is about; None: any defect
    masks: tuple[Picture, ...] = field(default=(), repr=False)  # their union is what is defective
    mask_types: Mapping[int, str] | None = field(default=None, hash=False)
    # pixel value of the mask -> type; None: every pixel that is not 0 is defective

    def __post_init__(self) -> None:
        """Refuse conversations that cannot be trained on."""
        here = f"Conversation {self.id!r} ({self.source})"
        if not self.turns:
            raise DataError(f"{here} has no turns. It needs a question and an answer; remove it or fill it in.")
        for number, turn in enumerate(self.turns, start=1):
            expected = "user" if number % 2 else "assistant"
            if turn.role != expected:
                raise DataError(
                    f"{here}: turn {number} is the {turn.role}'s, but it must be the {expected}'s: the user begins, "
                    "then both take turns. Put the turns in that order, and instructions into the first question."
                )
            if not turn.text.replace(IMAGE_TOKEN, "").strip():
                raise DataError(f"{here}: turn {number} says nothing. Write its text, or remove the conversation.")
            if turn.role == "assistant" and IMAGE_TOKEN in turn.text:
                raise DataError(f"{here}: the answer in turn {number} holds {IMAGE_TOKEN}. Only users show pictures.")
        if self.turns[-1].role != "assistant":
            raise DataError(f"{here} ends with a question. Add the answer: it is what is learned.")
        placeholders = sum(turn.text.count(IMAGE_TOKEN) for turn in self.turns)
        if placeholders != len(self.images):
            raise DataError(
                f"{here} has {placeholders} {IMAGE_TOKEN} placeholder{'' if placeholders == 1 else 's'} but "
                f"{len(self.images)} picture{'' if len(self.images) == 1 else 's'}. There must be one placeholder "
                "for each picture, where the user shows it. Correct the text, or the list of pictures."
            )
        if self.defective is False and (self.types or self.masks):
            raise DataError(
                f"{here} is about a good part but has types {list(self.types)} and {len(self.masks)} masks. "
                "Correct the label, or remove types and masks."
            )

    @property
    def question(self) -> str:
        """What the user says first, without placeholders."""
        return self.turns[0].text.replace(IMAGE_TOKEN, "").strip()

    @property
    def answer(self) -> str:
        """What the assistant says last."""
        return self.turns[-1].text

    @property
    def has_mask(self) -> bool:
        """Whether every pixel's truth is known: always for good parts, with a mask for defective ones."""
        return self.defective is False or bool(self.masks)

    def read_mask(self) -> NDArray[np.bool_]:
        """Return what the question is about, (H, W), in the upright frame of the last picture.

        That is the pixels of the type that is `asked` for, or else of all defects; all False where there are none.
        Raises `DataError` where the truth is not known, `ImageError` for a file that cannot be read.
        """
        from genau.reading import read_mask, read_picture

        if not self.has_mask or not self.images:
            raise DataError(
                f"Conversation {self.id!r} ({self.source}) has no mask, so its defective pixels are unknown. "
                "Add a mask, or train its words only (`has_mask` tells)."
            )
        about_type = self.asked is not None and self.defective is not False
        if about_type and self.mask_types is None and len(self.types) > 1 and self.asked in self.types:
            raise DataError(
                f"Conversation {self.id!r} ({self.source}) asks for {self.asked!r}, but its mask does not say which "
                f"pixels are of which of the types {list(self.types)}. Add mask_types, or train its words only."
            )
        if not self.masks or (about_type and self.asked not in self.types):
            return np.zeros(read_picture(self.images[-1]).rgb.shape[:2], np.bool_)
        values: NDArray[np.int32] = np.maximum.reduce([read_mask(mask, self.images[-1]) for mask in self.masks])
        if self.asked is None or self.mask_types is None:
            return values.astype(np.bool_)
        return np.isin(values, [value for value, name in self.mask_types.items() if name == self.asked])
