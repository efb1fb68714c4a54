"""Where an interrupted run goes on."""

import json
from pathlib import Path

from genau.errors import UsageError

STATE_FILE = "trainer_state.json"  # written last, so a checkpoint without it is not whole


def checkpoint_to_resume(output: Path, *, resume: bool) -> Path | None:
    """Return the last complete checkpoint of the run in a folder, or None to start a new run there.

    Raises:
        UsageError: the folder holds a run and `resume` is not asked for, or there is nothing to resume.
    """
    found = [path for path in output.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    last = max(found, key=lambda path: int(path.name.split("-")[1]), default=None)
    if last and not resume:
        raise UsageError(f"{output} holds a run already. Go on with --resume, or choose another folder with -o.")
    if resume and not last:
        raise UsageError(f"There is nothing to resume in {output}. Leave --resume out to start.")
    return last


def is_finished(checkpoint: Path, steps: int) -> bool:
    """Whether a checkpoint is that of the last of so many steps: there is nothing left to train."""
    done: int = json.loads((checkpoint / STATE_FILE).read_text())["global_step"]
    return done >= steps
