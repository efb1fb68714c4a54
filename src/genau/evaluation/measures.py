"""From the rows and counts of a unit to its figures, with intervals, or the reason why there is none."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from genau.evaluation.tally import Tally
from genau.evaluation.text import text_figures
from genau.metrics import (
    Figure,
    UndefinedMetricError,
    auroc,
    average_precision,
    bootstrap,
    f1_max,
    measured,
    reliability,
    types,
    verdict,
)
from genau.metrics.bootstrap import PixelMeasure

TEXT_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # w of the fused score
MAX_TIE_ERROR = 0.001
LEVEL = 0.95
FEWEST = 5  # pictures of each class that an interval needs; with fewer it would look like certainty
Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
Metric = Callable[[Any, Any], float]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a unit as columns. N pictures, failed ones among them; C candidate types."""

    labels: Labels  # (N,)
    readable: Labels  # (N,) whether the picture could be read at all
    scores: Scores  # (N,), NaN where the picture was not inspected
    map_scores: Scores
    text_scores: Scores
    verdicts: list[str]
    drawn_px: Scores  # NaN without a mask
    iou: Scores  # NaN where it does not apply
    contradictions: list[bool]
    true_types: list[list[str]]
    type_scores: Scores  # (N, C)
    texts: list[Mapping[str, Any]]  # rows with an analysis
    mask_errors: int

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], candidates: Sequence[str]) -> "Rows":
        """Read the rows once."""
        every = list(rows)

        def column(name: str) -> Scores:
            return np.array([np.nan if row.get(name) is None else row[name] for row in every], np.float64)

        type_scores = [[np.nan if (v := row["types"].get(name)) is None else v for name in candidates] for row in every]
        return cls(
            labels=np.array([row["label"] for row in every], np.bool_),
            readable=np.array([row["readable"] for row in every], np.bool_),
            scores=column("pred_score"),
            map_scores=column("map_score"),
            text_scores=column("text_score"),
            verdicts=[row["verdict"] for row in every],
            drawn_px=column("drawn_px"),
            iou=column("iou"),
            contradictions=[row["contradiction"] is not None for row in every],
            true_types=[row["true_types"] for row in every],
            type_scores=np.array(type_scores, np.float64).reshape(len(every), len(candidates)),
            texts=[row for row in every if row["analysis"] is not None],
            mask_errors=sum(row["mask_error"] is not None for row in every),
        )

    @property
    def inspected(self) -> Labels:
        """(N,) which pictures have a score."""
        return np.isfinite(self.scores)


@dataclass(frozen=True, eq=False)
class Measured:
    """All figures of a unit."""

    figures: dict[str, Figure]
    replicates: dict[str, Scores]  # (R,) bootstrap replicates of those figures that have an interval
    counts: dict[str, int]
    per_type: dict[str, dict[str, float | None]] = field(default_factory=dict)
    by_text_weight: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def measure(rows: Rows, tally: Tally, candidates: Sequence[str], key: str) -> Measured:
    """Return every figure that the rows and counts of a unit define.

    `key` names the category: each draws its pictures for the bootstrap by itself, or a mean's interval would be off.
    """
    seed = crc32(key.encode(errors="surrogateescape"))
    counts = {
        "n_normal": int((~rows.labels).sum()),
        "n_defect": int(rows.labels.sum()),
        "n_failed": int((~rows.readable).sum()),
        "n_mask_errors": rows.mask_errors,
    }
    result = Measured({}, {}, counts)
    _image_figures(rows, result, seed)
    _pixel_figures(tally, result)
    _mask_figures(rows, result, seed)
    _verdict_figures(rows, result, seed)
    if candidates:
        _type_figures(rows, tally, candidates, result, seed)
    if rows.texts:
        result.figures.update(text_figures(rows.texts))
        spoken = [said for said, score in zip(rows.contradictions, rows.scores, strict=True) if np.isfinite(score)]
        result.figures["text_contradiction"] = measured(lambda: float(np.mean(spoken)))
    if rows.mask_errors:
        result.notes.append(f"{rows.mask_errors} masks could not be used; see mask_error in images.jsonl")
        for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro", "pixel_iou"):
            if result.figures[name].value is None:
                reason = f"{rows.mask_errors} masks could not be used (mask_error in images.jsonl says why)."
                result.figures[name] = Figure(None, reason=reason)
    return result


def _image_figures(rows: Rows, result: Measured, seed: int) -> None:
    ok = rows.inspected
    scores, labels = rows.scores[ok], rows.labels[ok]
    metrics: dict[str, Metric] = {
        "image_auroc": auroc,
        "image_ap": average_precision,
        "image_f1_max": lambda s, y: f1_max(s, y)[0],
        "ece": reliability.expected_calibration_error,
        "brier": reliability.brier,
    }
    _add(result, metrics, scores, labels, seed)
    map_scores, text_scores = rows.map_scores[ok], rows.text_scores[ok]
    if np.isfinite(map_scores).all() and np.isfinite(text_scores).all() and len(labels):
        for w in TEXT_WEIGHTS:
            fused = (1 - w) * map_scores + w * text_scores
            result.by_text_weight[f"{w:g}"] = measured(partial(auroc, fused, labels)).value


def _add(
    result: Measured,
    metrics: Mapping[str, Metric],
    values: Any,  # noqa: ANN401 - an array
    labels: NDArray[Any],
    seed: int,
    *,
    of_types: bool = False,
) -> None:
    """Add measures of values (N, …) and labels (N,), with replicates drawn within each label.

    Of few pictures there are none; of types, whose rarest may have one picture, if even the most frequent has few.
    """
    classes = np.unique(labels, return_counts=True)[1]
    can_vary = len(classes) > 0 and (classes.max() if of_types else classes.min()) >= FEWEST
    drawn = bootstrap.resample_indices(labels, seed=seed) if can_vary else None
    for name, metric in metrics.items():
        figure = measured(partial(metric, values, labels))
        if figure.value is not None and drawn is not None:
            again = np.array([measured(partial(metric, values[row], labels[row])).value for row in drawn], np.float64)
            figure = with_interval(figure, again)
            result.replicates[name] = again
        result.figures[name] = figure


def _pixel_figures(tally: Tally, result: Measured) -> None:
    measures: dict[str, tuple[PixelMeasure, Callable[[], float]]] = {
        "pixel_auroc": ("auroc", tally.pixels.auroc),
        "pixel_ap": ("average_precision", tally.pixels.average_precision),
        "pixel_f1_max": ("f1_max", lambda: tally.pixels.f1_max()[0]),
        "pixel_aupro": ("aupro", tally.pixels.aupro),
    }
    for name, (kind, exact) in measures.items():
        figure = measured(exact)
        if figure.value is not None:
            again = tally.bootstrap.shifted_replicates(kind, figure.value)
            figure = with_interval(figure, again)
            result.replicates[name] = again
        result.figures[name] = figure
    ties = measured(tally.pixels.tie_error).value
    if ties is not None and ties > MAX_TIE_ERROR:
        result.notes.append(
            f"The maps use so little of [0, 1] that binning may cost up to {ties:.4f} of the pixel AUROC; other pixel "
            "figures are as uncertain."
        )


def _mask_figures(rows: Rows, result: Measured, seed: int) -> None:
    """IoU over defective pictures with truth; rejection: the share of good pictures on which nothing is drawn."""
    overlaps = rows.iou[np.isfinite(rows.iou)]
    good = rows.drawn_px[~rows.labels & np.isfinite(rows.drawn_px)] == 0
    parts = {
        "pixel_iou": (overlaps, "IoU needs defective pictures with a mask"),
        "rejection": (good, "Rejection needs good pictures and a detector that draws"),
    }
    for name, (values, needs) in parts.items():
        _add(result, {name: lambda v, _, needs=needs: _mean(v, needs)}, values, np.ones(len(values), np.bool_), seed)  # type: ignore[misc]


def _verdict_figures(rows: Rows, result: Measured, seed: int) -> None:
    metrics: dict[str, Metric] = {
        "verdict_balanced_accuracy": verdict.verdict_balanced_accuracy,
        "verdict_precision": verdict.precision,
        "verdict_recall": verdict.recall,
        "verdict_specificity": verdict.specificity,
        "verdict_f1": verdict.f1,
        "unreadable": lambda verdicts, _: verdict.unreadable_share(verdicts),
    }
    _add(result, metrics, np.array(rows.verdicts), rows.labels, seed)


def _type_figures(rows: Rows, tally: Tally, candidates: Sequence[str], result: Measured, seed: int) -> None:
    """Typed figures over pictures of exactly one known type (MultiADS drops the others)."""
    index = {name: k for k, name in enumerate(candidates)}
    known = np.array([len(kinds) == 1 and kinds[0] in index for kinds in rows.true_types], np.bool_)
    answered = np.isfinite(rows.type_scores)
    used = known & answered.all(1)
    scores = rows.type_scores[used]
    truth = np.array([index[kinds[0]] for kinds, use in zip(rows.true_types, used, strict=True) if use], np.int64)
    metrics: dict[str, Metric] = {
        "type_accuracy": types.top1_accuracy,
        "type_macro_recall": types.macro_recall,
        "type_macro_f1": types.macro_f1,
        "type_macro_auroc": types.macro_auroc,
        "type_constant_accuracy": lambda _, y: types.constant_accuracy(y),
        "type_constant_macro_recall": lambda _, y: types.constant_macro_recall(y),
        "type_constant_macro_f1": lambda _, y: types.constant_macro_f1(y),
    }
    unanswered = int((known & rows.inspected).sum()) - len(truth)
    result.counts.update(n_typed=len(truth), n_type_unanswered=unanswered)
    if len(rows.labels) and not answered.any():
        result.figures.update(dict.fromkeys(metrics, Figure(None, reason="This detector tells no types apart.")))
        return
    _add(result, metrics, scores, truth, seed, of_types=True)
    image = types.per_type(scores, truth, candidates) if len(truth) else {}
    pixel: dict[str, dict[str, float | None]] = {}
    if tally.types is not None and tally.types.total.any():
        result.figures["type_pixel_auroc"] = measured(tally.types.macro_auroc)
        result.figures["type_pixel_ap"] = measured(tally.types.macro_average_precision)
        result.figures["type_pixel_f1"] = measured(tally.types.macro_f1)
        pixel = tally.types.per_type()
    for name in candidates:
        typed: dict[str, float | None] = dict(image.get(name, {}))
        typed |= {f"pixel_{key}": value for key, value in pixel.get(name, {}).items()}
        result.per_type[name] = typed


def with_interval(figure: Figure, replicates: Scores) -> Figure:
    """Return a figure that has a value with the interval that its bootstrap replicates (R,) give."""
    assert figure.value is not None
    try:
        low, high = bootstrap.interval(replicates, figure.value, LEVEL, (0.0, 1.0))
    except UndefinedMetricError:  # too few defective pictures: the value stands alone
        return figure
    return Figure(figure.value, low, high)


def _mean(values: NDArray[Any], needs: str) -> float:
    if not values.size:
        raise UndefinedMetricError(f"{needs}; there are none. Leave this measure out, or add some.")
    return float(values.mean())
