"""The files of a large base: whether all are there and whole, and which base it is."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from genau.errors import CheckpointError, WeightsError

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"
SAMPLES, SAMPLE_BYTES = 16, 4096  # of each file, at equal distances: 32 files of 5 GB are 2 MB to read
HEADER_PREFIX = 8  # bytes that hold the length of a safetensors header
SHAPING = (  # fields of a config.json that decide what the weights mean
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "vocab_size", "depth", "num_heads", "patch_size", "image_size", "spatial_merge_size"),
    *("scale_factor", "vision_config", "text_config"),
)


def read_fields(folder: Path) -> dict[str, Any]:
    """Return the fields of a base's `config.json`.

    Raises:
        CheckpointError: there is none, or it is not JSON.
    """
    file = folder / CONFIG_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {CONFIG_FILE}: it is no base. Give a folder that has one.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}). Copy it again.") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{file} holds no fields. Copy it again.")
    return fields


def download_command(name: str, revision: str | None = None) -> str:
    """Return the command that fetches a base, or the rest of it."""
    return f"hf download {name}" + (f" --revision {revision}" if revision else "")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that a base must have, by its index where it has one.

    Raises:
        WeightsError: it has no weights, or weights of another kind only.
    """
    if (folder / INDEX_FILE).is_file():
        try:
            shards = set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{folder / INDEX_FILE} cannot be read ({error!r}). Fetch it again.") from error
        return [folder / shard for shard in sorted(shards)]
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    other = sorted(path.name for path in folder.glob("*.bin"))
    hint = f" It has {other[0]}, which could run code: only safetensors are read." if other else ""
    raise WeightsError(f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}.{hint} Fetch the base again.")


def check_whole(folder: Path, name: str, revision: str | None = None) -> None:
    """Refuse a base with files missing or cut off.

    Raises:
        WeightsError: which files, and the command that fetches the rest.
    """
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    short = [file.name for file in files if file.name not in missing and file.stat().st_size < _expected_size(file)]
    if not missing and not short:
        return
    said = [f"lacks {', '.join(missing)}"] if missing else []
    said += [f"has only a part of {', '.join(short)}"] if short else []
    own = name if not Path(name).expanduser().is_dir() else "OWNER/NAME"
    place = "" if own == name else f" --local-dir {folder}"
    raise WeightsError(
        f"{folder} {' and '.join(said)} ({len(files) - len(missing) - len(short)} of {len(files)} files are whole). "
        f"`{download_command(own.partition('@')[0], revision)}{place}` goes on where it stopped."
    )


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """Return a safetensors header and where its data begins; an empty one where the file is cut off within it."""
    with file.open("rb") as stream:
        prefix = stream.read(HEADER_PREFIX)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == HEADER_PREFIX else 0
        text = stream.read(length) if length < file.stat().st_size else b""
    try:
        header = json.loads(text)
    except ValueError:
        return {}, HEADER_PREFIX + length
    header.pop("__metadata__", None)
    return header, HEADER_PREFIX + length


def _expected_size(file: Path) -> int:
    header, start = _header(file)
    if not header:
        return max(start, file.stat().st_size + 1)
    return start + max(int(tensor["data_offsets"][1]) for tensor in header.values())


def fingerprint(folder: Path) -> str:
    """Return the identity of a base: 16 hex digits, the same for a folder and for the hub's copy of the same files.

    Over the shaping fields of `config.json`, names, dtypes and shapes of all tensors, and samples of each file's bytes
    at equal distances: a digest of 150 GB would take minutes at every load. So a change of a few numbers elsewhere
    goes unseen; another training run, which changes all of them, does not.
    """
    digest = hashlib.sha256(json.dumps(_shaping(read_fields(folder)), sort_keys=True).encode())
    for file in weight_files(folder):
        header, start = _header(file)
        told = [[name, tensor["dtype"], tensor["shape"]] for name, tensor in sorted(header.items())]
        digest.update(json.dumps(told).encode())
        room = max(0, file.stat().st_size - start - SAMPLE_BYTES)
        with file.open("rb") as stream:
            for number in range(SAMPLES):
                stream.seek(start + room * number // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _shaping(fields: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in fields.items():
        if key in SHAPING and value is not None:
            found[key] = _shaping(value) if isinstance(value, dict) else value
    return found
