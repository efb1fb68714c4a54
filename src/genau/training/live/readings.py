"""What the decoder reads in bare questions: first before the first step, and once more when it is trained.

Kept on disk, so that a resumed run goes on from the same readings.
Shapes: N questions, D the decoder's width.
"""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genau.errors import CheckpointError
from genau.training.live.wordings import Wordings

READINGS_FILE = "readings.safetensors"


@torch.no_grad()
def read_all(module: nn.Module, wordings: Wordings, instruction_ids: Tensor, device: torch.device) -> Tensor:
    """Return what the decoder of a `LiveModule`, wrapped or not, reads in all wordings (N, 2, D)."""
    training = module.training
    module.eval()
    states = [
        module({name: ids.to(device) for name, ids in (batch | {"instruction_ids": instruction_ids}).items()}).float()
        for batch in wordings.batches()
    ]
    module.train(training)
    return torch.cat(states).cpu()  # hundreds of megabytes of a large base, of which a step needs a few rows


def keep(readings: Tensor, folder: Path) -> None:
    """Write readings (N, 2, D); the file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{READINGS_FILE}.{os.getpid()}.tmp"
    save_file({"readings": readings.cpu().contiguous()}, scratch)
    scratch.replace(folder / READINGS_FILE)


def kept(folder: Path, wordings: Wordings) -> Tensor:
    """Read what `keep` wrote.

    Raises:
        CheckpointError: it is not there, or belongs to other wordings.
    """
    path = folder / READINGS_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, so the run cannot go on as it began. Start a new one with -o.")
    readings = load_file(path)["readings"]
    if len(readings) != len(wordings):
        raise CheckpointError(
            f"{path} holds {len(readings)} wordings, but this run has {len(wordings)}: its data have other types. "
            "Resume with the data that it began with."
        )
    return readings
