"""Where a large base comes from, whether it is whole, and which one it is: small files stand in for shards."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from genau import bases, shards
from genau.errors import CheckpointError, UsageError, WeightsError
from genau.model.backbones.catalog import known

NAME = "HuggingFaceTB/SmolVLM-256M-Instruct"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base of two shards, with an index."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(known(NAME).config | {"transformers_version": "4.57.0"}))
    torch.manual_seed(0)
    where: dict[str, str] = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        tensors = {f"layer.{number}.weight": torch.randn(64, 300), f"layer.{number}.bias": torch.randn(300)}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def no_hub(*_: object, **__: object) -> str:
    raise LocalEntryNotFoundError("no network")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_hub)


def first_shard(folder: Path) -> Path:
    return folder / "model-00001-of-00002.safetensors"


def test_a_whole_base_is_taken_as_it_is(base: Path) -> None:
    assert bases.ensure(base) == base


def test_a_missing_shard_is_named_with_the_command_that_goes_on(base: Path) -> None:
    first_shard(base).unlink()
    with pytest.raises(WeightsError) as caught:
        bases.ensure(base)
    assert "lacks model-00001-of-00002.safetensors (1 of 2 files are whole)" in str(caught.value)
    assert f"`hf download OWNER/NAME --local-dir {base}` goes on where it stopped" in str(caught.value)


@pytest.mark.parametrize("left", [0, 5, 60, 40_000])
def test_a_shard_that_was_cut_off_is_named(base: Path, left: int) -> None:
    first_shard(base).write_bytes(first_shard(base).read_bytes()[:left])
    with pytest.raises(WeightsError, match=r"has only a part of model-00001-of-00002\.safetensors \(1 of 2"):
        bases.ensure(base)


def test_a_download_of_the_hub_that_broke_off_names_its_repository(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_shard(base).unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(base))
    with pytest.raises(WeightsError, match=rf"`hf download {NAME} --revision abc` goes on where it stopped"):
        bases.ensure(f"{NAME}@abc")


def test_a_base_with_pickled_weights_only_is_refused(base: Path) -> None:
    for file in base.glob("*.safetensors*"):
        file.unlink()
    (base / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(
        WeightsError, match=r"neither model\.safetensors nor .*pytorch_model\.bin, which could run code"
    ):
        bases.ensure(base)


def test_a_damaged_index_is_an_error_in_words(base: Path) -> None:
    (base / "model.safetensors.index.json").write_text("{")
    with pytest.raises(WeightsError, match=r"index\.json cannot be read .*Fetch it again"):
        bases.ensure(base)


def test_a_base_of_another_architecture_lists_the_families_and_the_page(base: Path) -> None:
    change(base, model_type="internvl")
    with pytest.raises(
        CheckpointError, match=r"base has model_type 'internvl', .*smolvlm \(smolvlm\).*docs/backbones\.md"
    ):
        bases.ensure(base)


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_way_around_is_told() -> None:
    with pytest.raises(
        WeightsError,
        match=rf"hub cannot be reached.*`hf download {NAME} --local-dir SmolVLM-256M-Instruct`, copy that folder here",
    ):
        bases.ensure(NAME)


def test_a_full_disk_while_fetching_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(
        WeightsError, match=r"not fetched to its end \(.*No space left.*`hf download .*where it stopped"
    ):
        bases.ensure(NAME)


def change(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_fingerprint_is_that_of_the_content_wherever_it_lies(base: Path, tmp_path: Path) -> None:
    before = shards.fingerprint(base)
    assert len(before) == 16
    assert shards.fingerprint(shutil.copytree(base, tmp_path / "copy")) == before
    change(base, transformers_version="9.9", _name_or_path="elsewhere")
    assert shards.fingerprint(base) == before


def test_a_fingerprint_changes_with_sizes_names_and_numbers(base: Path) -> None:
    found = [shards.fingerprint(base)]
    text = known(NAME).config["text_config"]
    change(base, text_config=text | {"num_attention_heads": 3})  # the weights have the same shapes
    found.append(shards.fingerprint(base))
    tensors = load_file(first_shard(base))
    renamed = {key.replace("layer", "block"): value for key, value in tensors.items()}
    save_file(renamed, first_shard(base), metadata={"format": "pt"})
    found.append(shards.fingerprint(base))
    trained = {key: value * 1.01 for key, value in renamed.items()}
    save_file(trained, first_shard(base), metadata={"format": "pt"})
    found.append(shards.fingerprint(base))
    assert len(set(found)) == 4


@pytest.mark.parametrize(("at", "seen"), [(0, True), (-1, True), (8_000, False)])
def test_a_fingerprint_samples_the_bytes_of_a_shard_at_both_ends_and_between(base: Path, at: int, seen: bool) -> None:
    numbers = torch.zeros(250_000)  # a sample of 1,024 numbers every 16,600
    save_file({"layer.1.weight": numbers}, first_shard(base))
    before = shards.fingerprint(base)
    numbers[at] = 1
    save_file({"layer.1.weight": numbers}, first_shard(base))
    assert (shards.fingerprint(base) != before) is seen


@pytest.mark.usefixtures("offline")
def test_sizes_come_from_the_package_where_the_hub_cannot_be_reached() -> None:
    found = bases.find_config("smolvlm-256m-instruct")
    assert found.name == NAME
    assert found.family == "smolvlm"
    assert "this package" in found.source
    assert found.parameters == known(NAME).parameters


def test_the_hubs_own_config_is_preferred(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(base, scale_factor=2)
    asked: dict[str, Any] = {}

    def hub(name: str, **named: Any) -> str:
        asked.update(named, name=name)
        return str(base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    found = bases.find_config(f"{NAME}@abc")
    assert found.config.scale_factor == 2  # type: ignore[attr-defined]
    assert "from the hub" in found.source
    assert (asked["name"], asked["revision"], asked["allow_patterns"]) == (NAME, "abc", ["config.json"])


def test_a_folder_is_read_without_asking_the_hub(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    assert bases.find_config(base).source == str(base / "config.json")


@pytest.mark.usefixtures("offline")
def test_an_unknown_name_without_a_network_lists_what_is_known() -> None:
    with pytest.raises(
        UsageError, match=r"'Qwen/Qwen3-VL-9B-Instruct' is not .*Did you mean.*hub was not reachable, give a"
    ):
        bases.find_config("Qwen/Qwen3-VL-9B-Instruct")


def test_a_folder_without_a_config_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json: it is no base"):
        bases.find_config(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="holds no fields"):
        bases.find_config(tmp_path)


def test_a_base_that_was_moved_or_copied_is_found_in_the_folder_of_bases(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bases").mkdir()
    copy = shutil.copytree(base, tmp_path / "bases" / NAME.rpartition("/")[2])
    moved = base.rename(tmp_path / "bases" / "base")
    monkeypatch.setenv("GENAU_BASES", str(tmp_path / "bases"))
    assert bases.ensure(base) == bases.cached(str(base)) == moved
    assert bases.ensure(NAME) == bases.ensure(f"{NAME}@main") == copy
    assert bases.find_config(NAME).source == str(copy / "config.json")
    assert bases.folder_of("acme/other") is None


@pytest.mark.parametrize("name", ["/no/such/base", "./base", "~/no-such-base", "a/b/c"])
def test_a_folder_that_is_gone_is_no_name_on_the_hub(name: str) -> None:
    words = rf"There is no folder {name}, .*was moved, put it back, or set GENAU_BASES to .* holds '{Path(name).name}'"
    with pytest.raises(WeightsError, match=words) as caught:
        bases.ensure(name)
    assert NAME not in str(caught.value)
    with pytest.raises(UsageError, match=words):
        bases.find_config(name)


def test_a_file_is_no_base(base: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json is a file, but a base is a folder with a config\.json"):
        bases.ensure(base / "config.json")


@pytest.mark.usefixtures("offline")
def test_without_a_network_a_name_is_completed_or_corrected() -> None:
    with pytest.raises(WeightsError, match=rf"`hf download {NAME} --local-dir SmolVLM-256M-Instruct`.*GENAU_BASES"):
        bases.ensure("smolvlm-256m-instruct")
    with pytest.raises(WeightsError, match=r"Did you mean 'Qwen/Qwen2\.5-VL-3B-Instruct'\?"):
        bases.ensure("Qwen/Qwen2.5-VL-3B")
