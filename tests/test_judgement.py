"""Replies to an inspection: the score decides, and what is not a number never passes a part."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.calibration import Thresholds
from genau.images import Letterbox, Picture
from genau.judgement import Reply, contradiction, decide, judge
from genau.maps import to_original
from genau.regions import find_regions
from genau.results import Verdict

HEIGHT, WIDTH = 60, 100
BOX = Letterbox((HEIGHT, WIDTH), 64)
PICTURE = Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "part.png")
TOP_RIGHT, BOTTOM_LEFT = (1, 14), (7, 2)  # cells of a 16 x 16 grid over the canvas


def margin_with(*cells: tuple[int, int], low: float = -6.0) -> NDArray[np.float32]:
    margin = np.full((16, 16), low, np.float32)
    for y, x in cells:
        margin[max(0, y - 1) : y + 2, x - 1 : x + 2] = 6.0
    return margin


def reply(pred: float = 0.8, text: float = 0.8, *cells: tuple[int, int], roi: NDArray[np.bool_] | None = None) -> Reply:
    return Reply(pred, 0.7, text, lambda: to_original(margin_with(*cells), BOX, roi))


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.5, Verdict.DEFECT),
        (np.nextafter(0.5, 0), Verdict.NORMAL),
        (1.0, Verdict.DEFECT),
        (math.nan, Verdict.UNREADABLE),
        (math.inf, Verdict.UNREADABLE),
        (-math.inf, Verdict.UNREADABLE),
    ],
)
def test_a_score_that_reaches_the_threshold_is_a_defect_and_no_number_is_unreadable(
    score: float, verdict: Verdict
) -> None:
    assert decide(score, 0.5) is verdict


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 0.81, 1.0])
def test_the_verdict_follows_from_score_and_threshold_alone(threshold: float) -> None:
    for text in (0.0, 1.0, math.nan):
        found = judge(PICTURE, reply(0.8, text, TOP_RIGHT), {}, Thresholds(image=threshold)).inspection
        assert (found.verdict is Verdict.DEFECT) == (threshold <= 0.8)
        assert found.threshold == threshold


def test_a_part_judged_normal_has_an_empty_mask_and_keeps_its_map() -> None:
    judged = judge(PICTURE, reply(0.4, 0.1, TOP_RIGHT), {"dent": reply(0.9, 0.9, TOP_RIGHT)}, Thresholds())
    found = judged.inspection
    assert found.verdict is Verdict.NORMAL
    assert not found.pred_mask.any()
    assert found.pred_mask.shape == (HEIGHT, WIDTH)
    assert found.anomaly_map.max() > 0.9
    assert found.defects == ()
    assert judged.regions == []
    assert found.types == {"dent": 0.9}
    assert found.type_masks == {}


def test_a_type_is_judged_by_its_own_threshold_where_it_has_one() -> None:
    types = {"dent": reply(0.6, 0.6, TOP_RIGHT), "scratch": reply(0.6, 0.6, TOP_RIGHT)}
    thresholds = Thresholds(type=0.5, types={"dent": 0.7})
    found = judge(PICTURE, reply(0.8, 0.8, TOP_RIGHT), types, thresholds).inspection
    assert list(found.type_masks) == ["scratch"]
    assert [defect.type for defect in found.defects] == ["scratch"]


def test_a_defect_lies_where_the_map_is_high_and_takes_its_type() -> None:
    types = {
        "dent": reply(0.9, 0.9, TOP_RIGHT),
        "scratch": reply(0.6, 0.6, BOTTOM_LEFT),
        "stain": reply(0.2, 0.2, TOP_RIGHT, BOTTOM_LEFT),  # absent, whatever its map says
    }
    found = judge(PICTURE, reply(0.8, 0.8, TOP_RIGHT, BOTTOM_LEFT), types, Thresholds()).inspection
    assert {(d.type, d.location) for d in found.defects} == {("dent", "top right"), ("scratch", "bottom left")}
    assert np.array_equal(found.pred_mask, found.anomaly_map >= 0.5)
    assert set(found.type_masks) == {"dent", "scratch"}
    assert found.type_masks["dent"][8, 90]
    assert not found.type_masks["dent"][48, 15]
    assert found.types == {"dent": 0.9, "scratch": 0.6, "stain": 0.2}
    assert (found.width, found.height, found.image) == (WIDTH, HEIGHT, "part.png")


def test_a_type_is_present_from_its_threshold_on() -> None:
    types = {"dent": reply(0.5, 0.5, TOP_RIGHT), "bent": reply(math.nan, 0.5, TOP_RIGHT)}
    found = judge(PICTURE, reply(0.8, 0.8, TOP_RIGHT), types, Thresholds(type=0.5)).inspection
    assert [d.type for d in found.defects] == ["dent"]
    found = judge(PICTURE, reply(0.8, 0.8, TOP_RIGHT), types, Thresholds(type=0.51)).inspection
    assert [d.type for d in found.defects] == ["unknown"]


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_unreadable_row_with_a_reason(score: float) -> None:
    broken = Reply(score, score, score, lambda: np.full((HEIGHT, WIDTH), np.nan, np.float32))
    judged = judge(PICTURE, broken, {"dent": broken}, Thresholds(image=0.0))
    found = judged.inspection
    assert found.verdict is Verdict.UNREADABLE
    assert found.error is not None
    assert "not a number in [0, 1]" in found.error
    assert math.isnan(found.pred_score)
    assert (found.image, found.width, found.height) == ("part.png", WIDTH, HEIGHT)
    assert judged.regions == []


def test_outside_the_region_of_interest_there_is_no_map_no_mask_and_no_defect() -> None:
    roi = np.zeros((HEIGHT, WIDTH), np.bool_)
    roi[:, :50] = True
    general = reply(0.8, 0.8, TOP_RIGHT, BOTTOM_LEFT, roi=roi)
    for pixel in (0.5, 0.0):  # a threshold of zero is reached by the zeros outside, too
        found = judge(PICTURE, general, {"dent": general}, Thresholds(pixel=pixel), roi).inspection
        assert (found.anomaly_map[~roi] == 0).all()
        assert not found.pred_mask[~roi].any()
        assert not found.type_masks["dent"][~roi].any()
        assert found.pred_mask[roi].any()
        assert [d.location for d in found.defects] == (["bottom left"] if pixel else ["left"])


def test_words_and_score_that_agree_are_no_contradiction() -> None:
    found = judge(PICTURE, reply(0.8, 0.8, TOP_RIGHT), {}, Thresholds()).inspection
    assert found.contradiction is None
    assert found.text_verdict is Verdict.DEFECT


def test_words_against_the_score_are_noted() -> None:
    found = judge(PICTURE, reply(0.8, 0.2, TOP_RIGHT), {}, Thresholds()).inspection
    assert found.verdict is Verdict.DEFECT
    assert found.contradiction == "The score says defect, the language model's own word is normal."
    found = judge(PICTURE, reply(0.2, 0.5, TOP_RIGHT), {}, Thresholds()).inspection
    assert found.contradiction == "The score says normal, the language model's own word is defect."
    found = judge(PICTURE, reply(0.2, math.nan, TOP_RIGHT), {}, Thresholds()).inspection
    assert found.contradiction == "The score says normal, the language model's own word is unreadable."


def test_a_defect_without_a_region_is_noted() -> None:
    found = judge(PICTURE, reply(0.8, 0.8), {"dent": reply(0.9, 0.9)}, Thresholds()).inspection
    assert found.defects == ()
    assert found.contradiction == "The score says defect, but no region of the map is above the mask threshold."
    assert "own word" in (contradiction(Verdict.DEFECT, Verdict.NORMAL, []) or "")
    assert "no region" in (contradiction(Verdict.DEFECT, Verdict.NORMAL, []) or "")
    assert contradiction(Verdict.DEFECT, Verdict.DEFECT, find_regions(np.ones((2, 3), np.bool_))) is None
    assert contradiction(Verdict.NORMAL, Verdict.NORMAL, []) is None


def test_the_thresholds_of_the_caller_are_used_for_map_and_image() -> None:
    thresholds = replace(Thresholds(), image=0.9, pixel=0.6)
    found = judge(PICTURE, reply(0.95, 0.8, TOP_RIGHT), {}, thresholds).inspection
    loose = judge(PICTURE, reply(0.95, 0.8, TOP_RIGHT), {}, replace(thresholds, pixel=0.2)).inspection
    assert 0 < found.pred_mask.sum() < loose.pred_mask.sum()


def test_a_detector_without_map_and_words_has_no_mask_and_no_contradiction() -> None:
    found = judge(PICTURE, Reply(0.8), {"dent": Reply(0.9)}, Thresholds()).inspection
    assert found.verdict is Verdict.DEFECT
    assert found.anomaly_map.size == found.pred_mask.size == 0
    assert found.text_verdict is None
    assert found.contradiction is None
    assert found.types == {"dent": 0.9}
