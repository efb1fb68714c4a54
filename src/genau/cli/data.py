"""`genau data …`."""

from pathlib import Path
from typing import Annotated

import typer

from genau.cli.instructing import data_conversations, data_instruct
from genau.cli.terminal import EXIT_FAILED, progress

app = typer.Typer(help="Data sets and synthetic pictures.", no_args_is_help=True)
app.command("instruct")(data_instruct)
app.command("conversations")(data_conversations)


@app.command("synth")
def data_synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; a `manifest` data set is written.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 20,
    seed: Annotated[int, typer.Option(help="First seed; scenes depend on nothing else.")] = 0,
    size: Annotated[int, typer.Option(min=64, help="Side in pixels.")] = 640,
) -> None:
    """Write synthetic pictures with exact masks, as a data set to look at or to train on."""
    from genau.datasets.synthesis import write_dataset

    with progress(count, "Painting") as step:
        typer.echo(write_dataset(output, count, seed, (size, size), step))


@app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="A data set's folder.")],
    format: Annotated[str | None, typer.Option(help="Its layout; recognised where not given.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every picture, not only its header.")] = False,
) -> None:
    """Say in words what a data set holds and what does not match; exit with 1 if there are problems."""
    from genau.datasets.check import check

    report = check(folder, format, deep=deep)
    for line in report.lines:
        typer.echo(line)
    if report.problems:
        typer.echo("\n".join(f"problem: {problem}" for problem in report.problems))
        raise typer.Exit(EXIT_FAILED)
