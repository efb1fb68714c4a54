"""Large pictures seen in tiles by a tiny random model: scores, maps, references, and what is held in memory."""

import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import ImageError, UsageError
from genau.images import Picture
from genau.inspector import Inspector
from genau.judgement import Reply, judge
from genau.model.modeling import GenAUModel
from genau.model.outputs import Seen
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.results import Inspection, Verdict
from genau.seeing import PICTURES_AT_ONCE
from genau.tiling import blend, plan
from genau.views import ViewMemories, cut, merge

Draw = Callable[..., NDArray[np.uint8]]
Genau = Callable[..., Any]
TILE = 80


@pytest.fixture
def inspector(trained_looking: GenAUModel, processor: GenAUProcessor) -> Inspector:
    """A tiny inspector whose maps lie around one half, where a difference shows."""
    with torch.no_grad():
        trained_looking.mask_head.distance_offset.zero_()
    return Inspector(Checkpoint("tiny", trained_looking, processor, Thresholds()))


def views_of(inspector: Inspector, rgb: NDArray[np.uint8], tile: int, **told: Any) -> list[Inspection]:
    """Inspect the whole and each tile as pictures of their own."""
    boxes = plan(rgb.shape[0], rgb.shape[1], tile, 0.25)
    parts = [rgb, *(rgb[box.slices].copy() for box in boxes)]
    return [inspector.inspect(part, analysis=False, **told) for part in parts]


# Scores and maps


def test_the_scores_are_those_of_the_view_with_the_highest(inspector: Inspector, picture: Draw) -> None:
    for seed in range(3):
        rgb = picture(seed, 150, 220, spot=True)
        views = views_of(inspector, rgb, TILE, types=["scratch", "dent"])
        tiled = inspector.inspect(rgb, tile=TILE, types=["scratch", "dent"], analysis=False)
        best = max(views, key=lambda view: view.pred_score)
        for name in ("pred_score", "map_score", "text_score"):
            assert getattr(tiled, name) == pytest.approx(getattr(best, name), abs=1e-4)
        for name in ("scratch", "dent"):
            assert tiled.types[name] == pytest.approx(max(view.types[name] for view in views), abs=1e-4)


def test_the_map_is_the_larger_of_the_whole_and_the_blended_tiles(inspector: Inspector, picture: Draw) -> None:
    rgb = picture(1, 150, 220, spot=True)
    whole, *tiles = views_of(inspector, rgb, TILE)
    boxes = plan(150, 220, TILE, 0.25)
    expected = np.maximum(whole.anomaly_map, blend([tile.anomaly_map for tile in tiles], boxes, (150, 220)))
    tiled = inspector.inspect(rgb, tile=TILE, analysis=False)
    np.testing.assert_allclose(tiled.anomaly_map, expected, atol=1e-4)
    assert not np.allclose(tiled.anomaly_map, whole.anomaly_map, atol=1e-2)


def test_each_question_has_the_tiles_replies_to_it(inspector: Inspector, picture: Draw) -> None:
    rgb, queries = picture(1, 150, 220, spot=True), [Query(), Query("scratch"), Query("dent")]
    boxes = plan(150, 220, TILE, 0.25)
    tiles = [inspector.see(rgb[box.slices].copy()) for box in boxes]
    each = [inspector.replies([seen], queries)[0][0] for seen in (inspector.see(rgb), *tiles)]
    tiled = inspector.replies([inspector.see(rgb, tile=TILE)], queries)[0][0]
    for number, merged in enumerate(tiled):
        whole, *parts = (view[number].draw for view in each)
        assert whole
        assert merged.draw
        blended = blend([draw() for draw in parts if draw], boxes, (150, 220))
        np.testing.assert_allclose(merged.draw(), np.maximum(whole(), blended), atol=1e-5)


def test_the_map_of_a_model_jumps_no_more_at_seams_than_elsewhere(inspector: Inspector, picture: Draw) -> None:
    rgb = picture(1, 150, 220, spot=True)
    boxes = plan(150, 220, TILE, 0.25)
    replies = inspector.replies([inspector.see(rgb, tile=TILE)], [Query()])[0][0]
    assert replies[0].draw
    for axis, borders in ((1, {box.left for box in boxes} | {box.right for box in boxes}),):
        jumps = np.abs(np.diff(replies[0].draw(), axis=axis)).max(axis=0)
        seams = [border - 1 for border in borders if 0 < border < 220]
        assert seams
        assert max(jumps[seams]) <= np.delete(jumps, seams).max()


@pytest.mark.parametrize("at", [(40, 70), (70, 70), (60, 60), (80, 80)])
def test_a_defect_on_a_seam_is_found_once_and_in_one_piece(at: tuple[int, int]) -> None:
    """A detector that draws exactly what is dark: only the merging is tested."""
    rgb = np.full((150, 220, 3), 200, np.uint8)
    rgb[at[0] - 5 : at[0] + 5, at[1] - 8 : at[1] + 8] = 0

    def look(part: Picture) -> Reply:
        dark = (part.rgb[:, :, 0] == 0).astype(np.float32)
        return Reply(0.2 + 0.7 * float(dark.any()), 0.2, None, lambda: dark)

    picture, boxes = Picture(rgb, "seam"), plan(150, 220, TILE, 0.25)
    blind = Reply(0.1, 0.1, None, lambda: np.zeros((150, 220), np.float32))
    merged = merge(blind, [look(cut(picture, box)) for box in boxes], boxes, (150, 220))
    found = judge(picture, merged, {}, Thresholds()).inspection
    assert [defect.bbox_xyxy for defect in found.defects] == [(at[1] - 8, at[0] - 5, at[1] + 8, at[0] + 5)]
    assert found.defects[0].area_px == 10 * 16
    assert found.pred_score == pytest.approx(0.9)


def test_a_view_whose_score_is_no_number_makes_the_picture_unreadable() -> None:
    boxes = plan(150, 220, TILE, 0.25)
    tiles = [Reply(0.9), *[Reply(math.nan)], *[Reply(0.1)] * (len(boxes) - 2)]
    assert math.isnan(merge(Reply(0.2), tiles, boxes, (150, 220)).pred_score)


def test_without_tiles_nothing_changes_to_the_last_bit(inspector: Inspector, picture: Draw) -> None:
    rgb = picture(1, 150, 220, spot=True)
    plain = inspector.inspect(rgb, types=["dent"], analysis=False)
    for other in (
        inspector.inspect(rgb, types=["dent"], analysis=False, tile=None, overlap=0.5),
        inspector.inspect(rgb[:, :190], types=["dent"], analysis=False, tile="auto"),  # 1.5 canvases of 128 pixels
    ):
        if other.width == plain.width:
            assert (other.pred_score, other.types) == (plain.pred_score, plain.types)
            assert np.array_equal(other.anomaly_map, plain.anomaly_map)
    narrow = inspector.inspect(rgb[:, :190], types=["dent"], analysis=False)
    auto = inspector.inspect(rgb[:, :190], types=["dent"], analysis=False, tile="auto")
    assert auto.pred_score == narrow.pred_score
    assert np.array_equal(auto.anomaly_map, narrow.anomaly_map)


# Memory


def test_no_more_views_are_alive_than_one_batch_and_the_whole(
    inspector: Inspector, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Seen] = weakref.WeakSet()
    views, most = dict[int, int](), 0
    see = inspector.model.see

    def noted(*args: Any) -> Seen:
        nonlocal most
        seen = see(*args)
        alive.add(seen)
        views[id(seen)] = len(seen.valid)
        most = max(most, sum(views[id(one)] for one in alive))
        return seen

    monkeypatch.setattr(inspector.model, "see", noted)
    rgb = picture(1, 210, 330)
    assert len(plan(210, 330, TILE, 0.25)) > 2 * PICTURES_AT_ONCE
    seen = inspector.see(rgb, tile=TILE)
    assert most == 1
    first = inspector.ask(seen, types=["dent"])
    assert most == 1 + PICTURES_AT_ONCE
    assert len(alive) == 1  # the whole, which `seen` holds
    again = inspector.ask(seen, types=["dent"])
    assert (again.pred_score, again.types) == (first.pred_score, first.types)
    assert np.array_equal(again.anomaly_map, first.anomaly_map)


def test_pictures_come_in_order_and_one_at_a_time(inspector: Inspector, picture: Draw) -> None:
    sizes, taken = [(150, 220), (60, 70), (90, 200)], list[int]()

    def source() -> Any:
        for number, size_hw in enumerate(sizes):
            taken.append(number)
            yield picture(number, *size_hw)

    rows = inspector.inspect_many(source(), tile=TILE)
    assert (next(rows).height, taken) == (150, [0])
    small, last = list(rows)
    assert ((small.height, small.width), (last.height, last.width)) == ((60, 70), (90, 200))
    assert small.pred_score == inspector.inspect(picture(1, 60, 70), analysis=False).pred_score  # seen whole
    tiled = inspector.inspect(picture(2, 90, 200), tile=TILE, analysis=False)
    assert last.pred_score == tiled.pred_score
    assert np.array_equal(last.anomaly_map, tiled.anomaly_map)


# Region of interest


def test_only_tiles_in_the_region_of_interest_are_looked_at(
    inspector: Inspector, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[int, ...]] = []
    pictures = inspector.processor.pictures

    def noted(batch: Any) -> Any:
        looked.extend(rgb.shape[:2] for rgb in batch)
        return pictures(batch)

    monkeypatch.setattr(inspector.processor, "pictures", noted)
    roi = np.zeros((150, 220), np.bool_)
    roi[10:30, 150:200] = True
    rgb = picture(1, 150, 220, spot=True)
    found = inspector.inspect(rgb, tile=TILE, roi=roi, analysis=False)
    assert looked == [(150, 220), (80, 80), (80, 80)]
    assert (found.anomaly_map[~roi] == 0).all()
    assert found.anomaly_map[roi].max() > 0


# References


def test_a_tile_is_compared_with_the_tiles_of_good_parts(inspector: Inspector, picture: Draw) -> None:
    good = [picture(10 + seed, 150, 220) for seed in range(3)]
    memory = inspector.remember(good, tile=TILE)
    assert isinstance(memory, ViewMemories)
    boxes = plan(150, 220, TILE, 0.25)
    tiles = inspector.remember([good[k][box.slices].copy() for box in boxes for k in range(3)])
    assert (memory.whole.pictures, memory.tiles.pictures, tiles.pictures) == (3, 3, 3 * len(boxes))
    for one, other in zip(memory.tiles.scales, tiles.scales, strict=True):
        torch.testing.assert_close(one.patches.sum(0), other.patches.sum(0), atol=1e-3, rtol=1e-4)
        assert len(one.patches) == len(other.patches)
    rgb = picture(1, 150, 220, spot=True)
    tiled = inspector.inspect(rgb, references=memory, tile=TILE, analysis=False)
    alone = [inspector.inspect(rgb[box.slices].copy(), references=memory.tiles, analysis=False) for box in boxes]
    whole = inspector.inspect(rgb, references=memory.whole, analysis=False)
    assert tiled.pred_score == pytest.approx(max(view.pred_score for view in (whole, *alone)), abs=1e-4)
    again = inspector.inspect(rgb, references=good, tile=TILE, analysis=False)
    assert again.pred_score == tiled.pred_score
    untiled = inspector.inspect(rgb, references=memory, analysis=False)
    assert untiled.pred_score == whole.pred_score


def test_a_reference_not_larger_than_a_tile_is_one_tile(inspector: Inspector, picture: Draw) -> None:
    memory = inspector.remember([picture(1, 60, 70)], tile=TILE)
    assert torch.equal(memory.tiles.scales[0].patches, memory.whole.scales[0].patches)


def test_references_remembered_for_other_tiles_are_refused(inspector: Inspector, picture: Draw) -> None:
    rgb, good = picture(1, 150, 220), picture(2, 150, 220)
    with pytest.raises(UsageError, match=r"remembered without tiles, but .* in tiles of 80\. .*references, tile=80\)"):
        inspector.see(rgb, inspector.remember(good), tile=TILE)
    with pytest.raises(UsageError, match=r"remembered in tiles of 100, but .* remember\(references, tile='auto'\)"):
        inspector.see(rgb, inspector.remember(good, tile=100), tile="auto")


def test_an_empty_list_of_references_is_refused_with_tiles_too(inspector: Inspector) -> None:
    with pytest.raises(UsageError, match="list of references is empty"):
        inspector.remember([], tile=TILE)


# What cannot be


def test_a_tile_not_smaller_than_the_picture_is_refused(inspector: Inspector, picture: Draw) -> None:
    for call in (inspector.inspect, inspector.see):
        with pytest.raises(UsageError, match=r"A tile of 140 pixels is not smaller than the picture of 140x90"):
            call(picture(0), tile=140)


def test_bad_tiles_are_refused_before_a_picture_is_read(inspector: Inspector, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 64"):
        inspector.inspect_many([tmp_path / "never read.png"], tile=10)
    with pytest.raises(UsageError, match="overlap 1 is not"):
        inspector.inspect_many([tmp_path / "never read.png"], tile=640, overlap=1)


def test_a_picture_of_too_many_tiles_is_a_row_and_the_others_go_on(inspector: Inspector, picture: Draw) -> None:
    huge = np.zeros((70, 20_000, 3), np.uint8)
    rows = list(inspector.inspect_many([huge, picture(0)], tile=64, overlap=0.8))
    assert [row.verdict is Verdict.UNREADABLE for row in rows] == [True, False]
    assert rows[0].error is not None
    assert "needs 3326 tiles of 64 pixels" in rows[0].error
    with pytest.raises(ImageError, match="at most 1024"):
        inspector.inspect(huge, tile=64, overlap=0.8)


# The command line


@pytest.fixture
def parts(picture: Draw, tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    Image.fromarray(picture(1, 150, 220, spot=True)).save(tmp_path / "parts" / "a.png")
    Image.fromarray(picture(2, 60, 70)).save(tmp_path / "parts" / "b.png")
    (tmp_path / "parts" / "c.png").write_bytes(b"no picture")
    return tmp_path / "parts"


def test_the_cost_is_told_before_the_run_on_stderr(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[int] = []

    def noted(whole: Reply, tiles: list[Reply], *rest: Any) -> Reply:
        merged.append(len(tiles))
        return merge(whole, tiles, *rest)

    monkeypatch.setattr("genau.seeing.merge", noted)
    run = genau("inspect", parts, "--model", folder, "--tile", 80, "--jsonl", "-o", tmp_path / "out")
    assert run.code == 3
    assert [row["error"] is None for row in run.rows] == [True, True, False]
    lines = [line for line in run.err.splitlines() if line[:2] in {"22", "70"}]
    assert lines[0].startswith("220x150: 13 views, the whole and 12 of 80 pixels, about ")
    assert lines[0].endswith(" s per picture on this machine")
    assert lines[1] == "70x60: not larger than a tile of 80 pixels, seen whole"
    assert "80, overlap 0.25" in (tmp_path / "out" / "report.html").read_text()
    plain = genau("inspect", parts, "--model", folder, "--jsonl")
    assert "views" not in plain.err
    assert merged == [12]
    assert plain.rows[1]["defects"] == run.rows[1]["defects"]


def test_auto_and_a_region_of_interest_are_counted(genau: Genau, folder: Path, parts: Path, tmp_path: Path) -> None:
    roi = np.zeros((150, 220), np.uint8)
    roi[10:30, 150:200] = 255
    Image.fromarray(roi).save(tmp_path / "roi.png")
    told = ("inspect", parts / "a.png", "--model", folder, "--reference", parts / "b.png")
    assert "220x150: 5 views, the whole and 4 of 128 pixels" in genau(*told, "--tile", "auto").err
    roi_run = genau(*told, "--tile", 80, "--overlap", 0, "--roi", tmp_path / "roi.png")
    assert "220x150: 3 views, the whole and 2 of 80 pixels" in roi_run.err
    assert "70x60: 1 view, the whole" in genau("inspect", parts / "b.png", "--model", folder, "--tile", "auto").err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tile", 220), "A tile of 220 pixels is not smaller than any picture; the largest has 220x150"),
        (("--tile", 12), "A tile of 12 pixels is too small to show anything"),
        (("--tile", "small"), "'small' is no size of a tile"),
        (("--tile", "auto", "--overlap", 0.95), "The overlap 0.95 is not in [0, 0.9)"),
    ],
)
def test_tiles_that_cannot_be_end_with_2_before_a_model_is_loaded(
    genau: Genau, parts: Path, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    run = genau("inspect", parts, "--model", tmp_path / "no model", *options)
    assert run.code == 2
    assert words in " ".join(run.err.split())
    assert run.out == ""
