"""`genau info` and `genau weights …`."""

import json
from typing import Annotated

import typer

from genau.errors import GenAUError

app = typer.Typer(help="The pinned base weights of nano.", no_args_is_help=True)


def info(
    model: Annotated[str, typer.Argument(help="A shipped model, a folder, or a large base by its name.")] = "nano",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Memory that a large base needs; fetches no weights.")
    ] = False,
    gpus: Annotated[int, typer.Option(help="With --estimate: GPUs that train together.")] = 1,
    dtype: Annotated[str, typer.Option(help="With --estimate: float32, bfloat16, int8 or nf4.")] = "bfloat16",
    batch_size: Annotated[int, typer.Option(help="With --estimate: pictures at once on a GPU.")] = 1,
    questions: Annotated[int, typer.Option(help="With --estimate: questions about each picture.")] = 1,
    image_size: Annotated[int | None, typer.Option(help="With --estimate: side of the canvas, pixels.")] = None,
    lora_rank: Annotated[int, typer.Option(help="With --estimate: rank of LoRA.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; without --estimate it always is.")] = False,
) -> None:
    """Say what a model is: parts, sizes, thresholds, and what it was trained for; or what a large base would need."""
    if estimate:
        from genau.cli.estimating import print_estimate
        from genau.model.estimate import Workload

        work = Workload(
            dtype=dtype, batch_size=batch_size, questions=questions, canvas=image_size, rank=lora_rank, gpus=gpus
        )
        print_estimate(model, work, as_json=as_json)
        return
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
