"""Does the memory of `genau eval` grow with the number of pictures? `python benchmarks/evaluation_memory.py`.

Writes sets of noise with a dark square in every second picture, evaluates each in a process of its own, and prints
the peak memory of that process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 480, 640


def write_set(folder: Path, count: int) -> None:
    """Write `count` good and `count` bad pictures with masks, in the folder layout."""
    for name in ("good", "bad", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[200:230, 300:340] = 255
    for number in range(count):
        rgb = rng.normal(150, 10, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(rgb).save(folder / "good" / f"good_{number:04d}.jpg")
        rgb[200:230, 300:340] = 20
        Image.fromarray(rgb).save(folder / "bad" / f"bad_{number:04d}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"bad_{number:04d}.png")


def peak_mb(command: list[str]) -> float:
    """Run a command and return its largest resident memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed with {status}")
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="self-similarity")
    parser.add_argument("--pictures", type=int, nargs="+", default=[50, 400])
    options = parser.parse_args()
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory() as folder:
            data, out = Path(folder, "parts"), Path(folder, "run")
            write_set(data, pictures // 2)
            started = time.perf_counter()
            command = [sys.executable, "-m", "genau.cli", "eval", "--model", options.model, "--data", str(data)]
            peak = peak_mb([*command, "-o", str(out)])
            row = {"model": options.model, "pictures": pictures, "peak_mb": round(peak)}
            print(json.dumps(row | {"seconds": round(time.perf_counter() - started)}), flush=True)


if __name__ == "__main__":
    main()
