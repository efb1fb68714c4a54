"""`genau train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from genau.cli.terminal import Output
from genau.errors import UsageError

RIVALS = ("anomalyclip",)  # what a config's key `trains` may name


def train(
    config: Annotated[Path, typer.Option("--config", "-c", help="YAML file, see configs/.")],
    output: Output = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Replace a setting: steps=100.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
) -> None:
    """Train a model jointly on language and segmentation, and save it in both checkpoint forms."""
    from genau.training.settings import read_values

    values, folder = read_values(config, change or []), output or Path("runs") / config.stem
    if "trains" in values:
        typer.echo(_train_rival(values, str(config), folder, resume=resume))
        return

    from genau.training.run import run
    from genau.training.settings import TrainSettings, parse_settings

    typer.echo(run(parse_settings(values, str(config), TrainSettings), folder, resume=resume))


def _train_rival(values: dict[str, Any], source: str, folder: Path, *, resume: bool) -> Path:
    """Train a baseline: it hands its model to our trainer, and neither knows the other."""
    from genau.baselines.anomalyclip import AnomalyClip
    from genau.training.plain import PlainSettings, device, read_samples
    from genau.training.plain import train as train_plain
    from genau.training.settings import parse_settings

    settings = parse_settings(values, source, PlainSettings)
    if settings.trains not in RIVALS:
        raise UsageError(f"{source}: trains: {settings.trains!r} cannot be trained. Use one of {', '.join(RIVALS)}.")
    samples = read_samples(settings)
    pupil = AnomalyClip.untrained(settings.base, device(), settings.seed, image_size=settings.image_size)
    return train_plain(pupil, samples, settings, folder, resume=resume)
