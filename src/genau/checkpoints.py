"""Save and load a model with its processor, in two forms that `load` tells apart.

adapter   `config.json`, `genau.safetensors` (all of ours), `adapter/` (peft's LoRA of the decoder, if trained); the
          base is named by its fingerprint and fetched by `weights`
merged    one standard Hugging Face folder, base included
Both hold the processor's and tokenizer's files, `thresholds.json` and the model card. No pickle anywhere.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from genau import weights
from genau.calibration import THRESHOLDS_FILE, Thresholds
from genau.errors import CheckpointError, UsageError, suggest
from genau.model.backbones.nano import NanoBackbone
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor

PRETRAINED = Path(__file__).parent / "pretrained"  # our own weights, inside the package
OWN_FILE = "genau.safetensors"
ADAPTER_FOLDER = "adapter"
BASE_PREFIXES = ("backbone.encoder.", "backbone.decoder.")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that an inspection needs."""

    name: str
    model: GenAUModel
    processor: GenAUProcessor
    thresholds: Thresholds


def resolve(name: str | Path) -> Path:
    """Return the folder of a model: a shipped name or a folder with `config.json`.

    Raises:
        UsageError: neither; the message suggests what may be meant.
    """
    shipped = sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())
    if str(name) in shipped:
        return PRETRAINED / str(name)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise UsageError(f"{folder} holds no config.json. Give a folder that `genau train` wrote.")
    raise UsageError(
        f"There is no model {str(name)!r}: it is neither a shipped one ({', '.join(shipped)}) nor a folder."
        f"{suggest(str(name), shipped)}"
    )


def load(name: str | Path, *, merge: bool = True) -> Checkpoint:
    """Load a model by name or folder, on the CPU, in fp32, ready for inspection.

    `merge` adds the LoRA weights to the decoder's own, which is faster; without it they stay trainable.

    Raises:
        UsageError: no such model. CheckpointError: files missing or for another base. WeightsError: no base.
    """
    folder = resolve(name)
    try:
        config = GenAUConfig.from_pretrained(folder)
        processor = GenAUProcessor.from_pretrained(folder)
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a complete checkpoint ({error}). Save or copy it again.") from error
    if (folder / OWN_FILE).is_file():
        model = _load_adapter(folder, config, merge=merge)
    else:
        model = GenAUModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.eval()
    thresholds_file = folder / THRESHOLDS_FILE
    thresholds = Thresholds.load(thresholds_file) if thresholds_file.is_file() else Thresholds()
    return Checkpoint(str(name), model, processor, thresholds)


def _load_adapter(folder: Path, config: GenAUConfig, *, merge: bool) -> GenAUModel:
    from peft import PeftModel

    if config.base_fingerprint != weights.fingerprint():
        raise CheckpointError(
            f"{folder} was trained on base {config.base_fingerprint}, but this version of genau has base "
            f"{weights.fingerprint()}. Install the version of genau that the model card names."
        )
    model = GenAUModel(config, NanoBackbone.from_base(weights.ensure_base()))
    own = {key: value.float() for key, value in load_file(folder / OWN_FILE).items()}
    missing, unexpected = model.load_state_dict(own, strict=False)
    missing = [key for key in missing if not key.startswith(BASE_PREFIXES)]
    if missing or unexpected:
        raise CheckpointError(
            f"{folder / OWN_FILE} does not fit its config.json: missing {missing[:3]}, unexpected {unexpected[:3]}. "
            "Both must come from the same `genau train` run."
        )
    if (folder / ADAPTER_FOLDER).is_dir():
        decoder: Any = PeftModel.from_pretrained(
            model.backbone.decoder, folder / ADAPTER_FOLDER, is_trainable=not merge, local_files_only=True
        )
        model.backbone.decoder = decoder.merge_and_unload() if merge else decoder
    return model


def own_state(model: GenAUModel, *, encoder: bool = False) -> dict[str, Tensor]:
    """Return the tensors that are ours: all but the base's; the encoder too where it was fine-tuned."""
    base = BASE_PREFIXES[1:] if encoder else BASE_PREFIXES
    return {key: value for key, value in model.state_dict().items() if not key.startswith(base)}


def save_adapter(
    folder: str | Path, model: GenAUModel, processor: GenAUProcessor, thresholds: Thresholds | None = None
) -> None:
    """Write the adapter form; LoRA is written if the decoder carries it. Lengths and dtypes are kept."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in own_state(model).items()}, folder / OWN_FILE)
    decoder = model.backbone.decoder
    if hasattr(decoder, "peft_config"):
        decoder.save_pretrained(folder / ADAPTER_FOLDER, save_embedding_layers=False)
        (folder / ADAPTER_FOLDER / "README.md").unlink(missing_ok=True)  # peft's empty card; ours is one level up
    _save_rest(folder, model, processor, thresholds)


def save_merged(
    folder: str | Path, model: GenAUModel, processor: GenAUProcessor, thresholds: Thresholds | None = None
) -> None:
    """Write the merged form. A decoder with LoRA must be merged first: `load(folder, merge=True)` does it.

    Raises:
        CheckpointError: the decoder still carries LoRA layers.
    """
    if hasattr(model.backbone.decoder, "peft_config"):
        raise CheckpointError("The decoder carries LoRA layers. Save the adapter form, load it, and save that merged.")
    model.save_pretrained(folder)
    _save_rest(Path(folder), model, processor, thresholds)


def _save_rest(folder: Path, model: GenAUModel, processor: GenAUProcessor, thresholds: Thresholds | None) -> None:
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    (thresholds or Thresholds()).save(folder / THRESHOLDS_FILE)


def untrained(processor: GenAUProcessor, **settings: Any) -> GenAUModel:  # noqa: ANN401 - fields of GenAUConfig
    """Return nano on its pretrained base with nothing of ours trained: exactly the context-distance baseline."""
    backbone = NanoBackbone.from_base(weights.ensure_base())
    backbone.initialise_projector(torch.Generator().manual_seed(0))
    sizes = {"decoder": backbone.decoder.config.to_dict()}
    fixed: dict[str, Any] = {"backbone_config": sizes, "base_fingerprint": weights.fingerprint()}
    torch.manual_seed(0)
    return GenAUModel(GenAUConfig(**fixed, **processor.token_ids(), **settings), backbone)  # type: ignore[arg-type]
