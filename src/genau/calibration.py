"""Thresholds with their provenance: which value, by which method, from which data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from genau.errors import CheckpointError, UsageError

THRESHOLDS_FILE = "thresholds.json"


@dataclass(frozen=True)
class Thresholds:
    """Where the decisions fall. All in [0, 1]."""

    image: float = 0.5  # verdict is defect from this pred_score on
    pixel: float = 0.5  # a pixel belongs to the mask from this map value on
    type: float = 0.5  # a type is present from this score on
    method: str = "default: not calibrated"
    data: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no score can reach."""
        for name in ("image", "pixel", "type"):
            check_threshold(getattr(self, name), name)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Thresholds":
        """Read from JSON.

        Raises:
            CheckpointError: the file is damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError, UsageError) as error:  # not UTF-8, not JSON, not these fields, out of range
            raise CheckpointError(f"{path} is damaged ({error}). Restore it from the checkpoint's origin.") from error


def check_threshold(value: float, name: str = "image") -> float:
    """Return a threshold that lies in [0, 1].

    Raises:
        UsageError: it does not.
    """
    if not 0 <= value <= 1:
        raise UsageError(
            f"The {name} threshold {value} is not between 0 and 1, where all scores lie. Use such a value."
        )
    return value
