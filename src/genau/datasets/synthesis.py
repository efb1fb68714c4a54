"""Write synthetic scenes as a `manifest` data set, to look at, to train on, or to share."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from genau.datasets.synthetic import DEFECT_TYPES, make_scene
from genau.errors import UsageError


def write_dataset(
    folder: Path, count: int, seed: int, size_hw: tuple[int, int], done: Callable[[], None] = lambda: None
) -> Path:
    """Write `count` scenes of (H, W) pixels with the seeds from `seed` on; return the folder.

    Every defective scene is followed by its defect-free twin. `done` is called after each scene.

    Raises:
        UsageError: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty. Choose a new folder, so that no picture of another run mixes in.")
    types = tuple(DEFECT_TYPES)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        scene = make_scene(seed + number, size_hw, defective=True)
        index = np.zeros(size_hw, np.uint8)
        for kind, mask in scene.masks.items():
            index[mask] = types.index(kind) + 1
        name = f"{seed + number:06d}"
        Image.fromarray(index).save(folder / "masks" / f"{name}.png")
        for suffix, rgb, found in (("", scene.image, list(scene.types)), ("_good", scene.good, [])):
            Image.fromarray(rgb).save(folder / "images" / f"{name}{suffix}.jpg", quality=92)
            row = {"image": f"images/{name}{suffix}.jpg", "product": scene.product, "split": "train", "types": found}
            rows.append(row | {"mask": f"masks/{name}.png" if found else None, "group": name})
        done()
    about = {"name": "synthetic", "types": types, "licence": "Apache-2.0", "source": "genau data synth"}
    (folder / "dataset.json").write_text(json.dumps(about, indent=2))
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
