"""Where a large base comes from: a folder, or the hub by name and revision; whether it is whole, and which one it is.

nano's base is pinned and needs no hub: see `weights`. Here a base is a folder with a `config.json`, safetensors and
the tokenizer's files, as transformers saves it; a name on the hub becomes one in the hub's own cache. Where bases were
copied or moved, `GENAU_BASES` names the folder that holds theirs.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from genau.errors import UsageError, WeightsError, suggest
from genau.model.backbones.catalog import build_config, family_of, known, known_checkpoints
from genau.shards import CONFIG_FILE, check_whole, download_command, read_fields

FETCHED = ("*.json", "*.safetensors", "*.txt", "*.jinja")  # no pickle
FOLDERS_VARIABLE = "GENAU_BASES"
CONFIG_SECONDS = 3.0  # a base's sizes are in this package too: no reason to wait longer


@dataclass(frozen=True)
class BaseConfig:
    """The configuration of a base, and where it was read."""

    name: str
    family: str
    config: PreTrainedConfig
    source: str  # in words
    parameters: int | None = None  # as published, where we know it


def find_config(name: str | Path, revision: str | None = None) -> BaseConfig:
    """Return a base's configuration without its weights: from a folder, the hub, or else from this package.

    The hub's own `config.json` is preferred; where it is not reachable (or `HF_HUB_OFFLINE` is set), what lies in its
    cache, then the sizes that this package knows.

    Raises:
        UsageError: neither reachable nor known; the message lists what is. CheckpointError: a family that is not ours.
    """
    if (folder := folder_of(name)) is not None:
        fields = read_fields(folder)
        return BaseConfig(
            str(name),
            family_of(fields.get("model_type"), str(folder)),
            build_config(fields, str(folder)),
            f"{folder / CONFIG_FILE}",
        )
    if is_path(name):
        raise UsageError(no_folder(name))
    own, revision = split_revision(str(name), revision)
    own = _with_owner(own)
    if (cached := _own_config(own, revision)) is not None:
        fields = read_fields(cached)
        published = known_checkpoints().get(own)
        return BaseConfig(
            own,
            family_of(fields.get("model_type"), own),
            build_config(fields, own),
            "its own config.json, from the hub",
            published.parameters if published else None,
        )
    try:
        checkpoint = known(own)
    except UsageError as error:
        raise UsageError(f"{error} Others need their config.json: the hub was not reachable, give a folder.") from None
    return BaseConfig(
        checkpoint.name,
        checkpoint.family,
        build_config(checkpoint.config, checkpoint.name),
        "this package (the hub was not reachable)",
        checkpoint.parameters,
    )


def split_revision(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Return owner/name and revision of `owner/name@revision`."""
    own, _, named = name.partition("@")
    return own, revision or named or None


def folder_of(name: str | Path) -> Path | None:
    """Return the folder that a base lies in, or None for a name on the hub.

    It is the folder itself, or else that of the same last name in the folder which `GENAU_BASES` names: a base that was
    copied to another place, or by hand to a machine without the hub. Its fingerprint is checked by whoever loads it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    bases = os.environ.get(FOLDERS_VARIABLE)
    last = _last(split_revision(str(name))[0].replace("\\", "/").rstrip("/"))
    copy = Path(bases).expanduser() / last if bases and last else None
    return copy if copy is not None and (copy / CONFIG_FILE).is_file() else None


def is_path(name: str | Path) -> bool:
    """Return whether a name can only be a path: names on the hub are `owner/name`, with an `@revision` or without."""
    text = str(name)
    return Path(text).expanduser().is_file() or text.startswith(("/", ".", "~")) or "\\" in text or text.count("/") > 1


def no_folder(name: str | Path) -> str:
    """Return what to do about a path of a base that is no folder."""
    if Path(name).expanduser().is_file():
        return f"{name} is a file, but a base is a folder with a {CONFIG_FILE}. Give the folder."
    last = Path(name).name
    return (
        f"There is no folder {name}, where the base was looked for. If it was moved, put it back, or set "
        f"{FOLDERS_VARIABLE} to the folder that now holds {last!r}; else check the path."
    )


def _meant(name: str) -> str:
    return "" if name in known_checkpoints() else suggest(name, known_checkpoints())


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _with_owner(name: str) -> str:
    """Return the full name of a supported checkpoint that is given without its owner, else the name."""
    return next((full for full in known_checkpoints() if full.split("/")[1].lower() == name.lower()), name)


def _own_config(name: str, revision: str | None) -> Path | None:
    """Return a folder of the hub's cache with the base's `config.json`, or None where there is none to be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:  # fails at once without a network, where fetching a single file tries five times
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=[CONFIG_FILE], etag_timeout=CONFIG_SECONDS)
        )
    except (OSError, HFValidationError):
        return None


def ensure(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a base, fetched from the hub where it is no folder, and checked to be whole.

    Raises:
        WeightsError: it cannot be fetched, or files are missing or cut off; the message says how to go on.
        CheckpointError: it is of a family that is not ours.
    """
    folder = folder_of(name)
    if folder is None:
        if is_path(name):
            raise WeightsError(no_folder(name))
        own, revision = split_revision(str(name), revision)
        folder = _fetch(_with_owner(own), revision)
    fields = read_fields(folder)
    family_of(fields.get("model_type"), str(name))
    check_whole(folder, str(name), revision)
    return folder


def cached(name: str) -> Path | None:
    """Return the folder of a base that lies on this machine, whole or not, or None; nothing is fetched."""
    if (folder := folder_of(name)) is not None:
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    own, revision = split_revision(name)
    try:
        found = try_to_load_from_cache(own, CONFIG_FILE, revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FETCHED)))
    except GatedRepoError as error:
        raise WeightsError(
            f"{name} asks for its licence to be accepted first. Accept it on its page on the hub, then `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(
            f"{name} has no revision {revision!r} on the hub. Leave it out, or look it up there."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"{name} is neither a folder nor a checkpoint on the hub.{_meant(name)} Supported are "
            f"{', '.join(known_checkpoints())}."
        ) from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{name} is no folder here, it is not in the hub's cache, and the hub cannot be reached.{_meant(name)} "
            f"On a machine that reaches it run `{download_command(name, revision)} --local-dir {_last(name)}`, copy "
            f"that folder here, and set {FOLDERS_VARIABLE} to the folder that holds it, or give it as the base."
        ) from error
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{name} was not fetched to its end ({reason}). Run the same command again, or "
            f"`{download_command(name, revision)}`: it goes on where it stopped."
        ) from error
