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
        """A name for files: plain letters only."""
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in f"{self.dataset}--{self.category}")
        return f"{name}--{self.references}-references--seed-{self.seed}"

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
        layout = settings.format or datasets.guess_format(folder) or "manifest"
        every = datasets.read(folder, layout)
        chosen = datasets.read(folder, layout, categories=settings.categories) if settings.categories else every
        if settings.types.startswith(UNIFIED):
            chosen = [_unified(sample, layout) for sample in chosen]
        name = chosen[0].dataset
        if name in seen:
            raise UsageError(f"{seen[name]} and {folder} are both data sets called {name!r}. Evaluate them one by one.")
        seen[name] = folder
        runs += _runs(settings, folder, layout, chosen, {sample.category for sample in every})
    return runs


def _runs(settings: Settings, folder: Path, layout: str, samples: list[Sample], every: set[str]) -> list[Run]:
    names = sorted({sample.category for sample in samples})
    parts = {name: _split([s for s in samples if s.category == name], settings) for name in names}
    union = sorted({kind for sample in samples for kind in sample.types})
    runs = []
    for count in settings.references:
        for seed in settings.seeds[: None if count else 1]:  # without references nothing is drawn
            units = []
            for name in names:
                evaluated, pool = parts[name]
                own = sorted({kind for s in samples if s.category == name for kind in s.types})
                candidates = {"none": [], "filtered": own, "all": union}[settings.types.removeprefix(UNIFIED)]
                references = _draw(pool, count, seed, f"{folder}, category {name!r}")
                task = Task(evaluated[0].product, dict.fromkeys(candidates), references)
                units.append(Unit(evaluated[0].dataset, name, count, seed, folder, tuple(evaluated), task))
            split = TEST_SPLIT if any(s.split == TEST_SPLIT for s in samples) else "all"
            runs.append(Run(units[0].dataset, layout, folder, count, seed, set(names) == every, split, tuple(units)))
    return runs


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
    """Return what is evaluated and the good pictures from which references are drawn; no part is in both."""
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
    return {
        "types": settings.types,
        "most": settings.most,
        "units": [
            [unit.key, _digest(unit), [path.name for path in unit.task.references], list(unit.task.types)]
            for run in runs
            for unit in run.units
        ],
    }


def _digest(unit: Unit) -> str:
    names = "\n".join(f"{unit.name_of(sample)} {sample.label}" for sample in unit.samples)
    return f"{len(unit.samples)} pictures, {blake2b(names.encode(errors='surrogateescape'), digest_size=8).hexdigest()}"
