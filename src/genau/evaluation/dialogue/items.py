"""What both benchmarks come down to: questions with the answer that is expected, and a subset of them."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genau.dialogue import Prompt
from genau.errors import DataError, UsageError, suggest

FEW = 3  # examples named in an error


@dataclass(frozen=True)
class Item:
    """One question of a benchmark."""

    id: str  # unique within the benchmark
    picture: str  # relative path, which its tables group by
    dataset: str
    category: str
    task: str
    good: bool  # whether the part has no defect
    expected: str  # a key of `prompt.options`, or the reference in words
    prompt: Prompt


# Questions that are put one after the other, each with the answers to those before it in its prompt.
Chain = tuple[Item, ...]


def read_json(path: Path, what: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return what a JSON file holds.

    Raises:
        DataError: it is not there or no JSON.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there. It must be {what}; see docs/dialogue.md for the layout of the folder.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}). It must be {what}; download it again.") from error


def check_names(wanted: Sequence[str] | None, known: Iterable[str], option: str) -> set[str]:
    """Return the names wanted, all known ones where None.

    Raises:
        UsageError: a name is not known.
    """
    names = sorted(set(known))
    for name in wanted or ():
        if name not in names:
            raise UsageError(f"{option} {name!r} is not one of {', '.join(names)}.{suggest(name, names)}")
    return set(names if wanted is None else wanted)


def check_pictures(chains: Iterable[Chain], root: Path, hint: str) -> None:
    """Refuse a benchmark whose pictures are not all there.

    Raises:
        DataError: a picture is missing; nothing is left out silently.
    """
    wanted = {shown.path for chain in chains for item in chain for shown in item.prompt.pictures}
    if missing := sorted(path for path in wanted if not path.is_file()):
        names = ", ".join(path.relative_to(root).as_posix() for path in missing[:FEW])
        raise DataError(f"{len(missing)} of {len(wanted)} pictures are not in {root}: {names}. {hint}")


def subset(chains: Sequence[Chain], most: int | None, seed: int = 0) -> list[Chain]:
    """Return at most so many chains, drawn evenly over data set, task and good or defective; order is kept.

    The same seed gives the same subset, and a larger one holds the smaller. Strata that run out leave their share to
    the others.
    """
    if most is None or most >= len(chains):
        return list(chains)
    strata: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for place, chain in enumerate(chains):
        strata[chain[0].dataset, chain[0].task, chain[0].good].append(place)
    for key in sorted(strata):
        random.Random(f"{seed} {key}").shuffle(strata[key])
    rounds = (
        members[turn] for turn in range(len(chains)) for _, members in sorted(strata.items()) if turn < len(members)
    )
    chosen = sorted(place for place, _ in zip(rounds, range(most), strict=False))
    return [chains[place] for place in chosen]
