"""Thresholds are values that scores can reach, and come back from their file as they were."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from genau.calibration import NEVER, Thresholds, calibrated_score, check_threshold, with_sensitivity
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
        b'{"types": {"dent": 2}}',
        b'{"types": ["dent"]}',
        b'{"expected": {"recall": NaN}}',
        b'{"expected": 0.5}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thresholds.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"thresholds\.json is damaged .*Restore it from the checkpoint's origin"):
        Thresholds.load(path)


def test_a_file_of_the_first_version_loads_with_nothing_expected(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text('{"image": 0.61, "pixel": 0.5, "type": 0.4, "method": "m", "data": "d"}')
    thresholds = Thresholds.load(path)
    assert (thresholds.image, thresholds.types, thresholds.date, thresholds.expected) == (0.61, {}, "", {})
    assert thresholds.of_type("dent") == 0.4


def test_types_dates_and_expectations_come_back(tmp_path: Path) -> None:
    full = Thresholds(0.3, types={"ä": 0.7}, date="2026-11-23", expected={"recall": None, "good": 60, "x": 0.1})
    full.save(tmp_path / "thresholds.json")
    assert Thresholds.load(tmp_path / "thresholds.json") == full
    assert (full.of_type("ä"), full.of_type("dent")) == (0.7, 0.5)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "thresholds.json"
    Thresholds(0.3).save(path)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        Thresholds(0.9).save(path)
    assert Thresholds.load(path).image == 0.3
    assert [file.name for file in tmp_path.iterdir()] == ["thresholds.json"]


def test_no_score_reaches_never_and_never_comes_back_from_its_file(tmp_path: Path) -> None:
    Thresholds(NEVER).save(tmp_path / "t.json")
    assert Thresholds.load(tmp_path / "t.json").image == NEVER > 1.0
    assert calibrated_score(1.0, NEVER) < 0.5


@pytest.mark.parametrize("own", [0.0, 0.2, 0.61, 1.0, NEVER])
def test_the_knob_goes_from_never_over_the_calibration_to_always(own: float) -> None:
    thresholds = Thresholds(own, own, own, types={"dent": own}, expected={"recall": 0.9})
    assert with_sensitivity(thresholds, 50) is thresholds
    for sensitivity, value in ((0, NEVER), (100, 0.0)):
        moved = with_sensitivity(thresholds, sensitivity)
        assert (moved.image, moved.pixel, moved.type, moved.types["dent"]) == (value,) * 4
    at = [with_sensitivity(thresholds, s).image for s in range(0, 101, 5)]
    assert at == sorted(at, reverse=True)


def test_the_knob_is_linear_on_both_sides_and_says_that_it_was_turned() -> None:
    thresholds = Thresholds(0.6, 0.4, 0.2, "m", types={"dent": 0.8}, expected={"recall": 0.9})
    more = with_sensitivity(thresholds, 75)
    assert (more.image, more.pixel, more.type) == pytest.approx((0.3, 0.2, 0.1))
    assert more.types == pytest.approx({"dent": 0.4})
    less = with_sensitivity(thresholds, 25)
    assert (less.image, less.pixel, less.type) == pytest.approx((0.8, 0.7, 0.6))
    assert (less.method, less.expected) == ("m; sensitivity 25", {})


@pytest.mark.parametrize("value", [-1, 100.5, math.nan])
def test_a_sensitivity_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"not between 0 \(never alarms\) and 100. 50 is as calibrated"):
        with_sensitivity(Thresholds(), value)


def test_a_calibrated_score_is_linear_on_both_sides_of_the_threshold() -> None:
    assert [calibrated_score(s, 0.8) for s in (0.0, 0.4, 0.8, 0.9, 1.0)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert calibrated_score(1.0, 1.0) == 1.0
    assert calibrated_score(0.0, 0.0) == 0.5
    assert math.isnan(calibrated_score(math.nan, 0.5))
    assert math.isnan(calibrated_score(0.5, math.nan))


def test_a_calibrated_score_reaches_a_half_exactly_where_the_threshold_is_reached() -> None:
    rng = np.random.default_rng(0)
    for threshold in [*rng.random(300), 5e-324, 1e-300, 1.0, NEVER]:
        for score in (math.nextafter(threshold, -1), threshold, math.nextafter(threshold, 2)):
            if 0 <= score <= 1:
                assert (calibrated_score(score, threshold) >= 0.5) == (score >= threshold), (score, threshold)
