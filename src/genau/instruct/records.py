"""The records of a JSON or JSONL file, one after the other or by position, in memory that does not grow with the file.

A record's place is the byte range of its text: a list of places is small, and lets a set of any size be shuffled.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genau.errors import DataError

SUFFIXES = (".jsonl", ".json")
_CHUNK = 1 << 20  # bytes read at once from an array
_BOM = b"\xef\xbb\xbf"
Record = dict[str, Any]


def shards(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return a file by itself, or the files with these endings in a folder, sorted by name.

    Raises `DataError` if there are none. Data cards beside a set are no records.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist. Check the path: a file or folder of conversations is needed.")
    found = sorted(
        file
        for file in path.iterdir()
        if file.name.endswith(suffixes) and file.name[0] != "." and not file.name.endswith("datacard.json")
    )
    if not found:
        raise DataError(f"{path} holds no {' or '.join(suffixes)} files. Name the file, or another folder.")
    return found


def first_record(path: Path) -> Record | None:
    """Return the first record of a file or folder; None if there is none."""
    found = shards(path, (*SUFFIXES, ".tar"))[0]
    if found.suffix == ".tar":
        return {"conversations": []}  # what lies in a tar has the layout of conversations
    for start, length in places(found):
        return load(found, start, length, f"{found}, record 1")
    return None


def places(path: Path) -> Iterator[tuple[int, int]]:
    """Yield (first byte, number of bytes) of each record of a JSON array or of a file with one object per line.

    Lines are not parsed; the elements of an array are. Raises `DataError` for an array that is broken, with the
    number of the element.
    """
    with path.open("rb") as file:
        start = file.read(_CHUNK).removeprefix(_BOM).lstrip()[:1]
    if start == b"[":
        yield from _elements(path)
    else:
        yield from _lines(path)


def load(path: Path, start: int, length: int, where: str) -> Record:
    """Return the record at a place; raises `DataError`, which says `where`, if it is no object of JSON."""
    with path.open("rb") as file:
        file.seek(start)
        text = file.read(length)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error.reason
        raise DataError(f"{where}: not valid JSON ({reason}). Correct that record, or remove it.") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: an object in braces is needed, got {type(value).__name__}. Correct it.")
    return value


def _lines(path: Path) -> Iterator[tuple[int, int]]:
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.removeprefix(_BOM).strip():  # JSON is read with a byte order mark
                yield start, len(line)
            start += len(line)


def _elements(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the places of the elements of one array; no more than a chunk and one element are held."""
    decoder, scan = codecs.getincrementaldecoder("utf-8")(), json.JSONDecoder().raw_decode
    number, done, text, ended = 0, 0, "", False  # `done`: bytes of the file before `text`
    with path.open("rb") as file:
        while not ended or text:
            if not ended:
                chunk = file.read(_CHUNK)
                ended = len(chunk) < _CHUNK
                try:
                    text += decoder.decode(chunk, final=ended)
                except UnicodeDecodeError as error:
                    raise DataError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
            begin = 0
            while True:
                at = _skip(text, begin)
                if text[at : at + 1] == "]":
                    return
                try:
                    _, end = scan(text, at)
                except json.JSONDecodeError as error:
                    if ended:
                        raise DataError(
                            f"{path}: element {number + 1} of the list is broken ({error.msg}), or the list is cut "
                            "off before its closing bracket. Copy the file again, or correct that element."
                        ) from error
                    break
                if not ended and end == len(text):
                    break  # a number may go on in the next chunk
                number += 1
                before = len(text[begin:at].encode())
                length = len(text[at:end].encode())
                yield done + before, length
                done, begin = done + before + length, end
            text = text[begin:]


def _skip(text: str, at: int) -> int:
    """Return where the next element begins, behind space, commas, the opening bracket and a byte order mark."""
    while at < len(text) and text[at] in " \t\r\n,[\ufeff":
        at += 1
    return at
