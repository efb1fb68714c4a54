"""Answers on disk, one line each as soon as it is there: a run that is killed asks nothing twice."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

from genau.dialogue import Outcome, Prompt, Said
from genau.errors import ImageError, UsageError
from genau.evaluation.journal import PLAN, Appender, take_lock, writing

ANSWERS, LOCK = "answers.jsonl", "answers.lock"
FORMAT = 1  # raised when a prompt is sent in another way without looking different


class Record:
    """All answers in one folder, of whatever model and settings; safe from several threads."""

    def __init__(self, known: dict[str, Said], appender: Appender, *, retry_unreadable: bool = False) -> None:
        self._known, self._appender, self._lock = known, appender, Lock()
        if retry_unreadable:
            for key in [key for key, said in known.items() if said.outcome is Outcome.UNREADABLE]:
                del known[key]

    def get(self, key: str) -> Said | None:
        """Return what was said before, None if it is to be asked."""
        return self._known.get(key)

    def add(self, key: str, item: str, said: Said) -> None:
        """Write an answer down; one that failed is not kept, so that the next run asks again."""
        if said.outcome is Outcome.FAILED:
            return
        with self._lock:
            self._appender.add({"key": key, "item": item, **asdict(said)})
            self._known[key] = said


@contextmanager
def opened(folder: Path, *, retry_unreadable: bool = False) -> Iterator[Record]:
    """Take hold of a folder's answers; no other run writes there until it is left.

    Raises:
        UsageError: the folder is in use, belongs to another kind of run, or cannot be written.
    """
    if (folder / PLAN).is_file():
        raise UsageError(f"{folder} holds a run of `genau eval` on pictures. Choose another folder with -o.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    with lock:
        take_lock(lock.fileno(), folder)
        path = folder / ANSWERS
        with writing(folder):
            known = _read(path)
            file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
        with file:
            yield Record(known, Appender(file, folder), retry_unreadable=retry_unreadable)


def key_of(prompt: Prompt, model: str, settings: Mapping[str, str]) -> str:
    """Return a name for one question to one model: it changes with settings, words, options and pictures."""
    turns = [
        [turn.role, *(part if isinstance(part, str) else [digest(part.path), part.reference] for part in turn.parts)]
        for turn in prompt.turns
    ]
    content = [FORMAT, model, dict(settings), turns, prompt.question, list(prompt.options.items()), prompt.task]
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


@lru_cache(4096)
def _content(path: Path, changed_ns: int, size: int) -> str:
    with path.open("rb") as file:
        hashed = blake2b(digest_size=16)
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def digest(path: Path) -> str:
    """Return a name for a picture's bytes.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        state = path.stat()
        return _content(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror or error}). Check that it is there.") from error


def _read(path: Path) -> dict[str, Said]:
    """Return the answers so far; the half line of a run that was killed is cut off, other damage is asked again."""
    if not path.is_file():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    known: dict[str, Said] = {}
    for line in whole.splitlines():
        row = _row(line)
        if row is not None:
            known[row[0]] = row[1]
    return known


def _row(line: bytes) -> tuple[str, Said] | None:
    try:
        row: dict[str, Any] = json.loads(line)
        said = Said(row["text"], Outcome(row["outcome"]), row["reason"], row["tokens_in"], row["tokens_out"])
        return str(row["key"]), said
    except (ValueError, KeyError, TypeError):
        return None
