"""Memories of good parts on disk: one safetensors file, no pickle."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genau.errors import RecipeError
from genau.model.context import REMEMBERED_FIELDS, ContextMemory, ReferenceGrids, Remembered
from genau.views import ViewMemories

MEMORY_VERSION = 1  # raise it when patches are made or compared otherwise, so that old memories are not used
Memories = ContextMemory | ViewMemories


def save_memories(memory: Memories, path: Path) -> None:
    """Write a memory of whole pictures, or of whole pictures and their tiles."""
    parts = {"whole": memory.whole, "tiles": memory.tiles} if isinstance(memory, ViewMemories) else {"whole": memory}
    tensors = {
        f"{part}.{number}.{name}": getattr(remembered, name)
        for part, one in parts.items()
        for number, remembered in enumerate(one.scales)
        for name in REMEMBERED_FIELDS
    }
    for part, one in parts.items():
        for number, (features, valid) in enumerate(
            zip(one.grids.features, one.grids.valid, strict=True) if one.grids else ()
        ):
            tensors |= {f"grids.{part}.{number}.features": features, f"grids.{part}.{number}.valid": valid}
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    facts = {
        "oddness": {part: one.oddness for part, one in parts.items()},
        "pictures": {part: one.pictures for part, one in parts.items()},
        "tile": memory.tile if isinstance(memory, ViewMemories) else None,
    }
    save_file(tensors, path, {"genau": json.dumps(facts)})


def load_memories(path: Path, device: str = "cpu") -> Memories:
    """Read a memory onto a device.

    Raises:
        RecipeError: the file is damaged.
    """
    try:
        with safe_open(path, "pt", device=device) as stream:
            facts = json.loads(stream.metadata()["genau"])
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a dict
        parts = {
            part: ContextMemory(
                tuple(
                    Remembered(*(tensors[f"{part}.{number}.{name}"] for name in REMEMBERED_FIELDS))
                    for number in sorted({int(key.split(".")[1]) for key in tensors if key.startswith(part)})
                ),
                count,
                tuple(facts["oddness"][part]),
                _grids(tensors, part),
            )
            for part, count in facts["pictures"].items()
        }
        return ViewMemories(parts["whole"], parts["tiles"], facts["tile"]) if "tiles" in parts else parts["whole"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"{path} is damaged ({error}). Make it anew with `genau recipe rebuild`.") from error


def _grids(tensors: Mapping[str, Tensor], part: str) -> ReferenceGrids | None:
    numbers = sorted({int(key.split(".")[2]) for key in tensors if key.startswith(f"grids.{part}.")})
    found = [tuple(tensors[f"grids.{part}.{number}.{name}"] for number in numbers) for name in ("features", "valid")]
    return ReferenceGrids(found[0], found[1]) if numbers else None
