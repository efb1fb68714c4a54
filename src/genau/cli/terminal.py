"""What all verbs share: progress on a terminal, words on stderr, exit codes, options."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

EXIT_FAILED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_GATE = 1, 2, 3, 4

Model = Annotated[str, typer.Option(help="A shipped model (nano) or a folder that `genau train` wrote.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for results, masks, overlays and report.")]


@contextmanager
def closing(writer: object) -> Iterator[None]:
    """Close a run's writer in every case, so that what was inspected is kept."""
    if writer is None:
        yield
        return
    with writer:  # type: ignore[attr-defined]
        yield


class Step:
    """Advances a progress bar by one."""

    def __init__(self, bar: "Progress", total: int, label: str) -> None:
        self.bar, self.task = bar, bar.add_task(label, total=total)

    def __call__(self) -> None:
        self.bar.advance(self.task)


@contextmanager
def progress(total: int, label: str) -> Iterator[Step]:
    """Show progress on stderr while a terminal looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Step(bar, total, label)


def say(text: str) -> None:
    typer.echo(text, err=True)


def quiet_libraries() -> None:
    """Keep the libraries' bars and hints off the terminal; errors still come through."""
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
