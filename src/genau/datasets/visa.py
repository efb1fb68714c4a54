"""Reader of the VisA layout: `split_csv/1cls.csv` and one `image_anno.csv` per category.

Source: Zou et al. 2022, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation".
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genau.datasets.layout import Tell, product_words, read_text, refuse, require_files, require_layout, select
from genau.datasets.sample import Sample
from genau.errors import DataError, suggest

_SPLIT_FILE = Path("split_csv") / "1cls.csv"
_SPLIT_COLUMNS = ("object", "split", "label", "image", "mask")
_TYPE_COLUMNS = ("image", "label")
_LABELS = {"normal": False, "anomaly": True}

# Here a label lists every type up to the one that is meant: "bubble,discolor,scratch" is a scratch.
_CUMULATIVE = frozenset({"capsules"})


def read(
    root: Path, *, categories: Sequence[str] | None = None, split: str | None = None, tell: Tell = refuse
) -> list[Sample]:
    """Return the samples of the official one-class split.

    Mask values are type numbers smeared by resampling: any that is not 0 is a defect, and the type comes from the
    label. Raises `DataError`, or calls `tell`, also for files that are listed and missing.
    """
    require_layout(root, "visa", f"{_SPLIT_FILE.as_posix()} and one folder per category")
    rows = _read_csv(root / _SPLIT_FILE, _SPLIT_COLUMNS)
    samples = [_sample(root, row) for row in rows if _is_sound(root, row, tell)]
    chosen = require_files(select(root, samples, categories, split), root / _SPLIT_FILE, tell)
    types = {c: _read_types(root, c, tell) for c in sorted({sample.category for sample in chosen if sample.label})}
    return [_typed(root, sample, types[sample.category], tell) if sample.label else sample for sample in chosen]


def _is_sound(root: Path, row: dict[str, str], tell: Tell) -> bool:
    if row["label"] not in _LABELS:
        tell(
            f"{root / _SPLIT_FILE}: the label {row['label']!r} of {row['image']} is neither 'normal' nor 'anomaly'."
            f"{suggest(row['label'], _LABELS)} Correct that row."
        )
        return False
    if row["label"] == "normal" and row["mask"]:
        tell(
            f"{root / _SPLIT_FILE}: {row['image']} is labelled normal but has the mask {row['mask']}. "
            "Correct the label, or empty the mask."
        )
        return False
    return True


def _sample(root: Path, row: dict[str, str]) -> Sample:
    return Sample(
        image=root / row["image"],
        label=_LABELS[row["label"]],
        product=product_words(row["object"]),
        category=row["object"],
        dataset="visa",
        split=row["split"],
        mask=root / row["mask"] if row["mask"] else None,
    )


def _typed(root: Path, sample: Sample, types: dict[str, tuple[str, ...]] | None, tell: Tell) -> Sample:
    key = sample.image.relative_to(root).as_posix()
    if types is not None and key not in types:
        tell(
            f"{root / sample.category / 'image_anno.csv'} has no row for {key}, an anomaly in "
            f"{_SPLIT_FILE.as_posix()}. Use both files of the same release."
        )
    return replace(sample, types=(types or {}).get(key, ()))


def _read_types(root: Path, category: str, tell: Tell) -> dict[str, tuple[str, ...]] | None:
    """Return the types of each image of a category by the image's path as written, or None once told of a fault."""
    path = root / category / "image_anno.csv"
    if not path.is_file():
        tell(f"{path} does not exist; it names the defect types. Copy it from the official archive.")
        return None
    try:
        rows = _read_csv(path, _TYPE_COLUMNS)
    except DataError as error:
        tell(str(error))
        return None
    labels = {row["image"]: [t.strip() for t in row["label"].split(",")] for row in rows}
    if category in _CUMULATIVE:
        return {image: (names[-1],) for image, names in labels.items()}
    return {image: tuple(dict.fromkeys(names)) for image, names in labels.items()}


def _read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file; raises `DataError` if the file or one of the columns is missing."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; the visa layout needs it. Copy it from the official archive.")
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
    try:
        rows = list(reader)
    except csv.Error as error:
        raise DataError(f"{path} is not a table ({error}). Copy it again from the official archive.") from error
    for column in columns:
        if column not in (reader.fieldnames or ()):
            found = ", ".join(reader.fieldnames or ()) or "none"
            raise DataError(f"{path} has no column {column!r}; its columns are: {found}. Restore the first line.")
    return rows
