"""A look through a data set finds every fault, says what to do about it, and never raises."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.datasets import guess_format, read
from genau.datasets.check import MOST_OF_A_KIND, Report, check

HW = (6, 10)
DATA = os.environ.get("GENAU_DATA")
_GREYS = iter(range(10**9))


def _picture(path: Path, size_hw: tuple[int, int] = HW) -> Path:
    """Write a picture that no other equals."""
    pixels = np.random.default_rng(next(_GREYS)).integers(0, 256, (*size_hw, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _mask(path: Path, size_hw: tuple[int, int] = HW, value: int = 255) -> Path:
    pixels = np.zeros(size_hw, np.uint8)
    pixels[1:3, 1:4] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _mvtec(root: Path) -> Path:
    for category, count in (("cog", 5), ("nut", 5)):
        _picture(root / category / "train" / "good" / "0.png")
        _picture(root / category / "test" / "good" / "0.png", (8, 12))
        for number in range(count):
            _picture(root / category / "test" / "bent" / f"{number}.png")
            _mask(root / category / "ground_truth" / "bent" / f"{number}_mask.png")
    return root


def _manifest(root: Path, *rows: dict[str, Any]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text('{"name": "gears", "types": ["crack"]}')
    text = "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in rows)
    (root / "annotations.jsonl").write_bytes(text.encode())
    return root


def _row(image: str, *types: str, mask: str | None = None) -> dict[str, Any]:
    return {"image": image, "mask": mask, "product": "gear", "split": "test", "types": list(types)}


def _problem(report: Report, *words: str) -> str:
    """Return the one problem that has all these words."""
    found = [problem for problem in report.problems if all(word in problem for word in words)]
    assert len(found) == 1, report.problems
    return found[0]


def _line(report: Report, *words: str) -> str:
    found = [line for line in report.lines if all(word in line for word in words)]
    assert len(found) == 1, report.lines
    return found[0]


# --- what is there ---


def test_a_sound_set_is_described_by_category_split_type_and_size(tmp_path: Path) -> None:
    report = check(_mvtec(tmp_path))
    assert (report.ok, report.problems, report.format) == (True, (), "mvtec")
    assert report.lines == (
        f"{tmp_path} has the mvtec layout: 2 categories, 14 pictures.",
        "cog, test: 1 good, 5 defective, 5 of them with a mask; types: bent 5.",
        "cog, train: 1 good, 0 defective.",
        "nut, test: 1 good, 5 defective, 5 of them with a mask; types: bent 5.",
        "nut, train: 1 good, 0 defective.",
        "Sizes (H x W) and how many pictures have them: 6 x 10 (12), 8 x 12 (2).",
    )


def test_a_manifest_with_a_byte_order_mark_and_windows_line_ends_is_sound(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        _picture(tmp_path / name)
    report = check(_manifest(tmp_path, _row("a.png"), _row("b.png")))
    assert report.ok, report.problems
    assert _line(report, "gear, test: 2 good")


def test_a_sideways_picture_counts_as_it_is_seen_and_its_mask_fits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    (tmp_path / "bad").mkdir()
    Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(tmp_path / "bad" / "a.jpg", exif=exif)
    _picture(tmp_path / "good" / "b.png")
    _mask(tmp_path / "masks" / "a.png")
    report = check(tmp_path)
    assert report.ok, report.problems
    assert "10 x 6 (1)" in _line(report, "Sizes")


def test_pictures_without_public_labels_are_left_out_in_words(tmp_path: Path) -> None:
    for place in ("train/good", "test_public/good", "test_public/bad", "test_private", "test_private_mixed"):
        _picture(tmp_path / "vial" / place / "0.png")
    _mask(tmp_path / "vial" / "test_public" / "ground_truth" / "bad" / "0_mask.png")
    report = check(tmp_path)
    assert report.ok, report.problems
    assert "1 picture in" in _line(report, "Left out", "test_private;", "their labels are not public")


# --- what it does not suffice for ---


def test_one_class_only_is_no_fault_but_says_which_figures_are_missing(tmp_path: Path) -> None:
    _picture(tmp_path / "a" / "good" / "0.png")
    assert "AUROC, AP, F1-max and AUPRO are n/a" in _line(check(tmp_path / "a"), "Note: a has no defective pictures")
    _picture(tmp_path / "b" / "bad" / "0.png")
    report = check(tmp_path / "b")
    assert _line(report, "Note: b has no good pictures to evaluate: image AUROC, AP and F1-max are n/a.")
    assert _line(report, "Note: b has no masks: pixel figures are n/a.")
    assert report.ok, report.problems


def test_a_type_with_few_pictures_is_noted(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    _picture(root / "cog" / "test" / "oil" / "0.png")
    _mask(root / "cog" / "ground_truth" / "oil" / "0.png")
    assert _line(check(root), "Note: cog has fewer than 5 pictures of oil (1): their figures say little.")


# --- what is wrong ---


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    (root / "cog" / "test" / "bent" / "0.png").write_bytes(b"no picture")
    _mask(root / "cog" / "ground_truth" / "bent" / "1_mask.png", (3, 4))
    _mask(root / "cog" / "ground_truth" / "bent" / "2_mask.png", value=0)
    (root / "cog" / "ground_truth" / "bent" / "3_mask.png").rename(root / "cog" / "ground_truth" / "bent" / "33.png")
    _picture(root / "nut" / "train" / "Scratched" / "0.png")
    _picture(root / "nut" / "test" / "loose.png")
    report = check(root)
    assert not report.ok
    assert _problem(report, "cog/test/bent/0.png' is not an image of a known format", "convert it")
    assert _problem(report, "1_mask.png' is 3 x 4 pixels (H x W)", "is 6 x 10", "Export the mask")
    assert _problem(report, "2_mask.png is empty but", "Draw the defect, label the image normal, or remove the mask")
    assert _problem(report, "cog/test/bent/3.png has no mask", "Add the mask")
    assert _problem(report, "33.png is a mask without an image (1 such masks", "Rename or remove it")
    assert _problem(report, "nut/train/Scratched would be defective pictures for training", "rename the folder to good")
    assert _problem(report, f"{root / 'nut' / 'test'} holds 1 picture that are not read", "Move them there, or out of")


def test_a_truncated_picture_is_found_by_a_deep_look_only(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    path = _picture(root / "cog" / "train" / "good" / "1.png", (60, 90))
    path.write_bytes(path.read_bytes()[:2000])
    assert check(root).ok
    assert _problem(check(root, deep=True), "cog/train/good/1.png' is truncated or damaged")


def test_a_mask_value_without_type_is_found_by_a_deep_look(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    _mask(tmp_path / "m.png", value=7)
    root = _manifest(tmp_path, _row("a.png", "crack", mask="m.png"))
    assert check(root).ok
    assert _problem(check(root, deep=True), "m.png has pixels of value 7")


def test_the_same_file_in_two_splits_or_under_two_labels_is_a_fault_and_twice_in_one_is_none(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    seen = (root / "cog" / "train" / "good" / "0.png").read_bytes()
    again = root / "cog" / "train" / "good" / "again.png"
    again.write_bytes(seen)
    (root / "nut" / "test" / "good" / "other category.png").write_bytes(seen)
    assert check(root).ok
    again.unlink()
    (root / "cog" / "test" / "good" / "1.png").write_bytes(seen)
    words = _problem(check(root), "is the same file, byte for byte, as", "what was seen in training is no test")
    assert "(train, good)" in words
    assert "(test, good)" in words
    (root / "cog" / "test" / "good" / "1.png").write_bytes((root / "cog" / "test" / "bent" / "0.png").read_bytes())
    assert "(test, defective)" in _problem(check(root), "is the same file")


def test_names_that_differ_in_case_only_are_a_fault(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    (root / "nut" / "test" / "bent").rename(root / "nut" / "test" / "Bent")
    assert _problem(check(root), "The type 'bent' is also written 'Bent'", "Use one spelling")


def test_two_pictures_with_one_mask_are_a_fault(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    _picture(root / "cog" / "test" / "bent" / "0.bmp")
    assert _problem(check(root), "0.bmp and", "share the mask", "Rename one of the pictures")


def test_folders_that_say_neither_good_nor_bad_are_named_with_what_to_call_them(tmp_path: Path) -> None:
    _picture(tmp_path / "gut" / "0.png")
    _picture(tmp_path / "Defekt" / "0.png")
    report = check(tmp_path)
    assert report.format is None
    assert _problem(report, "gut says neither good nor bad", "Rename it to one of good, ok, normal")
    assert "Did you mean 'defect'?" in _problem(report, "Defekt says neither good nor bad")
    assert _problem(report, "No other layout is recognised either")


def test_each_wrong_line_of_a_manifest_and_each_missing_file_is_told(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    root = _manifest(
        tmp_path, _row("a.png"), _row("b.png", "crak"), {"image": "c.png"}, _row("gone.png"), _row("a.png")
    )
    report = check(root)
    assert _problem(report, "line 2: the type 'crak' is not among", "Did you mean 'crack'?")
    assert _problem(report, "line 3: the key 'mask' is missing")
    assert _problem(report, "line 5: a.png is listed in line 1 already")
    assert _problem(report, "gone.png does not exist", "(1 of 2 files are missing)")
    assert _line(report, "gear, test: 1 good")


def test_pictures_that_a_manifest_does_not_list_are_left_out_in_words(tmp_path: Path) -> None:
    for name in ("a.png", "extra/b.png"):
        _picture(tmp_path / name)
    report = check(_manifest(tmp_path, _row("a.png")))
    assert report.ok, report.problems
    assert _line(report, "Left out: 1 picture in", "extra")


def test_many_faults_of_a_kind_are_counted_after_the_first_few(tmp_path: Path) -> None:
    root = _mvtec(tmp_path)
    for number in range(100, 100 + MOST_OF_A_KIND + 3):
        _picture(root / "cog" / "test" / "bent" / f"{number}.png")
    problems = check(root).problems
    assert sum("has no mask" in problem for problem in problems) == MOST_OF_A_KIND
    assert problems[-1].startswith("There are 3 more problems like those above.")


# --- wrong folders ---


def test_the_wrong_format_says_which_it_looks_like(tmp_path: Path) -> None:
    report = check(_mvtec(tmp_path), "visa")
    assert (report.format, report.lines) == ("visa", ())
    assert _problem(report, "does not have the visa layout", "It looks like the mvtec layout")
    assert _problem(check(tmp_path, "mvtek"), "Unknown format 'mvtek'. Did you mean 'mvtec'?")


def test_a_folder_that_is_none_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert _problem(check(tmp_path / "nowhere"), "nowhere does not exist. Check the path")
    assert _problem(check(_picture(tmp_path / "x" / "a.png")), "is a file; a data set is a folder")
    (tmp_path / "empty").mkdir()
    assert _problem(check(tmp_path / "empty"), "No other layout is recognised either")
    (tmp_path / "hollow" / "good").mkdir(parents=True)
    assert _problem(check(tmp_path / "hollow"), "has no samples")
    assert _problem(check(_manifest(tmp_path / "m")), "has no samples")


def test_the_set_is_looked_at_fast(tmp_path: Path) -> None:
    for number in range(300):
        _picture(tmp_path / "good" / f"{number}.png")
    start = time.perf_counter()
    assert check(tmp_path).ok
    assert time.perf_counter() - start < 3


@pytest.mark.skipif(DATA is None, reason="GENAU_DATA does not name the folder of real image sets")
def test_the_real_sets_are_sound() -> None:
    sets = sorted(path for part in ("train", "dev", "bench") for path in (Path(DATA or "") / part).iterdir())
    assert sets
    for root in sets:
        report = check(root)
        assert report.ok, report.problems
        assert f"{len(read(root, guess_format(root) or '')):,} pictures" in report.lines[0]
