"""Puts a model together on the weights of a large base: how they are loaded, and what is never loaded in fewer bits.

nano is put together in `checkpoints`; it needs none of this.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoTokenizer

from genau import bases, shards
from genau.errors import CheckpointError, UsageError, WeightsError, suggest
from genau.layouts import layout_of
from genau.model.backbones.catalog import build_config, family_of
from genau.model.backbones.families import family
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor, LetterboxImageProcessor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BITS = ("8bit", "4bit")
DECODER = re.compile(r"^(model\.(language_model|text_model)|backbone\.decoder)\.(?!.*\b(embed_tokens|lm_head)\b)")


@dataclass(frozen=True)
class Loading:
    """How the weights of a large base are loaded; what is ours is always in fp32."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on a GPU, else float32
    device_map: str | dict[str, Any] | None = None  # as transformers takes it; None: all on the CPU
    quantize: Literal["8bit", "4bit"] | None = None  # the decoder's linear layers, by bitsandbytes
    base: str | None = None  # a folder or name to take the base from, where it is not where the checkpoint says

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        if self.dtype not in (known := ("auto", *DTYPES)):
            raise UsageError(f"dtype {self.dtype!r} is not one of {', '.join(known)}.{suggest(self.dtype, known)}")
        if self.quantize is not None and self.quantize not in BITS:
            hint = suggest(str(self.quantize), BITS)
            raise UsageError(f"quantize {self.quantize!r} is not one of {', '.join(BITS)}, or None.{hint}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights that are not quantised."""
        if self.dtype == "auto":
            on_gpu = torch.cuda.is_available() and (self.device_map is not None or self.quantize is not None)
            return torch.bfloat16 if on_gpu else torch.float32
        return DTYPES[self.dtype]

    def options(self, linear_names: Iterable[str]) -> dict[str, Any]:
        """Return what transformers' `from_pretrained` takes, for a base with these linear layers.

        Raises:
            UsageError: quantisation without bitsandbytes or a GPU.
        """
        found: dict[str, Any] = {"dtype": self.torch_dtype, "use_safetensors": True, "local_files_only": True}
        device_map = self.device_map or ("auto" if self.quantize else None)
        if device_map is not None:
            found["device_map"] = device_map
        if self.quantize:
            found["quantization_config"] = self._bits(kept_whole(linear_names))
        return found

    def _bits(self, kept: list[str]) -> Any:  # noqa: ANN401 - BitsAndBytesConfig
        if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
            lacking = "bitsandbytes is not installed" if find_spec("bitsandbytes") is None else "there is no CUDA GPU"
            raise UsageError(
                f"quantize={self.quantize!r} needs bitsandbytes and a GPU, but {lacking}. `pip install bitsandbytes` "
                "on a machine with a GPU, or leave quantize out."
            )
        from transformers import BitsAndBytesConfig

        if self.quantize == "8bit":
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=self.torch_dtype,
            llm_int8_skip_modules=kept,
        )


def loading_for(config: GenAUConfig, device: str) -> Loading:
    """Return how a model is loaded where nobody says: a large base straight to its GPU, all else to the CPU."""
    if config.backbone == "nano" or torch.device(device).type == "cpu":
        return Loading()
    return Loading(device_map=device)


def is_quantised(name: str) -> bool:
    """Return whether a linear layer of this name is loaded in 8 or 4 bits: the decoder's only.

    Never the map head, the query tokens, the projector, the vision tower or the output layer: a map drawn with a head
    in 4 bits is black, and verdicts are read from a few logits.
    """
    return DECODER.match(name) is not None


def kept_whole(linear_names: Iterable[str]) -> list[str]:
    """Return those of the linear layers that are not quantised, by their full names."""
    return [name for name in linear_names if not is_quantised(name)]


def load_on_base(config: GenAUConfig, loading: Loading, where: str) -> GenAUModel:
    """Return a model on the weights of the large base that its configuration names; what is ours has random weights.

    Raises:
        CheckpointError: it names no base, or the base is another one. WeightsError: the base is not whole.
    """
    base = loading.base or config.base
    if base is None:
        raise CheckpointError(f"{where} has backbone {config.backbone!r} but names no base. Say which one it is.")
    folder = bases.ensure(base)
    found = shards.fingerprint(folder)
    if found != config.base_fingerprint:
        raise CheckpointError(
            f"{where} was trained on {config.base} (fingerprint {config.base_fingerprint}), but {folder} has "
            f"{found}: another model, or another revision. {_right_one(config.base)}"
        )
    return _assemble(config, folder, loading)


def _right_one(base: str | None) -> str:
    """Return how to get the base that a model was trained on."""
    if base is None or bases.is_path(base) or bases.folder_of(base):
        return (
            f"Put the files that it was trained on there again, or their folder, of the same name, into another one "
            f"that {bases.FOLDERS_VARIABLE} names; from the hub they come with `hf download OWNER/NAME --local-dir "
            "FOLDER`."
        )
    return f"Fetch the right one: `{shards.download_command(*bases.split_revision(base))}`."


def _assemble(config: GenAUConfig, folder: Path, loading: Loading) -> GenAUModel:
    backbone = family(config.backbone).backbone.from_base(
        folder, config.image_size, **loading.options(_linear_names(folder))
    )
    model = GenAUModel(config, backbone)
    for name, parameter in model.named_parameters():
        if not name.startswith("backbone.") or name.removeprefix("backbone.").startswith(backbone.own_parts):
            parameter.data = parameter.data.float()
    return model


def _linear_names(folder: Path) -> list[str]:
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(build_config(shards.read_fields(folder), str(folder)))
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401 - PreTrainedTokenizerBase
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise WeightsError(
            f"{folder} has no tokenizer that can be read ({reason}). Fetch or copy tokenizer.json, "
            "tokenizer_config.json and the other small files of the base too, all into that folder."
        ) from error


def untrained_on(
    base: str,
    *,
    image_size: int | None = None,
    seed: int = 0,
    loading: Loading | None = None,
    **settings: Any,  # noqa: ANN401 - of GenAUConfig
) -> tuple[GenAUModel, GenAUProcessor]:
    """Return a model and its processor on a large base, by name on the hub or folder; nothing of ours is trained.

    The projector is the base's own; the map is the plain distance to the context, as untrained nano's.

    Raises:
        WeightsError: the base cannot be had or is not whole. CheckpointError: a family that is not ours, or an
        `image_size` that does not fit it.
    """
    folder = bases.ensure(base)
    config = build_config(shards.read_fields(folder), base)
    name = family_of(config.model_type, base)
    habits = family(name).habits(config.to_dict(), image_size)
    processor = GenAUProcessor(
        LetterboxImageProcessor(habits.image_size, list(habits.mean), list(habits.scale)),
        _tokenizer(folder),
        habits.chat_format,
        layout=dict(habits.layout),
    )
    layout_of(habits.layout)  # refuses numbers that do not fit before gigabytes are read
    fixed: dict[str, Any] = {
        "backbone": name,
        "backbone_config": config.to_dict(),
        "base": str(Path(base).expanduser().absolute()) if Path(base).expanduser().is_dir() else base,
        "base_fingerprint": shards.fingerprint(folder),
        "image_size": habits.image_size,
        "chat_format": habits.chat_format,
        "context_scales": habits.context_scales,
        "upsample": habits.upsample,
    }
    torch.manual_seed(seed)
    words = GenAUConfig(**(fixed | settings), **processor.token_ids())  # type: ignore[arg-type]
    return _assemble(words, folder, loading or Loading()), processor
