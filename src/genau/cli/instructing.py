"""`genau data instruct` and `genau data conversations`."""

from pathlib import Path
from typing import Annotated

import typer

from genau.cli.terminal import EXIT_FAILED, progress, say


def data_instruct(
    data: Annotated[Path, typer.Option(help="An annotated data set's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl file; its data card is written beside it.")],
    format: Annotated[str | None, typer.Option(help="Layout of the data set; recognised where not given.")] = None,
    category: Annotated[str | None, typer.Option(help="Categories, separated by commas; all where not given.")] = None,
    split: Annotated[str | None, typer.Option(help="For example train or test; all where not given.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="What is known of the defects: YAML, or MMAD's JSON.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
    per_picture: Annotated[int, typer.Option(min=1, help="Questions about each picture.")] = 3,
) -> None:
    """Turn an annotated data set into questions and answers to train on, half of them about good parts."""
    from genau.instruct.making import make, prepare

    categories = None if category is None else [name.strip() for name in category.split(",")]
    source = prepare(data, format=format, categories=categories, split=split, seed=seed)
    with progress(len(source), "Asking about pairs") as step:
        made = make(source, output, per_picture=per_picture, knowledge=knowledge, done=step)
    for line in made.lines:
        typer.echo(line)
    for note in made.notes:
        say(f"Note: {note}")


def data_conversations(
    path: Annotated[Path, typer.Argument(help="A file or folder of conversations.")],
    format: Annotated[str | None, typer.Option(help="llava, mmad or visa-dr; recognised where not given.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder below which the set names its pictures.")] = None,
) -> None:
    """Say in words what a set of conversations holds and what does not fit; exit with 1 if there are problems."""
    from genau.instruct.check import check

    report = check(path, format, images=images)
    for line in report.lines:
        typer.echo(line)
    if report.problems:
        typer.echo("\n".join(f"problem: {problem}" for problem in report.problems))
        raise typer.Exit(EXIT_FAILED)
