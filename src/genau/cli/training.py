"""`genau train`."""

from pathlib import Path
from typing import Annotated

import typer

from genau.cli.terminal import Output


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
