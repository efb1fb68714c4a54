"""A small annotated data set, and a detector whose answers are known."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.images import Picture
from genau.judgement import Reply

HEIGHT, WIDTH = 30, 44
BOXES = {"dent": (slice(4, 10), slice(6, 14)), "scratch": (slice(18, 21), slice(20, 40))}
COLOURS = {"dent": (250, 0, 0), "scratch": (0, 250, 0)}
BLEMISH = (115, 60, 60)  # on good parts: redder than the surface, less red than a dent

MakeSet = Callable[..., Path]


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Write a manifest data set: good parts, dents and scratches, in two categories unless told otherwise."""

    def make(
        name: str = "parts",
        good: int = 6,
        bad: int = 4,
        train: int = 3,
        categories: Sequence[str] = ("bolt", "nut"),
        kinds: Sequence[str] = ("dent", "scratch"),
    ) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        rng = np.random.default_rng(0)
        rows = []
        for category in categories:
            for split, label, count in (("train", False, train), ("test", False, good), ("test", True, bad)):
                for k in range(count):
                    stem = f"{category}_{split}_{'bad' if label else 'good'}_{k}"
                    rgb = rng.normal(60, 6, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
                    row: dict[str, Any] = {"image": f"images/{stem}.png", "mask": None, "types": []}
                    row |= {"product": f"steel {category}", "category": category, "split": split}
                    if label:
                        kind = kinds[k % len(kinds)]
                        rgb[BOXES[kind]] = COLOURS[kind]
                        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                        mask[BOXES[kind]] = kinds.index(kind) + 1
                        Image.fromarray(mask).save(folder / "masks" / f"{stem}.png")
                        row |= {"mask": f"masks/{stem}.png", "types": [kind]}
                    elif k == 0:
                        rgb[2:4, 2:4] = BLEMISH
                    Image.fromarray(rgb).save(folder / row["image"])
                    rows.append(row)
        (folder / "dataset.json").write_text(json.dumps({"name": name, "types": list(kinds)}))
        (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make


class ColourDetector:
    """Finds strong red and green; knows what a dent and a scratch look like. Counts what it was shown."""

    name = "colours"
    trained_products: tuple[str, ...] = ()
    trained_data: tuple[str, ...] = ()
    thresholds = Thresholds(image=0.6, pixel=0.5)

    def __init__(self, *, draws: bool = True, fails_after: int | None = None) -> None:
        self.draws, self.fails_after = draws, fails_after
        self.shown: list[str] = []
        self.prepared: list[Task] = []

    @property
    def settings(self) -> Mapping[str, str]:
        return {"threshold": f"{self.thresholds.image:g}"}

    def prepare(self, task: Task) -> Task:
        self.prepared.append(task)
        return task

    def detect(self, pictures: Sequence[Picture], prepared: Task) -> list[Detection]:
        found = []
        for picture in pictures:
            if self.fails_after is not None and len(self.shown) >= self.fails_after:
                raise KeyboardInterrupt
            self.shown.append(Path(picture.name).name)
            red, green = (picture.rgb[..., k].astype(np.float32) / np.float32(255) for k in (0, 1))
            maps = {"dent": red, "scratch": green}
            whole = np.maximum(red, green)
            types = {name: self._reply(maps[name]) for name in prepared.types}
            found.append(conclude(picture, self._reply(whole), types, self.thresholds))
        return found

    def _reply(self, drawn: NDArray[np.float32]) -> Reply:
        score = float(drawn.max())
        return Reply(score, score, None, (lambda: drawn) if self.draws else None)


@pytest.fixture
def detector() -> ColourDetector:
    return ColourDetector()


@pytest.fixture
def make_detector() -> type[ColourDetector]:
    return ColourDetector
