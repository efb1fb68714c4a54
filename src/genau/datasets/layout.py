"""What the readers share: telling layouts apart, listing pictures, and choosing among samples."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from genau.datasets.dialects import DIALECTS, SAME_TREE
from genau.datasets.sample import Sample
from genau.errors import DataError, UsageError, suggest
from genau.paths import EXTENSIONS

# Takes one fault in words. Readers pass `refuse` by default, so that the first ends them; `check` collects them all.
Tell = Callable[[str], None]

# Accepted spellings of a label as the name of a folder -> defective?
LABEL_FOLDERS = {
    "good": False,
    "ok": False,
    "normal": False,
    "bad": True,
    "ng": True,
    "nok": True,
    "anomaly": True,
    "anomalous": True,
    "abnormal": True,
    "defect": True,
    "defective": True,
}

MASK_FOLDERS = ("masks", "mask", "ground_truth")

# Categories whose name is not what one would call the part. The same part must have the same words in every set,
# training sets included: that is how evaluation sees that pcb1-4 are not zero-shot.
PRODUCT_WORDS = {
    "candle": "candle",
    "capsules": "capsule",
    "chewinggum": "chewing gum",
    "macaroni1": "macaroni",
    "macaroni2": "macaroni",
    "pcb": "printed circuit board",
    "pcb1": "printed circuit board",
    "pcb2": "printed circuit board",
    "pcb3": "printed circuit board",
    "pcb4": "printed circuit board",
    "audiojack": "audio jack",
    "terminalblock": "terminal block",
    "transistor1": "transistor",
    "vcpill": "vitamin C pill",
    "woodstick": "wood stick",
}


def refuse(message: str) -> NoReturn:
    """Raise `DataError` for a fault of a data set."""
    raise DataError(message)


def words(name: str) -> str:
    """Return a folder's name as words: `metal_nut` is "metal nut"."""
    readable = name.encode(errors="replace").decode()  # a file name may hold bytes that are no letters
    return " ".join(readable.replace("_", " ").replace("-", " ").split())


def product_words(category: str) -> str:
    """Return what to call the part of a category in a prompt."""
    return PRODUCT_WORDS.get(category.lower(), words(category))


def list_images(folder: Path) -> list[Path]:
    """Return the pictures directly in a folder, sorted by name; hidden files are not pictures."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.name[0] != "." and p.is_file())


def list_folders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted by name, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")


def subfolder(folder: Path, *names: str) -> Path | None:
    """Return the folder's child with one of these names, upper or lower case, or None."""
    return next((p for p in list_folders(folder) if p.name.lower() in names), None)


def guess_format(root: Path) -> str | None:
    """Return the key of `FORMATS` whose marks the folder has, or None; nothing but names is looked at."""
    if not root.is_dir():
        return None
    folders = list_folders(root)
    names = [folder.name.lower() for folder in folders]
    categories = [folder for folder in folders if is_mvtec_category(folder)]
    found: str | None
    if (root / "annotations.jsonl").is_file() or (root / "dataset.json").is_file():
        found = "manifest"
    elif "split_csv" in names:
        found = "visa"
    elif any(name.startswith("realiad_") for name in names):
        found = "real-iad"
    elif categories:
        found = _guess_dialect(categories)
    else:
        found = "folder" if any(name in LABEL_FOLDERS for name in names) else None
    return found


def _guess_dialect(categories: list[Path]) -> str:
    for name, dialect in DIALECTS.items():
        if dialect.marks:
            fits = any(_has(category, dialect.marks) for category in categories)
        else:
            fits = bool(dialect.categories) and all(dialect.knows(category.name) for category in categories)
        if fits and not any(_has(category, dialect.lacks) for category in categories):
            return name
    return "mvtec"


def _has(folder: Path, places: Iterable[str]) -> bool:
    """Whether the folder has one of these folders, given by their path in it, upper or lower case."""
    for place in places:
        found: Path | None = folder
        for name in place.split("/"):
            found = subfolder(found, name) if found is not None else None
        if found is not None:
            return True
    return False


def is_mvtec_category(folder: Path) -> bool:
    """Whether the folder holds `train/good/`, or `test/` with folders of pictures."""
    train, test = subfolder(folder, "train"), subfolder(folder, "test", "test_public")
    if train is not None and any(LABEL_FOLDERS.get(p.name.lower()) is False for p in list_folders(train)):
        return True
    return test is not None and any(list_images(p) for p in list_folders(test))


def require_layout(root: Path, expected: str, needs: str) -> None:
    """Raise `DataError` unless the folder exists and looks like the expected format, of which `needs` tells."""
    if not root.exists():
        raise DataError(f"The data folder {root} does not exist. Check the path.")
    if not root.is_dir():
        raise DataError(f"{root} is a file; a data set is a folder. Give the folder that contains it.")
    found = guess_format(root)
    if found == expected or (found in SAME_TREE and expected in SAME_TREE and _may_be(root, expected)):
        return
    message = f"{root} does not have the {expected} layout: it needs {needs}."
    if found is not None:
        message += f" It looks like the {found} layout: read it with format {found!r}."
    elif is_mvtec_category(root):
        whole = _guess_dialect([root])
        message += f" It looks like one category of the {whole} layout: give its parent {root.parent}"
        message += f" with format {whole!r}."
    elif inner := next((p for p in list_folders(root) if guess_format(p)), None):
        message += f" {inner} looks like the {guess_format(inner)} layout: is that the folder you mean?"
    else:
        message += " No other layout is recognised either: check the path, or put the pictures into good/ and bad/."
    raise DataError(message)


def _may_be(root: Path, expected: str) -> bool:
    dialect = DIALECTS[expected]
    return not dialect.categories or any(dialect.knows(folder.name) for folder in list_folders(root))


def select(root: Path, samples: Iterable[Sample], categories: Sequence[str] | None, split: str | None) -> list[Sample]:
    """Return the samples of these categories and this split, sorted by category, split and image.

    Raises `DataError` if a category does not exist or nothing is left.
    """
    samples = list(samples)
    if isinstance(categories, str):
        raise UsageError(f"categories={categories!r} is one string; a list is needed. Use [{categories!r}].")
    known = sorted({sample.category for sample in samples})
    for name in categories or ():
        if known and name not in known:
            listed = ", ".join(known)
            raise DataError(f"{root} has no category {name!r}.{suggest(name, known)} It has: {listed}.")
    chosen = [s for s in samples if categories is None or s.category in categories]
    splits = sorted({sample.split for sample in chosen})
    chosen = [s for s in chosen if split is None or s.split == split]
    if not chosen:
        if split is not None and splits:
            close = suggest(split, splits)
            raise DataError(f"{root} has no samples of split {split!r}.{close} It has: {', '.join(splits)}.")
        wanted = "" if categories is None else f" of categories {list(categories)}"
        raise DataError(
            f"{root} has no samples{wanted}. Check that it is the right folder and that the pictures end in one of "
            f"{', '.join(sorted(EXTENSIONS))}."
        )
    return sorted(chosen, key=lambda s: (s.category, s.split, s.image.as_posix()))


def require_files(samples: Iterable[Sample], listed_in: Path, tell: Tell = refuse) -> list[Sample]:
    """Return the samples whose images and masks exist; tell of the others, which an annotation file lists."""
    samples = list(samples)
    listed = [
        (kind, p) for s in samples for kind, p in (("image", s.image), *(("mask", m) for m in s.masks)) if p is not None
    ]
    missing = [(kind, path) for kind, path in listed if not path.is_file()]
    if not missing:
        return samples
    kind, path = missing[0]
    tell(
        f"The {kind} {path} does not exist, but {listed_in} lists it ({len(missing)} of {len(listed)} files are "
        "missing). Copy the missing files to their place, or remove their rows."
    )
    lost = {path for _, path in missing}
    return [sample for sample in samples if lost.isdisjoint((sample.image, *sample.masks))]


def read_text(path: Path) -> str:
    """Return a UTF-8 text without its byte order mark; raises `DataError` for another encoding."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error


def masks_by_stem(folder: Path, tell: Tell = refuse) -> dict[str, Path]:
    """Return the masks below a folder by their path in it, lower case, without suffix and without `_mask`.

    Tells of two masks that claim the same picture.
    """
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.name[0] != "."):
        key = path.relative_to(folder).with_suffix("").as_posix().lower().removesuffix("_mask")
        if key in found:
            tell(f"{found[key]} and {path} are masks of the same image. Keep one of them.")
        found.setdefault(key, path)
    return found
