"""The pictures that a list of files and folders names, each with the relative path that its outputs mirror."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from genau.errors import UsageError

# fmt: off
EXTENSIONS = frozenset({
    ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp",
})
# fmt: on


def find_pictures(paths: Iterable[str | Path], base: Path | None = None) -> list[tuple[Path, PurePosixPath]]:
    """Return the pictures of files and folders, each once, with a relative path that no other of them has.

    Files are kept as named, whatever their extension, and even if they are missing: they fail later, each as a row of
    its own. Folders are searched recursively for `EXTENSIONS` in any case, in natural order (2 before 10), without
    hidden files and folders. The relative path is the one below `base`, or else below the folder, or else the name;
    equal ones (upper and lower case count as equal) get parent folders in front, and if that is not enough a number.
    It keeps the extension. Raises UsageError for a folder without pictures, a folder that may not be read, a pattern
    that was not expanded, and for no path at all.
    """
    named = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not named:
        raise UsageError("No picture was named. Name at least one picture file or folder.")
    below = None if base is None else base.resolve()
    found: dict[Path, tuple[Path, PurePosixPath]] = {}  # by where it lies, so that nothing is inspected twice
    for path in named:
        _refuse_pattern(path)
        is_folder = _is_folder(path)
        for picture in _pictures_in(path) if is_folder else [path]:
            place = picture.parent.resolve() / picture.name
            relative = picture.relative_to(path) if is_folder else Path(picture.name)
            if below is not None and place.is_relative_to(below):
                relative = place.relative_to(below)
            found.setdefault(place, (picture, PurePosixPath(relative.as_posix())))
    names = _distinct(list(found), [relative for _, relative in found.values()])
    return [(picture, name) for (picture, _), name in zip(found.values(), names, strict=True)]


def natural_key(path: Path) -> list[list[tuple[int, int, str]]]:
    """Return the sort key under which `part 2.png` comes before `part 10.png`."""
    return [
        [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in re.split(r"(\d+)", part)]
        for part in path.parts
    ]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # its parent may not be read, or the name is too long: reading it will say so
        return False


def _refuse_pattern(path: Path) -> None:
    magic = next((index for index, part in enumerate(path.parts) if re.search(r"[*?\[]", part)), None)
    if magic is not None and not os.path.lexists(path):
        folder = Path(*path.parts[:magic])
        raise UsageError(
            f"{str(path)!r} is a pattern that was not expanded: it matches nothing, or it was quoted. "
            f"Name the folder instead ({str(folder)!r}), or let the shell expand it."
        )


def _pictures_in(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(
            f"The folder {error.filename!r} cannot be listed ({error.strerror}), so pictures could be missed. "
            "Give this user the right to read it, or name other folders."
        ) from error

    pictures: list[Path] = []
    others: Counter[str] = Counter()
    walked: set[Path] = set()  # links between folders are followed, but not in circles
    for here, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        walked.add(Path(here).resolve())
        folders[:] = [
            name for name in folders if not name.startswith(".") and (Path(here) / name).resolve() not in walked
        ]
        for name in files:
            if name.startswith("."):
                others["hidden"] += 1
            elif Path(name).suffix.lower() in EXTENSIONS:
                pictures.append(Path(here) / name)
            else:
                others[Path(name).suffix.lower() or "extensionless"] += 1
    if not pictures:
        there = ", ".join(f"{n} {kind} file{'s' if n > 1 else ''}" for kind, n in others.most_common(5))
        raise UsageError(
            f"The folder {str(folder)!r} holds no pictures; found there: {there or 'nothing'}. Searched, with all "
            f"folders below, for {' '.join(sorted(EXTENSIONS))}. Name another folder, or name the files one by one."
        )
    return sorted(pictures, key=lambda path: (natural_key(path), path.as_posix()))


def _distinct(places: list[Path], names: list[PurePosixPath]) -> list[PurePosixPath]:
    """Return the names with as many of their place's parent folders in front as it takes to tell them apart."""
    parts = [place.parts[1:] for place in places]  # without the root: an output never leaves its folder
    depths = [len(name.parts) for name in names]
    while True:
        count = Counter(str(name).casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if count[str(name).casefold()] > 1 and depths[i] < len(parts[i])]
        if not clashing:
            break
        for i in clashing:
            depths[i] += 1
            names[i] = PurePosixPath(*parts[i][-depths[i] :])
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 2
        while str(names[i]).casefold() in taken:
            names[i] = name.with_name(f"{name.stem}-{number}{name.suffix}")
            number += 1
        taken.add(str(names[i]).casefold())
    return names
