"""Which pictures are test data: nothing may be set on them that is measured on them later."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

TEST_NAMES = frozenset({"test", "test_public", "test_private", "test_private_mixed"})  # of folders, in lower case


def held_back(pictures: Iterable[Path]) -> dict[Path, str]:
    """Return the pictures that are test data, each with the reason in words.

    A picture is test data if a folder above it is named `test`, or if the annotations of a data set above it (manifest
    or VisA layout) mark it so. Annotations that cannot be read are no reason.
    """
    marked: dict[Path, dict[Path, str]] = {}
    found = {}
    for picture in pictures:
        place = picture.expanduser().resolve()
        for folder in place.parents:
            if folder.name.lower() in TEST_NAMES:
                found[picture] = f"lies in the folder {folder}"
                break
            if folder not in marked:
                marked[folder] = _marked_in(folder)
            if place in marked[folder]:
                found[picture] = f"is marked as test data in {marked[folder][place]}"
                break
    return found


def _marked_in(folder: Path) -> dict[Path, str]:
    """Return the pictures that annotations in this very folder mark as test, and the file that does."""
    try:
        found = {}
        rows = folder / "annotations.jsonl"
        if rows.is_file():
            for line in rows.read_text("utf-8-sig").splitlines():
                row = json.loads(line) if line.strip() else {}
                if str(row.get("split", "")).lower() in TEST_NAMES:
                    found[(folder / row["image"]).resolve()] = str(rows)
        for table in sorted(folder.glob("split_csv/1cls.csv")):
            with table.open(encoding="utf-8-sig", newline="") as stream:
                for row in csv.DictReader(stream):
                    if str(row.get("split", "")).lower() in TEST_NAMES:
                        found[(folder / row["image"]).resolve()] = str(table)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return {}
    return found
