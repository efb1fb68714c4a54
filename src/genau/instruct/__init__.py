"""Instruction data: conversations about pictures, read, checked, streamed and built.

`Conversation` and `StreamedConversations` are what a training needs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from genau.datasets.layout import Tell, refuse
from genau.errors import DataError, UsageError, suggest
from genau.instruct import llava, mmad, visa_dr
from genau.instruct.conversation import Conversation, Turn
from genau.instruct.pictures import Skipped
from genau.instruct.records import first_record
from genau.instruct.stream import StreamedConversations

__all__ = ["FORMATS", "Conversation", "Skipped", "StreamedConversations", "Turn", "guess_format", "read"]

FORMATS: dict[str, Callable[..., Iterator[Conversation]]] = {
    "llava": llava.read,
    "mmad": mmad.read,
    "visa-dr": visa_dr.read,
}


def read(
    path: str | Path,
    format: str | None = None,
    *,
    images: str | Path | None = None,
    tell: Tell = refuse,
    missing: Tell | None = None,
) -> Iterator[Conversation]:
    """Yield the conversations of a set in their order; without a format it is read as it looks.

    `images` is the folder below which the set names its pictures. `tell` takes every fault in words; the default
    raises it as `DataError`. `missing` takes the pictures that are not there instead, and their conversations are
    left out: pass `Skipped()` to count them. Raises `UsageError` for an unknown format.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise UsageError(
            f"Unknown format {format!r} of conversations.{suggest(format, FORMATS)} Use one of {', '.join(FORMATS)}."
        )
    chosen = format or guess_format(path)
    return FORMATS[chosen](path, None if images is None else Path(images), tell=tell, missing=missing)


def guess_format(path: Path) -> str:
    """Return the key of `FORMATS` that a file or folder looks like; raises `DataError` if it is not there or empty."""
    if mmad.is_mmad(path):
        return "mmad"
    if path.is_dir() and visa_dr.file_of(path) is not None:
        return "visa-dr"
    row = first_record(path)
    if row is None:
        raise DataError(f"{path} holds no conversations. Check the path, or name the format.")
    if "conversations" not in row and "messages" not in row and visa_dr.KEYS & row.keys():
        return "visa-dr"
    return "llava"
