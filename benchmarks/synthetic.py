"""Measure the synthetic engine: `python benchmarks/synthetic.py [--scenes 200]`; scenes have 256 x 256 pixels.

Prints scenes per second of processor time (set OMP_NUM_THREADS=1; each scene with its defect-free twin), and the
quantiles of the defects' share of the picture and of their mean contrast in grey levels.
"""

import argparse
import json
import time

import numpy as np

from genau.datasets.synthetic import make_scene

SIZE_HW = (256, 256)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def main() -> None:
    """Make the scenes and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    make_scene(options.scenes, SIZE_HW, defective=True)  # imports and tables are not the engine's speed
    started = time.process_time()
    scenes = [make_scene(seed, SIZE_HW, defective=True) for seed in range(options.scenes)]
    seconds = time.process_time() - started
    areas, contrasts = [], []
    for scene in scenes:
        mask = np.logical_or.reduce(list(scene.masks.values()))
        change = np.abs(scene.image.astype(np.int16) - scene.good).mean(2)
        areas.append(float(mask.mean()))
        contrasts.append(float(change[mask].mean()))
    quantiles = {"quantiles": QUANTILES} | {
        name: [float(f"{value:.2g}") for value in np.quantile(values, QUANTILES)]
        for name, values in (("area", areas), ("contrast", contrasts))
    }
    print(json.dumps({"scenes_per_second": round(options.scenes / seconds, 1)} | quantiles))


if __name__ == "__main__":
    main()
