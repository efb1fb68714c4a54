"""The worst false alarms and misses of an evaluation, drawn once more so that somebody can look at them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from genau.datasets import Sample
from genau.detection import Detector
from genau.evaluation.journal import Journal
from genau.evaluation.plan import Run
from genau.evaluation.run import detections_of
from genau.results import Inspection

MOST = 12  # of each kind, over all runs
LONGEST_PX = 640  # side of a drawn picture
FOLDER = "failures"
_TRUTH_COLOUR = (255, 0, 255)  # rare on parts
Draw = Callable[[Inspection], Image.Image]


def collect(detector: Detector, runs: Sequence[Run], journal: Journal, draw: Draw) -> list[dict[str, Any]]:
    """Draw the worst failures of each data set's first run and return what `failures.json` lists.

    A false alarm is a good picture whose score reaches the threshold, a miss a defective one whose score does not;
    the worst are those farthest from the threshold.
    """
    first: dict[str, int] = {}
    for number, run in enumerate(runs):
        first.setdefault(run.dataset, number)
    found = []
    for number in first.values():
        for unit in runs[number].units:
            for row in journal.rows(unit.key):
                score, threshold = row["pred_score"], row["threshold"]
                if score is not None and row["label"] is not (score >= threshold):
                    kind = "miss" if row["label"] else "false alarm"
                    found.append((abs(score - threshold), kind, number, unit, row))
    found.sort(key=lambda item: (-item[0], item[3].key, item[4]["image"]))
    chosen = [item for kind in ("false alarm", "miss") for item in [i for i in found if i[1] == kind][:MOST]]
    (journal.folder / FOLDER).mkdir(exist_ok=True)
    listed: list[dict[str, Any]] = []
    wanted: dict[str, list[tuple[Sample, str]]] = {}  # unit -> its pictures and where to draw them
    units = {unit.key: unit for _, _, _, unit, _ in chosen}
    for position, (_, kind, number, unit, row) in enumerate(chosen, start=1):
        name = f"{FOLDER}/{position:03d}.jpg"
        sample = next(s for s in unit.samples if unit.name_of(s) == row["image"])
        wanted.setdefault(unit.key, []).append((sample, name))
        entry = {"run": number, "category": unit.category, "kind": kind, "overlay": name}
        entry |= {key: row[key] for key in ("image", "true_types", "verdict", "threshold")}
        listed.append(entry | {"score": row["pred_score"], "text": row["contradiction"] or ""})
    for key, pictures in wanted.items():
        again = detections_of(detector, units[key], [sample for sample, _ in pictures])
        for (result, truth), (_, name) in zip(again, pictures, strict=True):
            picture_of(result, truth, draw).save(journal.folder / name, quality=88)
    return listed


def picture_of(result: Inspection, truth: NDArray[np.bool_] | None, draw: Draw) -> Image.Image:
    """Return the picture with its true outline beside the overlay of what was found."""
    drawn = draw(result).convert("RGB")
    plain = np.array(result.picture)
    if truth is not None and truth.any():
        width = max(1, round(2 * max(truth.shape) / LONGEST_PX))  # still seen when scaled down
        edge = ndimage.binary_dilation(truth, iterations=width) & ~truth
        plain[edge] = _TRUTH_COLOUR
    scale = min(1.0, LONGEST_PX / max(result.height, result.width))
    size = (max(1, round(result.width * scale)), max(1, round(result.height * scale)))
    both = Image.new("RGB", (2 * size[0] + 4, size[1]), "white")
    both.paste(Image.fromarray(plain).resize(size, Image.Resampling.LANCZOS), (0, 0))
    both.paste(drawn.resize(size, Image.Resampling.LANCZOS), (size[0] + 4, 0))
    return both
