"""Where `genau calibrate` takes its scores from: pictures that are inspected now, or results of earlier runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genau.errors import UsageError

if TYPE_CHECKING:
    from genau.calibration import MaskTally, Scored
    from genau.results import Inspection

MOST_NAMED = 3  # pictures in one message


@dataclass
class Source:
    """What a user named as good or as bad: pictures still to be inspected, and earlier results."""

    named: tuple[Path, ...]
    pictures: list[Path] = field(default_factory=list)
    rows: "list[Scored]" = field(default_factory=list)  # earlier results first, then one for each picture
    maxima: list[float] = field(default_factory=list)  # largest map value of each inspected picture

    def places(self) -> dict[Path, Path]:
        """Return where each picture lies -> as it was named."""
        named = [*self.pictures, *(Path(row.image) for row in self.rows)]
        return {path.expanduser().resolve(): path for path in named}


def find(named: Iterable[Path]) -> Source:
    """Return the pictures and results that folders, pictures and results.jsonl files name; each picture once.

    A folder that holds a results.jsonl is a run of `genau inspect`: its results count, not its overlays.

    Raises:
        UsageError: nothing is found.
    """
    from genau.calibration import read_results
    from genau.paths import find_pictures

    source = Source(tuple(named))
    for path in source.named:
        results = path / "results.jsonl" if path.is_dir() else path
        if results.suffix == ".jsonl" and results.is_file():
            source.rows += read_results(results)
        else:
            source.pictures += [picture for picture, _ in find_pictures([path])]
    source.rows = list({Path(row.image).expanduser().resolve(): row for row in source.rows}.values())
    known = {Path(row.image).expanduser().resolve() for row in source.rows}
    fresh = {path.expanduser().resolve(): path for path in source.pictures}
    source.pictures = [path for place, path in fresh.items() if place not in known]
    return source


def sources(
    good: Sequence[Path], bad: Sequence[Path], references: Sequence[Path], tell: Callable[[str], None]
) -> tuple[Source, Source]:
    """Return good and bad pictures, the references left out: compared with themselves, they score too low.

    Raises:
        UsageError: a picture is named as good and as bad, or only references are left.
    """
    found, wrong = find(good), find(bad)
    both = [found.places()[place] for place in found.places() if place in wrong.places()]
    if both:
        raise UsageError(
            f"{_some(both)} named as good and as bad. Give two folders that share no picture, neither inside the other."
        )
    reference_places = set(find(references).places()) if references else set()
    for source, kind in ((found, "good"), (wrong, "bad")):
        left_out = [path for place, path in source.places().items() if place in reference_places]
        source.pictures = [path for path in source.pictures if path not in left_out]
        source.rows = [row for row in source.rows if Path(row.image) not in left_out]
        if left_out:
            tell(f"Left out of the {kind} pictures, because they are references themselves: {len(left_out)}.")
            if not source.pictures and not source.rows:
                raise UsageError(f"All {kind} pictures are references. Give {kind} pictures that are not.")
    return found, wrong


def tell_test_data(pictures: Sequence[Path], *, allowed: bool) -> int:
    """Return how many of the pictures are test data.

    Raises:
        UsageError: some are, and that is not allowed.
    """
    from genau.datasets.splits import held_back

    found = held_back(pictures)
    if found and not allowed:
        first, reason = next(iter(found.items()))
        raise UsageError(
            f"{len(found)} of {len(pictures)} pictures are test data: {first} {reason}. What is later measured on "
            "pictures that set the threshold says nothing. Give others, or use these all the same with "
            "--allow-test-data; the file of thresholds will say so."
        )
    return len(found)


def score(
    source: Source, inspected: "Iterable[Inspection]", step: Callable[[], None], tell: Callable[[str], None]
) -> None:
    """Add a row for each picture of the source, as it is inspected; say which could not be."""
    from genau.calibration import Scored

    failed = 0
    for result in inspected:
        source.rows.append(Scored(result.image, result.pred_score, result.types, result.error))
        if result.anomaly_map.size:
            source.maxima.append(float(result.anomaly_map.max()))
        if result.error is not None:
            failed += 1
            if failed <= MOST_NAMED:
                tell(f"Not used: {result.image}: {result.error}")
        step()
    if failed > MOST_NAMED:
        tell(f"Not used: {failed - MOST_NAMED} more pictures that could not be inspected.")


def compared_with_masks(inspected: "Iterable[Inspection]", folder: Path, tally: "MaskTally") -> "Iterator[Inspection]":
    """Pass inspections on, and put the map of each picture that has a mask in the folder into the tally.

    A mask has the name of its picture, with or without `_mask`; in a folder of the picture's folder's name, or not.
    """
    import numpy as np

    from genau.datasets.layout import masks_by_stem
    from genau.reading import read_mask

    masks = masks_by_stem(folder)
    for result in inspected:
        image = Path(result.image)
        keys = (f"{image.parent.name}/{image.stem}".lower(), image.stem.lower())
        mask = next((masks[key] for key in keys if key in masks), None)
        if mask is not None and result.anomaly_map.size:
            tally.add(result.anomaly_map, np.asarray(read_mask(mask)) != 0)
        yield result


def type_scores(good: "Sequence[Scored]", bad: "Sequence[Scored]", names: Sequence[str]) -> dict[str, Any]:
    """Return for each type its scores (with it, without it); a bad picture's folder names its type.

    Without it are good pictures, and bad ones in the folder of another of the types.
    """
    from genau.datasets.layout import words

    wanted = {words(name).casefold(): name for name in names}
    labelled = [(row, wanted.get(words(Path(row.image).parent.name).casefold())) for row in bad]
    found: dict[str, Any] = {}
    for name in names:
        present = [row.types[name] for row, label in labelled if label == name and name in row.types]
        others = [row for row, label in labelled if label not in {None, name}]
        absent = [row.types[name] for row in [*good, *others] if name in row.types]
        found[name] = (present, absent)
    return found


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(map(str, paths[:MOST_NAMED])) + more + (" is" if len(paths) == 1 else " are")
