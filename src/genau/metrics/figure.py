"""One number of a table: its value and interval, or why there is none."""

from collections.abc import Callable
from dataclasses import dataclass

from genau.metrics.image import UndefinedMetricError


@dataclass(frozen=True)
class Figure:
    """A measured value, or None and the reason; an interval where one was made."""

    value: float | None
    low: float | None = None  # 95 % interval
    high: float | None = None
    reason: str = ""  # why value is None

    def __str__(self) -> str:
        """Three digits, with the interval where there is one; `n/a` where the value is undefined."""
        if self.value is None:
            return "n/a"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def measured(measure: Callable[[], float]) -> Figure:
    """Return what the measure returns, or why it is undefined."""
    try:
        return Figure(float(measure()))
    except UndefinedMetricError as undefined:
        return Figure(None, reason=str(undefined))
