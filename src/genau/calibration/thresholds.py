"""Where the decisions fall, in a file with its provenance; and the one knob that an operator turns."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from genau.errors import CheckpointError, UsageError

THRESHOLDS_FILE = "thresholds.json"
NEVER = math.nextafter(1.0, 2.0)  # above every score
AS_CALIBRATED = 50.0  # the sensitivity that changes nothing


@dataclass(frozen=True)
class Thresholds:
    """Where the decisions fall. All in [0, 1], or `NEVER`, which no score reaches."""

    image: float = 0.5  # verdict is defect from this pred_score on
    pixel: float = 0.5  # a pixel belongs to the mask from this map value on
    type: float = 0.5  # a type is present from this score on, unless it is one of `types`
    method: str = "default: not calibrated"
    data: str = ""
    types: Mapping[str, float] = field(default_factory=dict)  # thresholds of single types
    date: str = ""  # of the calibration, ISO 8601
    expected: Mapping[str, float | None] = field(default_factory=dict)  # rates in [0, 1] and counts of pictures
    model: str = ""  # fingerprint of the model whose scores they were set on; empty where nobody knows

    def __post_init__(self) -> None:
        """Refuse values that no score can reach, and what no file of ours holds."""
        for name in ("image", "pixel", "type"):
            check_threshold(getattr(self, name), name)
        for name in ("types", "expected"):
            if not isinstance(getattr(self, name), Mapping):
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must give a number to each name.")
        for name, value in self.types.items():
            check_threshold(value, f"{name!r}")
        for name, number in self.expected.items():
            if number is not None and not math.isfinite(number):
                raise UsageError(f"expected {name} is {number}; it must be a number, or null where there is none.")

    def of_type(self, name: str) -> float:
        """Return the threshold of a type: its own, or else the common one."""
        return self.types.get(name, self.type)

    def save(self, path: Path) -> None:
        """Write as JSON, the whole file or nothing."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "Thresholds":
        """Read from JSON.

        Raises:
            CheckpointError: the file is damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, UsageError) as error:  # not UTF-8, not JSON, not these fields, out of range
            raise CheckpointError(f"{path} is damaged ({error}). Restore it from the checkpoint's origin.") from error


def check_threshold(value: float, name: str = "image") -> float:
    """Return a threshold that lies in [0, 1], or is `NEVER`.

    Raises:
        UsageError: it does not.
    """
    if not 0 <= value <= NEVER:
        raise UsageError(
            f"The {name} threshold {value} is not between 0 and 1, where all scores lie. Use such a value."
        )
    return value


def with_sensitivity(thresholds: Thresholds, sensitivity: float) -> Thresholds:
    """Return the thresholds moved by the operator's knob, from 0 (never alarms) over 50 to 100 (always alarms).

    50 changes nothing. A threshold t becomes NEVER + (t - NEVER) · s / 50 up to 50 and t · (100 - s) / 50 from there:
    linear on both sides, the same for image, pixel and types. What was expected at 50 no longer holds elsewhere, so
    `expected` becomes empty there and `method` names the sensitivity.

    Raises:
        UsageError: the sensitivity is not in [0, 100].
    """
    if not 0 <= sensitivity <= 100:
        raise UsageError(f"The sensitivity {sensitivity} is not between 0 (never alarms) and 100. 50 is as calibrated.")
    if sensitivity == AS_CALIBRATED:
        return thresholds

    def moved(value: float) -> float:
        if sensitivity < AS_CALIBRATED:
            return min(NEVER, NEVER + (value - NEVER) * sensitivity / AS_CALIBRATED)
        return value * (100 - sensitivity) / AS_CALIBRATED

    return replace(
        thresholds,
        image=moved(thresholds.image),
        pixel=moved(thresholds.pixel),
        type=moved(thresholds.type),
        types={name: moved(value) for name, value in thresholds.types.items()},
        method=f"{thresholds.method}; sensitivity {sensitivity:g}",
        expected={},
    )
