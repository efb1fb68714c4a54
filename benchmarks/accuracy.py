"""Evaluate nano and the offline baselines on all annotated sets: `python benchmarks/accuracy.py RUNS [NAME...]`.

Needs GENAU_DATA, the folder of the sets described in docs/data.md. Every evaluation is a `genau eval` of its own, in a
folder below RUNS; one that was interrupted goes on. At the end their figures are copied to benchmarks/results/, from
which tools/make_benchmarks.py writes the tables of docs/benchmarks.md.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
DEV = ("dev/magnetic_tile", "dev/deeppcb")
VISA = ("bench/visa",)
TYPED = ("bench/tile_typed", "bench/wood_typed", "bench/leather_typed", "bench/steel_strip")
SEEDS = ("--seed", "0,1,2")

# Name of the run -> data sets and options. The sets of dev/ have hundreds of pictures: 50 good and 50 bad of each.
RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nano-dev": (DEV, ("--model", "nano", "--references", "0,4", "--most", "50", "--reserve", "16")),
    "nano-visa": (VISA, ("--model", "nano", "--references", "0,4", *SEEDS)),
    "self-similarity-dev": (DEV, ("--model", "self-similarity", "--most", "50", "--reserve", "16")),
    "self-similarity-visa": (VISA, ("--model", "self-similarity")),
    "patch-memory-dev": (DEV, ("--model", "patch-memory", "--references", "1,4,16", *SEEDS, "--most", "50")),
    "patch-memory-visa": (VISA, ("--model", "patch-memory", "--references", "1,4,16", *SEEDS)),
    "nano-types": (TYPED, ("--model", "nano", "--types", "filtered")),
    "self-similarity-types": (TYPED, ("--model", "self-similarity")),
}


def evaluate(name: str, root: Path, data: Path) -> None:
    """Run one evaluation, or the rest of it."""
    sets, options = RUNS[name]
    folders = [part for folder in sets for part in ("--data", str(data / folder))]
    command = [sys.executable, "-m", "genau.cli", "eval", *folders, *options, "-o", str(root / name)]
    if (root / name / "plan.json").is_file():
        command.append("--resume")
    started = time.perf_counter()
    subprocess.run(command, check=True)
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def keep(name: str, root: Path) -> None:
    """Copy a run's figures, without what only this machine knows."""
    metrics = json.loads((root / name / "metrics.json").read_text(encoding="utf-8"))
    sets, options = RUNS[name]
    folders = " ".join(f"--data $GENAU_DATA/{folder}" for folder in sets)
    metrics["command"] = f"genau eval {folders} {shlex.join(options)} -o RUNS/{name}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run what was named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("names", nargs="*", help=f"only these: {', '.join(RUNS)}")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in RUNS]:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(RUNS)}")
    if "GENAU_DATA" not in os.environ:
        sys.exit("GENAU_DATA is not set. Set it to the folder of the data sets, see docs/data.md.")
    data = Path(os.environ["GENAU_DATA"])
    for name in options.names or RUNS:
        evaluate(name, options.runs, data)
        keep(name, options.runs)


if __name__ == "__main__":
    main()
