"""A small defect on a large picture, seen whole and in tiles: `python benchmarks/tiling.py [--texture FILE ...]`.

Lays good pictures, mirrored, side by side on a canvas of 4000x1500 pixels and puts one soft spot of 12 pixels on it,
in another place for each seed. Prints for both ways the scores of the good and the bad canvas; the share of the canvas
whose map is above the spot's (0: the spot is the highest place of all); seconds per picture and the peak memory so far.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genau import Inspection, Inspector
from genau.reading import read_picture
from genau.tiling import Tile

EXAMPLE = Path(__file__).parent.parent / "examples" / "pictures" / "paper_good_1.jpg"
HEIGHT, WIDTH, SPOT, MARGIN = 1500, 4000, 12, 8  # pixels


def canvas_of(textures: list[Path]) -> NDArray[np.uint8]:
    """Return a canvas (H, W, 3): each texture with its mirrored copies, so that no edge shows, then the next one."""
    blocks = []
    for path in textures:
        rgb = read_picture(path).rgb
        wide = np.concatenate([rgb, rgb[:, ::-1]], 1)
        blocks.append(np.concatenate([wide, wide[::-1]], 0))
    repeats = 1 + HEIGHT // min(len(block) for block in blocks)
    columns = [np.tile(block, (repeats, 1, 1))[:HEIGHT] for block in blocks]
    row = np.concatenate(columns, 1)
    return np.ascontiguousarray(np.tile(row, (1, 1 + WIDTH // row.shape[1], 1))[:, :WIDTH])


def spotted(canvas: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the canvas with one spot, and the spot's centre."""
    rng = np.random.default_rng(seed)
    y, x = int(rng.integers(50, HEIGHT - 50)), int(rng.integers(50, WIDTH - 50))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.clip(SPOT / 2 + 0.5 - np.hypot(rows - y, columns - x), 0, 1)[..., None]
    light = canvas[y - SPOT : y + SPOT, x - SPOT : x + SPOT].mean() > 127
    return (canvas * (1 - inside) + (40 if light else 215) * inside).astype(np.uint8), (y, x)


def another_picture_of(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the canvas as a second exposure would show it: shifted by a few pixels, with other noise."""
    noise = np.random.default_rng(99).normal(0, 3, canvas.shape).astype(np.float32)
    second: NDArray[np.uint8] = np.clip(np.roll(canvas, (9, 14), (0, 1)) + noise, 0, 255).astype(np.uint8)
    return second


def above_spot(result: Inspection, spot: tuple[int, int]) -> float:
    """Return the share of pixels away from the spot whose map is above the spot's highest value."""
    away = np.ones(result.anomaly_map.shape, np.bool_)
    reach = SPOT + MARGIN
    window = slice(spot[0] - reach, spot[0] + reach), slice(spot[1] - reach, spot[1] + reach)
    away[window] = False
    return float((result.anomaly_map[away] > result.anomaly_map[window].max()).mean())


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--texture", type=Path, nargs="+", default=[EXAMPLE])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="compare with another picture of the good canvas")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    inspector = Inspector.from_pretrained(options.model)
    good = canvas_of(options.texture)
    inspector.inspect(good, analysis=False)  # warm
    reference = another_picture_of(good) if options.reference else None
    report: dict[str, object] = {
        "texture": [path.name for path in options.texture],
        "reference": options.reference,
        "threads": options.threads,
    }
    ways: dict[str, Tile | None] = {"whole": None, "tiles": "auto"}
    for name, tile in ways.items():
        started = time.perf_counter()
        memory = None if reference is None else inspector.remember([reference], tile)
        clean = inspector.inspect(good, references=memory, analysis=False, tile=tile)
        row: dict[str, object] = {"good": round(clean.pred_score, 3)}
        bad, above = [], []
        for seed in range(options.seeds):
            rgb, spot = spotted(good, seed)
            result = inspector.inspect(rgb, references=memory, analysis=False, tile=tile)
            bad.append(round(result.pred_score, 3))
            above.append(round(above_spot(result, spot), 5))
        row |= {"bad": bad, "share_above_spot": above}
        row["seconds_per_picture"] = round((time.perf_counter() - started) / (1 + options.seeds), 1)
        row["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
        report[name] = row
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
