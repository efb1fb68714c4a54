"""Data sets of annotated pictures: one reader per folder layout, all delivering `Sample`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from genau.datasets import folder, manifest, mvtec, real_iad, visa
from genau.datasets.dialects import DIALECTS
from genau.datasets.layout import Tell, guess_format, refuse
from genau.datasets.sample import Sample
from genau.errors import UsageError, suggest

__all__ = ["FORMATS", "Sample", "guess_format", "read"]

FORMATS: dict[str, Callable[..., list[Sample]]] = {
    "manifest": manifest.read,
    "visa": visa.read,
    "real-iad": real_iad.read,
    **{name: partial(mvtec.read, format=name) for name in sorted(DIALECTS)},
    "folder": folder.read,
}


def read(
    root: str | Path,
    format: str,
    *,
    categories: Sequence[str] | None = None,
    split: str | None = None,
    tell: Tell = refuse,
) -> list[Sample]:
    """Return the samples of a data set in a stable order; `guess_format` tells the format where it is not known.

    `tell` takes every fault in words; the default raises it as `DataError`. Raises `UsageError` for an unknown format
    and `DataError` for a folder that does not have it.
    """
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"Unknown data format {format!r}.{suggest(format, FORMATS)} Known formats: {known}.")
    samples: dict[Path, Sample] = {}
    for sample in FORMATS[format](Path(root), categories=categories, split=split, tell=tell):
        if sample.image in samples:  # counted twice it would weigh twice
            tell(f"{sample.image} is listed twice in {root}. Remove one of its rows.")
        samples.setdefault(sample.image, sample)
    return list(samples.values())
