"""What an inspection says: frozen records, checked at birth, with the unit and frame beside each field."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA_VERSION = "1.1"
READABLE_VERSIONS = ("1.0", SCHEMA_VERSION)  # 1.0 lacks calibrated_score
UNKNOWN_TYPE = "unknown"
MISSING, EXTRA, CHANGED = "missing", "extra", "changed"  # what a defect is to good parts at its place
MISSED = "The score says normal, but good parts have something that is missing here:"  # begins a contradiction
RELATION_WORDS = {
    MISSING: "good parts have something here",
    EXTRA: "good parts have nothing like this here",
    CHANGED: "good parts look different here",
}


class Verdict(StrEnum):
    """The outcome of an inspection. `UNREADABLE` is never treated as normal."""

    NORMAL = "normal"
    DEFECT = "defect"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Defect:
    """One connected region of the defect mask."""

    type: str  # a candidate type that was asked for, or "unknown"
    score: float  # in [0, 1]: largest anomaly map value inside the region
    bbox_xyxy: tuple[int, int, int, int]  # pixels of the original image, right and bottom exclusive
    area_px: int  # pixels of the original image
    area_fraction: float  # of the original image, in (0, 1]
    location: str  # 3x3 location word, for example "top left" or "center"
    relation: str | None = None  # to good parts: missing, extra or changed; None without references or where unclear

    @property
    def relation_words(self) -> str | None:
        """The relation with what it means: "missing (good parts have something here)"."""
        return None if self.relation is None else f"{self.relation} ({RELATION_WORDS[self.relation]})"


@dataclass(frozen=True)
class Analysis:
    """The structured description in words; the order of the fields is the order of the answer's lines."""

    verdict: str
    types: str
    location: str
    appearance: str
    severity: str
    likely_cause: str
    recommendation: str

    @property
    def text(self) -> str:
        """The seven keyed lines, as the model writes them."""
        return "\n".join(f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in asdict(self).items())


@dataclass(frozen=True, eq=False)
class Inspection:
    """What one model says of one image.

    A picture that could not be inspected has `verdict` unreadable, `error` set, NaN scores and empty arrays.
    """

    image: str  # the path or name that was given
    width: int  # pixels of the original image, upright (EXIF orientation applied)
    height: int
    verdict: Verdict
    pred_score: float  # in [0, 1]: (1 - w) * map_score + w * text_score
    map_score: float  # in [0, 1]: read-out of the anomaly map
    text_score: float  # in [0, 1]: the decoder's probability of the word "defect"
    threshold: float  # verdict is defect if and only if pred_score >= threshold
    text_verdict: Verdict | None = None  # the likelier word of the decoder
    picture: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8), repr=False)
    # (H, W, 3), the upright RGB picture that was inspected
    anomaly_map: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    # (H, W), in [0, 1], frame of the original image
    pred_mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_), repr=False)
    # (H, W), frame of the original image
    defects: tuple[Defect, ...] = ()  # largest score first
    types: Mapping[str, float] = field(default_factory=dict)  # score of each type asked for, in [0, 1]
    type_masks: Mapping[str, NDArray[np.bool_]] = field(
        default_factory=dict, repr=False
    )  # (H, W) each; they may overlap
    analysis: Analysis | None = None  # None if no words were asked for
    contradiction: str | None = None  # set where words and decision disagree
    timing_ms: Mapping[str, float] = field(default_factory=dict)  # wall time of each step
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse records that contradict themselves."""
        if self.error is not None:
            if self.verdict is not Verdict.UNREADABLE:
                raise ValueError(f"verdict={self.verdict} stands beside the error {self.error!r}; use unreadable.")
            return
        for name in ("pred_score", "map_score", "text_score"):
            value = getattr(self, name)
            if not (math.isnan(value) or 0 <= value <= 1):
                raise ValueError(f"{name}={value} is not in [0, 1].")
        follows = self.verdict is (Verdict.DEFECT if self.pred_score >= self.threshold else Verdict.NORMAL)
        undefined = math.isnan(self.pred_score) or math.isnan(self.threshold)
        if self.verdict is not Verdict.UNREADABLE and (undefined or not follows):
            raise ValueError(f"verdict={self.verdict} does not follow from {self.pred_score} and {self.threshold}.")
        for name in ("picture", "anomaly_map", "pred_mask"):
            shape = getattr(self, name).shape[:2]
            if shape not in {(self.height, self.width), (0, 0)}:
                raise ValueError(f"{name} has shape {shape}, the image {(self.height, self.width)} (H, W).")

    @property
    def calibrated_score(self) -> float:
        """`calibrated_score(pred_score, threshold)`: in [0, 1], defect from 0.5 on; NaN where a score is missing."""
        return calibrated_score(self.pred_score, self.threshold)

    @classmethod
    def failed(cls, image: str, error: str) -> "Inspection":
        """Return the row of a picture that could not be inspected."""
        nan = math.nan
        return cls(image, 0, 0, Verdict.UNREADABLE, nan, nan, nan, nan, error=error)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `INSPECTION_SCHEMA`: plain types, no arrays, undefined numbers as None."""
        row: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "image": self.image}
        row |= {"width": self.width, "height": self.height, "verdict": str(self.verdict)}
        row["text_verdict"] = None if self.text_verdict is None else str(self.text_verdict)
        for name in ("pred_score", "calibrated_score", "map_score", "text_score", "threshold"):
            row[name] = _finite_or_none(getattr(self, name))
        row["defects"] = [asdict(defect) | {"bbox_xyxy": list(defect.bbox_xyxy)} for defect in self.defects]
        row["types"] = {name: _finite_or_none(score) for name, score in self.types.items()}
        row["analysis"] = None if self.analysis is None else asdict(self.analysis)
        row |= {"contradiction": self.contradiction, "timing_ms": dict(self.timing_ms), "error": self.error}
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Inspection":
        """Rebuild the record from `to_dict`; maps and masks live in files of their own and stay empty.

        Raises:
            ValueError: a version of the form that this one cannot read, or impossible values.
        """
        version = row.get("schema_version", SCHEMA_VERSION)
        if version not in READABLE_VERSIONS:
            raise ValueError(
                f"schema_version {version!r} is not one of {', '.join(READABLE_VERSIONS)}, which this genau reads; "
                "install the version of genau that wrote it"
            )
        values = {key: value for key, value in row.items() if key not in {"schema_version", "calibrated_score"}}
        for name in ("pred_score", "map_score", "text_score", "threshold"):
            values[name] = math.nan if values[name] is None else values[name]
        values["verdict"] = Verdict(values["verdict"])
        values["text_verdict"] = None if values["text_verdict"] is None else Verdict(values["text_verdict"])
        values["defects"] = tuple(
            Defect(**{**defect, "bbox_xyxy": tuple(defect["bbox_xyxy"])}) for defect in values["defects"]
        )
        values["types"] = {k: math.nan if v is None else v for k, v in values["types"].items()}
        values["analysis"] = None if values["analysis"] is None else Analysis(**values["analysis"])
        return cls(**values)

    def save(self, folder: str | Path) -> Path:
        """Write results, mask, overlay and report of this image into `folder`; return the report's path."""
        from genau.report import write_run

        return write_run([self], folder)

    def to_coco(self) -> dict[str, Any]:
        """Return this image as one object in COCO's instances format, see `genau.report.to_coco`."""
        from genau.report import to_coco

        return to_coco([self])

    def to_supervision(self) -> Any:  # noqa: ANN401 - of an optional library
        """Return the defects as `supervision.Detections`, see `genau.report.to_supervision`."""
        from genau.report import to_supervision

        return to_supervision(self)

    def certificate(self, path: str | Path, **words: Any) -> Path:  # noqa: ANN401 - those of write_certificate
        """Write a printable page on this part and return its path; `words` as in `genau.report.write_certificate`."""
        from genau.report import write_certificate

        return write_certificate(self, path, **words)

    def plot(self) -> "Image":
        """Return the original-size overlay: map on the fixed colour scale, mask outlines per type."""
        from genau.report import draw_overlay

        return draw_overlay(self)


def calibrated_score(score: float, threshold: float) -> float:
    """Return the score on a scale where the threshold is 0.5: linear from 0 to it and from it to 1.

    Both lie in [0, 1] (a threshold just above 1 is never reached). Whatever the rounding, the result reaches 0.5 if and
    only if the score reaches the threshold, so 0 becomes 0.5 at threshold 0. It is no probability.
    """
    if math.isnan(score) or math.isnan(threshold):
        return math.nan
    if score < threshold:
        return 0.5 * (score / threshold)
    return 1.0 if threshold >= 1 else 0.5 + 0.5 * ((score - threshold) / (1 - threshold))


def _finite_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_NUMBER_OR_NULL = {"type": ["number", "null"]}
INSPECTION_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "GenAU inspection of one image",
    "type": "object",
    "required": ["schema_version", "image", "width", "height", "verdict", "pred_score", "threshold", "error"],
    "properties": {
        "schema_version": {"enum": list(READABLE_VERSIONS)},
        "image": {"type": "string"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "verdict": {"enum": [str(v) for v in Verdict]},
        "text_verdict": {"enum": [*(str(v) for v in Verdict), None]},
        "pred_score": _NUMBER_OR_NULL,
        "calibrated_score": _NUMBER_OR_NULL,
        "map_score": _NUMBER_OR_NULL,
        "text_score": _NUMBER_OR_NULL,
        "threshold": _NUMBER_OR_NULL,
        "defects": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "score", "bbox_xyxy", "area_px", "area_fraction", "location"],
                "properties": {
                    "type": {"type": "string"},
                    "score": {"type": "number"},
                    "bbox_xyxy": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
                    "area_px": {"type": "integer"},
                    "area_fraction": {"type": "number"},
                    "location": {"type": "string"},
                    "relation": {"enum": [MISSING, EXTRA, CHANGED, None]},
                },
            },
        },
        "types": {"type": "object", "additionalProperties": _NUMBER_OR_NULL},
        "analysis": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "contradiction": {"type": ["string", "null"]},
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
        "error": {"type": ["string", "null"]},
    },
}
