"""Reader of MMAD: `mmad.json`, multiple-choice questions about pictures of four public sets.

`mmad.json` maps a picture's path, `SET/PRODUCT/…`, to an object with `conversation`, a list of `Question`, `Options`
(letter -> text), `Answer` (a letter) and `type`; `mask_path`; and good parts in `similar_templates` and
`random_templates`. Each question becomes a conversation of its own, answered by the letter as MMAD asks for it.
Source: Jiang et al. 2025, "MMAD: A Comprehensive Benchmark for Multimodal Large Language Models in Industrial Anomaly
Detection". It is a benchmark: what is trained on it cannot be compared on it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from genau.datasets.layout import Tell, product_words, read_text, refuse
from genau.errors import DataError, suggest
from genau.instruct.conversation import Conversation, Turn
from genau.instruct.pictures import PictureFolder
from genau.prompts import IMAGE_TOKEN

FILE = "mmad.json"
INSTRUCTION = "Answer with the letter of the right option."
_GOOD_PARTS = "The first {count} show good parts; the question is about the last one."
_DETECTION = "Anomaly Detection"
_KEYS = ("Question", "Options", "Answer")


def is_mmad(path: Path) -> bool:
    """Whether the path is MMAD's file, or the folder that holds it."""
    return path.name == FILE or (path / FILE).is_file()


def read(
    path: Path,
    images: Path | None = None,
    *,
    templates: int = 0,
    tell: Tell = refuse,
    missing: Tell | None = None,
) -> Iterator[Conversation]:
    """Yield one conversation per question; `templates` good parts of the most similar are shown before the picture.

    Without `images` the pictures lie beside `mmad.json`. `tell` and `missing` are as in `instruct.read`.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file} does not exist. Give the folder of MMAD, which holds {FILE}, or that file.")
    try:
        rows = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: not valid JSON ({error.msg} at line {error.lineno}). Copy it again.") from error
    if not isinstance(rows, dict):
        raise DataError(f"{file} holds a {type(rows).__name__}; it must map pictures to questions. Check the path.")
    folder = PictureFolder(images or file.parent, missing or tell)
    for picture, row in rows.items():
        try:
            yield from _conversations(file, picture, row, folder, templates)
        except DataError as error:
            tell(str(error))


def _conversations(
    file: Path, picture: str, row: object, folder: PictureFolder, templates: int
) -> Iterator[Conversation]:
    if not isinstance(row, dict) or not isinstance(row.get("conversation"), list):
        raise DataError(f"{file}: {picture} needs an object with the list 'conversation'. Copy the file again.")
    source = f"{file}, {picture}"
    shown = [str(name) for name in (row.get("similar_templates") or [])[:templates]]
    found = folder.find([*shown, picture], picture, source)
    if found is None:
        return
    asked = [_checked(question, f"{source}, question {n}") for n, question in enumerate(row["conversation"], start=1)]
    defective = next((_yes(one) for one in asked if one.get("type") == _DETECTION), None)
    masks: tuple[Path, ...] = ()
    if defective and row.get("mask_path"):
        masks = folder.find([_mask(folder.root, picture, row["mask_path"])], picture, source, "mask") or ()
    parts = PurePosixPath(picture).parts
    for number, question in enumerate(asked, start=1):
        options = "\n".join(f"{letter}. {text}" for letter, text in question["Options"].items())
        told = f"{_GOOD_PARTS.format(count=len(shown))}\n" if shown else ""
        text = f"{IMAGE_TOKEN}\n" * len(found) + f"{told}{question['Question']}\n{options}\n{INSTRUCTION}"
        yield Conversation(
            id=f"{picture}#{number}",
            images=found,
            turns=(Turn("user", text), Turn("assistant", question["Answer"])),
            source=source,
            product=product_words(parts[1]) if len(parts) > 2 else None,
            kind=str(question.get("type", "unknown")),
            defective=defective,
            masks=masks,
        )


def _checked(question: object, where: str) -> Mapping[str, Any]:
    if not isinstance(question, dict):
        raise DataError(f"{where} is no object but {question!r}. Copy the file again.")
    for key in _KEYS:
        if key not in question:
            raise DataError(f"{where} lacks {key!r}.{suggest(key, question)} Needed are {', '.join(_KEYS)}.")
    options, answer = question["Options"], question["Answer"]
    if not isinstance(options, dict) or answer not in options:
        known = ", ".join(options) if isinstance(options, dict) else options
        raise DataError(f"{where}: the answer {answer!r} is none of its options ({known}). Correct one of them.")
    return question


def _yes(question: Mapping[str, Any]) -> bool | None:
    said = str(question["Options"][question["Answer"]]).strip().lower()
    return True if said.startswith("yes") else False if said.startswith("no") else None


def _mask(root: Path, picture: str, mask: str) -> str:
    """Return a mask's name below the folder of pictures.

    It is named below `SET/PRODUCT`; MMAD's own table of metadata puts a third folder of the picture's path in front.
    """
    parts = PurePosixPath(picture).parts
    names = [PurePosixPath(*parts[:depth], mask).as_posix() for depth in (2, 3, 0)]
    return next((name for name in names if (root / name).is_file()), names[0])
