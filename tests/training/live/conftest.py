"""Annotated pictures, conversations and a tiny model on disk, and settings that train on them in a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau import checkpoints
from genau.calibration import Thresholds
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training.live.settings import LiveSettings

Draw = Callable[..., NDArray[np.uint8]]
TALK = [
    ("<image>\nWhat is wrong with the part?", "A dark stain in the middle."),
    ("Is it safe to use?", "No. Sort it out."),
]


@pytest.fixture
def plates(picture: Draw, tmp_path: Path) -> Path:
    """Five good plates, three with a scratch or a stain, of different shapes, as MVTec AD lies on disk."""
    root = tmp_path / "plates"
    for name, count in (("good", 5), ("scratch", 1), ("stain", 2)):
        folder = root / "plate" / "test" / name
        folder.mkdir(parents=True)
        for number in range(count):
            height, width = (90, 140) if number % 2 else (100, 80)
            rgb = picture(10 * len(name) + number, height, width)
            if name != "good":
                box = (slice(40, 44), slice(10, 70)) if name == "scratch" else (slice(30, 55), slice(20, 50))
                rgb[box] = (250, 250, 60) if name == "scratch" else (20, 10, 90)
                mask = np.zeros((height, width), np.uint8)
                mask[box] = 255
                truth = root / "plate" / "ground_truth" / name
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth / f"{number:03d}_mask.png")
            Image.fromarray(rgb).save(folder / f"{number:03d}.png")
    (root / "plate" / "train" / "good").mkdir(parents=True)
    Image.fromarray(picture(99)).save(root / "plate" / "train" / "good" / "000.png")
    return root


@pytest.fixture
def talks(plates: Path, tmp_path: Path) -> Path:
    """Three conversations, one of them about two pictures."""
    rows = []
    for number, pictures in enumerate((["stain/000.png"], ["good/001.png"], ["good/000.png", "stain/001.png"])):
        texts = [{"from": "human" if k % 2 == 0 else "gpt", "value": t} for k, t in enumerate(sum(TALK, ()))]
        texts[0]["value"] = "<image>" * (len(pictures) - 1) + str(texts[0]["value"])
        names = [f"plate/test/{name}" for name in pictures]
        rows.append({"id": str(number), "image": names if len(names) > 1 else names[0], "conversations": texts})
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def start(trained_looking: GenAUModel, processor: GenAUProcessor, tmp_path: Path) -> Path:
    """A tiny model in which every path matters, to start from."""
    checkpoints.save_merged(tmp_path / "start", trained_looking, processor, Thresholds())
    return tmp_path / "start"


@pytest.fixture
def values(plates: Path, talks: Path, start: Path) -> dict[str, Any]:
    """Settings as a config holds them: 2 steps of 4 samples in one process."""
    return {
        "stage": "live",
        "start": str(start),
        "data": [{"root": str(plates), "format": "mvtec"}],
        "scenes": 0,
        "conversations": [str(talks)],
        "images": str(plates),
        "steps": 2,
        "batch_size": 4,
        "accumulation": 1,
        "references": 0.5,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-3,
        "decoder_learning_rate": 1e-3,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "bf16": False,
        "gradient_checkpointing": False,
        "workers": 0,
        "log_every": 1,
        "save_every": 2,
    }


@pytest.fixture
def settings(values: dict[str, Any]) -> Callable[..., LiveSettings]:
    """Return settings with changes."""
    return lambda **changes: LiveSettings(**(values | changes))
