"""The exceptions that a caller of GenAU may catch.

Every message says what is, what must be, and what to do next. Anything else that is raised is a bug of ours.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GenAUError(Exception):
    """Base of all errors that GenAU raises on purpose."""


class UsageError(GenAUError):
    """An argument cannot be meant as given (command line: exit code 2)."""


class ImageError(GenAUError):
    """A picture or mask cannot be read; in a run over many pictures it becomes a row, not a crash."""


class DataError(GenAUError):
    """A data set folder does not have the layout that its reader expects."""


class WeightsError(GenAUError):
    """Base weights are missing, incomplete or not the pinned ones."""


class CheckpointError(GenAUError):
    """A checkpoint folder cannot be loaded or does not fit its base."""


class RecipeError(GenAUError):
    """A recipe cannot be read or written, or was made with another model."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest known word, or the empty string."""
    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
