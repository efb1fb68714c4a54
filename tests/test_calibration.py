"""Thresholds are values that scores can reach, and come back from their file as they were."""

import json
import math
from pathlib import Path

import pytest

from genau.calibration import Thresholds, check_threshold
from genau.errors import CheckpointError, UsageError


def test_saved_thresholds_come_back_with_their_provenance(tmp_path: Path) -> None:
    thresholds = Thresholds(0.25, 0.5, 1.0, "99 % of good parts", "40 pictures of caps, häßlich")
    thresholds.save(tmp_path / "thresholds.json")
    assert Thresholds.load(tmp_path / "thresholds.json") == thresholds
    assert json.loads((tmp_path / "thresholds.json").read_text())["image"] == 0.25


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("name", ["image", "pixel", "type"])
def test_a_threshold_that_no_score_reaches_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"The {name} threshold {value} is not between 0 and 1.*Use such a value"):
        Thresholds(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_borders_are_allowed(value: float) -> None:
    assert check_threshold(value) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[0.5]",
        b'{"image": "high"}',
        b'{"imgae": 0.5}',
        b'{"image": 7}',
        b'{"pixel": NaN}',
        b'{"image": null}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thresholds.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"thresholds\.json is damaged .*Restore it from the checkpoint's origin"):
        Thresholds.load(path)
