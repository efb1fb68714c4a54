"""Reader and writer of the LLaVA layout, in which Anomaly-Instruct-125k and most instruction data come.

A record has `conversations`, a list of `{"from": "human" | "gpt", "value": …}`, and `image` (or `images`): a path or a
list of paths below the folder of pictures, one `<image>` in the text for each. `id` is optional. We write, and read
where they are there, `product`, `kind`, `defective`, `types`, `asked`, `mask` and `mask_types`; see `Conversation`.
Source: Liu et al. 2023, "Visual Instruction Tuning"; Xu et al. 2025, "Towards Zero-Shot Anomaly Detection and Reasoning
with Multimodal Large Language Models".
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from genau.datasets.layout import Tell, refuse
from genau.errors import DataError, suggest
from genau.instruct import records, tar_shards
from genau.instruct.conversation import Conversation, Role, Turn
from genau.instruct.pictures import PictureFolder
from genau.instruct.records import Record

SUFFIXES = (".jsonl", ".json", ".tar")
CARD_SUFFIX = ".datacard.json"
ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_SPEAKERS: dict[Role, str] = {"user": "human", "assistant": "gpt"}
T = TypeVar("T", str, bool)


def read(
    path: Path, images: Path | None = None, *, tell: Tell = refuse, missing: Tell | None = None
) -> Iterator[Conversation]:
    """Yield the conversations of a file, or of the shards in a folder in the order of their names.

    JSON, JSONL and tar shards are read in memory that does not grow with them. Without `images` the pictures lie
    where the data card beside the file says, or else beside the file. `tell` and `missing` are as in `instruct.read`.
    """
    for shard in records.shards(path, SUFFIXES):
        folder = PictureFolder(images or picture_folder(shard), missing or tell)
        numbered = enumerate(places(shard), start=1)
        while True:
            try:
                number, (start, length) = next(numbered)
                conversation = load(shard, start, length, number, folder)
            except StopIteration:
                break
            except DataError as error:
                tell(str(error))
                continue
            if conversation is not None:
                yield conversation


def places(shard: Path) -> Iterator[tuple[int, int]]:
    """Yield where the records of a shard lie: first byte, number of bytes."""
    return tar_shards.places(shard) if shard.suffix == ".tar" else records.places(shard)


def load(shard: Path, start: int, length: int, number: int, folder: PictureFolder) -> Conversation | None:
    """Return the conversation at a place; None, once told, if a picture of it is not there.

    Raises `DataError` for a record that is none.
    """
    source = f"{shard}, record {number}"
    if shard.suffix == ".tar":
        row, pictures, masks = tar_shards.load(shard, start, length, source)
        return Conversation(images=pictures, masks=masks, **_fields(row, source))
    row = records.load(shard, start, length, source)
    fields = _fields(row, source)
    named = _names(row, "images" if "images" in row else "image", source)
    found = folder.find(named, fields["id"], source)
    drawn = folder.find(_names(row, "mask", source), fields["id"], source, "mask")
    if found is None or drawn is None:
        return None
    return Conversation(images=found, masks=drawn, **fields)


def picture_folder(shard: Path) -> Path:
    """Return the folder below which a shard names its pictures: what its data card says, or its own folder."""
    card = card_of(shard)
    if not card.is_file():
        return shard.parent
    try:
        named = json.loads(card.read_text("utf-8")).get("images", ".")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise DataError(f"{card} is no JSON object ({error}). Restore it, or remove it and give --images.") from error
    return shard.parent / str(named)


def card_of(shard: Path) -> Path:
    """Return where the data card of a shard lies: `train.jsonl` has `train.datacard.json`."""
    return shard.with_name(shard.stem + CARD_SUFFIX)


def row_of(conversation: Conversation, images: Path) -> Record:
    """Return a conversation as a record; pictures and masks are named below the folder `images`.

    Raises `DataError` for pictures that lie elsewhere or in a tar.
    """

    def name(picture: object) -> str:
        if not isinstance(picture, Path) or not picture.is_relative_to(images):
            where = picture if isinstance(picture, Path) else "inside a tar"
            raise DataError(f"A picture of {conversation.id!r} lies {where}, not below {images}. Name a parent folder.")
        return picture.relative_to(images).as_posix()

    names = [name(picture) for picture in conversation.images]
    masks = [name(mask) for mask in conversation.masks]
    row: Record = {"id": conversation.id}
    if names:
        row["image"] = names[0] if len(names) == 1 else names
    row["conversations"] = [{"from": _SPEAKERS[turn.role], "value": turn.text} for turn in conversation.turns]
    row |= {"product": conversation.product, "kind": conversation.kind, "defective": conversation.defective}
    row |= {"types": list(conversation.types), "asked": conversation.asked}
    row["mask"] = masks[0] if len(masks) == 1 else masks or None
    if masks and conversation.mask_types is not None:
        row["mask_types"] = {str(value): name for value, name in conversation.mask_types.items()}
    return {key: value for key, value in row.items() if value is not None}


def _fields(row: Record, source: str) -> dict[str, Any]:
    """Return the checked fields of a conversation but its pictures and masks."""
    id = row.get("id", source)
    if not isinstance(id, str | int):
        raise DataError(f"{source}: id is {id!r}; it must be a text or a number. Correct it.")
    types = row.get("types") or []
    if not isinstance(types, list) or not all(isinstance(name, str) for name in types):
        raise DataError(f"{source}: types is {types!r}; it must be a list of names. Correct it.")
    numbered = row.get("mask_types")
    if numbered is not None:
        if not isinstance(numbered, dict) or not all(key.isdecimal() for key in numbered):
            raise DataError(f"{source}: mask_types is {numbered!r}; it must map pixel values to types. Correct it.")
        numbered = {int(value): str(name) for value, name in numbered.items()}
    return {
        "id": str(id),
        "turns": _turns(row, source),
        "source": source,
        "product": _optional(row, "product", str, source),
        "kind": _optional(row, "kind", str, source),
        "defective": _optional(row, "defective", bool, source),
        "types": tuple(types),
        "asked": _optional(row, "asked", str, source),
        "mask_types": numbered,
    }


def _turns(row: Record, source: str) -> tuple[Turn, ...]:
    """Return the turns of `conversations`, or of `messages` with role and content."""
    key, speaker, said = ("conversations", "from", "value")
    if key not in row and "messages" in row:
        key, speaker, said = ("messages", "role", "content")
    listed = row.get(key)
    if not isinstance(listed, list):
        raise DataError(
            f"{source}: the key 'conversations' is {'missing' if key not in row else 'no list'}."
            f"{suggest('conversations', row)} It must be a list of {{'from': 'human' | 'gpt', 'value': text}}."
        )
    turns = []
    for number, turn in enumerate(listed, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get(said), str):
            raise DataError(f"{source}: turn {number} is {turn!r}; it needs {speaker!r} and the text {said!r}.")
        role = ROLES.get(str(turn.get(speaker)))
        if role is None:
            known = ", ".join(ROLES)
            raise DataError(
                f"{source}: turn {number} is from {turn.get(speaker)!r}; known are {known}. Put instructions of a "
                "system into the first question."
            )
        turns.append(Turn(role, turn[said]))
    return tuple(turns)


def _optional(row: Record, key: str, kind: type[T], source: str) -> T | None:
    value = row.get(key)
    if value is not None and not isinstance(value, kind):
        raise DataError(f"{source}: {key} is {value!r}; it must be {'true or false' if kind is bool else 'a text'}.")
    return value


def _names(row: Record, key: str, source: str) -> list[str]:
    value = row.get(key)
    names = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{source}: {key} is {value!r}; it must be a path or a list of paths. Correct it.")
    return names
