"""Every reader delivers the same kind of sample, and says what is wrong with a folder in words."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.datasets import FORMATS, guess_format, read
from genau.errors import DataError, UsageError

HW = (6, 10)


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*HW, 3), 90, np.uint8)).save(path)
    return path


def _mask(path: Path, *values: int) -> Path:
    """Draw each value as a 2 x 2 square, left to right."""
    pixels = np.zeros(HW, np.uint8)
    for index, value in enumerate(values):
        pixels[1:3, 3 * index : 3 * index + 2] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _row(image: str, *types: str, mask: str | None = None, **more: Any) -> dict[str, Any]:
    return {"image": image, "mask": mask, "product": "gear wheel", "split": "test", "types": list(types), **more}


def _manifest(root: Path, *rows: dict[str, Any], name: str = "gears") -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({"name": name, "types": ["crack", "dent", "burr"]}))
    (root / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        _picture(root / row["image"])
    return root


def _visa(root: Path) -> Path:
    rows, types = [], []
    for category, label in (("capsules", "bubble,discolor,scratch"), ("pcb1", "bent,melt")):
        normal, defect = f"{category}/Data/Images/Normal/000.JPG", f"{category}/Data/Images/Anomaly/000.JPG"
        mask = f"{category}/Data/Masks/Anomaly/000.png"
        rows += [f"{category},test,anomaly,{defect},{mask}", f"{category},train,normal,{normal},"]
        types.append([f"{normal},normal,", f'{defect},"{label}",{mask}'])
        _picture(root / normal)
        _picture(root / defect)
        _mask(root / mask, 3, 1)
        (root / category / "image_anno.csv").write_text("\n".join(["image,label,mask", *types[-1]]))
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(["object,split,label,image,mask", *rows]) + "\n")
    return root


def _mvtec(root: Path) -> Path:
    for category in ("metal_nut", "grid"):
        _picture(root / category / "train" / "good" / "000.png")
        _picture(root / category / "test" / "good" / "000.png")
        _picture(root / category / "test" / "color_change" / "000.JPG")
        _picture(root / category / "test" / "bent" / "000.png")
        _mask(root / category / "ground_truth" / "color_change" / "000_mask.PNG", 255)
        _mask(root / category / "ground_truth" / "bent" / "000.bmp", 0, 255)
    return root


def _folder(root: Path) -> Path:
    _picture(root / "good" / "a.png")
    _picture(root / "bad" / "b.png")
    _picture(root / "bad" / "deep_scratch" / "c.png")
    _mask(root / "masks" / "b_mask.png", 255)
    _mask(root / "masks" / "deep_scratch" / "c.png", 0, 255)
    return root


def _error(root: Path, format: str, **choice: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(root, format, **choice)
    return str(caught.value)


def _columns(mask: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(mask.any(axis=0)).tolist()


# --- VisA ---


def test_visa_takes_the_last_of_the_cumulative_capsule_types(tmp_path: Path) -> None:
    test, train = read(_visa(tmp_path), "visa", categories=["capsules"])
    assert (test.types, test.label, test.split, test.product) == (("scratch",), True, "test", "capsule")
    assert (train.types, train.label, train.split, train.mask) == ((), False, "train", None)
    assert {name: _columns(mask) for name, mask in test.read_masks().items()} == {"scratch": [0, 1, 3, 4]}


def test_visa_labels_of_other_categories_are_all_meant_and_their_pixels_untyped(tmp_path: Path) -> None:
    (sample,) = read(_visa(tmp_path), "visa", categories=["pcb1"], split="test")
    assert sample.types == ("bent", "melt")
    assert sample.product == "printed circuit board"
    assert list(sample.read_masks()) == ["defect"]


def test_visa_reads_one_category_though_the_others_are_not_there(tmp_path: Path) -> None:
    root = _visa(tmp_path)
    for path in (root / "pcb1").rglob("*.*"):
        path.unlink()
    assert len(read(root, "visa", categories=["capsules"])) == 2
    assert "lists it (3 of 6 files are missing)" in _error(root, "visa")


def test_visa_errors_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    root = _visa(tmp_path)
    types, splits = root / "pcb1" / "image_anno.csv", root / "split_csv" / "1cls.csv"
    lines, rows = types.read_text(), splits.read_text()
    types.write_text("image,label,mask\n")
    assert "has no row for pcb1/Data/Images/Anomaly/000.JPG, an anomaly in split_csv/1cls.csv" in _error(root, "visa")
    types.write_text(lines.replace("label", "lable", 1))
    assert "has no column 'label'; its columns are: image, lable, mask" in _error(root, "visa")
    types.unlink()
    assert "image_anno.csv does not exist; it names the defect types" in _error(root, "visa")
    splits.write_text(rows.replace("anomaly", "anomly"))
    assert "the label 'anomly' of capsules/" in (words := _error(root, "visa"))
    assert "Did you mean 'anomaly'?" in words
    splits.write_text(rows.replace("anomaly", "normal"))
    assert "is labelled normal but has the mask" in _error(root, "visa")
    splits.unlink()
    assert "1cls.csv does not exist; the visa layout needs it" in _error(root, "visa")


# --- MVTec ---


def test_mvtec_types_are_the_folders_and_masks_match_by_name(tmp_path: Path) -> None:
    bent, color, good, train = read(_mvtec(tmp_path / "my set"), "mvtec", categories=["metal_nut"])
    assert (bent.types, color.types, good.types) == (("bent",), ("color change",), ())
    assert [s.label for s in (bent, color, good, train)] == [True, True, False, False]
    assert [s.split for s in (bent, color, good, train)] == ["test", "test", "test", "train"]
    assert {(s.product, s.category, s.dataset) for s in (bent, train)} == {("metal nut", "metal_nut", "my set")}
    assert {name: _columns(mask) for name, mask in bent.read_masks().items()} == {"bent": [3, 4]}
    assert {name: _columns(mask) for name, mask in color.read_masks().items()} == {"color change": [0, 1]}


def test_mvtec_without_a_mask_for_a_defect_is_an_error(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    (root / "grid" / "ground_truth" / "bent" / "000.bmp").unlink()
    assert re.search(
        r"grid/test/bent/000.png has no mask: neither 000_mask.png nor 000.png is in", _error(root, "mvtec")
    )
    assert len(read(root, "mvtec", categories=["metal_nut"])) == 4


def test_mvtec_without_any_masks_is_read_and_its_samples_say_so(tmp_path: Path) -> None:
    _picture(tmp_path / "grid" / "train" / "good" / "0.png")
    _picture(tmp_path / "grid" / "test" / "bent" / "0.png")
    bent, good = read(tmp_path, "mvtec")
    assert (bent.has_mask, good.has_mask) == (False, True)
    with pytest.raises(DataError, match=r"is defective but has no mask.*leave the sample out of pixel measures"):
        bent.read_masks()


def test_mvtec_defects_in_the_training_part_and_two_masks_of_one_image_are_errors(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    extra = _mask(root / "grid" / "ground_truth" / "bent" / "000_mask.png", 255)
    assert "are masks of the same image. Keep one" in _error(root, "mvtec")
    extra.unlink()
    _picture(root / "grid" / "train" / "bent" / "000.png")
    assert re.search(r"train/bent would be defective pictures for training", _error(root, "mvtec"))


# --- folder ---


def test_a_folder_of_good_and_bad_pictures(tmp_path: Path) -> None:
    plain, typed, good = read(_folder(tmp_path / "big_cog"), "folder")
    assert [s.label for s in (plain, typed, good)] == [True, True, False]
    assert {(s.product, s.category, s.dataset) for s in (plain, good)} == {("big cog", "big_cog", "big_cog")}
    assert {name: _columns(mask) for name, mask in plain.read_masks().items()} == {"defect": [0, 1]}
    assert {name: _columns(mask) for name, mask in typed.read_masks().items()} == {"deep scratch": [3, 4]}


@pytest.mark.parametrize(("good", "bad"), [("OK", "NG"), ("normal", "anomaly"), ("Good", "defect"), ("ok", "nok")])
def test_other_spellings_of_good_and_bad(tmp_path: Path, good: str, bad: str) -> None:
    _picture(tmp_path / good / "a.png")
    _picture(tmp_path / bad / "b.png")
    assert guess_format(tmp_path) == "folder"
    assert {s.image.name: s.label for s in read(tmp_path, "folder")} == {"a.png": False, "b.png": True}


def test_a_folder_without_masks_is_allowed_but_a_mask_without_image_is_not(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    (root / "masks" / "b_mask.png").unlink()
    assert [s.has_mask for s in read(root, "folder")] == [False, True, True]
    _mask(root / "masks" / "bb.png", 255)
    assert re.search(
        r"bb.png is a mask without an image \(1 such masks\).* Rename or remove it", _error(root, "folder")
    )


def test_one_mask_for_two_pictures_of_the_same_name_is_an_error(tmp_path: Path) -> None:
    for kind in ("dent", "crack"):
        _picture(tmp_path / "bad" / kind / "0.png")
    _mask(tmp_path / "masks" / "0.png", 255)
    words = r"crack/0.png and .*dent/0.png share the mask .*0.png. Put it into .*masks/<type>/0.png"
    assert re.search(words, _error(tmp_path, "folder"))


def test_pictures_without_a_label_are_never_left_out_in_silence(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    extra = _picture(root / "godo" / "x.png")
    assert "godo says neither good nor bad. Did you mean 'good'?" in _error(root, "folder")
    extra.unlink()
    extra = _picture(root / "x.png")
    assert "x.png has no label (1 such images). Move it to" in _error(root, "folder")
    extra.unlink()
    _picture(root / "good" / "scratch" / "x.png")
    assert "good pictures have no types" in _error(root, "folder")


# --- all of them ---


@pytest.mark.parametrize(("format", "make"), [("visa", _visa), ("mvtec", _mvtec), ("folder", _folder)])
def test_the_format_is_guessed_and_another_one_says_which_it_is(tmp_path: Path, format: str, make: Any) -> None:
    root = make(tmp_path)
    assert guess_format(root) == format
    for other in set(FORMATS) - {format}:
        words = _error(root, other)
        assert f"does not have the {other} layout: it needs " in words
        assert f"It looks like the {format} layout: read it with format {format!r}." in words


def test_a_folder_above_or_below_the_right_one_is_recognised(tmp_path: Path) -> None:
    root = _mvtec(tmp_path / "sets" / "mv")
    assert f"It looks like one category of the mvtec layout: give its parent {root}" in _error(root / "grid", "mvtec")
    assert f"{root} looks like the mvtec layout: is that the folder you mean?" in _error(tmp_path / "sets", "mvtec")
    assert guess_format(tmp_path / "sets") is None
    assert guess_format(tmp_path / "nowhere") is None


def test_a_path_that_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    assert "nowhere does not exist. Check the path" in _error(tmp_path / "nowhere", "visa")
    assert "is a file; a data set is a folder" in _error(_picture(tmp_path / "a.png"), "visa")
    (tmp_path / "empty").mkdir()
    assert "No other layout is recognised either" in _error(tmp_path / "empty", "mvtec")


def test_an_unknown_format_gets_a_suggestion() -> None:
    with pytest.raises(
        UsageError, match=r"Unknown data format 'mvtek'. Did you mean 'mvtec'\? Known formats: manifest"
    ):
        read("anywhere", "mvtek")


def test_unknown_categories_and_splits_list_what_there_is(tmp_path: Path) -> None:
    root = _visa(tmp_path)
    words = _error(root, "visa", categories=["capsule"])
    assert "has no category 'capsule'. Did you mean 'capsules'? It has: capsules, pcb1." in words
    assert "has no samples of split 'tset'. Did you mean 'test'? It has: test, train." in _error(
        root, "visa", split="tset"
    )
    assert "has no samples of categories []" in _error(root, "visa", categories=[])
    with pytest.raises(UsageError, match=r"is one string; a list is needed. Use \['pcb1'\]"):
        read(root, "visa", categories="pcb1")


def test_a_set_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    assert "has no samples. Check that it is the right folder" in _error(tmp_path, "folder")
    (tmp_path / "good" / "notes.txt").write_text("no picture")
    (tmp_path / "good" / "._a.png").write_text("no picture either")
    assert "has no samples" in _error(tmp_path, "folder")


def test_the_order_depends_on_names_alone(tmp_path: Path) -> None:
    rows = [_row(f"{name}.png") for name in "cab"]
    first = read(_manifest(tmp_path / "g", *rows), "manifest")
    again = read(_manifest(tmp_path / "g", *rows[::-1]), "manifest")
    assert [s.image.stem for s in first] == ["a", "b", "c"]
    assert first == again
    samples = read(_visa(tmp_path / "v"), "visa")
    assert [(s.category, s.split) for s in samples] == [(c, s) for c in ("capsules", "pcb1") for s in ("test", "train")]
