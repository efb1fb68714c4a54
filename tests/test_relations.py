"""A region is named by what the good parts show at its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.calibration import Thresholds
from genau.cli.inspecting import _line
from genau.images import Letterbox, Picture
from genau.judgement import Reply, judge
from genau.regions import find_regions
from genau.relations import CLEARLY_MISSING, Places, missing_regions, relate
from genau.report import write_run
from genau.results import Defect, Inspection

HEIGHT, WIDTH, SIDE, CELLS = 60, 80, 80, 20  # pixels, canvas, cells of 4 pixels
BOX = Letterbox((HEIGHT, WIDTH), SIDE)
AT, CELLS_AT = (slice(20, 32), slice(40, 56)), (slice(5, 8), slice(10, 14))
MASK = np.zeros((HEIGHT, WIDTH), np.bool_)
MASK[AT] = True
EVERYWHERE, NOTHING = np.ones_like(MASK), np.zeros_like(MASK)


def places(missing: float = 0, extra: float = 0, plainer: float = 0, elsewhere: float = 0) -> Places:
    maps = [np.full((CELLS, CELLS), value, np.float32) for value in (elsewhere, elsewhere, 0)]
    for one, value in zip(maps, (missing, extra, plainer), strict=True):
        one[CELLS_AT] = value
    return Places(maps[0], maps[1], maps[2], BOX)


@pytest.mark.parametrize(
    ("shown", "relation"),
    [
        (places(0.7, 0.5, 0.2), "missing"),
        (places(0.5, 0.7, -0.2), "extra"),
        (places(0.5, 0.6, 0.01), "changed"),
        (places(0.1, 0.1, 0.2), None),  # shows what good parts show
        (places(0.5, 0.5, 0.2, elsewhere=0.6), None),  # good parts have no fixed places
        (None, None),
    ],
)
def test_a_region_is_related_to_good_parts(shown: Places | None, relation: str | None) -> None:
    assert relate(find_regions(MASK), shown) == [relation]


def test_each_region_has_its_own_relation() -> None:
    mask, shown = MASK.copy(), places(0.7, 0.5, 0.2)
    mask[0:8, 0:8] = True
    assert relate(find_regions(mask), shown) == ["missing", None]
    assert relate([], shown) == []


def test_a_cell_counts_by_the_share_that_is_covered() -> None:
    mask = NOTHING.copy()
    mask[20:24, 40:42] = True
    cover = places().cover(mask)
    assert cover[5, 10] == 0.5
    assert cover.sum() == 0.5


def test_a_clearly_missing_place_is_a_region_where_it_is() -> None:
    (region,) = missing_regions(places(0.8, 0.5, 0.2), NOTHING, EVERYWHERE)
    left, top, right, bottom = region.bbox_xyxy
    assert np.abs(np.array([left - 40, top - 20, right - 56, bottom - 32])).max() <= 1


@pytest.mark.parametrize(
    ("shown", "marked", "inspected"),
    [
        (places(CLEARLY_MISSING - 0.01, 0.5, 0.2), NOTHING, EVERYWHERE),
        (places(0.8, 0.5, -0.2), NOTHING, EVERYWHERE),  # something is here
        (places(0.8, 0.5, 0.2), MASK, EVERYWHERE),  # marked already
        (places(0.8, 0.5, 0.2), NOTHING, NOTHING),
        (None, NOTHING, EVERYWHERE),
    ],
)
def test_nothing_is_added_that_is_unclear_marked_or_not_inspected(
    shown: Places | None, marked: NDArray[np.bool_], inspected: NDArray[np.bool_]
) -> None:
    assert missing_regions(shown, marked, inspected) == []


def judged(score: float, shown: Places | None) -> Inspection:
    drawn = np.full((HEIGHT, WIDTH), 0.1, np.float32)
    drawn[0:8, 0:8] = 0.9
    picture = Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "part.png")
    return judge(picture, Reply(score, draw=lambda: drawn), {}, Thresholds(), places=shown).inspection


def test_a_defective_part_gains_the_missing_place_as_a_defect() -> None:
    result = judged(0.8, places(0.8, 0.5, 0.2))
    assert [(defect.relation, defect.location) for defect in result.defects] == [
        (None, "top left"),
        ("missing", "center"),
    ]
    assert result.pred_mask[26, 48]
    assert [defect.relation for defect in judged(0.8, None).defects] == [None]


def test_a_normal_part_keeps_an_empty_mask() -> None:
    result = judged(0.2, places(0.8, 0.5, 0.2))
    assert not result.pred_mask.any()
    assert result.defects == ()


def test_a_place_that_is_missing_in_a_part_judged_normal_is_a_contradiction() -> None:
    note = "The score says normal, but good parts have something that is missing here: center."
    assert judged(0.2, places(0.8, 0.5, 0.2)).contradiction == note
    assert judged(0.2, places(0.5, 0.5, 0.2)).contradiction is None
    assert judged(0.2, None).contradiction is None
    assert judged(0.8, places(0.8, 0.5, 0.2)).contradiction is None


def test_a_relation_survives_the_row_and_older_rows_have_none() -> None:
    result = judged(0.8, places(0.8, 0.5, 0.2))
    row = result.to_dict()
    assert Inspection.from_dict(row).defects == result.defects
    for defect in row["defects"]:
        del defect["relation"]
    assert {defect.relation for defect in Inspection.from_dict(row).defects} == {None}


def test_the_words_say_what_a_relation_means() -> None:
    defect = Defect("unknown", 0.9, (0, 0, 8, 8), 64, 0.01, "center", "missing")
    assert defect.relation_words == "missing (good parts have something here)"
    assert replace(defect, relation=None).relation_words is None


def test_table_and_page_say_what_is_missing(tmp_path: Path) -> None:
    result = judged(0.8, places(0.8, 0.5, 0.2))
    assert "; missing: center (3.92%, good parts have something here)" in _line(result)
    page = write_run([result], tmp_path).read_text(encoding="utf-8")
    assert page.count("missing (good parts have something here)") == 1


def test_of_loose_parts_nothing_is_called_missing_or_extra() -> None:
    loose = places(0.9, 0.5, 0.2, elsewhere=0.42)  # most places look unlike those of good parts, none of them clearly
    assert not loose.same_pose
    assert relate(find_regions(MASK), loose) == [None]
    assert missing_regions(loose, NOTHING, EVERYWHERE) == []
    in_place = places(0.9, 0.5, 0.2, elsewhere=0.38)
    assert in_place.same_pose
    assert relate(find_regions(MASK), in_place) == ["missing"]
    assert len(missing_regions(in_place, NOTHING, EVERYWHERE)) == 1
