"""`genau eval` and `genau eval compare`; `mmad` and `visa-dr` are in `conversing`."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genau.cli.terminal import EXIT_GATE, EXIT_SOME_FAILED, Device, progress, say
from genau.errors import UsageError, suggest

if TYPE_CHECKING:
    from genau.detection import Detector
    from genau.evaluation.plan import Run, Settings

app = typer.Typer(help="Measure a model on annotated data sets, or compare finished runs.")

Gate = Annotated[float | None, typer.Option(min=0, max=1, help="Exit with 4 if a mean is below this, or undefined.")]


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    data: Annotated[list[Path] | None, typer.Option(help="A data set's folder; repeatable.")] = None,
    model: Annotated[
        str, typer.Option(help="A shipped model, a folder, or a baseline: see docs/baselines.md.")
    ] = "nano",
    base: Annotated[str | None, typer.Option(help="Weights of a baseline: a Hugging Face name or a folder.")] = None,
    format: Annotated[str | None, typer.Option(help="Layout of the data; recognised where not given.")] = None,
    category: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    references: Annotated[str, typer.Option(help="Good parts to compare with, for example 0,4,16.")] = "0",
    seed: Annotated[str, typer.Option(help="Seeds that draw the references, for example 0,1,2.")] = "0",
    types: Annotated[
        str, typer.Option(help="Candidate defects: none, filtered, all; or by published groups, unified-…")
    ] = "none",
    candidates: Annotated[str | None, typer.Option(help="Ask for these types instead: 'scratch, dent'.")] = None,
    most: Annotated[int | None, typer.Option(help="At most so many good and bad pictures of each category.")] = None,
    reserve: Annotated[int, typer.Option(min=0, help="Set good pictures aside as for so many references.")] = 0,
    analysis: Annotated[bool, typer.Option("--analysis", help="Measure the words too; seconds per picture.")] = False,
    with_published: Annotated[bool, typer.Option("--with-published", help="Print published figures beside.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
    min_image_auroc: Gate = None,
    min_pixel_auroc: Gate = None,
    min_pixel_aupro: Gate = None,
    min_balanced_accuracy: Gate = None,
) -> None:
    """Measure a model on annotated data sets: figures with intervals, tables, curves, failures, one page."""
    if context.invoked_subcommand is not None:
        return
    from genau.evaluation.plan import Settings, make_plan

    if not data or output is None:
        raise UsageError("genau eval needs a data set and a run folder: genau eval --data DIR -o OUT")
    settings = Settings(
        data=tuple(data),
        format=format,
        categories=_names(category),
        references=_numbers(references, "--references"),
        seeds=_numbers(seed, "--seed"),
        types=types,  # type: ignore[arg-type]
        candidates=_names(candidates),
        most=most,
        reserve=reserve,
        batch_size=batch_size,
    )
    runs = make_plan(settings)
    _refuse_inside(output, data)
    detector = load_detector(model, base, device, analysis=analysis)
    metrics = _run(detector, settings, runs, output, resume=resume, overwrite=overwrite, with_published=with_published)
    say(f"Report: {output / 'report.html'}")
    gates = {
        "image_auroc": min_image_auroc,
        "pixel_auroc": min_pixel_auroc,
        "pixel_aupro": min_pixel_aupro,
        "verdict_balanced_accuracy": min_balanced_accuracy,
    }
    _exit_code(metrics, {name: least for name, least in gates.items() if least is not None})


def _refuse_inside(output: Path, data: list[Path]) -> None:
    for folder in data:
        if output.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"The run folder {output} lies in the data set {folder}. Choose one outside with -o.")


def _run(
    detector: "Detector",
    settings: "Settings",
    runs: "list[Run]",
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    with_published: bool,
) -> dict[str, Any]:
    """Evaluate, write the run folder, print the tables, and return what `metrics.json` holds."""
    from genau.evaluation.finish import finish
    from genau.evaluation.journal import opened
    from genau.evaluation.plan import fingerprint
    from genau.evaluation.run import evaluate as run_all
    from genau.evaluation.run import try_tasks
    from genau.evaluation.summary import text_table
    from genau.report import draw_overlay

    try_tasks(detector, runs)
    plan = {"model": detector.name, "settings": dict(detector.settings), **fingerprint(settings, runs)}
    pictures = sum(len(unit.samples) for run in runs for unit in run.units)
    with opened(output, plan, resume=resume, overwrite=overwrite) as journal:
        with progress(pictures, "Evaluating") as step, _says_how_to_go_on():
            run_all(detector, runs, journal, batch_size=settings.batch_size, step=step)
        command = shlex.join(["genau", *sys.argv[1:]])
        metrics = finish(
            detector, settings, runs, journal, draw=draw_overlay, command=command, with_published=with_published
        )
    typer.echo(text_table(metrics["runs"]))
    if with_published:
        _show_published(metrics)
    return metrics


def _exit_code(metrics: dict[str, Any], gates: dict[str, float]) -> None:
    """Leave with 4 if a gate is missed, else with 3 if pictures failed."""
    from genau.evaluation.finish import missed_gates

    tables = [table for run in metrics["runs"] for table in run["per_category"].values()]
    failed, masks = (sum(table[name] for table in tables) for name in ("n_failed", "n_mask_errors"))
    if failed:
        say(f"Pictures that could not be inspected: {failed}. They are rows with an error in images.jsonl.")
    if masks:
        say(f"Masks that could not be used: {masks}. They are rows with a mask_error in images.jsonl.")
    if missed := missed_gates(metrics, gates):
        say("\n".join(f"Gate missed: {line}." for line in missed))
        raise typer.Exit(EXIT_GATE)
    if failed or masks:
        raise typer.Exit(EXIT_SOME_FAILED)


@contextmanager
def _says_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("Stopped. The same command with --resume goes on from here.")
        raise


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `genau eval` wrote; the first is compared with.")],
    form: Annotated[str, typer.Option("--as", help="text, markdown, csv or json.")] = "text",
) -> None:
    """Put runs side by side: differences to the first, with intervals over the same pictures."""
    import json

    from genau.evaluation import compare

    writers = {
        "text": compare.as_text,
        "markdown": compare.as_markdown,
        "csv": compare.as_csv,
        "json": lambda comparison: json.dumps(compare.as_dict(comparison), indent=2, ensure_ascii=False),
    }
    if form not in writers:
        raise UsageError(f"--as {form} is not one of {', '.join(writers)}.{suggest(form, writers)}")
    comparison = compare.compare(runs)
    if not comparison.rows:
        raise UsageError(f"Nothing can be compared. {' '.join(comparison.notes)}")
    typer.echo(writers[form](comparison).rstrip("\n"))


def load_detector(model: str, base: str | None, device: str, *, analysis: bool) -> "Detector":
    """Return GenAU or a baseline by name."""
    from genau import baselines

    if model in baselines.NAMES:
        if analysis:
            raise UsageError(f"{model} writes no analysis. Leave --analysis out.")
        return baselines.load(model, base, device)
    if base is not None:
        raise UsageError(
            f"--base belongs to a baseline ({', '.join(baselines.NAMES)}); {model} brings its own weights."
        )

    if not Path(model).exists() and (meant := suggest(model, baselines.NAMES)):
        raise UsageError(f"There is no model {model!r}.{meant} Baselines are {', '.join(baselines.NAMES)}.")

    from genau.evaluation.own import GenAUDetector
    from genau.inspector import Inspector

    return GenAUDetector(Inspector.from_pretrained(model, device), analysis=analysis)


def _show_published(metrics: dict[str, Any]) -> None:
    from genau.evaluation import published

    for row in metrics["published"]:
        figure = f"{row['metric']} {row['value']:.3f}"
        where = f"{row['dataset']}, {row['references']} references"
        typer.echo(f"published  {where}  {row['method']}  {figure}  ({row['source']}) {row['note']}".rstrip())
    for reason in dict.fromkeys(published.why_not(run, metrics["model"]) for run in metrics["runs"]):
        if reason:
            say(reason)


def _names(words: str | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(word.strip() for word in words.split(",") if word.strip())


def _numbers(words: str, option: str) -> tuple[int, ...]:

    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError as error:
        raise UsageError(
            f"{option} {words!r} is no list of whole numbers. Write for example {option} 0,4,16."
        ) from error
