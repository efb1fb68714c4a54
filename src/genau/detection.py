"""Where GenAU and its rivals meet: what a detector is told, and what it says of a picture.

H, W: the original picture. Evaluation knows detectors through this file only, so all of them are measured alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genau.calibration import Thresholds
from genau.images import Picture
from genau.judgement import Reply, judge
from genau.results import Inspection


@dataclass(frozen=True)
class Task:
    """What a detector is told of a product before it sees a picture of it."""

    product: str | None = None  # in words
    types: Mapping[str, str | None] = field(default_factory=dict)  # candidate types -> short description; {}: not asked
    references: tuple[Path, ...] = ()  # pictures of good parts; (): zero-shot


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector says of one picture."""

    inspection: Inspection
    draw_type: Mapping[str, Callable[[], NDArray[np.float32]]] = field(default_factory=dict)
    # Makes a type's map (H, W) in [0, 1], frame of the original, for those types whose map the detector can draw.


class Detector(Protocol):
    """Anything that can inspect pictures of a product. It remembers nothing between calls."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def trained_products(self) -> Sequence[str]:
        """Products, in words, that its weights were trained on: not zero-shot there."""

    @property
    def trained_data(self) -> Sequence[str]:
        """Names of the data sets that its weights were trained on, as far as known."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What else decides its scores, for the protocol: base weights, image size, thresholds."""

    def prepare(self, task: Task) -> Any:  # noqa: ANN401 - each detector's own
        """Return all that does not depend on the pictures: reference features, encoded prompts.

        Raises:
            UsageError: the task is not one for this detector. ImageError: a reference cannot be read.
        """

    def detect(self, pictures: Sequence[Picture], prepared: Any) -> list[Detection]:  # noqa: ANN401
        """Inspect a batch; the same picture gives the same detection alone and in any batch (to 1e-4 in fp32)."""


def conclude(picture: Picture, general: Reply, types: Mapping[str, Reply], thresholds: Thresholds) -> Detection:
    """Turn replies into a detection; a detector without thresholds of its own passes the defaults."""
    inspection = judge(picture, general, types, thresholds).inspection
    return Detection(inspection, {name: reply.draw for name, reply in types.items() if reply.draw})
