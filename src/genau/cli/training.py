"""`genau train`."""

from pathlib import Path
from tempfile import TemporaryDirectory
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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Two steps on a few examples (stage live: read all, print the plan), nothing kept."
        ),
    ] = False,
) -> None:
    """Train a model jointly on language and segmentation; its folder `adapter` is what --model takes elsewhere."""
    from genau.training.settings import read_values

    values, folder = read_values(config, change or []), output or Path("runs") / config.stem
    if "trains" in values:
        if dry_run:
            raise UsageError(f"{config} trains a baseline, which has no --dry-run. Use --set steps=2 -o SCRATCH.")
        typer.echo(_train_rival(values, str(config), folder, resume=resume))
        return

    if values.get("stage") == "live":
        _train_live(values, str(config), folder, resume=resume, dry_run=dry_run)
        return

    from genau.training.run import run
    from genau.training.settings import TrainSettings, parse_settings

    settings = parse_settings(values, str(config), TrainSettings)
    if not dry_run:
        typer.echo(run(settings, folder, resume=resume))
        return
    with TemporaryDirectory() as scratch:
        few = {"steps": 2, "examples": settings.batch_size, "cache": Path(scratch) / "features", "log_every": 1}
        run(settings.model_copy(update=few), Path(scratch) / "run")
    typer.echo(f"{config}: the dry run went through. Without --dry-run it trains {settings.steps} steps to {folder}.")


def _train_rival(values: dict[str, Any], source: str, folder: Path, *, resume: bool) -> Path:
    """Train a baseline: it hands its model to our trainer, and neither knows the other."""
    from genau.baselines.anomalyclip import AnomalyClip
    from genau.training.plain import PlainSettings, device, read_samples
    from genau.training.plain import train as train_plain
    from genau.training.settings import parse_settings

    settings = parse_settings(values, source, PlainSettings)
    if settings.trains not in RIVALS:
        raise UsageError(f"{source}: trains: {settings.trains!r} cannot be trained. Use one of {', '.join(RIVALS)}.")
    samples = read_samples(settings.data)
    pupil = AnomalyClip.untrained(settings.base, device(), settings.seed, image_size=settings.image_size)
    return train_plain(pupil, samples, settings, folder, resume=resume)


def _train_live(values: dict[str, Any], source: str, folder: Path, *, resume: bool, dry_run: bool) -> None:
    """Train a large backbone, as one of the processes that do; only the first of them prints."""
    from genau.training.live.settings import LiveSettings
    from genau.training.processes import is_first
    from genau.training.settings import parse_settings

    settings = parse_settings(values, source, LiveSettings)
    if dry_run:
        from genau.training.live.plan import make_plan

        plan = make_plan(settings)
        typer.echo("\n".join(plan.lines))
        plan.refuse_faults()
        return
    from genau.training.live.run import run

    trained = run(settings, folder, resume=resume)
    if is_first():
        typer.echo(trained)
