"""`genau info` and `genau weights …`."""

import json
from typing import Annotated

import typer

from genau.errors import GenAUError

app = typer.Typer(help="The pinned base weights of nano.", no_args_is_help=True)


def info(model: Annotated[str, typer.Argument(help="A shipped model or a folder.")] = "nano") -> None:
    """Say what a model is: parts, sizes, thresholds, and what it was trained for."""
    from genau.passport import describe

    typer.echo(json.dumps(describe(model), indent=2, ensure_ascii=False))


@app.command("pull")
def weights_pull() -> None:
    """Fetch and convert the base weights once; later starts need no network."""
    from genau import weights

    typer.echo(weights.ensure_base())


@app.command("path")
def weights_path() -> None:
    """Print where the base weights lie or will lie."""
    from genau import weights

    typer.echo(weights.base_folder())


@app.command("verify")
def weights_verify() -> None:
    """Check every byte of the cached base weights."""
    from genau import weights

    faults = weights.verify_base()
    if faults:
        raise GenAUError(f"{'; '.join(faults)}. Delete {weights.base_folder()} and run `{weights.PULL_COMMAND}`.")
    typer.echo(f"{weights.base_folder()}: all files are as built (base {weights.fingerprint()})")
