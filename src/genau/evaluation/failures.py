"""The worst false alarms and misses of an evaluation, drawn once more so that somebody can look at them."""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from genau.datasets import Sample
from genau.detection import Detector
from genau.evaluation.journal import FAILURES as FOLDER
from genau.evaluation.journal import Journal, writing
from genau.evaluation.plan import Run, Unit
from genau.evaluation.run import detections_of
from genau.results import Inspection

MOST = 12  # of each kind, over all runs
LONGEST_PX = 640  # side of a drawn picture
_TRUTH_COLOUR = (255, 0, 255)  # rare on parts
Draw = Callable[[Inspection], Image.Image]
Entry = tuple[float, str, str, int, Unit, dict[str, Any]]  # how bad, unit, picture, run, unit, row


def collect(detector: Detector, runs: Sequence[Run], journal: Journal, draw: Draw) -> list[dict[str, Any]]:
    """Draw the worst failures of each data set's first run and return what `failures.json` lists.

    Worst are the good pictures of the highest score and the defective ones of the lowest, so far as they are on the
    wrong side of the threshold or of most pictures of the other kind: a detector that is not calibrated fails, too.
    """
    first: dict[str, int] = {}
    for number, run in enumerate(runs):
        first.setdefault(run.dataset, number)
    worst: dict[str, list[Entry]] = {"false alarm": [], "miss": []}
    badness: dict[str, list[float]] = {"false alarm": [], "miss": []}
    for number in first.values():
        for unit in runs[number].units:
            for row in journal.rows(unit.key):
                if row["pred_score"] is not None:
                    kind, how_bad = ("miss", -row["pred_score"]) if row["label"] else ("false alarm", row["pred_score"])
                    badness[kind].append(how_bad)
                    entry = (how_bad, unit.key, row["image"], number, unit, row)
                    worst[kind] = heapq.nlargest(MOST, [*worst[kind], entry], key=lambda item: item[:3])
    chosen = []
    for kind, other in (("false alarm", "miss"), ("miss", "false alarm")):
        middle = -float(np.median(badness[other])) if badness[other] else math.inf
        chosen += [(kind, *entry[3:]) for entry in worst[kind] if entry[0] > middle or _is_called_wrong(entry[-1])]
    with writing(journal.folder):
        (journal.folder / FOLDER).mkdir(exist_ok=True)
    listed: list[dict[str, Any]] = []
    wanted: dict[str, list[tuple[Sample, str]]] = {}  # unit -> its pictures and where to draw them
    units = {unit.key: unit for _, _, unit, _ in chosen}
    for position, (kind, number, unit, row) in enumerate(chosen, start=1):
        name = f"{FOLDER}/{position:03d}.jpg"
        sample = next(s for s in unit.samples if unit.name_of(s) == row["image"])
        wanted.setdefault(unit.key, []).append((sample, name))
        about = {"run": number, "category": unit.category, "kind": kind, "overlay": name}
        about |= {key: row[key] for key in ("image", "true_types", "verdict", "threshold")}
        listed.append(about | {"score": row["pred_score"], "text": row["contradiction"] or ""})
    for key, pictures in wanted.items():
        again = detections_of(detector, units[key], [sample for sample, _ in pictures])
        for (result, truth), (_, name) in zip(again, pictures, strict=True):
            both = picture_of(result, truth, draw)
            with writing(journal.folder):
                both.save(journal.folder / name, quality=88)
    return listed


def _is_called_wrong(row: Mapping[str, Any]) -> bool:
    called_defect: bool = row["pred_score"] >= row["threshold"]
    return called_defect is not row["label"]


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
