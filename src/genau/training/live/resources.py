"""Whether processes and memory are what the settings expect, and what to change where they are not."""

import os

from genau.errors import UsageError
from genau.training.live.settings import LiveSettings
from genau.training.processes import running


def check_processes(settings: LiveSettings) -> None:
    """Refuse another number of processes than the settings expect: the effective batch would be another one.

    Raises:
        UsageError: both numbers, how to start the right one, and how to go on with the present one.
    """
    import torch

    here = running()
    if here != settings.gpus:
        whole, rest = divmod(settings.per_step, here * settings.batch_size)
        keep = f"--set gpus={here} --set accumulation={whole}" if whole and not rest else f"--set gpus={here}"
        keep += " --set sharding=none" if here == 1 and settings.sharding == "fsdp" else ""
        kept = f"keeps the effective batch of {settings.per_step}" if whole and not rest else "changes the batch"
        raise UsageError(
            f"The config is for gpus={settings.gpus} processes, but {here} {'is' if here == 1 else 'are'} running. "
            f"Start {settings.gpus} with `torchrun --nproc-per-node {settings.gpus} -m genau.cli train ...`, or train "
            f"with {here}: {keep} {kept}."
        )
    if here == 1 and settings.sharding == "fsdp":
        raise UsageError(
            "sharding=fsdp divides the weights among processes, but only one is running. Start more with torchrun and "
            "set gpus to their number, or keep all weights on one GPU: --set sharding=none."
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    devices = torch.cuda.device_count()
    if torch.cuda.is_available() and devices < local:
        raise UsageError(
            f"{local} processes were started on this machine, but it has {devices} GPU{'' if devices == 1 else 's'}. "
            f"Start --nproc-per-node {devices}, with --set gpus= set to the processes of all machines."
        )


def out_of_memory(settings: LiveSettings, message: str) -> UsageError:
    """Return what to change, in which order, where a GPU's memory was not enough."""
    knobs = [
        (f"gradient_checkpointing={settings.gradient_checkpointing}", "true", settings.gradient_checkpointing),
        (f"batch_size={settings.batch_size}", "1, and accumulation higher by as much", settings.batch_size == 1),
        (f"image_size={settings.image_size or 'the family default'}", "smaller: fewer visual tokens", False),
        (f"quantize={settings.quantize}", "4bit", settings.quantize == "4bit" or settings.sharding != "none"),
        (f"lora_rank={settings.lora_rank}", "16", settings.lora_rank <= 16),
    ]
    open_ones = [f"{number}. {now} -> {then}" for number, (now, then) in enumerate(
        ((now, then) for now, then, done in knobs if not done), start=1)]  # fmt: skip
    first_line = message.splitlines()[0] if message else "out of memory"
    return UsageError(
        f"The GPU's memory is not enough ({first_line}). Change one setting after the other, in this order: "
        f"{'; '.join(open_ones)}. `genau train --dry-run` estimates what a setting needs."
    )
