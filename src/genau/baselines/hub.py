"""Hugging Face weights by folder or hub id, and what to do where they cannot be had."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from genau.bases import is_path
from genau.errors import UsageError, WeightsError

# fp32 because scores are compared; safetensors because it cannot run code. (`ClipTower` has the one exception.)
LOADING: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}


@contextmanager
def weights_of(base: str, what: str) -> Iterator[None]:
    """Turn the failures of loading `base` into our words; `what` says what it must be, for example "a vision model".

    Raises:
        UsageError: a folder without a model, or not such a model. WeightsError: the files cannot be had or read.
    """
    folder = Path(base).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no config.json. Give the folder of {what}, as Hugging Face saves it.")
    if is_path(base) and not folder.is_dir():
        raise WeightsError(f"There is no folder {base}, which must hold {what}. Check the path, or give a hub name.")
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        if folder.is_dir():
            raise WeightsError(
                f"{folder} is not complete ({reason}). It must hold config.json, preprocessor_config.json and "
                "*.safetensors (and the tokenizer, where there are words): copy it again."
            ) from error
        raise WeightsError(
            f"{base} is neither a folder here nor can it be fetched from the hub ({reason}). On a machine with a "
            f"connection run `hf download {base} --local-dir FOLDER`, copy FOLDER here and name it with --base."
        ) from error
    except (ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{base} cannot be used as {what} ({reason}). Name another model with --base.") from error
