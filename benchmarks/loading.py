"""How many pictures the data loader of a large training prepares in a second, and how much of a batch is padding.

    python benchmarks/loading.py --pictures 32 --workers 0 1 2
    python benchmarks/loading.py --padding

Pictures are synthetic JPEGs of 1024 x 1024 pixels; each is decoded, turned, letterboxed and put into words with its
questions, as `genau train` of stage live does. The tokenizer is nano's: its words count, not what they cost to read.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from genau import weights
from genau.datasets.sample import Sample
from genau.datasets.synthetic import DEFECT_TYPES, make_scene
from genau.layouts import QwenLayout, layout_settings
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.training.live.batches import LiveBatchMaker
from genau.training.live.rows import Pictures, Rows
from genau.training.live.schedule import Schedule, Ticket
from genau.training.live.wordings import Wordings

SIDE, CANVAS, CELL = 1024, 896, 28  # pixels; the canvas and visual token of Qwen2.5-VL
SAMPLES = 16


def make_samples(folder: Path, sides: np.ndarray) -> tuple[Sample, ...]:
    """Write a JPEG of each size (n, 2), each second one defective with a mask."""
    made = []
    for number, (height, width) in enumerate(sides.tolist()):
        scene = make_scene(number, (height, width), defective=True)
        path = folder / f"{number:04d}.jpg"
        Image.fromarray(scene.image if number % 2 else scene.good).save(path, quality=90)
        mask = None
        if number % 2:
            mask = folder / f"{number:04d}_mask.png"
            Image.fromarray(np.logical_or.reduce(list(scene.masks.values())).astype(np.uint8) * 255).save(mask)
        made.append(Sample(path, bool(number % 2), "part", "part", "synthetic", "test", mask=mask))
    return tuple(made)


def loading(samples: tuple[Sample, ...], maker: LiveBatchMaker, count: int, workers: int, batch_size: int) -> float:
    """Return pictures per second, after the first batch."""
    schedule = Schedule(len(samples), 0, 0.25, batch_size, 0)
    rows = Rows(schedule, Pictures(samples, 0, 0.0, 0), None, np.arange(count + batch_size))
    prefetch = 4 if workers else None
    loader = DataLoader(rows, batch_size, num_workers=workers, prefetch_factor=prefetch, collate_fn=maker)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - start)


def padding(group: int, batch_size: int, share_of_talk: float) -> float:
    """Return which share of the words of batches is padding, for pictures of 1:3 to 3:1."""
    rng = np.random.default_rng(0)
    shorter = rng.uniform(1 / 3, 1, 1000)
    tokens = [(-(-int(CANVAS * one) // CELL)) * (CANVAS // CELL) for one in shorter]
    talks = rng.integers(40, 400, 500)
    schedule = Schedule(len(tokens), len(talks), share_of_talk, 8, 0)

    def length(ticket: Ticket) -> float:
        return float(800 + talks[ticket.number] if ticket.talk else tokens[ticket.number] + 150)

    places = schedule.grouped(schedule.steps(1), length, group).reshape(-1, batch_size)
    lengths = np.array([[length(schedule.ticket(int(place))) for place in batch] for batch in places])
    return float(1 - lengths.sum() / (lengths.max(1) * batch_size).sum())


def eaten(parameters: float, words: float, flops: float, used: float) -> float:
    """Return how many pictures one GPU would train on in a second, by arithmetic, not measured.

    Each number of a frozen decoder is multiplied and added once for each word in the forward pass, once again where
    layers are computed anew, and once in the backward pass (LoRA's own products are few): 6 operations.
    """
    return flops * used / (6 * parameters * words)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--padding", action="store_true", help="the share of padding instead, by grouping")
    options = parser.parse_args()
    need = eaten(7.6e9, 1300, 989e12, 0.4)  # a 7 B decoder, words of a picture and what is asked, an H100 in bf16
    print(f"Assumed, not measured: a GPU at 40 % of 989 TFLOP/s eats {need:.1f} pictures/s, eight {8 * need:.0f}")
    if options.padding:
        for batch_size in (1, 2, 4, 8):
            shares = {group: padding(group, batch_size, 0.25) for group in (1, 8, 32)}
            said = ", ".join(f"group {group}: {share:.1%}" for group, share in shares.items())
            print(f"batch {batch_size}: padding {said}")
        return
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(weights.ensure_base() / "tokenizer", local_files_only=True)
    layout = layout_settings(QwenLayout(CELL))
    processor = GenAUProcessor(LetterboxImageProcessor(CANVAS), tokenizer, layout=layout)
    maker = LiveBatchMaker(processor, Wordings(processor, sorted(DEFECT_TYPES)), analysis=0.4)
    with TemporaryDirectory() as folder:
        samples = make_samples(Path(folder), np.full((SAMPLES, 2), SIDE))
        for workers in options.workers:
            speed = loading(samples, maker, options.pictures, workers, options.batch_size)
            print(f"{workers} workers: {speed:.1f} pictures of {SIDE} x {SIDE} per second")


if __name__ == "__main__":
    main()
