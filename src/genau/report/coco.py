"""Results as COCO instances: one JSON object that annotation tools, training code and pycocotools read.

A run of any length is written from JSON lines, one per picture, so that no mask stays in memory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from genau.report.files import Place, replacing
from genau.report.instances import class_names, instances, types_of
from genau.results import UNKNOWN_TYPE, Inspection
from genau.rle import encode

COCO, _PARTS = "coco.json", "coco.parts.jsonl"
_INFO = {"description": "Inspections of GenAU. Masks are model output, not ground truth."}

Part = dict[str, Any]  # what one picture adds: an `image` with its `annotations`, or an `unreadable` row


def to_coco(results: Iterable[Inspection]) -> dict[str, Any]:
    """Return results as one object in COCO's instances format; a picture's id is its position, from 1.

    `segmentation` is compressed run lengths, exact and in the frame of the original (pixels); `bbox` is left, top,
    width, height. Categories are the types, then "unknown"; without types there is the one category "defect".
    Pictures that could not be inspected stand under `unreadable` only. Raises `UsageError` as `instances` does.
    """
    parts = [part_of(result, number) for number, result in enumerate(results, start=1)]
    types = list(dict.fromkeys(name for part in parts for name in part["types"]))
    document: dict[str, Any] = json.loads("".join(_document(lambda: parts, types)))
    return document


def part_of(result: Inspection, number: int) -> Part:
    """Return what one picture adds to a COCO object; category names are not numbers yet."""
    if result.error is not None:
        row = {"id": number, "file_name": result.image, "error": result.error}
        return {"types": [], "unreadable": row, "annotations": []}
    size_hw = (result.height, result.width)
    annotations = []
    for instance in instances(result):
        y, x = instance.box_yx
        annotations.append(
            {
                "image_id": number,
                "category": instance.defect.type,
                "segmentation": encode(instance.inside, at_yx=(y.start, x.start), size_hw=size_hw),
                "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start],
                "area": instance.area_px,
                "iscrowd": 0,
                "score": float(instance.defect.score),
            }
        )
    image = {"id": number, "file_name": result.image, "width": result.width, "height": result.height}
    return {"types": types_of(result), "image": image, "annotations": annotations}


class CocoFile:
    """Writes `coco.json` of a run; until `close` the pictures lie in a file of lines beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._types: dict[str, None] = {}  # an ordered set
        self._lines: TextIO = (folder / _PARTS).open("w", encoding="utf-8", newline="\n")

    def add(self, result: Inspection, place: Place | None) -> None:
        """Write the line of one picture. Raises `OSError`."""
        self._count += 1
        part = part_of(result, self._count)
        self._types |= dict.fromkeys(part["types"])
        self._lines.write(json.dumps(part, allow_nan=False) + "\n")
        self._lines.flush()

    def close(self, jsonl: Path, places: Sequence[Place | None]) -> None:
        """Write `coco.json` and delete the lines. Raises `OSError`."""
        self._lines.close()
        with (
            replacing(self._folder / COCO) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as stream,
        ):
            stream.writelines(_document(self._parts, list(self._types)))
        (self._folder / _PARTS).unlink()

    def _parts(self) -> Iterator[Part]:
        with (self._folder / _PARTS).open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):
                    return  # the disk was full before this line was whole
                yield json.loads(line)


def _document(parts: Callable[[], Iterable[Part]], types: list[str]) -> Iterator[str]:
    """Yield the pieces of the JSON object; the parts are read once per list in it."""
    names = class_names(types)
    ids = {name: number for number, name in enumerate(names, start=1)}
    categories = [{"id": number, "name": name, "supercategory": "defect"} for name, number in ids.items()]
    yield f'{{"info": {json.dumps(_INFO)},\n"licenses": [],\n"categories": {json.dumps(categories)},\n"images": '
    yield from _list(part["image"] for part in parts() if "image" in part)
    yield ',\n"annotations": '
    yield from _list(_annotations(parts(), ids | {UNKNOWN_TYPE: len(names)}))
    yield ',\n"unreadable": '
    yield from _list(part["unreadable"] for part in parts() if "unreadable" in part)
    yield "}\n"


def _annotations(parts: Iterable[Part], ids: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for part in parts:
        for annotation in part["annotations"]:
            number += 1
            rest = {key: value for key, value in annotation.items() if key != "category"}
            yield {"id": number, **rest, "category_id": ids[annotation["category"]]}


def _list(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield ("\n" if number == 0 else ",\n") + json.dumps(row, allow_nan=False)
    yield "]"
