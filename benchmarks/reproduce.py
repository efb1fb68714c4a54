"""Reproduce a cross-dataset table with one command: train on one data set's test split, evaluate on the other.

`python benchmarks/reproduce.py visa --model BASE --mvtec DIR --visa DIR -o RUNS` trains on MVTec AD and evaluates on
VisA; `mvtec` the other way round. BASE is a name on the hub or a folder, see docs/backbones.md. Every step is a command
of `genau` that is printed before it runs, and what was interrupted goes on when the command is repeated:

  RUNS/train   the trained model, as `genau train` leaves it
  RUNS/eval    figures per product, report, failures, as `genau eval` leaves them
  RUNS/table.txt   the table, with published figures beside where the protocols are the same
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from genau import datasets
from genau.errors import GenAUError

ROOT = Path(__file__).parent.parent
FINISHED = "log.json"  # what a training writes last


@dataclass(frozen=True)
class Side:
    """One of the two data sets."""

    title: str
    format: str
    variable: str  # of the environment, by which the configs name its folder


SIDES = {"mvtec": Side("MVTec AD", "mvtec", "MVTEC"), "visa": Side("VisA", "visa", "VISA")}


@dataclass(frozen=True)
class Plan:
    """What is trained on what, and where it goes."""

    target: str  # of SIDES, evaluated
    model: str
    folders: dict[str, Path]  # by name of SIDES
    runs: Path
    gpus: int = 1
    seed: int = 0
    device: str = "cpu"
    changes: tuple[str, ...] = ()  # settings of the training, key=value
    most: int | None = None  # pictures per category and label that are evaluated; None: all

    @property
    def source(self) -> str:
        """The other data set, which is trained on."""
        (other,) = set(SIDES) - {self.target}
        return other

    @property
    def config(self) -> str:
        """The training's config, from the repository's root."""
        return f"configs/paper/{self.source}-to-{self.target}.yaml"

    def train_command(self) -> list[str]:
        """Return the training: one process, or one for each GPU."""
        several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.gpus}"]
        sets = [f"base={self.model}", f"seed={self.seed}", f"gpus={self.gpus}", *self.changes]
        command = [sys.executable, *(several if self.gpus > 1 else []), "-m", "genau.cli", "train", "-c", self.config]
        command += [part for change in sets for part in ("--set", change)]
        return [*command, "-o", str(self.runs / "train"), *self._resume("train", "checkpoint-*")]

    def evaluate_command(self) -> list[str]:
        """Return the zero-shot evaluation, with the candidate types of each product."""
        side = SIDES[self.target]
        command = [sys.executable, "-m", "genau.cli", "eval", "--model", str(self.runs / "train" / "adapter")]
        command += ["--data", str(self.folders[self.target]), "--format", side.format, "--device", self.device]
        command += ["--types", "filtered", "--with-published"]
        command += ["--most", str(self.most)] if self.most else []
        return [*command, "-o", str(self.runs / "eval"), *self._resume("eval", "plan.json")]

    def _resume(self, folder: str, sign: str) -> list[str]:
        return ["--resume"] if any((self.runs / folder).glob(sign)) else []


def check(plan: Plan) -> list[str]:
    """Read both data sets, and return what is there in words.

    Raises:
        GenAUError: one of them is not what it should be; the message says what to do.
    """
    lines = []
    for name, side in SIDES.items():
        samples = datasets.read(plan.folders[name], side.format, split="test")
        bad, categories = sum(sample.label for sample in samples), {sample.category for sample in samples}
        use = "evaluated" if name == plan.target else "trained on"
        lines.append(f"{side.title}: {len(samples)} test pictures of {len(categories)} products, {bad} bad; {use}")
    return lines


def run(command: list[str], environment: dict[str, str], log: Path | None = None) -> None:
    """Print a command and run it; with `log`, keep what it says on stdout. Ends the program where it fails."""
    print("$", " ".join(["genau" if part == "genau.cli" else part for part in command[1:] if part != "-m"]), flush=True)
    if log is None:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    else:
        found = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, text=True)
        print(found.stdout, end="")
        done = found.returncode
        if not done:
            log.write_text(found.stdout, encoding="utf-8")
    if done:
        sys.exit(
            f"This step ended with {done}. Mend what it says and run the same command again: it goes on from here."
        )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=SIDES, help="the data set that is evaluated; the other one is trained on")
    parser.add_argument("--model", required=True, help="base: a name on the hub or a folder")
    for name, side in SIDES.items():
        parser.add_argument(f"--{name}", required=True, type=Path, help=f"folder of {side.title}")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for the runs")
    parser.add_argument("--gpus", type=int, default=1, help="train on so many; one process each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=None, help="of the evaluation; default: the GPU if there is one")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="setting of the training, key=value")
    parser.add_argument("--most", type=int, help="evaluate at most so many good and bad pictures of each product")
    parser.add_argument("--dry-run", action="store_true", help="check data and config, print the plan, train nothing")
    return parser.parse_args(arguments)


def main() -> None:
    """Check, train, evaluate, print."""
    options = parse()
    plan = Plan(
        options.target,
        options.model,
        {name: getattr(options, name).expanduser().resolve() for name in SIDES},
        options.output.expanduser().resolve(),
        options.gpus,
        options.seed,
        options.device or default_device(),
        tuple(options.changes),
        options.most,
    )
    try:
        print("\n".join(check(plan)), flush=True)
    except GenAUError as error:
        sys.exit(str(error))
    environment = os.environ | {SIDES[plan.source].variable: str(plan.folders[plan.source])}
    if options.dry_run:
        run([*plan.train_command(), "--dry-run"], environment)
        print("Then:", " ".join(["genau", *plan.evaluate_command()[3:]]))
        return
    plan.runs.mkdir(parents=True, exist_ok=True)
    if (plan.runs / "train" / FINISHED).is_file():
        print(f"{plan.runs / 'train'} is trained already.")
    else:
        run(plan.train_command(), environment)
    run(plan.evaluate_command(), environment, log=plan.runs / "table.txt")
    print(f"Table: {plan.runs / 'table.txt'}; per product and failures: {plan.runs / 'eval' / 'report.html'}")


def default_device() -> str:
    """Return the GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
