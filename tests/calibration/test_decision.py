"""The whole decision, its words, mask thresholds, and results of earlier runs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from genau.calibration import (
    NEVER,
    MaskTally,
    Method,
    PixelThreshold,
    Scored,
    Thresholds,
    calibrate,
    percent,
    pixel_from_good,
    read_results,
    summary,
    upper_bound,
    what_if,
)
from genau.errors import UsageError
from genau.results import Inspection, Verdict

GOOD = [k / 100 for k in range(60)]
BAD = [0.5 + k / 100 for k in range(40)]


def test_good_parts_alone_give_a_threshold_with_its_bound_and_what_is_missing() -> None:
    found = calibrate(GOOD, start=Thresholds(0.9, 0.3, 0.4), data="60 caps", date="2026-11-23")
    assert 0.59 < found.image < 0.591
    assert (found.pixel, found.type, found.data, found.date) == (0.3, 0.4, "60 caps", "2026-11-23")
    assert found.method.startswith("false alarms at most 0.01 with confidence 0.95; too few for that: just above the")
    assert found.expected["false_alarm_rate_upper"] == pytest.approx(1 - 0.05 ** (1 / 60))
    assert (found.expected["recall"], found.expected["bad"]) == (None, 0)
    assert summary(found) == [
        "Threshold 0.590: at most 4.9 % false alarms with 95 % confidence (60 good pictures; for 1 % you need 299).",
        "On these pictures, 0 % of the good pictures alarm.",
        "How many defects it finds is not known: there were no bad pictures.",
    ]


def test_enough_good_parts_keep_the_target() -> None:
    found = calibrate(GOOD, BAD, Method(target_false_alarms=0.05))
    assert found.method == "false alarms at most 0.05 with confidence 0.95"
    assert found.expected["false_alarm_rate_upper"] == pytest.approx(upper_bound(0, 60, 0.95))
    assert found.expected["recall"] == sum(score >= found.image for score in BAD) / 40 == 0.75
    lines = summary(found)
    assert "(60 good pictures)." in lines[0]
    assert "75 % of the 40 bad ones are found (95 % interval: 58.8 % to 87.3 %)" in lines[1]


def test_rates_of_a_threshold_that_saw_bad_parts_come_from_pictures_held_out() -> None:
    rng = np.random.default_rng(8)
    good, bad = rng.random(30).tolist(), rng.random(30).tolist()  # there is nothing to learn
    found = calibrate(good, bad, Method("balanced"))
    e = {name: value or 0.0 for name, value in found.expected.items()}
    seen = (e["seen_recall"] + 1 - e["seen_false_alarm_rate"]) / 2
    assert (e["recall"] + 1 - e["false_alarm_rate"]) / 2 < seen
    assert e["recall_low"] < e["recall"] < e["recall_high"]
    assert "10-fold cross-validation" in found.method
    assert "do not count on that" in summary(found)[2]


def test_scores_that_are_missing_are_counted_and_never_used() -> None:
    with_gaps = calibrate([*GOOD, math.nan, math.inf], [*BAD, math.nan], Method("f1"))
    without = calibrate(GOOD, BAD, Method("f1"))
    assert with_gaps.image == without.image
    assert (with_gaps.expected["good"], with_gaps.expected["unused"], without.expected["unused"]) == (60, 3, 0)
    assert summary(with_gaps)[-1] == "Not used, because they have no score: 3 pictures."


@pytest.mark.parametrize(
    ("good", "bad", "method", "words"),
    [
        ([], BAD, Method(), "There are no good pictures with a score; a threshold needs at least 2, and to keep false"),
        ([0.4, math.nan], [], Method(), "There is 1 good picture with a score"),
        (GOOD, [], Method("f1"), "There are no bad pictures with a score; the method 'f1' needs at least 2. Add bad"),
        (GOOD, [0.9], Method("recall"), "or set the threshold from good ones alone: --method false-alarms"),
        ([0.4] * 5, [], Method(), "All 5 scores are 0.4, so no threshold follows from them. Check that the pictures"),
        ([0.4] * 5, [0.4] * 3, Method("f1"), "All 8 scores are 0.4"),
        ([0.4, 1.4], [], Method(), "The good scores run from 0.4 to 1.4; scores lie in [0, 1]"),
        (GOOD, [0.4, -1], Method(), "The bad scores run from -1 to 0.4"),
    ],
)
def test_scores_that_give_no_threshold_are_refused_in_words(
    good: list[float], bad: list[float], method: Method, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        calibrate(good, bad, method)
    assert words in str(caught.value)


def test_a_type_gets_its_own_threshold_where_there_are_pictures_with_and_without_it() -> None:
    scores = {
        "dent": ([0.8, 0.9, math.nan], [0.1, 0.2, 0.3]),
        "stain": ([0.9], [0.1, 0.2]),
        "burr": ([0.5, 0.5], [0.5, 0.5]),
    }
    start = Thresholds(type=0.45, types={"crack": 0.2})
    for method in (Method(), Method("f1"), Method("recall")):
        found = calibrate(GOOD, BAD, method, types=scores, start=start)
        assert found.types == {"crack": 0.2, "dent": pytest.approx(0.55)}
        assert found.of_type("stain") == 0.45


def test_a_mask_threshold_that_is_handed_in_is_taken_with_its_origin() -> None:
    found = calibrate(GOOD, pixel=PixelThreshold(0.2, "from masks"))
    assert found.pixel == 0.2
    assert found.method.endswith("; masks: from masks")


@pytest.mark.parametrize("criterion", ["iou", "f1"])
def test_the_mask_threshold_is_the_one_that_fits_drawn_masks_best(criterion: str) -> None:
    rng = np.random.default_rng(1)
    tally, pictures = MaskTally(criterion), []
    for _ in range(4):
        mask = np.zeros((30, 50), np.bool_)
        mask[5:20, 10:25] = True
        drawn = (np.where(mask, 0.6, 0.35) + rng.normal(0, 0.08, mask.shape)).clip(0, 1).astype(np.float32)
        pictures.append((drawn, mask))
        tally.add(drawn, mask)

    def mean(threshold: float) -> float:
        fits = []
        for drawn, mask in pictures:
            found = drawn >= threshold
            both = (found & mask).sum()
            fits.append(both / (found | mask).sum() if criterion == "iou" else 2 * both / (found.sum() + mask.sum()))
        return float(np.mean(fits))

    best = tally.threshold()
    assert mean(best.value) == pytest.approx(max(mean(k / 1000) for k in range(1001)), abs=2e-3)
    assert (
        best.method
        == f"largest mean {'IoU' if criterion == 'iou' else 'F1'} ({mean(best.value):.3f}) over 4 drawn masks"
    )


def test_between_clear_maps_the_mask_threshold_lies_in_the_middle() -> None:
    tally = MaskTally()
    mask = np.zeros((4, 6), np.bool_)
    mask[1, 2] = True
    tally.add(np.where(mask, 0.8, 0.2).astype(np.float32), mask)
    assert tally.threshold().value == pytest.approx(0.5, abs=0.002)


def test_masks_that_do_not_fit_are_refused() -> None:
    tally = MaskTally()
    with pytest.raises(UsageError, match=r"A mask is \(6, 4\), its map \(4, 6\). Give masks of the pictures' size"):
        tally.add(np.zeros((4, 6), np.float32), np.ones((6, 4), np.bool_))
    with pytest.raises(UsageError, match="A mask is empty"):
        tally.add(np.zeros((4, 6), np.float32), np.zeros((4, 6), np.bool_))
    with pytest.raises(UsageError, match="No mask was given"):
        tally.threshold()
    with pytest.raises(UsageError, match="criterion='dice' must be one of iou, f1"):
        MaskTally("dice")


def test_the_mask_threshold_of_good_parts_lies_above_their_maps() -> None:
    found = pixel_from_good([0.2, 0.5, math.nan, 0.4], Method("f1"))
    assert 0.5 < found.value < 0.501
    assert found.method == "above the maps of 3 good pictures"
    with pytest.raises(UsageError, match="needs at least 2 maps; got 1"):
        pixel_from_good([0.2])


def test_the_table_of_other_settings_counts_what_each_would_do() -> None:
    thresholds = calibrate(GOOD, BAD, Method("f1"))
    rows = {row.setting: row for row in what_if([*GOOD, math.nan], BAD, thresholds, Method("f1"))}
    assert (rows["sensitivity 0"].threshold, rows["sensitivity 0"].false_alarms, rows["sensitivity 0"].misses) == (
        NEVER,
        0,
        40,
    )
    assert (rows["sensitivity 100"].false_alarms, rows["sensitivity 100"].misses) == (60, 0)
    chosen = [row for row in rows.values() if row.chosen]
    assert [(row.setting, row.threshold) for row in chosen] == [("sensitivity 50", thresholds.image)]
    for row in rows.values():
        assert row.false_alarms == sum(score >= row.threshold for score in GOOD)
        assert row.misses == sum(score < row.threshold for score in BAD)
        assert (row.good, row.bad) == (60, 40)
    assert rows["false alarms at most 1 %"].note == "needs 299 good pictures"
    assert rows["false alarms at most 5 %"].note == ""


def test_thresholds_that_were_not_calibrated_say_so() -> None:
    assert summary(Thresholds(0.5)) == ["Threshold 0.500: default: not calibrated."]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.9999, "99.9 %"),
        (0.5, "50 %"),
        (0.048703, "4.9 %"),
        (0.001, "0.10 %"),
        (0.01, "1 %"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, words: str) -> None:
    assert percent(share) == words


def test_results_of_an_earlier_run_are_read_back(tmp_path: Path) -> None:
    rows = [
        Inspection("a.png", 3, 2, Verdict.NORMAL, 0.1, 0.1, 0.1, 0.5, types={"dent": 0.3, "burr": math.nan}),
        Inspection.failed("ä.png", "cannot be read"),
    ]
    old = rows[0].to_dict() | {"schema_version": "1.0"}
    del old["calibrated_score"]
    lines = [json.dumps(row.to_dict(), ensure_ascii=False) for row in rows]
    (tmp_path / "results.jsonl").write_text("\n".join([*lines, "", json.dumps(old)]) + "\n", encoding="utf-8")
    first, failed, third = read_results(tmp_path / "results.jsonl")
    assert (first.image, first.score, first.types["dent"]) == ("a.png", 0.1, 0.3)
    assert math.isnan(first.types["burr"])
    assert (failed.image, failed.error) == ("ä.png", "cannot be read")
    assert math.isnan(failed.score)
    assert isinstance(third, Scored)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no results. Give a results.jsonl of `genau inspect`"),
        (b"{}\n", "Line 1 of .*is no result of an inspection .KeyError"),
        (b"{", "Line 1 of .*is no result of an inspection"),
        (b"[1]", "Line 1 of .*is no result of an inspection"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_results_is_refused_with_the_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_results(tmp_path / "r.jsonl")
