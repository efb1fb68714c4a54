"""The public sets are read as they are unpacked: each layout here in miniature."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.datasets import FORMATS, Sample, guess_format, read
from genau.errors import DataError

HW = (6, 10)
VIEWS = ("C1", "C2")


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*HW, 3), 90, np.uint8)).save(path)
    return path


def _mask(path: Path, column: int = 1, value: int = 255) -> Path:
    """Draw a square of 2 x 2 pixels at this column."""
    pixels = np.zeros(HW, np.uint8)
    pixels[1:3, column : column + 2] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _loco(root: Path) -> Path:
    for place in ("train/good", "validation/good", "test/good", "test/logical_anomalies", "test/structural_anomalies"):
        _picture(root / "juice_bottle" / place / "000.png")
    truth = root / "juice_bottle" / "ground_truth"
    _mask(truth / "logical_anomalies" / "000" / "000.png", 1, value=255)
    _mask(truth / "logical_anomalies" / "000" / "001.png", 6, value=253)
    _mask(truth / "structural_anomalies" / "000" / "000.png", 3, value=1)
    return root


def _ad2(root: Path) -> Path:
    for place in ("train/good", "validation/good", "test_public/good", "test_public/bad"):
        _picture(root / "vial" / place / "000_regular.png")
    _picture(root / "vial" / "test_private" / "000_regular.png")
    _mask(root / "vial" / "test_public" / "ground_truth" / "bad" / "000_regular_mask.png")
    return root


def _btad(root: Path) -> Path:
    for category, image, mask in (("01", "0.bmp", "0.png"), ("02", "0.png", "0.png"), ("03", "0.BMP", "0.bmp")):
        for place in ("train/ok", "test/ok", "test/ko"):
            _picture(root / category / place / image)
        _mask(root / category / "ground_truth" / "ko" / mask)
    return root


def _mpdd(root: Path) -> Path:
    for category, kind in (("tubes", "anomalous"), ("bracket_brown", "parts_mismatch")):
        for place in ("train/good", "test/good", f"test/{kind}"):
            _picture(root / category / place / "000.png")
        _mask(root / category / "ground_truth" / kind / "000_mask.png")
    return root


def _dtd(root: Path) -> Path:
    for place in ("train/good", "test/good", "test/bad"):
        _picture(root / "Woven_001" / place / "000.png")
    _mask(root / "Woven_001" / "ground_truth" / "bad" / "000_mask.png")
    return root


def _mad(root: Path, *kinds: str, category: str = "01Gorilla") -> Path:
    for place in ("train/good", "test/good", *(f"test/{kind}" for kind in kinds)):
        _picture(root / category / place / "0.png")
    for kind in kinds:
        _mask(root / category / "ground_truth" / kind / "0_mask.png")
    return root


def _mad_sim(root: Path) -> Path:
    return _mad(root, "Burrs", "Missing", "Stains")


def _mad_real(root: Path) -> Path:
    return _mad(root, "Missing", category="Bird")


def _real_iad(root: Path, resolutions: tuple[str, ...] = ("512", "1024"), where: str = "realiad_jsons") -> Path:
    lists: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for split, part, kind, code in (("train", "S0001", "OK", "OK"), ("test", "S0002", "NG/HS", "HS")):
        for view in VIEWS:
            stem = f"{kind}/{part}/toy_{part[1:]}_{kind.replace('/', '_')}_{view}_20231021"
            defect = code != "OK" and view == "C1"  # the other view of the bad part shows nothing
            mask = f"{stem}.png" if defect else None
            row = {"category": "toy", "anomaly_class": code if defect else "OK", "image_path": f"{stem}.jpg"}
            lists[split].append(row | {"mask_path": mask})
            for resolution in resolutions:
                _picture(root / f"realiad_{resolution}" / "toy" / f"{stem}.jpg")
                if mask:
                    _mask(root / f"realiad_{resolution}" / "toy" / mask)
    folder = root / "realiad_jsons" / where if where != "realiad_jsons" else root / "realiad_jsons" / "realiad_jsons"
    folder.mkdir(parents=True)
    meta = {"prefix": "toy/", "normal_class": "OK", "pre_transform": False}
    (folder / "toy.json").write_text("\ufeff" + json.dumps({"meta": meta, **lists}, indent=1), newline="\r\n")
    return root


LAYOUTS = {
    "mvtec-loco": _loco,
    "mvtec-ad2": _ad2,
    "btad": _btad,
    "mpdd": _mpdd,
    "dtd-synthetic": _dtd,
    "mad-sim": _mad_sim,
    "mad-real": _mad_real,
    "real-iad": _real_iad,
}
every_layout = pytest.mark.parametrize("format", LAYOUTS)


def _error(root: Path, format: str, **choice: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(root, format, **choice)
    return str(caught.value)


def _columns(sample: Sample) -> list[int]:
    return np.flatnonzero(sample.read_mask(HW).any(axis=0)).tolist()


# --- all of them ---


@every_layout
def test_a_layout_is_recognised_and_read_under_its_own_name(tmp_path: Path, format: str) -> None:
    root = LAYOUTS[format](tmp_path / "anything")
    assert guess_format(root) == format
    samples = read(root, format)
    assert {sample.dataset for sample in samples} == {format}
    assert {sample.label for sample in samples if sample.split == "test"} == {True, False}
    assert not any(sample.label for sample in samples if sample.split != "test")
    assert all(sample.has_mask for sample in samples)
    assert all(sample.read_mask(HW).shape == HW for sample in samples)


@every_layout
def test_a_wrong_format_is_refused_and_the_right_one_named(tmp_path: Path, format: str) -> None:
    root = LAYOUTS[format](tmp_path)
    as_well = {"mpdd": {"mvtec"}, "dtd-synthetic": {"mvtec"}, "mad-sim": {"mvtec"}, "mad-real": {"mvtec", "mad-sim"}}
    for other in set(FORMATS) - {format} - as_well.get(format, set()):
        words = _error(root, other)
        assert f"does not have the {other} layout: it needs " in words
        assert f"It looks like the {format} layout: read it with format {format!r}." in words


@every_layout
def test_a_category_that_does_not_exist_gets_a_suggestion(tmp_path: Path, format: str) -> None:
    root = LAYOUTS[format](tmp_path)
    name = read(root, format)[0].category
    assert f"has no category '{name}x'. Did you mean '{name}'?" in _error(root, format, categories=[f"{name}x"])


@every_layout
def test_a_missing_mask_is_an_error(tmp_path: Path, format: str) -> None:
    root = LAYOUTS[format](tmp_path)
    for sample in read(root, format):
        for mask in sample.masks:
            mask.unlink()
    words = _error(root, format)
    assert "has no mask: neither" in words or "does not exist, but" in words


# --- one by one ---


def test_the_masks_of_one_loco_picture_are_united_whatever_their_value(tmp_path: Path) -> None:
    logical, structural = [s for s in read(_loco(tmp_path), "mvtec-loco") if s.label]
    assert _columns(logical) == [1, 2, 6, 7]
    assert (logical.types, structural.types) == (("logical anomalies",), ("structural anomalies",))
    assert _columns(structural) == [3, 4]
    assert [path.name for path in logical.masks] == ["000.png", "001.png"]


def test_a_loco_mask_of_another_size_is_an_error_also_if_it_is_not_the_first(tmp_path: Path) -> None:
    root = _loco(tmp_path)
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(
        root / "juice_bottle/ground_truth/logical_anomalies/000/001.png"
    )
    sample = next(s for s in read(root, "mvtec-loco") if s.more_masks)
    with pytest.raises(Exception, match=r"001.png' is 3 x 4 pixels"):
        sample.read_mask()


def test_the_validation_pictures_are_a_split_of_their_own(tmp_path: Path) -> None:
    for format, make in (("mvtec-loco", _loco), ("mvtec-ad2", _ad2)):
        (sample,) = read(make(tmp_path / format), format, split="validation")
        assert (sample.label, sample.image.parent.name) == (False, "good")


def test_the_public_test_part_of_mvtec_ad2_is_its_test_split_and_its_types_are_unknown(tmp_path: Path) -> None:
    bad, good = read(_ad2(tmp_path), "mvtec-ad2", split="test")
    assert (bad.label, bad.types, good.label) == (True, (), False)
    assert _columns(bad) == [1, 2]


def test_btad_takes_bmp_and_png_in_any_case_and_names_no_types(tmp_path: Path) -> None:
    samples = read(_btad(tmp_path), "btad", split="test")
    assert [(s.category, s.image.suffix, s.label) for s in samples] == [
        ("01", ".bmp", True), ("01", ".bmp", False), ("02", ".png", True), ("02", ".png", False),
        ("03", ".BMP", True), ("03", ".BMP", False),
    ]  # fmt: skip
    assert {s.types for s in samples} == {()}
    assert {s.product for s in samples} == {"industrial part"}


def test_the_toys_of_mad_are_called_by_their_animal_and_textures_by_their_kind(tmp_path: Path) -> None:
    toys = read(_mad_sim(tmp_path / "mad"), "mad-sim", split="test")
    assert {(s.category, s.product) for s in toys} == {("01Gorilla", "gorilla toy")}
    assert {s.types for s in toys if s.label} == {("Burrs",), ("Missing",), ("Stains",)}
    assert {s.product for s in read(_dtd(tmp_path / "dtd"), "dtd-synthetic")} == {"woven texture"}


def test_simulated_and_real_toys_are_told_apart_by_the_defect_that_only_one_has(tmp_path: Path) -> None:
    assert guess_format(_mad(tmp_path / "a", "Missing", category="03Bird")) == "mad-real"
    assert guess_format(_mad(tmp_path / "b", "Missing", "Burrs", category="03Bird")) == "mad-sim"
    assert guess_format(_mad(tmp_path / "c", "Missing", category="20Puppys")) == "mvtec"


def test_a_set_with_the_tree_of_mvtec_may_be_read_as_mvtec(tmp_path: Path) -> None:
    samples = read(_mpdd(tmp_path / "metal"), "mvtec", categories=["tubes"])
    assert {sample.dataset for sample in samples} == {"metal"}
    assert {sample.product for sample in read(tmp_path / "metal", "mpdd")} == {"tubes", "bracket brown"}


def test_one_category_given_for_the_whole_set_names_its_parent(tmp_path: Path) -> None:
    words = _error(_btad(tmp_path) / "01", "btad")
    assert f"It looks like one category of the btad layout: give its parent {tmp_path} with format 'btad'" in words


# --- Real-IAD ---


def test_real_iad_reads_the_usual_resolution_and_keeps_the_views_of_a_part_together(tmp_path: Path) -> None:
    samples = read(_real_iad(tmp_path), "real-iad")
    assert all("realiad_1024" in s.image.as_posix() for s in samples)
    assert [(s.split, s.label, s.types) for s in samples] == [
        ("test", True, ("scratch",)),
        ("test", False, ()),
        ("train", False, ()),
        ("train", False, ()),
    ]
    assert {s.group for s in samples if s.split == "test"} == {"toy/NG/HS/S0002"}
    assert {s.group for s in samples if s.split == "train"} == {"toy/OK/S0001"}


@pytest.mark.parametrize(
    ("resolutions", "taken"), [(("256", "512"), "512"), (("raw",), "raw"), (("raw", "256"), "256")]
)
def test_another_resolution_serves_where_the_usual_one_is_missing(
    tmp_path: Path, resolutions: tuple[str, ...], taken: str
) -> None:
    samples = read(_real_iad(tmp_path, resolutions), "real-iad")
    assert {s.image.relative_to(tmp_path).parts[0] for s in samples} == {f"realiad_{taken}"}


def test_real_iad_takes_lists_that_lie_one_folder_higher(tmp_path: Path) -> None:
    assert len(read(_real_iad(tmp_path, where="."), "real-iad")) == 4


def test_real_iad_errors_name_the_row_and_the_remedy(tmp_path: Path) -> None:
    path = _real_iad(tmp_path) / "realiad_jsons" / "realiad_jsons" / "toy.json"
    content = path.read_text("utf-8-sig")
    for old, new, words in (
        ('"HS"', '"HSS"', "toy.json, row 1 of test: the class 'HSS' is unknown. Did you mean 'HS'? Known are OK, AK"),
        ('"mask_path": null', '"mask_path": "x.png"', "row 1 of train: OK/S0001/toy_0001_OK_C1_20231021.jpg is OK but"),
        ('"image_path"', '"picture"', "row 1 of train: the key 'image_path' is missing. Needed are anomaly_class"),
        ('"mask_path": null', '"mask_path": 3', "mask_path 3 a text or null"),
        ('"train"', '"tarin"', "toy.json is not a list of Real-IAD ('train'): it needs the keys meta, train and test"),
        ("{", "[", "toy.json is not a list of Real-IAD"),
    ):
        path.write_text(content.replace(old, new))
        assert words in _error(tmp_path, "real-iad")
    path.unlink()
    assert "has pictures but no lists" in _error(tmp_path, "real-iad")


def test_a_missing_picture_of_real_iad_is_named_and_counted(tmp_path: Path) -> None:
    sample = read(_real_iad(tmp_path), "real-iad")[0]
    sample.image.unlink()
    assert "(1 of 5 files are missing). Copy the missing files" in _error(tmp_path, "real-iad")


# --- any set ---


def test_extensions_are_read_in_any_case(tmp_path: Path) -> None:
    for place in ("train/good/a.TIFF", "test/good/a.Jpeg", "test/bent/a.BMP", "test/bent/b.JPG"):
        _picture(tmp_path / "cog" / place)
    _mask(tmp_path / "cog" / "ground_truth" / "bent" / "A_MASK.PNG")
    _mask(tmp_path / "cog" / "ground_truth" / "bent" / "b.BMP")
    samples = read(tmp_path, "mvtec")
    assert [s.image.name for s in samples] == ["a.BMP", "b.JPG", "a.Jpeg", "a.TIFF"]
    assert all(s.has_mask for s in samples)


def test_further_masks_need_a_first_one() -> None:
    with pytest.raises(ValueError, match="they need a mask, and no mask_types"):
        Sample(Path("x.png"), True, "cog", "cog", "set", "test", more_masks=(Path("m.png"),))
