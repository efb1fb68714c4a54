"""Where recipes lie, how they are named, and how one takes the place of another whole."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genau.calibration import THRESHOLDS_FILE
from genau.errors import RecipeError, UsageError, suggest

RECIPE, MEMORY, ROI = "recipe.yaml", "references.safetensors", "roi.png"
DEFAULT_FOLDER = "recipes"  # below the working directory, unless GENAU_RECIPES names another
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


def recipes_folder() -> Path:
    """Return where recipes lie: GENAU_RECIPES, or `recipes` below the working directory."""
    return Path(os.environ.get("GENAU_RECIPES") or DEFAULT_FOLDER)


def names(folder: Path | None = None) -> list[str]:
    """Return the names of all recipes of a folder, in order."""
    where = folder or recipes_folder()
    if not where.is_dir():
        return []
    return sorted(path.name for path in where.iterdir() if not path.name.startswith(".") and (path / RECIPE).is_file())


def check_name(name: str) -> str:
    """Return a name that can be a folder's on every system.

    Raises:
        UsageError: it cannot.
    """
    if not NAME.fullmatch(name) or name != name.strip(" ."):
        raise UsageError(
            f"{name!r} cannot be the name of a recipe. Use 1 to 80 letters, digits, spaces and . _ - without a path; "
            "it begins with a letter or digit. Another folder is chosen with GENAU_RECIPES."
        )
    return name


def check_free(folder: Path) -> Path:
    """Return the folder of a recipe that is to be made.

    Raises:
        UsageError: no recipe can be called so, or there is one already.
    """
    check_name(folder.name)
    if folder.exists():
        raise UsageError(
            f"There is a recipe {str(folder)!r} already. Use `genau recipe rebuild {folder.name}` to make it anew, "
            f"`genau recipe remove {folder.name}` to remove it, or another name."
        )
    return folder


def find(name: str | Path) -> Path:
    """Return the folder of a recipe, by its name or by the path of its folder.

    Raises:
        UsageError: there is none; the message names those that are there.
    """
    places = [recipes_folder() / name, Path(name)]
    for place in places:
        if (place / RECIPE).is_file():
            return place
    for place in places:
        if (kept := place.parent / f".{place.name}.old").is_dir():
            raise UsageError(
                f"The recipe {place.name!r} was being written when its process was killed. What it was before lies in "
                f"{str(kept)!r}: rename that to {place.name!r}."
            )
    empty = next((place for place in places if place.is_dir()), None)
    if empty is not None:
        raise UsageError(f"The folder {str(empty)!r} holds no {RECIPE}. Make one with `genau recipe create`.")
    there = names()
    known = f"There are {', '.join(there)}." if there else f"There are none in {str(recipes_folder())!r}."
    raise UsageError(
        f"There is no recipe {str(name)!r}. {known}{suggest(str(name), there)} Make one with "
        "`genau recipe create NAME --reference GOOD_PARTS`."
    )


def remove(name: str | Path) -> Path:
    """Delete a recipe's folder and return where it was.

    Raises:
        UsageError: there is none, or it holds files that no recipe has.
    """
    folder = find(name)
    own = {RECIPE, MEMORY, ROI, THRESHOLDS_FILE}
    others = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if others:
        raise UsageError(
            f"{str(folder)!r} also holds {', '.join(others[:5])}, which no recipe has. Move that away, then remove it."
        )
    shutil.rmtree(folder)
    return folder


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `folder` when all went well."""
    scratch = folder.parent / f".{folder.name}.writing"  # the folder itself is the lock: making it is atomic
    old = folder.parent / f".{folder.name}.old"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
    except OSError as error:
        if not scratch.is_dir():
            reason = error.strerror or error
            raise RecipeError(f"{str(folder.parent)!r} cannot be written ({reason}). Check its rights.") from error
        raise UsageError(
            f"Another process is writing the recipe {folder.name!r}. Wait for it; if it was killed, remove "
            f"{str(scratch)!r} and try again."
        ) from error
    try:
        if old.exists() and not folder.exists():  # a process was killed between the two moves below
            old.rename(folder)
        yield scratch
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if not folder.exists() and old.exists():
            old.rename(folder)
        raise RecipeError(
            f"The recipe {str(folder)!r} cannot be written ({error.strerror or error}). Check rights and space of the "
            "disk; what was there before is untouched."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
