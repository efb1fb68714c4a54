"""The manifest reader delivers several types in one picture, and says in which line what is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.datasets import Sample, read
from genau.errors import DataError

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


def _error(root: Path, format: str, **choice: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(root, format, **choice)
    return str(caught.value)


def _columns(mask: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(mask.any(axis=0)).tolist()


def test_a_manifest_row_becomes_a_sample(tmp_path: Path) -> None:
    _mask(tmp_path / "g" / "masks" / "b.png", 1, 3)
    root = _manifest(tmp_path / "g", _row("images/b.png", "crack", "burr", mask="masks/b.png"), _row("images/a.png"))
    good, bad = read(root, "manifest")
    assert good == Sample(root / "images/a.png", False, "gear wheel", "gear wheel", "gears", "test")
    assert (bad.label, bad.types, bad.mask) == (True, ("crack", "burr"), root / "masks/b.png")
    assert bad.mask_types == {1: "crack", 2: "dent", 3: "burr"}


def test_several_types_in_one_picture_have_masks_of_their_own(tmp_path: Path) -> None:
    _mask(tmp_path / "g" / "m.png", 3, 1, 3)
    root = _manifest(tmp_path / "g", _row("b.png", "burr", "crack", mask="m.png"))
    (sample,) = read(root, "manifest")
    masks = sample.read_masks()
    assert {name: (mask.shape, _columns(mask)) for name, mask in masks.items()} == {
        "burr": (HW, [0, 1, 6, 7]),
        "crack": (HW, [3, 4]),
    }
    assert _columns(sample.read_mask(HW)) == [0, 1, 3, 4, 6, 7]


def test_an_annotated_type_without_pixels_keeps_an_empty_mask(tmp_path: Path) -> None:
    _mask(tmp_path / "g" / "m.png", 2)
    (sample,) = read(_manifest(tmp_path / "g", _row("b.png", "crack", mask="m.png")), "manifest")
    masks = sample.read_masks()
    assert not masks["crack"].any()
    assert masks["dent"].sum() == 4


def test_a_set_that_names_no_types_has_untyped_masks(tmp_path: Path) -> None:
    _mask(tmp_path / "g" / "m.png", 9)
    root = _manifest(tmp_path / "g", _row("b.png", mask="m.png"))
    (root / "dataset.json").write_text('{"name": "gears", "types": []}')
    (sample,) = read(root, "manifest")
    assert (sample.label, sample.types, sample.mask_types) == (True, (), None)
    assert {name: _columns(mask) for name, mask in sample.read_masks().items()} == {"defect": [0, 1]}


def test_a_mask_value_without_type_is_an_error(tmp_path: Path) -> None:
    _mask(tmp_path / "g" / "m.png", 1, 7)
    (sample,) = read(_manifest(tmp_path / "g", _row("b.png", "crack", mask="m.png")), "manifest")
    with pytest.raises(DataError, match=r"m.png has pixels of value 7; the types are numbered \{1: 'crack', 2"):
        sample.read_masks()


def test_a_row_may_name_its_category_and_group(tmp_path: Path) -> None:
    root = _manifest(tmp_path / "g", _row("a.png", category="gear7", group="part 4"), _row("b.png"))
    second, first = read(root, "manifest")
    assert (first.category, first.group, first.product) == ("gear7", "part 4", "gear wheel")
    assert (second.category, second.group) == ("gear wheel", None)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": "a.png"}, "line 2: the key 'mask' is missing. Needed are image, mask, product, split, types"),
        (_row("b.png") | {"image": 3}, "line 2: image is 3; it must be a text."),
        (_row("b.png") | {"mask": False}, "line 2: mask is False; it must be a text or null."),
        (_row("b.png") | {"types": "crack"}, "line 2: types is 'crack'; it must be a list"),
        (_row("b.png", "crak"), "line 2: the type 'crak' is not among .* Did you mean 'crack'"),
        (_row("b.png", mask="m.png"), "line 2: b.png has a mask but no types"),
        (_row("./a.png"), r"line 2: ./a.png is listed in line 1 already"),
        ([1, 2], "line 2: a JSON object in braces is needed, got list"),
    ],
)
def test_a_wrong_row_is_an_error_with_its_line(tmp_path: Path, row: Any, words: str) -> None:
    root = _manifest(tmp_path / "g", _row("a.png"))
    with (root / "annotations.jsonl").open("a") as file:
        file.write(json.dumps(row))
    assert re.search(words, _error(root, "manifest"))


def test_a_misspelt_key_gets_a_suggestion_and_a_broken_line_its_number(tmp_path: Path) -> None:
    row = _row("a.png")
    row["tpyes"] = row.pop("types")
    root = _manifest(tmp_path / "g", row)
    assert "the key 'types' is missing. Did you mean 'tpyes'?" in _error(root, "manifest")
    (root / "annotations.jsonl").write_text('\n{"image": "a.png", \n')
    assert re.search(r"annotations.jsonl, line 2: not valid JSON \(.* at column \d+\)", _error(root, "manifest"))
    (root / "annotations.jsonl").write_bytes(b'{"image": "\xff"}')
    assert "is not UTF-8 text" in _error(root, "manifest")


def test_what_dataset_json_must_have(tmp_path: Path) -> None:
    root = _manifest(tmp_path / "g", _row("a.png"))
    for about, words in (
        ('{"types": []}', "dataset.json lacks the key 'name'"),
        ('{"name": "x", "type": []}', "lacks the key 'types'. Did you mean 'type'?"),
        ('{"name": "x", "types": "crack"}', "types is 'crack'; it must be a list"),
        ('{"name": "x", "types": ["a", "a"]}', "lists a type twice"),
        ('{"name": "x", "types": [1]}', "must be names in quotes"),
    ):
        (root / "dataset.json").write_text(about)
        assert words in _error(root, "manifest")
    (root / "dataset.json").unlink()
    assert "dataset.json does not exist" in _error(root, "manifest")


def test_a_listed_file_that_is_missing_is_named_and_counted(tmp_path: Path) -> None:
    root = _manifest(tmp_path / "g", _row("a.png"), _row("b.png", "crack", mask="m.png"))
    assert re.search(
        r"The mask .*m.png does not exist, but .*annotations.jsonl lists it \(1 of 3 f", _error(root, "manifest")
    )
    _mask(root / "m.png", 1)
    (root / "a.png").unlink()
    assert "The image " in _error(root, "manifest")


def test_exposures_of_one_tile_share_a_group_though_their_numbers_differ(tmp_path: Path) -> None:
    numbers = [(1, 1000), (2, 1030), (6, 1150), (1, 1401), (2, 90000)]
    rows = [_row(f"good_exp{exposure}_num_{number}.png") for exposure, number in reversed(numbers)]
    samples = read(_manifest(tmp_path / "t", *rows, name="magnetic_tile"), "manifest")
    group = {int(sample.image.stem.rsplit("_", 1)[1]): sample.group for sample in samples}
    assert group == {1000: "1000", 1030: "1000", 1150: "1000", 1401: "1401", 90000: "90000"}


@pytest.mark.parametrize(
    ("name", "same", "other"),
    [
        ("deeppcb", ("13000018_test", "13000018_good"), "13000019_good"),
        ("paper", ("PA_BDP01_TL_S_D_01_1", "PA_BDP01_TL_S_D_01_4"), "PA_BDP01_TL_S_D_02_1"),
        ("paper", ("PL_PNG_2_1w", "PL_PNG_2_8wo"), "PL_PNG_1_1wo"),
        (
            "ball_screw",
            ("01_200908233712_560000_000_crop_1", "01_200905121802_560000_000_crop_2"),
            "01_200905121802_560000_270_crop_2",
        ),
        ("wood_typed", ("hole_3", "barrdistorted_1001_0.3_0.3_hole_3"), "deformed_alpha_1300_sigmoid_3_hole_13"),
    ],
)
def test_pictures_of_one_part_share_a_group(tmp_path: Path, name: str, same: tuple[str, str], other: str) -> None:
    rows = [_row(f"{stem}.png") for stem in (*same, other)]
    group = {s.image.stem: s.group for s in read(_manifest(tmp_path / "m", *rows, name=name), "manifest")}
    assert None not in group.values()
    assert group[same[0]] == group[same[1]] != group[other]
