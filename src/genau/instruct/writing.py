"""Write conversations as JSONL in the LLaVA layout, with a data card that says what they are made of."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from genau.errors import UsageError
from genau.instruct.conversation import Conversation
from genau.instruct.llava import card_of, row_of
from genau.instruct.teaching import PRESENCE

CARD_VERSION = 1
Card = dict[str, Any]


class _Tally:
    """What is counted while conversations pass by."""

    def __init__(self) -> None:
        self.conversations = 0
        self.pictures: dict[str, bool | None] = {}
        self.kinds: dict[str, Counter[str]] = {}
        self.asked: dict[str, Counter[str]] = {}

    def add(self, conversation: Conversation, row: Mapping[str, Any]) -> None:
        self.conversations += 1
        named = row.get("image", [])
        for picture in named if isinstance(named, list) else [named]:
            self.pictures[picture] = conversation.defective
        if conversation.asked is None:
            side = {True: "defective", False: "good", None: "unlabelled"}[conversation.defective]
            self.kinds.setdefault(conversation.kind or "unknown", Counter())[side] += 1
        else:
            side = "present" if conversation.asked in conversation.types else "absent"
            self.kinds.setdefault(conversation.kind or PRESENCE, Counter())[side] += 1
            self.asked.setdefault(conversation.asked, Counter())[side] += 1

    def counts(self) -> Card:
        labels = Counter(self.pictures.values())
        return {
            "conversations": self.conversations,
            "pictures": {"good": labels[False], "defective": labels[True], "unlabelled": labels[None]},
            "kinds": {kind: dict(sides) for kind, sides in sorted(self.kinds.items())},
            "types_asked": {
                name: {"present": sides["present"], "absent": sides["absent"]}
                for name, sides in sorted(self.asked.items())
            },
        }


def write(conversations: Iterable[Conversation], path: Path, images: Path, about: Mapping[str, Any]) -> Card:
    """Write the conversations and their data card whole or not at all; return the card.

    Pictures are named below the folder `images`; the card says where that is, seen from the file. `about` joins the
    card as it is: source, seed and the like. Raises `UsageError` where nothing can be written.
    """
    if path.suffix != ".jsonl":
        raise UsageError(f"The output {path} must end in .jsonl: one conversation per line. Rename it.")
    tally = _Tally()
    card: Card = {}
    with _replacing(path) as rows, _replacing(card_of(path)) as described:
        for conversation in conversations:
            row = row_of(conversation, images)
            rows.write(json.dumps(row, ensure_ascii=False) + "\n")
            tally.add(conversation, row)
        card |= {"card_version": CARD_VERSION, "format": "llava", "genau_version": version("genau")}
        card |= {"file": path.name, "images": Path(os.path.relpath(images, path.parent)).as_posix()}
        card |= {**about, "counts": tally.counts()}
        described.write(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """Give a file to write to, which takes the place of `path` if the body succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror or error}). It must lie in a folder that you may write to, on "
            "a disk with room. Choose another file with -o."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
