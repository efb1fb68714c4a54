"""Train and evaluate variants of nano: `python benchmarks/ablations.py RUNS [NAME...] [--seeds 0,1,2]`.

Needs GENAU_DATA, the folder of the sets described in docs/data.md. Every variant is a short `genau train` of its own
(much shorter than the shipped model's) on the same encoded examples, followed by `genau eval` on the development sets;
what was interrupted goes on. The figures are collected in benchmarks/ablations.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "ablations.json"
DEV = ("dev/magnetic_tile", "dev/deeppcb")
ZERO_SHOT = ("--references", "0", "--most", "100")  # fifty good and fifty bad pictures do not decide a question
FULL = ("--references", "0,4", "--most", "50", "--reserve", "16")
FEWER = ("--references", "0", "--most", "50", "--reserve", "16")  # the pictures of FULL
FIGURES = ("image_auroc", "pixel_auroc", "pixel_aupro", "verdict_balanced_accuracy")
SHORT_HEAD = ("examples=1000", "steps=250", "log_every=10")
SHORT_JOINT = ("examples=1000", "steps=30", "log_every=2", "start={runs}/words-{seed}/run/adapter")
AFTER_WORDS = ("examples=1000", "start={runs}/words-{seed}/run/adapter")


@dataclass(frozen=True)
class Variant:
    """One training that differs in one thing from the first of its stage."""

    config: str | None  # of configs/; None: nothing is trained, `full` is looked at with another picture size
    changes: tuple[str, ...] = ()
    sets: tuple[str, ...] = DEV
    evaluation: tuple[str, ...] = ZERO_SHOT
    image_size: int | None = None  # side of the canvas in pixels


VARIANTS = {
    # The whole recipe of the shipped model; other seeds of it
    "full-head": Variant("nano-head", sets=DEV, evaluation=FULL),
    "full": Variant("nano", ("start={runs}/full-head-{seed}/run/adapter",), DEV, FULL),
    # The first stage, short
    "words": Variant("nano-head", SHORT_HEAD),
    "static": Variant("nano-head", (*SHORT_HEAD, "words=false")),
    "no-normal-query": Variant("nano-head", (*SHORT_HEAD, "normal_query=false")),
    "no-context": Variant("nano-head", (*SHORT_HEAD, "context=false")),
    "no-synthetic": Variant("nano-head", (*SHORT_HEAD, "examples=500", "synthetic=0")),
    "no-real": Variant("nano-head", (*SHORT_HEAD, "examples=500", "synthetic=1", "real=[]")),
    "half-data": Variant("nano-head", (*SHORT_HEAD, "examples=500")),  # to be compared with the two before
    # The decoder joins, or the first stage goes on: for as many pictures, and for as long
    "joint": Variant("nano", SHORT_JOINT),
    "more-pictures": Variant("nano-head", (*AFTER_WORDS, "steps=30", "log_every=10", "head_learning_rate=2.0e-4")),
    "more-time": Variant("nano-head", (*AFTER_WORDS, "steps=400", "log_every=10", "head_learning_rate=2.0e-4")),
    "joint-lambda-0": Variant("nano", (*SHORT_JOINT, "lam=0", "image_weight=0")),
    "joint-lambda-0.5": Variant("nano", (*SHORT_JOINT, "lam=0.5", "image_weight=0.5")),
    "joint-lambda-2": Variant("nano", (*SHORT_JOINT, "lam=2", "image_weight=2")),
    # Resolution: the whole recipe's model, trained at 640 pixels, looks at smaller or larger pictures
    "size-448": Variant(None, evaluation=FEWER, image_size=448),
    "size-640": Variant(None, evaluation=FEWER, image_size=640),
    "size-832": Variant(None, evaluation=FEWER, image_size=832),
    # How many good parts: the whole recipe's model, as it is (0 and 4 are in `full`)
    "references": Variant(None, evaluation=("--references", "1,16", "--most", "50", "--reserve", "16"), image_size=640),
}


def train_command(name: str, seed: int, runs: Path) -> list[str]:
    """Return the training command of a variant."""
    variant = VARIANTS[name]
    changes = {part.partition("=")[0]: part.format(runs=runs, seed=seed) for part in variant.changes}
    sets = [part for change in (*changes.values(), f"seed={seed}") for part in ("--set", change)]
    return ["genau", "train", "-c", f"configs/{variant.config}.yaml", *sets, "-o", str(runs / f"{name}-{seed}" / "run")]


def evaluate_command(name: str, seed: int, runs: Path) -> list[str]:
    """Return the command that evaluates a variant."""
    variant, folder = VARIANTS[name], runs / f"{name}-{seed}"
    data = [part for one in variant.sets for part in ("--data", f"$GENAU_DATA/{one}")]
    model = str(folder / "run" / "adapter")
    return ["genau", "eval", "--model", model, *data, *variant.evaluation, "-o", str(folder / "eval")]


def last_losses(folder: Path) -> dict[str, float]:
    """Return each part of the loss, averaged over the last fifth of the training."""
    log = [line for line in json.loads((folder / "log.json").read_text(encoding="utf-8")) if "loss" in line]
    end = log[-max(1, len(log) // 5) :]
    return {key: round(sum(line[key] for line in end) / len(end), 4) for key in end[-1] if key.startswith("loss_")}


def run(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Train and evaluate one variant with one seed, or what is missing of it; return its commands and figures."""
    folder = runs / f"{name}-{seed}"
    train = train_command(name, seed, runs) if VARIANTS[name].config else []
    evaluate = evaluate_command(name, seed, runs)
    if not train:
        resize(runs / f"full-{seed}" / "run" / "adapter", folder / "run" / "adapter", VARIANTS[name].image_size or 0)
    elif not (folder / "run" / "log.json").is_file():  # what a training writes last
        call([*train, *(["--resume"] if list(folder.glob("run/checkpoint-*")) else [])])
    if not (folder / "eval" / "metrics.json").is_file():
        call([*evaluate, *(["--resume"] if (folder / "eval" / "plan.json").is_file() else [])])
    metrics = json.loads((folder / "eval" / "metrics.json").read_text(encoding="utf-8"))
    figures = {
        f"{one['dataset']}/{one['protocol']['references']}": {key: one["mean"].get(key) for key in FIGURES}
        | {"by_text_weight": next(iter(one["image_auroc_by_text_weight"].values()), None)}
        for one in metrics["runs"]
    }
    commands = [" ".join(command).replace(str(runs), "RUNS") for command in (train, evaluate) if command]
    return {"commands": commands, "figures": figures, "losses": last_losses(folder / "run") if train else {}}


def resize(adapter: Path, copy: Path, image_size: int) -> None:
    """Copy an adapter that looks at pictures of another size."""
    shutil.copytree(adapter, copy, dirs_exist_ok=True)
    config = json.loads((copy / "config.json").read_text()) | {"image_size": image_size}
    (copy / "config.json").write_text(json.dumps(config))
    processor = json.loads((copy / "processor_config.json").read_text())
    processor["image_processor"]["size"] = image_size
    (copy / "processor_config.json").write_text(json.dumps(processor))


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
