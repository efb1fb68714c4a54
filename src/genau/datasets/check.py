"""Look through a data set and say in words what is there, what is wrong, and what to do about it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genau.datasets import FORMATS, files
from genau.datasets.dialects import DIALECTS
from genau.datasets.folder import tell_unlabelled
from genau.datasets.layout import guess_format
from genau.datasets.sample import Sample
from genau.errors import GenAUError, ImageError, suggest

MOST_OF_A_KIND = 10  # faults that say the same of different files are told this often, then counted
FEW_IMAGES = 5  # of a type: its figures say little below
_MOST_SIZES = 5
_TEST = "test"
_LISTED = ("manifest", "visa", "real-iad")  # their annotation files say what belongs to the set


@dataclass(frozen=True)
class Report:
    """What a look through a folder found."""

    format: str | None  # the one that was read: as asked for, else as the folder looks
    lines: tuple[str, ...]  # what is there; those that begin with "Note:" say what it does not suffice for
    problems: tuple[str, ...]  # what is wrong, each with what to do

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class Problems:
    """Collects faults; those that differ in names and numbers only are counted after the first few."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._count: Counter[str] = Counter()

    def __call__(self, message: str) -> None:
        kind = re.sub(r"\S*[\d/\\\\'._]\S*", "", message)
        self._count[kind] += 1
        if self._count[kind] <= MOST_OF_A_KIND:
            self.told.append(message)

    def all(self) -> tuple[str, ...]:
        """Return what was told, and how much more there is."""
        more = sum(max(0, count - MOST_OF_A_KIND) for count in self._count.values())
        rest = [f"There are {more} more problems like those above. Solve these, then check again."] if more else []
        return (*self.told, *rest)


def check(root: Path, format: str | None = None, *, deep: bool = False) -> Report:
    """Return a report on the folder, read in this format or else in the one that it looks like; it never raises.

    Masks are decoded, pictures only to their header unless `deep`. Pixel memory does not grow with the set.
    """
    root = Path(root)
    tell = Problems()
    samples: list[Sample] = []
    chosen = format
    lines: list[str] = []
    try:
        found = guess_format(root)
        chosen = format or found
        if format is not None and format not in FORMATS:
            tell(f"Unknown format {format!r}.{suggest(format, FORMATS)} Use one of {', '.join(FORMATS)}.")
        elif chosen is None:
            _tell_unknown(root, tell)
        else:
            samples = FORMATS[chosen](root, tell=tell)
            lines += _describe(root, chosen, samples)
            lines += _look(root, chosen, samples, tell, deep=deep)
            lines += _notes(samples)
    except (GenAUError, OSError) as error:
        tell(str(error) if isinstance(error, GenAUError) else f"{error}. Check the path and your rights to read it.")
    return Report(chosen, tuple(lines), tell.all())


def _tell_unknown(root: Path, tell: Problems) -> None:
    """Tell why no layout is recognised: by folder where there are pictures, else as the simplest reader does."""
    if root.is_dir():
        tell_unlabelled(root, tell)
    FORMATS["folder"](root, tell=tell)


def _describe(root: Path, format: str, samples: list[Sample]) -> list[str]:
    categories = sorted({sample.category for sample in samples})
    lines = [f"{root} has the {format} layout: {_many(categories, 'category', 'categories')}, {_pictures(samples)}."]
    for category in categories:
        for split in sorted({s.split for s in samples if s.category == category}):
            part = [s for s in samples if (s.category, s.split) == (category, split)]
            bad = [s for s in part if s.label]
            line = f"{category}, {split}: {len(part) - len(bad)} good, {len(bad)} defective"
            if bad:
                types = Counter(name for sample in bad for name in sample.types)
                line += f", {sum(s.mask is not None for s in bad)} of them with a mask"
                line += (
                    f"; types: {', '.join(f'{name} {count}' for name, count in types.most_common())}" if types else ""
                )
            lines.append(f"{line}.")
    return lines


def _look(root: Path, format: str, samples: list[Sample], tell: Problems, *, deep: bool) -> list[str]:
    """Tell of every fault of the files; return what they are like."""
    sizes: Counter[tuple[int, int]] = Counter()
    readable = []
    for sample in samples:
        try:
            sizes[files.size_of(sample.image, decode=deep)] += 1
            readable.append(sample)
        except ImageError as error:
            tell(str(error))
    for faults in (
        files.faulty_masks(readable, typed=deep),
        files.shared_masks(samples) if format != "folder" else (),
        files.uneven_case(samples),
        files.same_bytes(readable),
    ):
        for fault in faults:
            tell(fault)
    listed = ", ".join(f"{height} x {width} ({count})" for (height, width), count in sizes.most_common(_MOST_SIZES))
    more = f" and {_many(list(sizes)[_MOST_SIZES:], 'size')} more" if len(sizes) > _MOST_SIZES else ""
    lines = [f"Sizes (H x W) and how many pictures have them: {listed}{more}."] if sizes else []
    return lines + _left_out(root, format, samples, tell)


def _left_out(root: Path, format: str, samples: list[Sample], tell: Problems) -> list[str]:
    """Tell of pictures inside a category that no reader takes; return lines on those outside."""
    lines = []
    categories = {sample.category for sample in samples}
    for folder, pictures in files.unread(root, samples).items():
        parts = folder.relative_to(root).parts
        inside = bool(parts) and parts[0] in categories
        if format == "mvtec-ad2" and inside and parts[1:] and parts[1].lower().startswith("test_private"):
            lines.append(f"Left out: {_pictures(pictures)} in {folder}; their labels are not public.")
        elif files.is_mask_folder(folder, root):
            if format in DIALECTS:
                tell(
                    f"{pictures[0]} is a mask without an image ({len(pictures)} such masks in {folder}). A mask has "
                    "the name of its image, with or without _mask at the end. Rename or remove it."
                )
        elif format in DIALECTS and inside:
            tell(
                f"{folder} holds {_pictures(pictures)} that are not read: the {format} layout needs "
                f"{DIALECTS[format].needs}. Move them there, or out of {root / parts[0]}."
            )
        elif format in _LISTED or not inside:
            lines.append(f"Left out: {_pictures(pictures)} in {folder}, which are no part of the set.")
    return lines


def _notes(samples: list[Sample]) -> list[str]:
    """Return what evaluation cannot say of each category."""
    notes = []
    for category in sorted({sample.category for sample in samples}):
        own = [sample for sample in samples if sample.category == category]
        test = [sample for sample in own if sample.split == _TEST] or own
        bad = [sample for sample in test if sample.label]
        if not bad:
            notes.append(
                f"Note: {category} has no defective pictures to evaluate: AUROC, AP, F1-max and AUPRO are n/a. "
                "Good pictures suffice for references and thresholds."
            )
            continue
        if len(bad) == len(test):
            notes.append(f"Note: {category} has no good pictures to evaluate: image AUROC, AP and F1-max are n/a.")
        if not any(sample.mask for sample in bad):
            notes.append(f"Note: {category} has no masks: pixel figures are n/a.")
        types = Counter(name for sample in bad for name in sample.types)
        if few := [f"{name} ({count})" for name, count in sorted(types.items()) if count < FEW_IMAGES]:
            notes.append(
                f"Note: {category} has fewer than {FEW_IMAGES} pictures of {', '.join(few)}: their figures say little."
            )
    return notes


def _pictures(items: Sequence[object]) -> str:
    return _many(items, "picture")


def _many(items: Sequence[object], one: str, several: str | None = None) -> str:
    return f"{len(items):,} {one if len(items) == 1 else several or one + 's'}"
