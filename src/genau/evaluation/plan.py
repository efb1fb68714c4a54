"""What is evaluated, decided before anything is read: which pictures, which references, which candidate types.

The pictures depend on the data and on the largest number of references alone, never on the detector or the seed: so
runs can be compared picture by picture. A seed only draws references.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from genau import datasets
from genau.datasets import Sample
from genau.datasets.type_names import UNIFIED_TYPES, unify
from genau.detection import Task
from genau.errors import DataError, UsageError

TypeChoice = Literal["none", "filtered", "all", "unified-filtered", "unified-all"]
TYPE_CHOICES: tuple[TypeChoice, ...] = get_args(TypeChoice)
UNIFIED = "unified-"  # types go by the published grouping of the data set
TEST_SPLIT = "test"
POOL_PER_REFERENCE = 4  # of a set without other splits, so many good pictures are set aside per reference
_SAMPLING_SEED = 0


@dataclass(frozen=True)
class Settings:
    """What the caller of an evaluation chooses."""

    data: tuple[Path, ...]
    format: str | None = None  # of all of them; None: recognised
    categories: tuple[str, ...] | None = None
    references: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    types: TypeChoice = "none"
    candidates: tuple[str, ...] | None = None  # types to ask for instead of those that the data name
    most: int | None = None  # good and as many defective pictures of each category
    reserve: int = 0  # set good pictures aside as for so many references, to be comparable with runs that use them
    batch_size: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.data:
            raise UsageError("No data set is given. Name a folder with --data.")
        for name, values, least in (("references", self.references, 0), ("seeds", self.seeds, 0)):
            if not values or min(values) < least or len(set(values)) != len(values):
                raise UsageError(f"{name}={list(values)} must be different whole numbers of at least {least}.")
        if self.reserve < 0:
            raise UsageError(
                f"reserve={self.reserve} is negative. Use the largest number of references to compare with."
            )
        if self.candidates is not None and self.types != "none":
            raise UsageError("--types and --candidates both choose the types. Use one of them.")
        if self.types not in TYPE_CHOICES:
            raise UsageError(f"types={self.types!r} is not one of {', '.join(TYPE_CHOICES)}. Choose one.")
        for option, value in (("most", self.most), ("batch_size", self.batch_size)):
            if value is not None and value < 1:
                raise UsageError(f"{option}={value} is less than 1. Use 1 or more, or leave it out.")


@dataclass(frozen=True)
class Unit:
    """The smallest piece of an evaluation: one category of one data set, with one draw of references."""

    dataset: str
    category: str
    references: int
    seed: int
    folder: Path = field(compare=False)  # of the data set
    samples: tuple[Sample, ...] = field(compare=False)
    task: Task = field(compare=False)

    @property
    def key(self) -> str:
        """A name for files: plain letters, and different for every unit also where the disk ignores case."""
        names = f"{self.dataset}--{self.category}"
        plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in names)[:60]
        return f"{plain}--{_digest([names])}--{self.references}-references--seed-{self.seed}"

    @property
    def products(self) -> set[str]:
        """What the parts are, in words."""
        return {sample.product for sample in self.samples}

    def name_of(self, sample: Sample) -> str:
        """The picture's path below the data set, with forward slashes."""
        return sample.image.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class Run:
    """All categories of one data set with one number of references and one seed: a table."""

    dataset: str
    format: str
    folder: Path
    references: int
    seed: int
    all_categories: bool  # whether every category of the folder is evaluated
    split: str
    units: tuple[Unit, ...]


def make_plan(settings: Settings) -> list[Run]:
    """Read the data sets' annotations and return the runs in order: data set, references, seed.

    Raises:
        UsageError: two folders are data sets of the same name. DataError: a folder cannot be read as asked, or has too
        few good pictures for the references.
    """
    runs: list[Run] = []
    seen: dict[str, Path] = {}
    for folder in settings.data:
        layout = settings.format or datasets.guess_format(folder) or "folder"
        samples = datasets.read(folder, layout, categories=settings.categories)
        # Of the categories that were not asked for only names and types are wanted: they may be incomplete.
        every = datasets.read(folder, layout, tell=_ignore) if settings.categories else samples
        if settings.types.startswith(UNIFIED):
            samples, every = ([_unified(sample, layout) for sample in part] for part in (samples, every))
        name = samples[0].dataset
        if name in seen:
            raise UsageError(f"{seen[name]} and {folder} are both data sets called {name!r}. Evaluate them one by one.")
        seen[name] = folder
        runs += _runs(settings, folder, layout, samples, every)
    return runs


def _ignore(fault: str) -> None:
    """Take no notice of a fault in what is not evaluated."""


def _runs(
    settings: Settings, folder: Path, layout: str, samples: Sequence[Sample], every: Sequence[Sample]
) -> list[Run]:
    names = sorted({sample.category for sample in samples})
    parts = {name: _split([s for s in samples if s.category == name], settings) for name in names}
    complete = set(names) == {sample.category for sample in every}
    split = TEST_SPLIT if all(s.split == TEST_SPLIT for evaluated, _ in parts.values() for s in evaluated) else "all"
    runs = []
    for count in settings.references:
        for seed in settings.seeds if count else (0,):  # without references nothing is drawn
            units = []
            for name in names:
                evaluated, pool = parts[name]
                references = _draw(pool, count, seed, f"{folder}, category {name!r}")
                products = {sample.product for sample in evaluated}
                product = products.pop() if len(products) == 1 else None  # of several none is said
                task = Task(product, dict.fromkeys(_candidates(settings, name, every)), references)
                units.append(Unit(evaluated[0].dataset, name, count, seed, folder, tuple(evaluated), task))
            runs.append(Run(units[0].dataset, layout, folder, count, seed, complete, split, tuple(units)))
    return runs


def _candidates(settings: Settings, category: str, samples: Sequence[Sample]) -> Sequence[str]:
    if settings.candidates is not None:
        return settings.candidates
    match settings.types.removeprefix(UNIFIED):
        case "filtered":
            return sorted({kind for sample in samples if sample.category == category for kind in sample.types})
        case "all":
            return sorted({kind for sample in samples for kind in sample.types})
    return ()


def _unified(sample: Sample, layout: str) -> Sample:
    """Return the sample with its types by their unified names; raises `UsageError` where none were published."""
    if layout not in UNIFIED_TYPES:
        raise UsageError(
            f"No grouping of types is published for the {layout} layout, only for {', '.join(UNIFIED_TYPES)}. "
            "Use --types filtered or --types all."
        )
    types = dict.fromkeys(unify(layout, sample.category, name) for name in sample.types)
    return replace(sample, types=tuple(types))


def _split(samples: list[Sample], settings: Settings) -> tuple[list[Sample], list[Sample]]:
    """Return what is evaluated and the good pictures from which references are drawn.

    An official split is taken as it is. Where there is none, pictures are set aside, and with them all others of the
    same parts: no part is in both.
    """
    evaluated = [s for s in samples if s.split == TEST_SPLIT] or samples
    pool = [s for s in samples if s.split != TEST_SPLIT and not s.label] if evaluated is not samples else []
    wanted = max(*settings.references, settings.reserve)
    if wanted and not pool:
        good = [s for s in evaluated if not s.label]
        order = np.random.default_rng(_SAMPLING_SEED).permutation(len(good))
        pool = [good[k] for k in order[: min(POOL_PER_REFERENCE * wanted, len(good) // 2)]]
        taken, groups = {s.image for s in pool}, {s.group for s in pool if s.group is not None}
        evaluated = [s for s in evaluated if s.image not in taken and s.group not in groups]
    if not evaluated:
        raise DataError(
            f"{samples[0].dataset}, category {samples[0].category!r}, has nothing to evaluate once references are set "
            "aside. Use fewer references, or add pictures."
        )
    if settings.most is not None:
        evaluated = _thin(evaluated, settings.most)
    return evaluated, sorted(pool, key=lambda s: s.image.as_posix())


def _thin(samples: list[Sample], most: int) -> list[Sample]:
    """Return at most so many good and so many defective pictures, in their order."""
    rng = np.random.default_rng(_SAMPLING_SEED)
    kept: set[Path] = set()
    for label in (False, True):
        group = [s for s in samples if s.label is label]
        kept |= {group[k].image for k in rng.permutation(len(group))[:most]}
    return [s for s in samples if s.image in kept]


def _draw(pool: Sequence[Sample], count: int, seed: int, where: str) -> tuple[Path, ...]:
    if count > len(pool):
        raise DataError(
            f"{where} has {len(pool)} good pictures that may serve as references, {count} were asked for. "
            "Use fewer with --references, or add good pictures."
        )
    order = np.random.default_rng(seed).permutation(len(pool))[:count]
    return tuple(pool[k].image for k in sorted(order))


def fingerprint(settings: Settings, runs: Sequence[Run]) -> Mapping[str, object]:
    """Return what must be equal for a run to be resumed: the same pictures, references and candidates, unit by unit."""
    units = {
        unit.key: {
            "pictures": len(unit.samples),
            "annotation": _digest([_annotation(unit, sample) for sample in unit.samples]),
            "references": _digest([path.relative_to(unit.folder).as_posix() for path in unit.task.references]),
            "candidates": list(unit.task.types),
        }
        for run in runs
        for unit in run.units
    }
    return {"types": settings.types, "most": settings.most, "units": units}


def _annotation(unit: Unit, sample: Sample) -> str:
    files = [(path.name, path.stat().st_size if path.is_file() else None) for path in (sample.image, *sample.masks)]
    return f"{unit.name_of(sample)} {sample.label} {sample.product} {sample.types} {files}"


def _digest(words: Sequence[str]) -> str:
    return blake2b("\n".join(words).encode(errors="surrogateescape"), digest_size=4).hexdigest()
