"""Reader of the Real-IAD layout: `realiad_jsons/<category>.json` lists the pictures below `realiad_1024/<category>`.

Source: Wang et al. 2024, "Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly
Detection". Five cameras see each part; the pictures of a part lie in one folder.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genau.datasets.layout import (
    Tell,
    list_folders,
    product_words,
    read_text,
    refuse,
    require_files,
    require_layout,
    select,
    subfolder,
)
from genau.datasets.sample import Sample
from genau.errors import DataError, suggest

DEFECT_CODES = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing parts",
    "YW": "foreign objects",
    "ZW": "contamination",
}
_NORMAL = "OK"
_LISTS = "realiad_jsons"  # the multi-view lists, also one folder deeper; `realiad_jsons_sv` holds those of one view
_RESOLUTION = re.compile(r"realiad_(\d+|raw)$", re.IGNORECASE)
_BEST_RESOLUTION = 1024  # what papers use; the originals ("raw") are several times larger
_PART = re.compile(r"S\d+$", re.IGNORECASE)
_SPLITS = ("train", "test")
_ROW_KEYS = ("anomaly_class", "image_path", "mask_path")


def read(
    root: Path, *, categories: Sequence[str] | None = None, split: str | None = None, tell: Tell = refuse
) -> list[Sample]:
    """Return the samples of the multi-view split; a picture of a bad part whose view shows no defect is normal.

    Pictures come from `realiad_1024/` if it is there, else from the finest resolution. Raises `DataError`, or calls
    `tell`, also for files that are listed and missing.
    """
    require_layout(root, "real-iad", "realiad_jsons/<category>.json and a folder of pictures such as realiad_1024")
    lists = _list_files(root)
    known = [path.stem for path in lists]
    if categories is not None and not isinstance(categories, str) and set(categories) <= set(known):
        lists = [path for path in lists if path.stem in categories]  # a list is 10 MB of JSON: read what is asked for
    folder = _picture_folder(root)
    samples = []
    listed_in = lists[0].parent
    for path in lists:
        samples += _read_list(path, folder, tell)
    return require_files(select(root, samples, categories, split), listed_in, tell)


def _list_files(root: Path) -> list[Path]:
    """Return the JSON file of each category, sorted."""
    outer = subfolder(root, _LISTS) or next((p for p in list_folders(root) if p.name.lower().startswith(_LISTS)), None)
    inner = None if outer is None else subfolder(outer, _LISTS)
    files = sorted((inner or outer or root).glob("*.json"))
    if not files:
        raise DataError(
            f"{root} has pictures but no lists: {inner or outer or root / _LISTS} holds no <category>.json. "
            f"Unpack {_LISTS}.zip of the official release there."
        )
    return files


def _picture_folder(root: Path) -> Path:
    """Return the folder of the resolution to read, or the root where the categories lie there."""

    def rank(folder: Path) -> int:
        size = folder.name.lower().removeprefix("realiad_")
        return 0 if not size.isdecimal() else 2 * _BEST_RESOLUTION if int(size) == _BEST_RESOLUTION else int(size)

    return max((p for p in list_folders(root) if _RESOLUTION.match(p.name)), key=rank, default=root)


def _read_list(path: Path, folder: Path, tell: Tell) -> list[Sample]:
    try:
        content = json.loads(read_text(path))
        meta, lists = content["meta"], {split: content[split] for split in _SPLITS}
        normal, prefix = meta.get("normal_class", _NORMAL), str(meta.get("prefix", ""))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        tell(f"{path} is not a list of Real-IAD ({error}): it needs the keys meta, train and test. Unpack it again.")
        return []
    below = folder / prefix if prefix and (folder / prefix).is_dir() else folder / path.stem
    samples = []
    for split, rows in lists.items():
        for number, row in enumerate(rows, start=1):
            fault = _fault(row, normal)
            if fault is None:
                samples.append(_sample(path.stem, split, row, below, normal))
            else:
                tell(f"{path}, row {number} of {split}: {fault}")
    return samples


def _fault(row: Any, normal: str) -> str | None:  # noqa: ANN401 - whatever the list holds
    """Say what is wrong with a row, if anything is."""
    for key in _ROW_KEYS:
        if not isinstance(row, dict) or key not in row:
            return f"the key {key!r} is missing. Needed are {', '.join(_ROW_KEYS)}."
    if not isinstance(row["image_path"], str) or not isinstance(row["mask_path"], str | None):
        return f"image_path {row['image_path']!r} must be a text, mask_path {row['mask_path']!r} a text or null."
    code = row["anomaly_class"]
    if code != normal and code not in DEFECT_CODES:
        known = ", ".join([normal, *DEFECT_CODES])
        return f"the class {code!r} is unknown.{suggest(str(code), DEFECT_CODES)} Known are {known}."
    if code == normal and row["mask_path"]:
        return f"{row['image_path']} is {normal} but has the mask {row['mask_path']}. Correct the class or the mask."
    return None


def _sample(category: str, split: str, row: dict[str, Any], below: Path, normal: str) -> Sample:
    image = below / row["image_path"]
    part = image.parent
    code = row["anomaly_class"]
    return Sample(
        image=image,
        label=code != normal,
        product=product_words(category),
        category=category,
        dataset="real-iad",
        split=split,
        types=() if code == normal else (DEFECT_CODES[code],),
        mask=below / row["mask_path"] if row["mask_path"] else None,
        group=f"{category}/{part.relative_to(below).as_posix()}" if _PART.match(part.name) else None,
    )
