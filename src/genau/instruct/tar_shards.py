"""Shards of the WebDataset kind: a tar of `key.json` with `key.jpg` beside it, read in order and in place.

Members whose names are equal up to the first dot belong together: `7.json`, `7.jpg`, or `7.0.jpg` and `7.1.jpg` for two
pictures, `7.mask.png` for a mask. Nothing is unpacked; a place is the byte range of a key's members.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from genau.errors import DataError
from genau.instruct.records import Record
from genau.paths import EXTENSIONS

_MASK = "mask"
Files = tuple[bytes, ...]


def places(path: Path) -> Iterator[tuple[int, int]]:
    """Yield (first byte, number of bytes) of the members of each key; raises `DataError` for a damaged tar."""
    key: str | None = None
    start = end = 0
    for member in _members(path, 0):
        if _key(member.name) != key:
            if key is not None:
                yield start, member.offset - start
            key, start = _key(member.name), member.offset
        end = member.offset_data + member.size
    if key is not None:
        yield start, end - start


def load(path: Path, start: int, length: int, where: str) -> tuple[Record, Files, Files]:
    """Return the record of a key, its pictures and its masks, in the order of the members.

    Raises `DataError`, which names the member, for what cannot be read.
    """
    record: Record | None = None
    pictures: list[bytes] = []
    masks: list[bytes] = []
    name = ""
    with path.open("rb") as file:
        for member in _members(path, start, length):
            name = member.name
            if not member.isreg():
                raise DataError(f"{where}: the member {name!r} is no file but a link or device. Pack the file itself.")
            file.seek(start + member.offset_data)
            content = file.read(member.size)
            if len(content) < member.size:
                raise DataError(f"{where}: the member {name!r} is cut off. Copy {path} again.")
            suffixes = PurePosixPath(name).name.split(".")[1:]
            if suffixes == ["json"]:
                record = _record(content, f"{where}, member {name!r}")
            elif suffixes and f".{suffixes[-1].lower()}" in EXTENSIONS:
                (masks if suffixes[0] == _MASK else pictures).append(content)
            else:
                raise DataError(f"{where}: the member {name!r} is neither a .json nor a picture. Leave it out.")
    if record is None:
        raise DataError(
            f"{where}: {name!r} has no {_key(name)}.json beside it. Members of one key must follow each other in the "
            "tar; add the conversation, or pack the tar again sorted by name."
        )
    return {"id": _key(name), **record}, tuple(pictures), tuple(masks)


def _record(content: bytes, where: str) -> Record:
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: not valid JSON ({error}). Correct it and pack the tar again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: an object in braces is needed, got {type(value).__name__}. Correct it.")
    return value


def _members(path: Path, start: int, length: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Yield the members from a byte on, offsets relative to it; the list that tarfile keeps of them stays empty."""
    last = ""
    with path.open("rb") as file:
        file.seek(start)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    member.offset -= start
                    member.offset_data -= start
                    tar.members = []  # type: ignore[attr-defined]
                    if length is not None and member.offset >= length:
                        return
                    last = member.name
                    if not member.isdir():
                        yield member
        except tarfile.TarError as error:
            after = f" after the member {last!r}" if last else ""
            raise DataError(
                f"{path} cannot be read as a tar{after} ({error}). Copy it again; a compressed one must be unpacked "
                "once: pictures are compressed already."
            ) from error


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return (path.parent / path.name.split(".")[0]).as_posix()
