"""Where the pictures of a set lie, and what happens to a conversation whose picture is not there."""

import logging
from collections.abc import Sequence
from pathlib import Path

from genau.datasets.layout import Tell

_LOG = logging.getLogger(__name__)


class Skipped:
    """Takes the missing pictures of a reading, so that their conversations are left out, and counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: str | None = None  # in words, with what to do

    def __call__(self, message: str) -> None:
        """Count one conversation that is left out; the first of them is logged as a warning."""
        if self.first is None:
            _LOG.warning("Left out, and those like it are counted: %s", message)
        self.count, self.first = self.count + 1, self.first or message


class PictureFolder:
    """The folder below which a set names its pictures; what is not there is told once per conversation."""

    def __init__(self, root: Path, missing: Tell) -> None:
        self.root, self.missing = root, missing

    def find(self, names: Sequence[str], id: str, source: str, what: str = "picture") -> tuple[Path, ...] | None:
        """Return the files of a conversation's pictures or masks; None, once told, if one of them is not there."""
        paths = tuple(self.root / name for name in names)
        lost = next((path for path in paths if not path.is_file()), None)
        if lost is None:
            return paths
        self.missing(
            f"Conversation {id!r} ({source}): its {what} {lost} does not exist. Give the folder below which the set "
            f"names its pictures (--images DIR; `images: DIR` in a config), copy the {what} there, or have such "
            "conversations left out and counted (`skip_missing: true` in a config; in Python missing=Skipped())."
        )
        return None
