"""Train and evaluate variants of nano: `python benchmarks/ablations.py RUNS [NAME...] [--seeds 0,1,2]`.

Needs GENAU_DATA, the folder of the sets described in docs/data.md. Every variant is a short `genau train` of its own
(much shorter than the shipped model's) on the same encoded examples, followed by `genau eval` on the development sets;
what was interrupted goes on. The figures are collected in benchmarks/ablations.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "ablations.json"
EVALUATION = (
    *("--data", "$GENAU_DATA/dev/magnetic_tile", "--data", "$GENAU_DATA/dev/deeppcb"),
    *("--references", "0,4", "--most", "50", "--types", "filtered"),
)
FIGURES = ("image_auroc", "pixel_auroc", "pixel_aupro", "type_macro_auroc", "type_macro_recall")
SHORT_HEAD = ("examples=1000", "steps=250")
SHORT_JOINT = ("examples=1000", "steps=60", "start={runs}/words-0/run/adapter")


@dataclass(frozen=True)
class Variant:
    """One training that differs in one thing from the first of its stage."""

    stage: str  # config of configs/: nano-head or nano
    changes: tuple[str, ...] = ()


VARIANTS = {
    "words": Variant("nano-head"),
    "static": Variant("nano-head", ("words=false",)),
    "no-normal-query": Variant("nano-head", ("normal_query=false",)),
    "no-context": Variant("nano-head", ("context=false",)),
    "no-synthetic": Variant("nano-head", ("synthetic=0",)),
    "no-real": Variant("nano-head", ("synthetic=1", "real=[]")),
    "joint": Variant("nano"),
    "joint-lambda-0": Variant("nano", ("lam=0", "image_weight=0")),
    "joint-lambda-0.5": Variant("nano", ("lam=0.5", "image_weight=0.5")),
    "joint-lambda-2": Variant("nano", ("lam=2", "image_weight=2")),
}


def train_command(name: str, seed: int, runs: Path) -> list[str]:
    """Return the training command of a variant."""
    variant = VARIANTS[name]
    short = SHORT_HEAD if variant.stage == "nano-head" else SHORT_JOINT
    changes = [change.format(runs=runs) for change in (*short, *variant.changes, f"seed={seed}")]
    sets = [part for change in changes for part in ("--set", change)]
    return ["genau", "train", "-c", f"configs/{variant.stage}.yaml", *sets, "-o", str(runs / f"{name}-{seed}" / "run")]


def run(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Train and evaluate one variant with one seed, or what is missing of it; return its commands and figures."""
    folder = runs / f"{name}-{seed}"
    train = train_command(name, seed, runs)
    evaluate = ["genau", "eval", "--model", str(folder / "run" / "adapter"), *EVALUATION, "-o", str(folder / "eval")]
    started = time.perf_counter()
    if not (folder / "run" / "adapter" / "config.json").is_file():
        call([*train, *(["--resume"] if list(folder.glob("run/checkpoint-*")) else [])])
    trained = time.perf_counter()
    if not (folder / "eval" / "metrics.json").is_file():
        call([*evaluate, *(["--resume"] if (folder / "eval" / "plan.json").is_file() else [])])
    metrics = json.loads((folder / "eval" / "metrics.json").read_text(encoding="utf-8"))
    figures = {
        f"{one['dataset']}/{one['protocol']['references']}": {key: one["mean"].get(key) for key in FIGURES}
        | {"by_text_weight": next(iter(one["image_auroc_by_text_weight"].values()), None)}
        for one in metrics["runs"]
    }
    commands = [" ".join(command).replace(str(runs), "RUNS") for command in (train, evaluate)]
    return {"commands": commands, "figures": figures, "train_seconds": round(trained - started)}


def call(command: list[str]) -> None:
    """Run a genau command in the repository."""
    expanded = [os.path.expandvars(part) for part in command[1:]]
    subprocess.run([sys.executable, "-m", "genau.cli", *expanded], check=True, cwd=ROOT)


def main() -> None:
    """Run what was named, or everything, and keep the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("names", nargs="*", help=f"only these: {', '.join(VARIANTS)}")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in VARIANTS]:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(VARIANTS)}")
    if "GENAU_DATA" not in os.environ:
        sys.exit("GENAU_DATA is not set. Set it to the folder of the data sets, see docs/data.md.")
    for name in options.names or VARIANTS:
        for seed in map(int, options.seeds.split(",")):
            found = run(name, seed, options.runs.resolve())
            kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
            kept[f"{name}-{seed}"] = found
            RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
            print(name, seed, json.dumps(found["figures"]), flush=True)


if __name__ == "__main__":
    main()
