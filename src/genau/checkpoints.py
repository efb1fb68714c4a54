"""Save and load a model with its processor, in two forms that `load` tells apart.

adapter   `config.json`, `genau.safetensors` (all of ours), `adapter/` (peft's LoRA of the decoder, if trained); the
          base is named by its fingerprint and fetched by `weights` (nano's) or `bases` (large ones)
merged    one standard Hugging Face folder, base included
Both hold the processor's and tokenizer's files, `thresholds.json` and the model card. No pickle anywhere.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoProcessor

from genau import weights
from genau.assembly import Loading, load_on_base, loading_for
from genau.calibration import THRESHOLDS_FILE, Thresholds
from genau.errors import CheckpointError, UsageError, suggest
from genau.model.backbones.catalog import is_known
from genau.model.backbones.nano import NanoBackbone
from genau.model.configuration import GenAUConfig
from genau.model.lora import check_targets
from genau.model.modeling import GenAUModel
from genau.modelcard import CARD_FILE, write_card
from genau.processor import GenAUProcessor

PRETRAINED = Path(__file__).parent / "pretrained"  # our own weights, inside the package
OWN_FILE = "genau.safetensors"
ADAPTER_FOLDER = TRAINED_FOLDER = "adapter"  # LoRA's in a model's folder; the model's in a run's
ADAPTER_FILE = "adapter_model.safetensors"  # peft's name


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
    shipped = sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir()) if PRETRAINED.is_dir() else []
    if str(name) in shipped:
        return PRETRAINED / str(name)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if ((trained := folder / TRAINED_FOLDER) / "config.json").is_file():
        raise UsageError(f"{folder} is a whole run of `genau train`; its model is in {trained}. Give that.")
    if folder.is_dir():
        raise UsageError(f"{folder} holds no config.json. Give a folder that `genau train` wrote.")
    if is_known(str(name)):
        raise UsageError(
            f"{name} is a base, which draws no maps yet: train it (docs/train-large.md), and give the folder that "
            f"`genau train` wrote. What it needs is said by `genau info {name} --estimate`."
        )
    names = ", ".join(shipped) or "this copy has none"
    raise UsageError(
        f"There is no model {str(name)!r}: it is neither a shipped one ({names}) nor a folder that `genau train` "
        f"wrote.{suggest(str(name), shipped)}"
    )


def fingerprint(name: str | Path) -> str:
    """Return what tells one trained model from every other: a digest of its weights and settings, not its thresholds.

    Raises:
        UsageError: no such model.
    """
    folder, digest = resolve(name), hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for relative, path in sorted(files.items()):
        if path.suffix in {".json", ".safetensors"} and path.name != THRESHOLDS_FILE:
            with path.open("rb") as stream:
                digest.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def load(name: str | Path, *, merge: bool = True, loading: Loading | None = None, device: str = "cpu") -> Checkpoint:
    """Load a model by name or folder, ready for inspection.

    Without `loading` in fp32 on the CPU; where `device` is a GPU, a large base goes there at once, in bf16.
    `merge` adds the LoRA weights to the decoder's own, which is faster; without it they stay trainable. A quantised
    decoder keeps them apart, as adding would round them to its bits.

    Raises:
        UsageError: no such model. CheckpointError: files missing or for another base. WeightsError: no base.
    """
    folder = resolve(name)
    register_with_transformers()
    try:
        for file in sorted(folder.glob("*.json")):
            json.loads(file.read_text(encoding="utf-8"))  # the tokenizer's own complaint is no exception to catch
        refuse_a_base(folder)
        config = GenAUConfig.from_pretrained(folder)
        processor = GenAUProcessor.from_pretrained(folder)
        _check_tokens(folder, config, processor)
        own = (folder / OWN_FILE).is_file()
        loading = loading or loading_for(config, device)
        merge = merge and loading.quantize is None
        model = _load_adapter(folder, config, loading, merge=merge) if own else _load_merged(folder, config, loading)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder} is not a complete checkpoint ({reason}). Save or copy it again.") from error
    model.eval()
    thresholds_file = folder / THRESHOLDS_FILE
    thresholds = Thresholds.load(thresholds_file) if thresholds_file.is_file() else Thresholds()
    return Checkpoint(str(name), model, processor, thresholds)


def refuse_a_base(folder: Path) -> None:
    """Raise CheckpointError where a folder holds another model than one of ours."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != GenAUConfig.model_type:
        raise CheckpointError(
            f"{folder} is a {kind!r} model, not one that `genau train` wrote: it has neither our tokens nor a map "
            "head. Give it as the base of a training, or of `genau.assembly.untrained_on`; `genau info "
            f"{folder} --estimate` says what it needs."
        )


def _check_tokens(folder: Path, config: GenAUConfig, processor: GenAUProcessor) -> None:
    """Refuse a tokenizer in which our tokens are missing or have other numbers than the model was trained with."""
    other = [name for name, number in processor.token_ids().items() if getattr(config, name) != number]
    if other:
        raise CheckpointError(
            f"The tokenizer of {folder} does not hold our tokens as the model knows them ({', '.join(other)}). Copy "
            "the tokenizer's files from where `genau train` wrote them; the base's own do not fit."
        )


def _on_nano(config: GenAUConfig, loading: Loading, folder: Path) -> GenAUModel:
    if loading != Loading():
        raise UsageError(f"{folder} has nano's base, which is always loaded in fp32 on the CPU. Leave `loading` out.")
    if config.base_fingerprint != weights.fingerprint():
        raise CheckpointError(
            f"{folder} was trained on base {config.base_fingerprint}, but this version of genau has base "
            f"{weights.fingerprint()}. Install the version of genau that the model card names."
        )
    return GenAUModel(config, NanoBackbone.from_base(weights.ensure_base()))


def _load_adapter(folder: Path, config: GenAUConfig, loading: Loading, *, merge: bool) -> GenAUModel:
    from peft import PeftConfig, PeftModel

    nano = config.backbone == "nano"
    model = _on_nano(config, loading, folder) if nano else load_on_base(config, loading, str(folder))
    own = {key: value.float() for key, value in load_file(folder / OWN_FILE).items()}
    expected = {key: value.shape for key, value in model.state_dict().items()}
    _refuse_misfits(
        folder / OWN_FILE,
        missing=[key for key in expected if key not in own and not is_base(model, key)],
        unexpected=[key for key in own if key not in expected],
        resized=[key for key in own if key in expected and own[key].shape != expected[key]],
    )
    model.load_state_dict(own, strict=False)
    with safe_open(folder / OWN_FILE, "pt") as file:
        has_lora = (file.metadata() or {}).get("lora") == "yes"
    if has_lora and not (folder / ADAPTER_FOLDER / ADAPTER_FILE).is_file():
        raise CheckpointError(f"{folder} lacks {ADAPTER_FOLDER}/{ADAPTER_FILE}, its decoder's LoRA. Copy all of it.")
    if (folder / ADAPTER_FOLDER).is_dir():
        wanted: Any = PeftConfig.from_pretrained(str(folder / ADAPTER_FOLDER), local_files_only=True)
        check_targets(wanted.target_modules, model.backbone.decoder, f"{folder / ADAPTER_FOLDER}")
        decoder: Any = PeftModel.from_pretrained(
            model.backbone.decoder, folder / ADAPTER_FOLDER, is_trainable=not merge, local_files_only=True
        )
        model.backbone.decoder = decoder.merge_and_unload() if merge else decoder
    return model


def _load_merged(folder: Path, config: GenAUConfig, loading: Loading) -> GenAUModel:
    if loading.quantize:
        raise UsageError(f"{folder} is merged: its map head lies among the weights. Quantise the adapter form instead.")
    options: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32, "use_safetensors": True}
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # reported below, in our words
    if config.backbone != "nano":
        options |= {"dtype": loading.torch_dtype, "device_map": loading.device_map}  # ours stays in fp32: GenAUModel
    elif loading != Loading():
        raise UsageError(f"{folder} is nano, which is always loaded in fp32 on the CPU. Leave `loading` out.")
    loaded: Any = GenAUModel.from_pretrained(folder, **options)
    model: GenAUModel = loaded[0]
    found: dict[str, Any] = loaded[1]
    _refuse_misfits(
        folder,
        missing=sorted(found["missing_keys"]),
        unexpected=sorted(found["unexpected_keys"]),
        resized=sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"]),
    )
    return model


def _refuse_misfits(where: Path, *, missing: list[str], unexpected: list[str], resized: list[str]) -> None:
    """Raise CheckpointError where weights and configuration are not of one model; never fill in random ones."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another size": resized}
    said = [
        f"{len(keys)} tensor{'s' if len(keys) > 1 else ''} {kind} ({', '.join(keys[:3])})"
        for kind, keys in kinds.items()
        if keys
    ]
    if said:
        raise CheckpointError(
            f"{where} does not fit its config.json: {'; '.join(said)}. Both must come from the same `genau train` run."
        )


def register_with_transformers() -> None:
    """Make transformers' Auto classes know `model_type` genau; done again it does nothing."""
    AutoConfig.register(GenAUConfig.model_type, GenAUConfig, exist_ok=True)
    AutoModel.register(GenAUConfig, GenAUModel, exist_ok=True)
    AutoProcessor.register(GenAUConfig, GenAUProcessor, exist_ok=True)


def is_base(model: GenAUModel, key: str) -> bool:
    """Return whether a tensor of this name is the base's, which adapters name but do not hold."""
    own = tuple(f"backbone.{part}" for part in model.backbone.own_parts)
    return key.startswith("backbone.") and not key.startswith(own)


def own_state(model: GenAUModel) -> dict[str, Tensor]:
    """Return the tensors that are ours: all but the base's."""
    return {key: value for key, value in model.state_dict().items() if not is_base(model, key)}


def save_adapter(
    folder: str | Path,
    model: GenAUModel,
    processor: GenAUProcessor,
    thresholds: Thresholds | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the adapter form; LoRA is written if the decoder carries it. Lengths and dtypes are kept.

    `state` holds the model's trained tensors by name where its own are divided among processes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    decoder = model.backbone.decoder
    has_lora = hasattr(decoder, "peft_config")
    ours = own_state(model) if state is None else {key: state[key] for key in state if not is_base(model, key)}
    own = {key: value.contiguous() for key, value in ours.items()}
    save_file(own, folder / OWN_FILE, metadata={"format": "pt", "lora": "yes" if has_lora else "no"})
    if has_lora:
        prefix = "backbone.decoder."
        lora = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)} if state else None
        decoder.save_pretrained(folder / ADAPTER_FOLDER, save_embedding_layers=False, state_dict=lora)
        (folder / ADAPTER_FOLDER / CARD_FILE).unlink(missing_ok=True)  # peft's empty card; ours is one level up
    _save_rest(folder, model, processor, thresholds)
    write_card(folder, model.config, thresholds or Thresholds(), adapter=True, lora=has_lora)


def save_merged(
    folder: str | Path, model: GenAUModel, processor: GenAUProcessor, thresholds: Thresholds | None = None
) -> None:
    """Write the merged form. A decoder with LoRA must be merged first: `load(folder, merge=True)` does it.

    Raises:
        CheckpointError: the decoder still carries LoRA layers.
    """
    if hasattr(model.backbone.decoder, "peft_config"):
        raise CheckpointError("The decoder carries LoRA layers. Save the adapter form, load it, and save that merged.")
    if getattr(model.backbone.decoder, "is_quantized", False):
        raise CheckpointError(
            "The decoder is quantised: its weights are not the base's any more. Load the adapter form with "
            "quantize=None, and save that merged."
        )
    model.save_pretrained(folder)
    _save_rest(Path(folder), model, processor, thresholds)
    write_card(Path(folder), model.config, thresholds or Thresholds(), adapter=False, lora=False)


def _save_rest(folder: Path, model: GenAUModel, processor: GenAUProcessor, thresholds: Thresholds | None) -> None:
    register_with_transformers()
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    (thresholds or Thresholds()).save(folder / THRESHOLDS_FILE)


def untrained(processor: GenAUProcessor, seed: int = 0, **settings: Any) -> GenAUModel:  # noqa: ANN401 - of GenAUConfig
    """Return nano on its pretrained base with nothing of ours trained: exactly the context-distance baseline."""
    backbone = NanoBackbone.from_base(weights.ensure_base())
    backbone.initialise_projector(torch.Generator().manual_seed(seed))
    sizes = {"decoder": {k: v for k, v in backbone.decoder.config.to_dict().items() if not k.startswith("_")}}
    fixed: dict[str, Any] = {"backbone_config": sizes, "base_fingerprint": weights.fingerprint()}
    torch.manual_seed(seed)
    return GenAUModel(GenAUConfig(**fixed, **processor.token_ids(), **settings), backbone)  # type: ignore[arg-type]
