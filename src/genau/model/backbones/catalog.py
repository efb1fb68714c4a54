"""The supported checkpoints: sizes, licence and family of each, kept in the package, so that no network is needed.

`configurations/` holds one JSON per checkpoint with the fields of its `config.json` that decide shapes. They are for
estimates and tests: weights are always loaded with the `config.json` that lies beside them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedConfig

from genau.errors import CheckpointError, UsageError, suggest
from genau.model.backbones.families import MODEL_TYPES

CONFIGURATIONS = Path(__file__).parent / "configurations"
ADAPTER_PAGE = "docs/backbones.md"


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint that GenAU supports."""

    name: str  # owner/name on the hub
    family: str
    licence: str
    licence_note: str  # what a user must know of it; empty for a plain one
    parameters: int  # tied embeddings count once
    verified: str  # how the sizes were checked
    config: dict[str, Any]


@cache
def known_checkpoints() -> dict[str, KnownCheckpoint]:
    """Return the supported checkpoints by name, small families first."""
    found = {}
    for file in sorted(CONFIGURATIONS.glob("*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        licence = told["licence"]
        found[told["checkpoint"]] = KnownCheckpoint(
            name=told["checkpoint"],
            family=told["family"],
            licence=licence["name"],
            licence_note=licence.get("note", ""),
            parameters=told["parameters"],
            verified=told["verified"],
            config=told["config"],
        )
    return dict(sorted(found.items(), key=lambda item: (item[1].family, item[1].parameters)))


def known(name: str) -> KnownCheckpoint:
    """Return a supported checkpoint by its name, with or without its owner, in any case of letters.

    Raises:
        UsageError: not a supported one; the message lists those and suggests the closest.
    """
    checkpoints = known_checkpoints()
    for full, checkpoint in checkpoints.items():
        if name.lower() in {full.lower(), full.split("/")[1].lower()}:
            return checkpoint
    short = {full.split("/")[1]: full for full in checkpoints}
    close = suggest(name, checkpoints) or suggest(name.rpartition("/")[2], short)
    raise UsageError(f"{name!r} is not a supported checkpoint.{close} Supported are: {', '.join(checkpoints)}.")


def is_known(name: str) -> bool:
    """Return whether this is the name of a supported checkpoint, with or without its owner, in any case of letters."""
    return any(name.lower() in {full.lower(), full.split("/")[1].lower()} for full in known_checkpoints())


def build_config(fields: dict[str, Any], where: str) -> PreTrainedConfig:
    """Return the transformers configuration of a checkpoint of ours from the fields of its `config.json`.

    Raises:
        CheckpointError: its `model_type` belongs to no family of ours, or the fields make no configuration.
    """
    family_of(fields.get("model_type"), where)
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{where}: config.json cannot be read ({reason}). Copy it again.") from error
    return config


def family_of(model_type: str | None, where: str) -> str:
    """Return the family that reads a `model_type`.

    Raises:
        CheckpointError: none does; the message says which there are and what a new one needs.
    """
    if model_type in MODEL_TYPES:
        return MODEL_TYPES[model_type]
    known_types = ", ".join(f"{name} ({family})" for name, family in MODEL_TYPES.items())
    raise CheckpointError(
        f"{where} has model_type {model_type!r}, which no backbone of GenAU reads. Supported are {known_types}."
        f"{suggest(str(model_type), MODEL_TYPES)} A new family is one adapter file: see {ADAPTER_PAGE}, 'A new family'."
    )
