"""How many processes train together."""

import os

from genau.errors import UsageError


def running() -> int:
    """Return how many processes were started together; torchrun and accelerate tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes files and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int:
    """Return which of the processes of its machine this is, which is also its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def refuse_several(stage: str) -> None:
    """Refuse several processes for a training that knows only one. Raises `UsageError`."""
    if running() > 1:
        raise UsageError(
            f"{running()} processes are running, but {stage} trains in one. Start it without torchrun; stage live "
            "trains in several."
        )
