"""What an evaluation has done so far, on disk, so that a killed one goes on where it stopped.

A run folder holds `plan.json`, and for each unit `units/<key>.jsonl`, one row per picture, and `units/<key>.npz`, the
counts of all pixels up to a certain row. Rows after that were written by a run that was killed: they are dropped and
made again, at most `SAVE_EVERY_S` of work.
"""

import json
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.errors import DataError, UsageError

SAVE_EVERY_S = 20.0
PLAN, LOCK, UNITS, FAILURES = "plan.json", "evaluation.lock", "units", "failures"
OUTPUTS = (
    "metrics.json",
    "per_category.csv",
    "per_type.csv",
    "images.jsonl",
    "curves.json",
    "failures.json",
    "report.html",
)


@contextmanager
def opened(folder: Path, plan: Mapping[str, object], *, resume: bool, overwrite: bool) -> Iterator["Journal"]:
    """Take hold of a run folder; no other evaluation gets in until it is left.

    Raises:
        UsageError: the folder is in use, holds a run and neither `resume` nor `overwrite` is set, holds another plan
        than the one to resume, or cannot be written.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite replaces it. Use one of them.")
    fresh = not (resume or overwrite)
    if fresh and not (folder / LOCK).is_file():  # a folder that is refused is not touched
        _refuse_used(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    with lock:
        take_lock(lock.fileno(), folder)
        if fresh:
            _refuse_used(folder)
        with writing(folder):
            going_on = resume and (folder / PLAN).is_file()
            if going_on:
                _refuse_another_plan(folder / PLAN, plan)
            elif resume and _used(folder):
                raise UsageError(
                    f"{folder} lacks {PLAN}, so its run cannot be resumed. Use --overwrite, or another -o."
                )
            else:
                _clear(folder)
                (folder / UNITS).mkdir(exist_ok=True)
                write_json(folder / PLAN, plan)
        yield Journal(folder)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a refusal of the disk into a `UsageError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written ({error.strerror or error}). Free space there, or choose another folder with "
            "-o; what was measured is kept, and --resume goes on from there."
        ) from error


class Journal:
    """The rows and counts of all units of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return how many rows of a unit are settled, and the counts up to there; (0, {}) if none are.

        Rows that are not covered by counts, a half-written last one among them, are cut off.
        """
        counts: dict[str, NDArray[Any]] = {}
        path = self._path(key, ".npz")
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as file:
                    counts = {name: file[name] for name in file.files}
            except (
                ValueError,
                OSError,
                EOFError,
                KeyError,
                zipfile.BadZipFile,
                zlib.error,
            ):  # a damaged file: the unit is done again
                counts = {}
        settled = int(counts.pop("rows", np.array(0)))
        rows = self._path(key, ".jsonl")
        lines = rows.read_bytes().splitlines(keepends=True) if rows.is_file() else []
        if len(lines) < settled or any(not _is_row(line) for line in lines[:settled]):
            settled, counts = 0, {}
        if rows.is_file() and len(lines) != settled:
            _write(rows, b"".join(lines[:settled]))
        return settled, counts

    @contextmanager
    def appending(self, key: str) -> Iterator["Appender"]:
        """Open a unit for more rows, after `load`."""
        with writing(self.folder):
            file = self._path(key, ".jsonl").open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
        with file:
            yield Appender(file, self.folder)

    def save(self, key: str, rows: int, counts: Mapping[str, NDArray[Any]]) -> None:
        """Settle a unit's rows up to here."""
        path = self._path(key, ".npz")
        temporary = path.with_suffix(".tmp")
        with writing(self.folder):
            with temporary.open("wb") as file:
                np.savez_compressed(file, rows=np.array(rows), **counts)  # type: ignore[arg-type]
            temporary.replace(path)

    def rows(self, key: str) -> Iterator[dict[str, Any]]:
        """Yield a unit's rows."""
        path = self._path(key, ".jsonl")
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}, is damaged. Run again with --resume.") from error

    def join(self, keys: Iterable[str]) -> None:
        """Write the rows of all units, in order, into `images.jsonl`."""
        temporary = self.folder / "images.jsonl.tmp"
        with temporary.open("wb") as whole:
            for key in keys:
                whole.write(self._path(key, ".jsonl").read_bytes())
        temporary.replace(self.folder / "images.jsonl")

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / UNITS / f"{key}{suffix}"


class Appender:
    """Writes rows that are on disk when `add` returns."""

    def __init__(self, file: Any, folder: Path) -> None:  # noqa: ANN401 - a text file
        self._file, self._folder = file, folder

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        with writing(self._folder):
            self._file.write(line)
            self._file.flush()


def write_json(path: Path, content: object) -> None:
    """Write the whole file or nothing; a number that is not finite is a bug."""
    _write(
        path,
        (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace"),
    )


def write_text(path: Path, content: str) -> None:
    """Write the whole file or nothing."""
    _write(path, content.encode(errors="backslashreplace"))


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _is_row(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n")


def _refuse_another_plan(path: Path, plan: Mapping[str, object]) -> None:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is damaged. Start that run anew with --overwrite.") from error
    wanted = json.loads(json.dumps(plan))
    known = earlier if isinstance(earlier, dict) else {}
    differing = [name for name in wanted if known.get(name) != wanted[name]]
    if differing:
        raise UsageError(
            f"{path.parent} holds a run with other settings or data ({', '.join(differing)} differ). Repeat that "
            "run's command to resume it, or choose another folder with -o."
        )


def _used(folder: Path) -> list[str]:
    """Return what a folder holds that an evaluation writes, or somebody else wrote under its names."""
    used = [name for name in (PLAN, *OUTPUTS) if (folder / name).exists()]
    inner = [folder / name for name in (UNITS, FAILURES)]
    return used + [f"{path.name}/" for path in inner if path.is_dir() and next(path.iterdir(), None)]


def _refuse_used(folder: Path) -> None:
    if used := _used(folder):
        raise UsageError(
            f"{folder} already holds {', '.join(used)}. Go on with that run by --resume, replace it by --overwrite, or "
            "choose another folder with -o."
        )


def _clear(folder: Path) -> None:
    """Remove an earlier run's files, and nothing else."""
    mine = [*(folder / name for name in (PLAN, *OUTPUTS)), *(folder / FAILURES).glob("[0-9][0-9][0-9].jpg")]
    mine += [path for path in (folder / UNITS).glob("*--seed-*") if path.suffix in {".jsonl", ".npz", ".tmp"}]
    for path in mine:
        path.unlink(missing_ok=True)


def take_lock(handle: int, folder: Path) -> None:
    """Take a lock that the system itself releases when the process ends, however it ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(
            f"Another evaluation is writing into {folder}. Wait for it, or choose another folder with -o."
        ) from error
