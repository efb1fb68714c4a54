"""`genau info MODEL --estimate`: what a large base would need of a GPU, as tables or JSON."""

import json
from typing import TYPE_CHECKING

import typer

from genau.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from genau.bases import BaseConfig
    from genau.model.estimate import Estimate, Memory, Workload

TITLES = {
    "inspection": "inspection",
    "plain": "training",
    "checkpointing": "training, checkpointing",
    "fsdp": "training, FSDP",
    "zero3": "training, ZeRO-3",
}


def print_estimate(model: str, workload: "Workload", *, as_json: bool) -> None:
    """Print the estimate of a checkpoint's name, a base's folder, or the base of a trained model.

    Raises:
        UsageError: neither known nor reachable. CheckpointError: a family that is not ours.
    """
    from genau.bases import find_config
    from genau.model.estimate import estimate

    found = find_config(_base_of(model))
    result = estimate(found.config, workload)
    if as_json:
        told = {"base": found.name, "family": found.family, "licence": _licence(found.name) or None}
        told |= {"configuration": found.source, **result.to_dict()}
        typer.echo(json.dumps(told, indent=2))
    else:
        _print_tables(found, result)


def _base_of(model: str) -> str:
    """Return the name of the base that is meant: a trained model's, or what was given."""
    from genau import checkpoints
    from genau.model.configuration import GenAUConfig
    from genau.shards import read_fields

    try:
        folder = checkpoints.resolve(model)
    except UsageError:
        return model
    if read_fields(folder).get("model_type") != GenAUConfig.model_type:
        return model
    base = GenAUConfig.from_pretrained(folder).base
    if base is None:
        raise UsageError(
            f"{model} has nano's base, which runs on any CPU: `genau info {model}` says all of it. --estimate is for "
            "the large ones, such as `genau info Qwen/Qwen2.5-VL-7B-Instruct --estimate`."
        )
    return base


def _licence(name: str) -> str:
    """Return the licence of a base that we know, with what must be known of it; else nothing."""
    from genau.model.backbones.catalog import known_checkpoints

    checkpoint = known_checkpoints().get(name)
    return ", ".join(filter(None, (checkpoint.licence, checkpoint.licence_note))) if checkpoint else ""


def _print_tables(found: "BaseConfig", result: "Estimate") -> None:
    from rich.console import Console

    console, work = Console(highlight=False, soft_wrap=True), result.workload
    console.print(f"{found.name} ({found.family}); sizes from {found.source}")
    if licence := _licence(found.name):
        console.print(f"licence: {licence}")
    console.print(_parameters(result))
    console.print(
        f"A picture that fills the canvas of {result.canvas} px: {result.visual_tokens} visual tokens, "
        f"{result.keys_values_per_picture / 2**20:.0f} MiB of keys and values."
    )
    console.print(
        f"On each of {work.gpus} GPU{'s' if work.gpus > 1 else ''}: {work.dtype}, {work.batch_size} "
        f"picture{'s' if work.batch_size > 1 else ''}, {work.questions} question"
        f"{'s' if work.questions > 1 else ''} for each, LoRA of rank {work.rank}:"
    )
    memories = {"inspection": result.inspection, **result.training, **result.sharded}
    console.print(_memory(memories, work.gpus))
    if not result.sharded:
        console.print("FSDP and ZeRO-3 do not divide quantised weights here: use --dtype bfloat16 with them.")
    console.print("An estimate: see docs/backbones.md for what is counted, measured and left out.")


def _parameters(result: "Estimate") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    counted = result.parameters
    table = Table("part", "parameters", "", box=SIMPLE)
    table.columns[1].justify = "right"
    rows = [
        ("vision tower", counted.vision, "frozen"),
        ("projector", counted.projector, "trained"),
        ("decoder", counted.decoder, "frozen"),
        ("output layer", counted.output, "frozen" if counted.output else "is the word embeddings"),
        ("LoRA", counted.lora, "trained"),
        ("map head and tokens of ours", counted.own, "trained"),
    ]
    for name, number, note in rows:
        table.add_row(name, f"{number:,}", note)
    table.add_section()
    table.add_row("base", f"{counted.base:,}", "")
    table.add_row("trained", f"{counted.trainable:,}", f"{counted.trainable_share:.1%} of all")
    return table


def _memory(memories: dict[str, "Memory"], gpus: int) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    from genau.model.estimate import GIB, GPUS_GIB

    sizes = [f"{size} GiB" for size in GPUS_GIB]
    table = Table("GiB on a GPU", "weights", "activ.", "optim.", "total", *sizes, box=SIMPLE, padding=0)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for name, memory in memories.items():
        ddp = ", DDP" if gpus > 1 and name in {"plain", "checkpointing"} else ""
        table.add_row(
            TITLES[name] + ddp,
            f"{(memory.weights + memory.gathered) / GIB:.1f}",
            f"{(memory.activations + memory.keys_values) / GIB:.1f}",
            f"{(memory.gradients + memory.optimizer) / GIB:.1f}",
            f"{memory.total / GIB:.1f}",
            *("fits" if fits else "no" for fits in memory.fits().values()),
        )
    return table
