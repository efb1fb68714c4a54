"""Write the tables of docs/benchmarks.md and docs/ablations.md: `python tools/make_benchmarks.py [--check]`.

They come from benchmarks/results/ and benchmarks/ablations.json, which the scripts in benchmarks/ write.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; all other text of the page is written by hand.
"""

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "ablations.md")
ABLATIONS = ROOT / "benchmarks" / "ablations.json"
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DETECTORS = (("self-similarity", "self-similarity"), ("patch-memory", "patch memory"), ("nano", "**nano**"))
DETECTION = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_aupro")
TYPES = (
    "type_accuracy",
    "type_constant_accuracy",
    "type_macro_recall",
    "type_constant_macro_recall",
    "type_macro_auroc",
    "type_pixel_auroc",
    "type_pixel_ap",
    "type_pixel_f1",
)
VERDICT = ("verdict_balanced_accuracy", "verdict_recall", "verdict_specificity", "rejection", "pixel_iou", "ece")
HEADS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "pixel AUPRO",
    "type_accuracy": "top-1",
    "type_constant_accuracy": "constant answer",
    "type_macro_recall": "macro recall",
    "type_constant_macro_recall": "constant answer",
    "type_macro_auroc": "macro AUROC",
    "type_pixel_auroc": "pixel AUROC",
    "type_pixel_ap": "pixel AP",
    "type_pixel_f1": "pixel F1",
    "verdict_balanced_accuracy": "balanced accuracy",
    "verdict_recall": "recall",
    "verdict_specificity": "specificity",
    "rejection": "rejection",
    "pixel_iou": "IoU",
    "ece": "ECE (lower is better)",
}


def load(name: str) -> dict[str, Any]:
    """Return a run's figures, or none where it was not run."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {"runs": [], "over_seeds": []}
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def detection(part: str, keys: tuple[str, ...] = DETECTION) -> str:
    """Return the table of all detectors on the sets of one part, by data set and references."""
    lines: list[tuple[str, int, int, list[str]]] = []
    for order, (name, shown) in enumerate(DETECTORS):
        metrics = load(f"{name}-{part}")
        for run in metrics["runs"]:
            references, dataset = run["protocol"]["references"], run["dataset"]
            spread = find(metrics, dataset, references)
            if spread is not None and run["protocol"]["seed"] != spread["seeds"][0]:
                continue
            cells = [cell(run["mean"], spread, key) for key in keys]
            lines.append((dataset, references, order, [dataset, str(references), shown, *cells]))
    head = ["data set", "references", "detector", *(HEADS[key] for key in keys)]
    return markdown(head, [line for *_, line in sorted(lines)])


def find(metrics: Mapping[str, Any], dataset: str, references: int) -> Mapping[str, Any] | None:
    """Return the summary over seeds, if there was more than one."""
    same = [s for s in metrics["over_seeds"] if (s["dataset"], s["references"]) == (dataset, references)]
    return same[0] if same else None


def cell(mean: Mapping[str, Any], spread: Mapping[str, Any] | None, key: str) -> str:
    """Return mean ± standard deviation over seeds, or the value with its interval."""
    if spread is not None:
        both = spread["mean"].get(key)
        return "n/a" if both is None else f"{both['mean']:.3f} ± {both['std']:.3f}"
    value, interval = mean.get(key), mean["intervals"].get(key)
    if value is None:
        return "n/a"
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else f"{value:.3f}"


def types() -> str:
    """Return nano's typed figures, with the candidates of each set."""
    lines = []
    for run in load("nano-types")["runs"]:
        ((category, candidates),) = run["protocol"]["candidates"].items()
        pictures = str(run["per_category"][category]["n_typed"])
        cells = [cell(run["mean"], None, key) for key in TYPES]
        lines.append([run["dataset"], str(len(candidates)), pictures, *cells])
    return markdown(["data set", "candidates", "pictures", *(HEADS[key] for key in TYPES)], sorted(lines))


def verdicts() -> str:
    """Return nano's decisions at its own threshold."""
    lines = []
    for part in ("dev", "visa"):
        for run in load(f"nano-{part}")["runs"]:
            if run["protocol"]["seed"] == 0:
                cells = [cell(run["mean"], None, key) for key in VERDICT]
                lines.append([run["dataset"], str(run["protocol"]["references"]), *cells])
    return markdown(["data set", "references", *(HEADS[key] for key in VERDICT)], lines)


def weights() -> str:
    """Return nano's image AUROC for other weights of the decoder's word."""
    lines = []
    for part in ("dev", "visa"):
        for run in load(f"nano-{part}")["runs"]:
            if run["protocol"]["seed"] == 0:
                (by_weight,) = run["image_auroc_by_text_weight"].values()
                cells = [f"{value:.3f}" for value in by_weight.values()]
                lines.append([run["dataset"], str(run["protocol"]["references"]), *cells])
    return markdown(["data set", "references", "w = 0", "¼", "½", "¾", "1"], lines)


def seconds() -> str:
    """Return where the time of the evaluations went."""
    lines = []
    for name, shown in DETECTORS:
        for part in ("dev", "visa"):
            for run in load(f"{name}-{part}")["runs"]:
                if run["protocol"]["seed"] == 0:
                    spent = run["seconds"]
                    total, pictures = sum(spent.values()), run["mean"]["n_normal"] + run["mean"]["n_defect"]
                    share = (spent["reading"] + spent["model"]) / total
                    cells = [
                        str(run["protocol"]["references"]),
                        str(pictures),
                        f"{total / pictures:.2f} s",
                        f"{share:.1%}",
                    ]
                    lines.append([run["dataset"], shown, *cells])
    return markdown(
        ["data set", "detector", "references", "pictures", "per picture", "of it reading and the model"], lines
    )


def commands() -> str:
    """Return the command of every run that the tables come from."""
    names = [path.stem for path in sorted(RESULTS.glob("*.json"))]
    return "\n```bash\n" + "\n".join(load(name)["command"] for name in names) + "\n```\n\n"


def ablations() -> dict[str, dict[str, Any]]:
    """Return every ablation's commands and figures, by `variant-seed`."""
    found: dict[str, dict[str, Any]] = json.loads(ABLATIONS.read_text(encoding="utf-8"))
    return found


def ablation(names: Sequence[str], losses: Sequence[str] = ()) -> str:
    """Return a table of variants: mean AUROCs over their seeds and sets, and the parts of the loss at the end."""
    runs = {name: runs_of(name) for name in names}
    units = sorted({unit for found in runs.values() for run in found for unit in run["figures"]})
    keys = ("image_auroc", "pixel_auroc")
    lines = []
    for name, found in runs.items():
        if found:
            cells = [over_seeds([run["figures"][unit][key] for run in found]) for unit in units for key in keys]
            means = over_seeds([statistics.mean(run["figures"][u]["image_auroc"] for u in units) for run in found])
            ends = [over_seeds([run["losses"].get(f"loss_{part}") for run in found]) for part in losses]
            lines.append([f"`{name}`", str(len(found)), *cells, means, *ends])
    heads = [f"{unit.partition('/')[0]}, {HEADS[key]}" for unit in units for key in keys]
    return markdown(["variant", "seeds", *heads, "mean image AUROC", *(f"{part} loss" for part in losses)], lines)


def seeds(name: str) -> str:
    """Return the table of the whole recipe with several seeds: a line per set and number of references."""
    found = runs_of(name)
    keys = ("image_auroc", "pixel_auroc", "pixel_aupro")
    lines = [
        [
            unit.partition("/")[0],
            unit.partition("/")[2],
            *(over_seeds([r["figures"][unit][k] for r in found]) for k in keys),
        ]
        for unit in (found[0]["figures"] if found else ())
    ]
    return markdown(["set", "references", *(HEADS[key] for key in keys)], lines)


def runs_of(name: str) -> list[dict[str, Any]]:
    """Return a variant's runs, one for each seed."""
    return [run for key, run in sorted(ablations().items()) if key.rpartition("-")[0] == name]


def over_seeds(values: list[float | None]) -> str:
    """Return mean ± standard deviation, or the one value."""
    if not values or any(value is None for value in values):
        return "n/a"
    numbers = [float(value) for value in values if value is not None]
    mean = f"{statistics.mean(numbers):.3f}"
    return f"{mean} ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else mean


def ablation_commands() -> str:
    """Return the commands of every variant's first run."""
    found = {name.rpartition("-")[0]: run["commands"] for name, run in reversed(ablations().items())}
    return (
        "\n```bash\n"
        + "\n".join(command for commands in reversed(found.values()) for command in commands)
        + "\n```\n\n"
    )


TABLES: dict[str, Callable[[], str]] = {
    "dev": lambda: detection("dev"),
    "visa": lambda: detection("visa"),
    "types": types,
    "typed-pixels": lambda: detection("types", ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro", "pixel_iou")),
    "verdicts": verdicts,
    "weights": weights,
    "seconds": seconds,
    "commands": commands,
    "seeds-full-head": lambda: seeds("full-head"),
    "seeds-full": lambda: seeds("full"),
    "ablation-queries": lambda: ablation(("words", "static", "no-normal-query", "no-context")),
    "ablation-data": lambda: ablation(("half-data", "no-synthetic", "no-real")),
    "ablation-joint": lambda: ablation(("words", "more-pictures", "more-time", "joint")),
    "ablation-references": lambda: seeds("references"),
    "ablation-size": lambda: ablation(("size-448", "size-640", "size-832")),
    "ablation-lambda": lambda: ablation(
        ("joint-lambda-0", "joint-lambda-0.5", "joint", "joint-lambda-2"), ("language", "verdict", "type")
    ),
    "ablation-commands": ablation_commands,
}


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """Return a table, with the empty lines around it that Markdown wants."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n"


def written(page: str) -> str:
    """Return the page with every table made anew."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


def main() -> None:
    """Write the page, or with --check only say whether it is up to date."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        if "--check" in sys.argv[1:]:
            if written(page) != page:
                sys.exit(f"{path} is out of date. Run: python tools/make_benchmarks.py")
        else:
            path.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    main()
