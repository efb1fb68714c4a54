"""The loop of an evaluation: read, detect, compare with the truth, write down; it can be killed at any time."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genau.arguments import read_reference
from genau.datasets import Sample
from genau.detection import Detection, Detector
from genau.errors import DataError, ImageError
from genau.evaluation.journal import SAVE_EVERY_S, Appender, Journal
from genau.evaluation.plan import Run, Unit
from genau.evaluation.tally import Tally, union
from genau.images import Picture
from genau.metrics import iou
from genau.reading import read_picture
from genau.regions import find_regions, locations
from genau.results import Inspection

logger = logging.getLogger(__name__)
SAY_EVERY_S = 60.0
STEPS = ("reading", "model", "measuring", "writing")  # where the time goes


@dataclass
class Clock:
    """Seconds spent on each step."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))
    _since: float = field(default_factory=time.perf_counter)

    def spent_on(self, step: str) -> None:
        """Book the time since the last call on a step."""
        now = time.perf_counter()
        self.seconds[step] += now - self._since
        self._since = now


@dataclass(frozen=True, eq=False)
class _Read:
    """One sample as it came from the disk: a picture or a failed row, and the truth or why there is none."""

    sample: Sample
    picture: Picture | Inspection
    masks: Mapping[str, NDArray[np.bool_]] | None  # by type, (H, W); None: not annotated by pixel, or `mask_error`
    mask_error: str | None = None


def evaluate(
    detector: Detector, runs: Sequence[Run], journal: Journal, *, batch_size: int, step: Callable[[], None]
) -> None:
    """Run a detector over all units that are not finished; `step` is called once per picture, done before or now.

    Raises:
        ImageError: a reference cannot be read. UsageError: the detector cannot do the task, or the disk refuses.
    """
    report = _Reporter(sum(len(unit.samples) for run in runs for unit in run.units))
    for run in runs:
        for unit in run.units:
            settled, arrays = journal.load(unit.key)
            for _ in range(settled):
                step()
            report.skip(settled)
            if settled < len(unit.samples):
                _run_unit(detector, unit, journal, settled, arrays, batch_size, partial(report.advance, step, unit))


def try_tasks(detector: Detector, runs: Sequence[Run]) -> None:
    """Let a detector refuse its tasks, and read every reference, before anything is written.

    Raises:
        UsageError: the detector cannot do such a task. ImageError: a reference cannot be read.
    """
    for unit in {(bool(u.references), u.dataset): u for run in runs for u in run.units}.values():
        detector.prepare(replace(unit.task, references=unit.task.references[:1]))
    for path in sorted({path for run in runs for unit in run.units for path in unit.task.references}):
        read_reference(path)


def _run_unit(
    detector: Detector,
    unit: Unit,
    journal: Journal,
    settled: int,
    arrays: dict[str, NDArray[Any]],
    batch_size: int,
    step: Callable[[], None],
) -> None:
    types = list(unit.task.types)
    clock = Clock()
    if "seconds" in arrays:
        clock.seconds = dict(zip(STEPS, arrays.pop("seconds").tolist(), strict=True))
    tally = Tally.from_arrays(types, arrays) if settled else Tally(types)
    prepared = detector.prepare(unit.task)
    clock.spent_on("model")
    saved = time.monotonic()
    samples = iter(unit.samples[settled:])
    done = settled
    with journal.appending(unit.key) as rows:
        while chunk := list(islice(samples, batch_size)):
            read = [_read(sample) for sample in chunk]
            clock.spent_on("reading")
            pictures = [row.picture for row in read if isinstance(row.picture, Picture)]
            found = _detect(detector, pictures, prepared)
            clock.spent_on("model")
            for row in read:
                told = Detection(row.picture) if isinstance(row.picture, Inspection) else next(found)
                _take(unit, row, told, tally, rows, clock)
                step()
            done += len(chunk)
            if time.monotonic() - saved > SAVE_EVERY_S or done == len(unit.samples):
                seconds = np.array([clock.seconds[name] for name in STEPS])
                journal.save(unit.key, done, tally.arrays() | {"seconds": seconds})
                saved = time.monotonic()
                clock.spent_on("writing")


def _detect(detector: Detector, pictures: Sequence[Picture], prepared: Any) -> Iterator[Detection]:  # noqa: ANN401
    """Detect, and make sure that every picture has its own answer."""
    found = detector.detect(pictures, prepared) if pictures else []
    if len(found) != len(pictures):
        raise ValueError(f"{detector.name} returned {len(found)} detections of {len(pictures)} pictures; one each.")
    return iter(found)


def _take(unit: Unit, row: _Read, found: Detection, tally: Tally, rows: Appender, clock: Clock) -> None:
    """Measure one picture and write its row."""
    result, masks = found.inspection, row.masks
    overlap = None
    if masks is not None and result.error is None:
        tally.add(unit.name_of(row.sample), found, masks)
        if row.sample.label and result.pred_mask.size:
            overlap = iou(result.pred_mask, union(masks, result.pred_mask.shape))
    clock.spent_on("measuring")
    rows.add(_row(unit, row, result, overlap))
    clock.spent_on("writing")


def _row(unit: Unit, row: _Read, result: Inspection, overlap: float | None) -> dict[str, Any]:
    """Return what `images.jsonl` keeps of a picture; scores that are not finite are null."""
    sample = row.sample
    truth = {"dataset": unit.dataset, "category": unit.category, "references": unit.references, "seed": unit.seed}
    truth |= {"image": unit.name_of(sample), "label": sample.label, "true_types": list(sample.types)}
    said: dict[str, Any] = {"verdict": str(result.verdict), "text_verdict": result.text_verdict}
    for name in ("pred_score", "map_score", "text_score", "threshold"):
        value = getattr(result, name)
        said[name] = float(value) if math.isfinite(value) else None
    said["types"] = {name: float(score) if math.isfinite(score) else None for name, score in result.types.items()}
    said |= {"drawn_px": int(result.pred_mask.sum()) if result.pred_mask.size else None, "iou": overlap}
    said |= {"contradiction": result.contradiction, "analysis": None}
    if result.analysis is not None:
        said["analysis"] = asdict(result.analysis)
        if row.masks:
            truth["true_location"] = locations(find_regions(union(row.masks, (result.height, result.width))))
    if sample.analysis is not None:
        truth["true_analysis"] = dict(sample.analysis)
    said |= {"readable": isinstance(row.picture, Picture), "error": result.error, "mask_error": row.mask_error}
    return truth | said


def _read(sample: Sample) -> _Read:
    """Read a picture and its truth; what cannot be read becomes a part of its row."""
    try:
        picture = read_picture(sample.image)
    except ImageError as error:
        return _Read(sample, Inspection.failed(str(sample.image), str(error)), None)
    if not sample.has_mask:
        return _Read(sample, picture, None)
    try:
        return _Read(sample, picture, sample.read_masks((picture.height, picture.width)))
    except (DataError, ImageError) as error:
        return _Read(sample, picture, None, str(error))


def detections_of(
    detector: Detector, unit: Unit, samples: Sequence[Sample]
) -> Iterator[tuple[Inspection, NDArray[np.bool_] | None]]:
    """Inspect pictures of a unit that could be read before once more, one by one, with their truth (H, W) if known."""
    prepared = detector.prepare(unit.task)
    for sample in samples:
        row = _read(sample)
        if isinstance(row.picture, Inspection):
            raise DataError(f"{sample.image} could be read before and cannot now: {row.picture.error}")
        truth = None if row.masks is None else union(row.masks, row.picture.rgb.shape[:2])
        yield detector.detect([row.picture], prepared)[0].inspection, truth


class _Reporter:
    """Says now and then in the log how far it is; a terminal has a bar for it."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._fresh = total, 0, 0
        self._started = self._said = time.monotonic()

    def skip(self, count: int) -> None:
        """Count pictures that were done in an earlier run."""
        self._done += count

    def advance(self, step: Callable[[], None], unit: Unit) -> None:
        """Count one picture."""
        step()
        self._done += 1
        self._fresh += 1
        now = time.monotonic()
        if now - self._said > SAY_EVERY_S:
            self._said = now
            left = (now - self._started) / self._fresh * (self._total - self._done) / 60
            logger.info(
                "%d of %d pictures, now %s %s with %d references, seed %d; about %.0f min left",
                self._done,
                self._total,
                unit.dataset,
                unit.category,
                unit.references,
                unit.seed,
                left,
            )
