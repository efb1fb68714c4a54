"""Where the files of a run go, and how they are written so that no reader ever sees half of one."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath, PureWindowsPath

from genau.errors import UsageError

_LONGEST_PART = 120  # bytes; most file systems end at 255, and masks add a type and a suffix to the name


@dataclass(frozen=True)
class Place:
    """Where one image's files lie: paths relative to the run's folder, with forward slashes."""

    mask: str
    overlay: str
    type_masks: tuple[str, ...] = ()  # in the order of the types


class Places:
    """Hands out file names that stay inside the run's folder and are never given twice.

    `sub/a.jpg` becomes `masks/sub/a.jpg.png`, `masks/sub/a.jpg.<type>.png` and `overlays/sub/a.jpg.jpg`: the suffix is
    kept, so that `a.jpg` and `a.png` stay apart. Names that would be equal, also where a file system ignores case,
    get `~2`, `~3`, … before their suffix.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()  # case-folded
        self._folders: set[str] = set()

    def take(self, relative: PurePosixPath, type_names: Iterable[str], *, overlay_suffix: str = ".jpg") -> Place:
        """Return free names for the image at `relative`, a path from `safe_relative`."""
        parts = _distinct(file_safe(name) for name in type_names)
        for number in count(1):
            name = self._below_folders(relative if number == 1 else _numbered(relative, number))
            types = tuple(f"masks/{name}.{part}.png" for part in parts)
            place = Place(f"masks/{name}.png", f"overlays/{name}{overlay_suffix}", types)
            files = {path.casefold() for path in (place.mask, place.overlay, *types)}
            if files.isdisjoint(self._files | self._folders):
                self._files |= files
                self._folders |= {str(parent) for file in files for parent in PurePosixPath(file).parents}
                return place
        raise AssertionError("count() has no end")

    def _below_folders(self, name: PurePosixPath) -> PurePosixPath:
        """Number the top folder until nothing above `name` is a file, such as `a.jpg.png/b.jpg` after `a.jpg`."""
        candidate, number = name, 1
        while any(f"{top}/{up}".casefold() in self._files for top in ("masks", "overlays") for up in candidate.parents):
            number += 1
            candidate = PurePosixPath(f"{name.parts[0]}~{number}", *name.parts[1:])
        return candidate


def safe_relative(image: str, relative: PurePosixPath | None) -> PurePosixPath:
    """Return the path that an image's files mirror: each part file-safe, never absolute, never with `..`.

    Without `relative` it follows from `image`, the path or name that was given: kept if it points downwards from the
    working folder, else only its last part. Raises `UsageError` for a `relative` that leaves the folder.
    """
    path = PurePosixPath(image) if relative is None else relative
    leaves = path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(path).drive)
    if leaves and relative is not None:
        raise UsageError(
            f"relative={str(relative)!r} leaves the output folder. "
            "Give the image's path below the inspected folder, for example 'line1/part.png'."
        )
    parts = [part for part in path.parts if part != "."]
    if leaves:
        parts = [PureWindowsPath(image).name]
    return PurePosixPath(*[file_safe(part) for part in parts or ["image"]])


def file_safe(name: str) -> str:
    """Return `name` as one part of a path that every file system takes; long names end in a digest of the whole."""
    safe = re.sub(r'[\x00-\x1f\x7f\ud800-\udfff<>:"/\\|?*]', "_", name).strip(" ")
    safe = re.sub(r"\.+$", "_", safe) or "_"
    if len(safe.encode()) <= _LONGEST_PART:
        return safe
    suffix = PurePosixPath(safe).suffix if len(PurePosixPath(safe).suffix) <= 8 else ""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    room = _LONGEST_PART - len(digest) - len(suffix.encode()) - 1
    return f"{safe.encode()[:room].decode(errors='ignore')}~{digest}{suffix}"


def _numbered(path: PurePosixPath, number: int) -> PurePosixPath:
    return path.with_name(f"{path.stem}~{number}{path.suffix}")


def _distinct(names: Iterable[str]) -> list[str]:
    """Number the names that are equal to an earlier one, case ignored."""
    taken: dict[str, str] = {}
    for name in names:
        number, candidate = 1, name
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}~{number}"
        taken[candidate.casefold()] = candidate
    return list(taken.values())


def write_bytes(path: Path, content: bytes) -> None:
    """Write the whole file or nothing; folders are made. Raises `OSError`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it takes the place of `path` if the body succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".genau-{os.getpid()}.tmp"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of the body into a `UsageError` that says what to do."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        raise UsageError(
            f"Cannot write to the output folder {str(folder)!r}: {what} ({error.filename or folder}). It must be a "
            "folder that you may write to, on a disk with room. Free some space or choose another folder with -o."
        ) from error
