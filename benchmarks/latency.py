"""Measure what one inspection costs on this machine: `python benchmarks/latency.py [MODEL]`.

Prints medians of warm runs in seconds, and the peak memory of the process. Pictures are those in examples/.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from genau import Inspector
from genau.reading import read_picture

EXAMPLES = Path(__file__).parent.parent / "examples" / "pictures"
TEN_TYPES = ["scratch", "dent", "crack", "stain", "hole", "burr", "bubble", "chip", "thread", "discoloration"]


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Return the median wall time of `work` after one warm-up."""
    work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times), 3)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    inspector = Inspector.from_pretrained(options.model)
    load_s = round(time.perf_counter() - started, 2)
    paths = sorted(path for path in EXAMPLES.iterdir() if path.suffix.lower() in {".jpg", ".png"})
    picture = str(paths[0])
    eight = [str(paths[k % len(paths)]) for k in range(8)]
    seen = inspector.see(picture)
    plain = median_seconds(lambda: inspector.ask(seen), options.runs)
    typed = median_seconds(lambda: inspector.ask(seen, types=TEN_TYPES), options.runs)
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "model": options.model,
        "load_s": load_s,
        "read_s": median_seconds(lambda: read_picture(picture), options.runs),
        "score_and_map_s": median_seconds(lambda: inspector.inspect(picture, analysis=False), options.runs),
        "per_picture_in_batches_of_8_s": median_seconds(lambda: list(inspector.inspect_many(eight)), 3) / 8,
        "ten_types_add_s": round(typed - plain, 3),
        "analysis_s": None,
    }
    if inspector.model.config.writes_analysis:
        words = median_seconds(lambda: inspector.ask(seen, analysis=True, threshold=0.0), options.runs)
        report["analysis_s"] = round(words - plain, 3)
    report["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    help_command = [sys.executable, "-m", "genau.cli", "--help"]
    report["help_s"] = median_seconds(lambda: subprocess.run(help_command, capture_output=True, check=True), 5)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
