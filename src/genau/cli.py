"""The command line: each verb parses, calls one function, prints, and returns an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 finished but some images failed, 4 a gate that was asked for is not met.
Results go to stdout, everything else to stderr. Heavy modules are imported inside the verbs.
"""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.errors import GenAUError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from genau.results import Inspection

EXIT_FAILED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_GATE = 1, 2, 3, 4

app = typer.Typer(
    help="Visual inspection with one vision-language model: score, map, typed defects, words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(help="The pinned base weights of nano.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
data_app = typer.Typer(help="Data sets and synthetic pictures.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Model = Annotated[str, typer.Option(help="A shipped model (nano) or a folder that `genau train` wrote.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for results, masks, overlays and report.")]


@app.command()
def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Pictures or folders of pictures.")],
    model: Model = "nano",
    product: Annotated[str | None, typer.Option(help="What the part is, in words.")] = None,
    types: Annotated[str | None, typer.Option(help="Candidate defects: 'scratch, dent=round hollow'.")] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A good part, or a folder of them; repeatable.")] = None,
    roi: Annotated[Path | None, typer.Option(help="Mask of the pictures' size, nonzero where to inspect.")] = None,
    analysis: Annotated[bool, typer.Option(help="Describe each defect in words.")] = True,
    threshold: Annotated[float | None, typer.Option(help="Defect from this score on, in [0, 1].")] = None,
    output: Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
    fail_on_defect: Annotated[bool, typer.Option("--fail-on-defect", help="Exit with 4 if any part is bad.")] = False,
) -> None:
    """Inspect pictures: score, verdict, map, typed defects and words for each."""
    from genau.arguments import check_product, check_types, parse_types
    from genau.calibration import check_threshold
    from genau.paths import find_pictures

    asked = check_types(parse_types(types)) if types is not None else None
    if threshold is not None:
        check_threshold(threshold)
    check_product(product)
    pictures = find_pictures(paths)
    references = [path for path, _ in find_pictures(reference)] if reference else None

    from genau.inspector import Inspector
    from genau.report import RunWriter

    results = Inspector.from_pretrained(model, device).inspect_many(
        [path for path, _ in pictures],
        batch_size=batch_size,
        product=product,
        types=asked,
        references=references,
        roi=roi,
        analysis=analysis,
        threshold=threshold,
    )
    # Opened last: an argument that is refused leaves no half run in the folder.
    settings = {"product": product, "types": types, "references": references and len(references), "roi": roi}
    shown = {name: str(value) for name, value in settings.items() if value}
    writer = RunWriter(output, model=model, settings=shown, overwrite=overwrite) if output else None
    with _closing(writer):
        counts = {"normal": 0, "defect": 0, "unreadable": 0}
        with _progress(len(pictures), "Inspecting") as step:
            for (_, relative), result in zip(pictures, results, strict=True):
                counts[result.verdict] += 1
                if writer:
                    writer.add(result, relative)
                typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if jsonl else _line(result))
                step()
    _say(", ".join(f"{number} {name}" for name, number in counts.items() if number))
    if output:
        _say(f"Report: {output / 'report.html'}")
    if counts["unreadable"] or (fail_on_defect and counts["defect"]):
        raise typer.Exit(EXIT_SOME_FAILED if counts["unreadable"] else EXIT_GATE)


def _line(result: "Inspection") -> str:
    """Return one line of the table on a terminal."""
    if result.error is not None:
        return f"unreadable   -     {'' if result.image in result.error else f'{result.image}: '}{result.error}"
    found = "; ".join(f"{d.type} {d.location} ({d.area_fraction:.2%})" for d in result.defects[:3])
    more = f"; and {len(result.defects) - 3} more" if len(result.defects) > 3 else ""
    return f"{result.verdict:<10} {result.pred_score:.3f}  {result.image}{'  ' if found else ''}{found}{more}"


@app.command()
def train(
    config: Annotated[Path, typer.Option("--config", "-c", help="YAML file, see configs/.")],
    output: Output = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Replace a setting: steps=100.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
) -> None:
    """Train a model jointly on language and segmentation, and save it in both checkpoint forms."""
    from genau.training.run import run
    from genau.training.settings import load_settings

    settings = load_settings(config, change or [])
    typer.echo(run(settings, output or Path("runs") / config.stem, resume=resume))


@app.command()
def info(model: Annotated[str, typer.Argument(help="A shipped model or a folder.")] = "nano") -> None:
    """Say what a model is: parts, sizes, thresholds, and what it was trained for."""
    from genau.passport import describe

    typer.echo(json.dumps(describe(model), indent=2, ensure_ascii=False))


@weights_app.command("pull")
def weights_pull() -> None:
    """Fetch and convert the base weights once; later starts need no network."""
    from genau import weights

    typer.echo(weights.ensure_base())


@weights_app.command("path")
def weights_path() -> None:
    """Print where the base weights lie or will lie."""
    from genau import weights

    typer.echo(weights.base_folder())


@weights_app.command("verify")
def weights_verify() -> None:
    """Check every byte of the cached base weights."""
    from genau import weights

    faults = weights.verify_base()
    if faults:
        raise GenAUError(f"{'; '.join(faults)}. Delete {weights.base_folder()} and run `{weights.PULL_COMMAND}`.")
    typer.echo(f"{weights.base_folder()}: all files are as built (base {weights.fingerprint()})")


@data_app.command("synth")
def data_synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; a `manifest` data set is written.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 20,
    seed: Annotated[int, typer.Option(help="First seed; scenes depend on nothing else.")] = 0,
    size: Annotated[int, typer.Option(min=64, help="Side in pixels.")] = 640,
) -> None:
    """Write synthetic pictures with exact masks, as a data set to look at or to train on."""
    from genau.datasets.synthesis import write_dataset

    with _progress(count, "Painting") as step:
        typer.echo(write_dataset(output, count, seed, (size, size), step))


@contextmanager
def _closing(writer: object) -> Iterator[None]:
    """Close a run's writer in every case, so that what was inspected is kept."""
    if writer is None:
        yield
        return
    with writer:  # type: ignore[attr-defined]
        yield


class _Step:
    """Advances a progress bar by one."""

    def __init__(self, bar: "Progress", total: int, label: str) -> None:
        self.bar, self.task = bar, bar.add_task(label, total=total)

    def __call__(self) -> None:
        self.bar.advance(self.task)


@contextmanager
def _progress(total: int, label: str) -> Iterator[_Step]:
    """Show progress on stderr while a terminal looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Step(bar, total, label)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _quiet_libraries() -> None:
    """Keep the libraries' bars and hints off the terminal; errors still come through."""
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def main() -> None:
    """Run the command line; expected errors become a message and an exit code, our own bugs a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):  # a file name that is no UTF-8 must not end a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _quiet_libraries()
    try:
        app()
    except UsageError as error:
        _say(f"genau: {error}")
        sys.exit(EXIT_USAGE)
    except GenAUError as error:
        _say(f"genau: {error}")
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
