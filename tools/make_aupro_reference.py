"""Write tests/metrics/aupro_reference.json: pixel measures of fixed inputs by adeval, an independent implementation.

    python tools/make_aupro_reference.py

Needs `adeval==1.1.0`, `opencv-python-headless` and `numpy<2.4` (adeval calls `np.trapz`) in an environment of their
own: OpenCV is no dependency of GenAU. The test makes the same inputs with `make_inputs`.
"""

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).parent.parent / "tests" / "metrics" / "aupro_reference.json"
STRIPS = 20_000  # adeval's bins between the smallest and the largest score
FPR_LIMIT = 0.3  # fixed in adeval
CASES = {  # name -> seed, signal, spread of the scores, side of the largest region
    "strong map": (0, 0.6, 0.4, 30),
    "weak map": (1, 0.1, 0.9, 30),
    "map without signal": (2, 0.0, 1.0, 20),
    "map that is the wrong way round": (3, -0.3, 0.6, 20),
    "single pixels": (4, 0.3, 0.6, 1),
    "large regions": (5, 0.3, 0.6, 70),
}

Inputs = tuple[list[np.ndarray], list[np.ndarray]]


def make_inputs(name: str) -> Inputs:
    """Return maps (H, W) float32 in [0, 1] and masks (H, W) uint8 of five pictures, the first of a good part.

    Only operations that give the same bits everywhere.
    """
    seed, signal, spread, side = CASES[name]
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for picture in range(5):
        mask = np.zeros((80, 120), np.uint8)
        for _ in range(3 * picture):
            height, width = rng.integers(1, side + 1, 2)
            top, left = rng.integers(0, 80 - height + 1), rng.integers(0, 120 - width + 1)
            mask[top : top + height, left : left + width] = 1
        blocks = np.kron(rng.random((8, 12)), np.ones((10, 10)))  # neighbours are alike, as in real maps
        noise = (blocks + rng.random(mask.shape)) / 2
        maps.append((max(0.0, -signal) + spread * noise + signal * mask * rng.random(mask.shape)).astype(np.float32))
        masks.append(mask)
    return maps, masks


def digest(inputs: Inputs) -> str:
    """Return a checksum of the inputs: where it differs, it is not the measure that changed."""
    state = blake2b(digest_size=8)
    for arrays in inputs:
        for array in arrays:
            state.update(array.tobytes())
    return state.hexdigest()


def main() -> None:
    """Measure every case with adeval."""
    from importlib.metadata import version

    from adeval import auroc_aupr_aupro

    rows = {}
    for name in CASES:
        maps, masks = make_inputs(name)
        pixel_auroc, _, aupro = auroc_aupr_aupro(maps, masks, nstrips=STRIPS)
        rows[name] = {"aupro": aupro, "pixel_auroc": pixel_auroc, "inputs": digest((maps, masks))}
    made_by = {"adeval": version("adeval"), "strips": STRIPS, "fpr_limit": FPR_LIMIT}
    OUTPUT.write_text(json.dumps({"made_by": made_by, "cases": rows}, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
