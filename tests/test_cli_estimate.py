"""`genau info MODEL --estimate` as a user sees it."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from genau.model.backbones.catalog import known, known_checkpoints

Genau = Callable[..., Any]
SMALL = "HuggingFaceTB/SmolVLM-256M-Instruct"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", none)


def test_an_estimate_is_a_table_for_people(genau: Genau) -> None:
    run = genau("info", SMALL, "--estimate", "--gpus", 2)
    assert run.code == 0, run.err
    assert f"{SMALL} (smolvlm); sizes from this package" in run.out
    assert "256,484,928" in run.out
    for line in ("inspection", "training, DDP", "training, checkpointing, DDP", "training, FSDP", "training, ZeRO-3"):
        assert f" {line} " in run.out
    assert "320 visual tokens" in run.out
    assert "On each of 2 GPUs: bfloat16, 1 picture, 1 question" in run.out


def test_an_estimate_is_json_for_machines(genau: Genau) -> None:
    run = genau("info", "smolvlm-256m-instruct", "--estimate", "--json", "--dtype", "nf4", "--batch-size", 3)
    told = json.loads(run.out)
    assert told["base"] == SMALL
    assert told["workload"]["batch_size"] == 3
    assert "fsdp" not in told["training"]
    assert told["inspection"]["total_gib"] > 0


def test_quantised_weights_say_that_they_are_not_divided(genau: Genau) -> None:
    assert "do not divide quantised weights" in genau("info", SMALL, "--estimate", "--dtype", "int8").out


def test_a_folder_with_a_config_is_estimated(genau: Genau, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(known(SMALL).config))
    run = genau("info", tmp_path, "--estimate", "--json")
    assert json.loads(run.out)["configuration"] == str(tmp_path / "config.json")


def test_a_trained_model_is_estimated_by_its_base(genau: Genau, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"backbone": "smolvlm", "base": SMALL}))
    assert json.loads(genau("info", folder, "--estimate", "--json").out)["base"] == SMALL


def test_nano_needs_no_estimate(genau: Genau, folder: Path) -> None:
    run = genau("info", folder, "--estimate")
    assert run.code == 2
    assert "has nano's base, which runs on any CPU" in run.err


def test_an_unknown_name_lists_the_supported_ones(genau: Genau) -> None:
    run = genau("info", "SmolVLM-512M-Instruct", "--estimate")
    assert run.code == 2
    assert "Did you mean 'HuggingFaceTB/SmolVLM-" in run.err
    assert "HuggingFaceM4/Idefics3-8B-Llama3" in run.err


def test_a_canvas_that_does_not_fit_is_refused_with_those_that_do(genau: Genau) -> None:
    run = genau("info", SMALL, "--estimate", "--image-size", 500)
    assert run.code == 1
    assert "image_size=500" in run.err
    assert "1024" in run.err


def test_info_without_the_flag_is_as_before(genau: Genau, folder: Path) -> None:
    told = json.loads(genau("info", folder).out)
    assert told["form"] == "merged"
    assert told["backbone"] == "nano"


def test_the_licence_is_told_with_what_must_be_known_of_it(genau: Genau) -> None:
    run = genau("info", "Qwen2.5-VL-3B-Instruct", "--estimate")
    assert "licence: qwen-research, research only: no commercial use" in run.out


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolVLM-256M-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"])
def test_the_table_of_the_docs_is_what_the_script_prints(name: str) -> None:
    root = Path(__file__).parent.parent
    spec = importlib.util.spec_from_file_location("estimates", root / "benchmarks" / "estimates.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (root / "docs" / "backbones.md").read_text(encoding="utf-8")
    assert script.HEAD in page
    assert script.row(known(name)) in page
    assert all(f"`{other}`" in page for other in known_checkpoints())
