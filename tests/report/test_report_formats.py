"""What other tools read of a run: COCO, indexed masks, Parquet, supervision; exact and in the original frame."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.errors import UsageError
from genau.report import RunWriter, to_coco, to_supervision, write_run
from genau.report.formats import check_formats
from genau.report.indexed import indexed_mask
from genau.results import Defect, Inspection, Verdict
from genau.rle import decode

SIZE_HW = (48, 64)


def two_regions() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a slanted region, whose box also holds pixels of the second, and that second one."""
    slanted, small = np.zeros(SIZE_HW, np.bool_), np.zeros(SIZE_HW, np.bool_)
    for step in range(12):
        slanted[10 + step, 30 + step] = True
    small[11:13, 38:42] = True
    return slanted, small


def inspection(image: str = "part.png", **changes: Any) -> Inspection:
    slanted, small = two_regions()
    mask = slanted | small
    values: dict[str, Any] = {
        "picture": np.full((*SIZE_HW, 3), 120, np.uint8),
        "anomaly_map": np.where(mask, 0.9, 0.1).astype(np.float32),
        "pred_mask": mask,
        "defects": (
            Defect("scratch", 0.9, (30, 10, 42, 22), 12, 12 / (48 * 64), "center"),
            Defect("unknown", 0.7, (38, 11, 42, 13), 8, 8 / (48 * 64), "center"),
        ),
        "types": {"scratch": 0.8, "bent/pin": 0.6},
        "type_masks": {"scratch": slanted, "bent/pin": slanted | np.roll(slanted, 3, axis=0)},
        "timing_ms": {"see": 20.0},
    }
    return Inspection(image, 64, 48, Verdict.DEFECT, 0.8, 0.8, 0.8, 0.5, **(values | changes))


def good(image: str = "good.png") -> Inspection:
    empty = np.zeros(SIZE_HW, np.bool_)
    picture = np.full((*SIZE_HW, 3), 120, np.uint8)
    return Inspection(image, 64, 48, Verdict.NORMAL, 0.1, 0.1, 0.1, 0.5, None, picture, pred_mask=empty)


def coco(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "coco.json").read_text(encoding="utf-8"))
    return document


def test_each_annotation_holds_the_pixels_of_its_own_region_only() -> None:
    first, second = inspection().to_coco()["annotations"]
    slanted, small = two_regions()
    assert (decode(first["segmentation"]) == slanted).all()
    assert (decode(second["segmentation"]) == small).all()
    assert first["bbox"] == [30, 10, 12, 12] and second["bbox"] == [38, 11, 4, 2]
    assert (first["area"], second["area"]) == (12, 8)
    assert (first["score"], first["iscrowd"]) == (0.9, 0)


def test_categories_are_the_types_then_unknown_and_without_types_defect() -> None:
    document = inspection().to_coco()
    names = {row["id"]: row["name"] for row in document["categories"]}
    assert names == {1: "scratch", 2: "bent/pin", 3: "unknown"}
    assert [names[row["category_id"]] for row in document["annotations"]] == ["scratch", "unknown"]
    plain = inspection(types={}, type_masks={}, defects=(inspection().defects[1],)).to_coco()
    assert [(row["id"], row["name"]) for row in plain["categories"]] == [(1, "defect")]
    assert plain["annotations"][0]["category_id"] == 1


def test_a_run_of_several_pictures_keeps_each_in_its_place(tmp_path: Path) -> None:
    results = [inspection("a.png"), Inspection.failed("b.png", "broken"), good("c.png"), inspection("d.png")]
    write_run(results, tmp_path, formats=["coco"])
    document = coco(tmp_path)
    assert document == to_coco(results)
    assert [(row["id"], row["file_name"]) for row in document["images"]] == [(1, "a.png"), (3, "c.png"), (4, "d.png")]
    assert document["images"][0] | {"height": 48, "width": 64} == document["images"][0]
    assert [row["image_id"] for row in document["annotations"]] == [1, 1, 4, 4]
    assert [row["id"] for row in document["annotations"]] == [1, 2, 3, 4]
    assert document["unreadable"] == [{"id": 2, "file_name": "b.png", "error": "broken"}]
    assert not (tmp_path / "coco.parts.jsonl").exists()


def test_a_file_name_that_is_no_utf_8_does_not_end_a_run(tmp_path: Path) -> None:
    write_run([inspection("a\udcff.png")], tmp_path, formats=["coco", "masks"])
    assert coco(tmp_path)["images"][0]["file_name"] == "a\udcff.png"


def test_a_stopped_run_has_its_annotations(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path, formats=["coco"]) as writer:
        writer.add(inspection())
        raise KeyboardInterrupt
    assert len(coco(tmp_path)["annotations"]) == 2


def test_a_result_without_masks_says_why_it_cannot_be_annotated() -> None:
    from_json = Inspection.from_dict(inspection().to_dict())
    with pytest.raises(UsageError, match=r"names 2 defects but holds no mask.*Inspect the image again"):
        from_json.to_coco()


def test_where_type_masks_overlap_the_type_with_the_larger_score_counts() -> None:
    slanted, small = two_regions()
    index = {"scratch": 1, "bent/pin": 2}
    classes = indexed_mask(inspection(), index)
    below = np.roll(slanted, 3, axis=0) & ~slanted
    assert classes.shape == SIZE_HW
    assert set(classes[slanted]) == {1} and set(classes[below]) == {2}
    assert set(classes[small & ~slanted & ~below]) == {255}
    assert (classes[~(slanted | small | below)] == 0).all()
    swapped = indexed_mask(inspection(types={"scratch": 0.5, "bent/pin": 0.6}), index)
    assert set(swapped[slanted]) == {2}
    tied = indexed_mask(inspection(types={"scratch": 0.6, "bent/pin": 0.6}), index)
    assert set(tied[slanted]) == {1}


def test_an_indexed_mask_file_is_a_palette_picture_with_its_classes_beside(tmp_path: Path) -> None:
    write_run([inspection("sub/a.png"), good("c.png")], tmp_path, formats=["masks"])
    stored = Image.open(tmp_path / "indexed/sub/a.png.png")
    assert stored.mode == "P" and stored.size == (64, 48)
    assert (np.asarray(stored) == indexed_mask(inspection(), {"scratch": 1, "bent/pin": 2})).all()
    assert not np.asarray(Image.open(tmp_path / "indexed/c.png.png")).any()
    classes = json.loads((tmp_path / "indexed/classes.json").read_text())
    assert classes == {"0": "background", "1": "scratch", "2": "bent/pin", "255": "unknown"}


def test_more_types_than_a_palette_holds_are_refused(tmp_path: Path) -> None:
    many = {f"type {number}": 0.1 for number in range(255)}
    with pytest.raises(UsageError, match=r"has 255 types; a palette picture holds 254"):
        write_run([inspection(types=many, type_masks={}, defects=())], tmp_path, formats=["masks"])


def test_the_parquet_table_holds_every_row_with_its_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("genau.report.parquet._GROUP_ROWS", 2)
    results = [inspection("sub/a.png"), Inspection.failed("b.png", "broken"), inspection("c\udcff.png")]
    write_run(results, tmp_path, formats=["parquet"])
    file = parquet.ParquetFile(tmp_path / "results.parquet")
    assert file.num_row_groups == 2
    first, failed, last = file.read().to_pylist()
    written = inspection("sub/a.png").to_dict()
    for name in ("image", "width", "height", "verdict", "pred_score", "threshold", "defects", "error"):
        assert first[name] == written[name], name
    assert dict(first["types"]) == {"scratch": 0.8, "bent/pin": 0.6}
    assert (first["mask"], first["overlay"]) == ("masks/sub/a.png.png", "overlays/sub/a.png.jpg")
    assert failed["error"] == "broken" and failed["pred_score"] is None and failed["mask"] is None
    assert last["image"] == "c\\udcff.png"


def test_a_missing_pyarrow_is_said_before_the_folder_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "genau\[parquet\]"'):
        RunWriter(tmp_path / "out", formats=["parquet"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    assert check_formats(["masks, coco", "coco"]) == ["masks", "coco"]
    with pytest.raises(UsageError, match=r"'cocoo' is not an output format.*Did you mean 'coco'"):
        check_formats(["masks,cocoo"])


def test_a_run_that_replaces_another_leaves_none_of_its_other_formats(tmp_path: Path) -> None:
    write_run([inspection()], tmp_path, formats=["coco"])
    with pytest.raises(UsageError, match=r"already holds .*coco\.json"):
        write_run([inspection()], tmp_path, formats=["coco"])
    write_run([inspection()], tmp_path, overwrite=True)
    assert not (tmp_path / "coco.json").exists()


def test_run_facts_name_the_model(tmp_path: Path) -> None:
    with RunWriter(tmp_path, model="nano", fingerprint="abc", settings={"product": "screw"}) as writer:
        writer.add(inspection())
    facts = json.loads((tmp_path / "run.json").read_text())
    assert (facts["model"], facts["fingerprint"], facts["settings"]) == ("nano", "abc", {"product": "screw"})


@pytest.fixture
def supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module in supervision's place that keeps what it is given."""
    module = types.ModuleType("supervision")
    module.Detections = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)


def test_detections_have_a_row_and_a_mask_per_defect(supervision: None) -> None:
    found = inspection().to_supervision()
    slanted, small = two_regions()
    assert found.xyxy.tolist() == [[30, 10, 42, 22], [38, 11, 42, 13]] and found.xyxy.dtype == np.float32
    assert found.mask.shape == (2, *SIZE_HW) and (found.mask == np.stack([slanted, small])).all()
    assert found.confidence == pytest.approx([0.9, 0.7])
    assert found.class_id.tolist() == [0, 2]
    assert found.data["class_name"].tolist() == ["scratch", "unknown"]


def test_a_good_part_gives_empty_detections_and_an_unreadable_one_an_error(supervision: None) -> None:
    found = to_supervision(good())
    assert found.xyxy.shape == (0, 4) and found.mask.shape == (0, *SIZE_HW)
    with pytest.raises(UsageError, match=r"could not be inspected.*would pass it as good"):
        to_supervision(Inspection.failed("b.png", "broken"))


def test_a_missing_supervision_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match=r'pip install "genau\[supervision\]"'):
        inspection().to_supervision()
