"""Write synthetic scenes as a `manifest` data set, to look at, to train on, or to share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genau.datasets.synthetic import DEFECT_TYPES, SyntheticScene, make_scene
from genau.errors import UsageError


def write_dataset(
    folder: Path, count: int, seed: int, size_hw: tuple[int, int], done: Callable[[], None] = lambda: None
) -> Path:
    """Write `count` scenes of (H, W) pixels with the seeds from `seed` on; return the folder.

    Every defective scene is described in words and followed by its defect-free twin. `done` is called after each scene.

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
            row: dict[str, Any] = {
                "image": f"images/{name}{suffix}.jpg",
                "product": scene.product,
                "split": "train",
                "types": found,
            }
            row |= {"mask": f"masks/{name}.png" if found else None, "group": name}
            rows.append(row | {"analysis": _analysis(scene)} if found else row)
        done()
    about = {"name": "synthetic", "types": types, "licence": "Apache-2.0", "source": "genau data synth"}
    (folder / "dataset.json").write_text(json.dumps(about, indent=2))
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _analysis(scene: SyntheticScene) -> dict[str, str]:
    """Return what is known in words: all types, and of the one with the largest area how it looks and arises.

    Location and severity follow from the mask and are not written twice.
    """
    types = sorted(scene.masks, key=lambda kind: -int(scene.masks[kind].sum()))
    main = DEFECT_TYPES[types[0]]
    appearances = {defect.type: defect.appearance for defect in scene.defects}
    return {
        "types": ", ".join(types),
        "appearance": appearances[types[0]],
        "likely_cause": main.causes[scene.seed % len(main.causes)],
        "recommendation": main.recommendations[scene.seed % len(main.recommendations)],
    }
