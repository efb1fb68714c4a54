"""What a model says of itself: its parts, sizes, thresholds, and the questions that it can answer.

Read from the checkpoint's small files and the weights' headers, so that no base weights are needed.
"""

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from genau import bases, checkpoints, weights
from genau.calibration import THRESHOLDS_FILE, Thresholds
from genau.errors import CheckpointError
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel


def describe(name: str | Path) -> dict[str, Any]:
    """Return, as plain JSON types, what `genau info` prints of a shipped model or a folder.

    Raises:
        UsageError: no such model. CheckpointError: its files cannot be read.
    """
    folder = checkpoints.resolve(name)
    try:
        checkpoints.refuse_a_base(folder)
        config = GenAUConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}/config.json cannot be read ({error}). Save or copy it again.") from error
    adapter = (folder / checkpoints.OWN_FILE).is_file()
    thresholds_file = folder / THRESHOLDS_FILE
    thresholds = Thresholds.load(thresholds_file) if thresholds_file.is_file() else Thresholds()
    return {
        "name": str(name),
        "folder": str(folder),
        "form": "adapter" if adapter else "merged",
        "backbone": config.backbone,
        "base": _base(config, adapter=adapter),
        "parameters": _count(folder, config),
        "image_size": config.image_size,
        "thresholds": asdict(thresholds),
        "text_weight": config.text_weight,
        "trained_types": list(config.trained_types),
        "trained_products": list(config.trained_products),
        "trained_data": list(config.trained_data),
        "questions": list(config.questions),
        "answers": answers(config),
    }


def _base(config: GenAUConfig, *, adapter: bool) -> dict[str, Any]:
    """Say what base the weights are for; that a large one is the right one is checked when it is loaded."""
    if config.backbone == "nano":
        return {
            "fingerprint": config.base_fingerprint,
            "fits_this_version": not adapter or config.base_fingerprint == weights.fingerprint(),
            "cached": not adapter or (weights.base_folder() / "base.json").is_file(),
        }
    cached = not adapter or (config.base is not None and bases.cached(config.base) is not None)
    return {"name": config.base, "fingerprint": config.base_fingerprint, "fits_this_version": True, "cached": cached}


def answers(config: GenAUConfig) -> dict[str, dict[str, Any]]:
    """Return for each question whether the model was trained to answer it, and why or why not."""
    trained = bool(config.trained_types or config.trained_products)
    untrained = "not trained: the map is the plain distance to the context"
    share = f"map read-out and, with weight {config.text_weight:g}, the decoder's own word"
    said = {
        "score": (True, share if trained else untrained),
        "map": (True, "trained on exact masks" if trained else untrained),
        "types": (
            bool(config.trained_types),
            f"trained on {len(config.trained_types)} types; others are asked by their words alone"
            if config.trained_types
            else "no type was trained: every type gets about the general score",
        ),
        "analysis": (
            config.writes_analysis,
            "trained to describe defects in keyed lines" if config.writes_analysis else "not trained to write: null",
        ),
        "questions": (
            trained and bool(config.questions),
            f"{', '.join(config.questions) or 'none'}{'' if config.speaks else '; no free text'}",
        ),
        "free": (
            config.speaks,
            "trained on conversations: any other question is answered in words, which decide nothing"
            if config.speaks
            else "not trained on conversations: any other question is refused",
        ),
    }
    return {question: {"can": can, "why": why} for question, (can, why) in said.items()}


def _count(folder: Path, config: GenAUConfig) -> dict[str, int]:
    """Count parameters on the meta device; `ours` includes LoRA where it is a part of its own."""
    with torch.device("meta"):
        model = GenAUModel(config)
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    own = sum(size for key, size in sizes.items() if not checkpoints.is_base(model, key))
    file = folder / checkpoints.ADAPTER_FOLDER / checkpoints.ADAPTER_FILE
    lora = _numbers_in(file) if file.is_file() else 0
    return {"total": sum(sizes.values()) + lora, "ours": own + lora}


def _numbers_in(file: Path) -> int:
    try:
        with safe_open(file, "pt") as tensors:
            return sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged ({error}). Copy it again.") from error
