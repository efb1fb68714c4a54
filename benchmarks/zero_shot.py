"""Compare a model with its own untrained distance on annotated sets: `python benchmarks/zero_shot.py MODEL DIR...`.

Prints one JSON object per data set (`manifest` or any layout that is recognised): image AUROC of the fused score for
several w, of the map alone, pixel AUROC, and the share of parts called defective at the model's threshold.
A look at evaluation-only data belongs into docs/log.md.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from genau import Inspector, datasets
from genau.datasets import Sample
from genau.metrics import PixelHistogram, auroc, balanced_accuracy
from genau.model.context import ContextMemory

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def choose(samples: list[Sample], most: int, seed: int) -> list[Sample]:
    """Return at most `most` good and as many defective samples."""
    rng = np.random.default_rng(seed)
    chosen: list[Sample] = []
    for label in (False, True):
        group = [sample for sample in samples if sample.label is label]
        picked = rng.permutation(len(group))[:most]
        chosen += [group[k] for k in sorted(picked)]
    return chosen


def references(inspector: Inspector, samples: list[Sample], used: list[Sample], count: int) -> ContextMemory | None:
    """Return a memory of good parts that are not evaluated."""
    groups = {sample.group for sample in used if sample.group}
    good = [s for s in samples if not s.label and s not in used and (s.group is None or s.group not in groups)]
    return inspector.remember([s.image for s in good[:count]]) if count and good else None


@torch.inference_mode()
def evaluate(
    inspector: Inspector, samples: list[Sample], memory: ContextMemory | None, scores: TextIO | None
) -> dict[str, object]:
    """Return the figures of one set."""
    map_scores, text_scores, labels, histogram = [], [], [], PixelHistogram()
    for sample in samples:
        result = inspector.ask(inspector.see(sample.image, memory))
        map_scores.append(result.map_score)
        text_scores.append(result.text_score)
        labels.append(sample.label)
        if scores:
            row = {"set": sample.dataset, "label": sample.label, "references": memory.pictures if memory else 0}
            row |= {"map_score": result.map_score, "text_score": result.text_score}
            scores.write(json.dumps(row) + "\n")
        if sample.has_mask:
            histogram.update(result.anomaly_map, sample.read_mask((result.height, result.width)))
    s_map, p_text, y = np.array(map_scores), np.array(text_scores), np.array(labels)
    fused = {f"w={w}": round(auroc((1 - w) * s_map + w * p_text, y), 4) for w in WEIGHTS}
    w = inspector.model.config.text_weight
    fused_score = (1 - w) * s_map + w * p_text
    good, bad = np.percentile(s_map[~y], [5, 50, 95]).round(3), np.percentile(s_map[y], [5, 50, 95]).round(3)
    return {
        "good": int((~y).sum()),
        "defective": int(y.sum()),
        "image_auroc": fused,
        "balanced_accuracy": round(balanced_accuracy(fused_score >= inspector.thresholds.image, y), 4),
        "pixel_auroc": round(histogram.auroc(), 4),
        "map_score_good_5_50_95": good.tolist(),
        "map_score_defective_5_50_95": bad.tolist(),
        "text_score_median_good_defective": [round(float(np.median(p_text[y == v])), 3) for v in (0, 1)],
    }


def main() -> None:
    """Evaluate one model on several folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=100, help="good and defective pictures of each set")
    parser.add_argument("--references", type=int, default=0)
    parser.add_argument("--scores", type=argparse.FileType("a"), help="add each picture's scores, as JSON lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    inspector = Inspector.from_pretrained(options.model)
    for folder in options.folders:
        started = time.perf_counter()
        samples = datasets.read(folder, datasets.guess_format(folder) or "manifest")
        chosen = choose([s for s in samples if s.split != "train" or s.dataset != "visa"], options.most, options.seed)
        memory = references(inspector, samples, chosen, options.references)
        row = {"set": folder.name, "model": options.model, "references": memory.pictures if memory else 0}
        figures = evaluate(inspector, chosen, memory, options.scores)
        print(json.dumps(row | figures | {"seconds": round(time.perf_counter() - started)}), flush=True)


if __name__ == "__main__":
    main()
