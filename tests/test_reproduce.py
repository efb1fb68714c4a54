"""`make reproduce-visa` in miniature: tiny MVTec AD and VisA, a tiny random base, the commands as a user runs them."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from genau.datasets.synthetic import make_scene

ROOT = Path(__file__).parent.parent
TINY = {
    "text_config": {
        "model_type": "qwen2",
        "vocab_size": 640,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "vision_use_head": False,
    },
    "tie_word_embeddings": True,
    "image_token_id": 600,
}
SCENES = 2  # bad and good pictures of each folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", ROOT / "benchmarks" / "reproduce.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reproduce"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def save(pixels: np.ndarray, path: Path) -> str:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path.name


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    root = tmp_path / "mvtec"
    for number in range(SCENES):
        scene = make_scene(number, (72, 96), defective=True)
        mask = np.any(list(scene.masks.values()), axis=0)
        save(scene.good, root / "screw" / "test" / "good" / f"{number:03d}.png")
        save(scene.good, root / "screw" / "train" / "good" / f"{number:03d}.png")
        save(scene.image, root / "screw" / "test" / "scratch_head" / f"{number:03d}.png")
        save(np.uint8(255) * mask, root / "screw" / "ground_truth" / "scratch_head" / f"{number:03d}_mask.png")
    return root


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    root, rows, labels = tmp_path / "visa", [], []
    for number in range(SCENES):
        scene, name = make_scene(100 + number, (64, 80), defective=True), f"{number:03d}"
        data = Path("candle") / "Data"
        good, bad = data / "Images" / "Normal" / f"{name}.JPG", data / "Images" / "Anomaly" / f"{name}.JPG"
        mask = data / "Masks" / "Anomaly" / f"{name}.png"
        save(scene.good, root / good)
        save(scene.image, root / bad)
        save(np.any(list(scene.masks.values()), axis=0).astype(np.uint8), root / mask)
        rows += [("candle", "test", "normal", good, ""), ("candle", "test", "anomaly", bad, mask)]
        labels += [(good, "normal", ""), (bad, "chunk of wax missing", mask)]
    write(root / "split_csv" / "1cls.csv", [("object", "split", "label", "image", "mask"), *rows])
    write(root / "candle" / "image_anno.csv", [("image", "label", "mask"), *labels])
    return root


def write(path: Path, rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


@pytest.fixture
def base(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model("llava_onevision", **TINY))
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def reproduce(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "reproduce.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_command_trains_on_one_data_set_and_prints_the_table_of_the_other(
    base: Path, mvtec: Path, visa: Path, tmp_path: Path
) -> None:
    tiny = ("image_size=64", "epochs=null", "steps=2", "workers=0", "lora_rank=4", "lora_alpha=8", "bf16=false")
    changes = [part for change in tiny for part in ("--set", change)]
    command = ["visa", "--model", base, "--mvtec", mvtec, "--visa", visa, "-o", tmp_path / "runs", *changes]
    run = reproduce(*command)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "MVTec AD: 4 test pictures of 1 products, 2 bad; trained on" in run.stdout
    assert "VisA: 4 test pictures of 1 products, 2 bad; evaluated" in run.stdout
    assert "$ genau train -c configs/paper/mvtec-to-visa.yaml" in run.stdout
    metrics = json.loads((tmp_path / "runs" / "eval" / "metrics.json").read_text())
    (figures,) = metrics["runs"]
    assert figures["dataset"] == "visa"
    assert 0 <= figures["mean"]["image_auroc"] <= 1
    table = (tmp_path / "runs" / "table.txt").read_text()
    assert "candle" in table
    assert table in run.stdout
    settings = json.loads((tmp_path / "runs" / "train" / "settings.json").read_text())
    assert settings["data"][0]["root"] == str(mvtec)
    assert (settings["lora_dropout"], settings["warmup"], settings["lam"]) == (0.05, 0.03, 1.0)  # of the config
    again = reproduce(*command)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "is trained already" in again.stdout
    assert "$ genau train" not in again.stdout


def test_a_data_set_that_is_not_there_ends_before_anything_is_trained(base: Path, mvtec: Path, tmp_path: Path) -> None:
    run = reproduce("visa", "--model", base, "--mvtec", mvtec, "--visa", tmp_path / "no", "-o", tmp_path / "runs")
    assert run.returncode == 1
    assert str(tmp_path / "no") in run.stderr
    assert not (tmp_path / "runs").exists()


def test_several_gpus_are_several_processes_and_the_config_is_told(script: ModuleType, tmp_path: Path) -> None:
    folders = {"mvtec": Path("/m"), "visa": Path("/v")}
    plan = script.Plan("mvtec", "a/b", folders, tmp_path, gpus=8, device="cuda")
    train, evaluate = " ".join(plan.train_command()), " ".join(plan.evaluate_command())
    assert "-m torch.distributed.run --standalone --nproc-per-node=8 -m genau.cli train" in train
    assert "-c configs/paper/visa-to-mvtec.yaml --set base=a/b --set seed=0 --set gpus=8" in train
    assert "--data /m --format mvtec --device cuda --types filtered --with-published" in evaluate
    assert "--resume" not in train + evaluate
    (tmp_path / "train" / "checkpoint-200").mkdir(parents=True)
    assert plan.train_command()[-1] == "--resume"


@pytest.mark.parametrize("target", ["visa", "mvtec"])
def test_the_configs_of_the_paper_name_the_other_data_set(
    script: ModuleType, target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from genau.training.live.settings import LiveSettings
    from genau.training.settings import parse_settings, read_values

    plan = script.Plan(target, "a/b", {}, tmp_path)
    side = script.SIDES[plan.source]
    monkeypatch.setenv(side.variable, str(tmp_path))
    settings = parse_settings(read_values(ROOT / plan.config, []), plan.config, LiveSettings)
    (data,) = settings.data
    assert (data.format, data.split, data.root) == (side.format, "test", tmp_path)
    assert settings.per_step == 8
