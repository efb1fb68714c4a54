"""A sample draws its masks in the frame of its upright image; the real sets have what they announce."""

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.datasets import Sample, guess_format, read
from genau.errors import DataError

HW = (6, 10)
DATA = os.environ.get("GENAU_DATA")


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


def _sample(folder: Path, mask: Path | None, **more: Any) -> Sample:
    return Sample(_picture(folder / "x.png"), True, "cog", "cog", "set", "test", mask=mask, **more)


def test_a_normal_sample_has_no_type_masks_and_an_empty_mask_of_its_size(tmp_path: Path) -> None:
    sample = Sample(_picture(tmp_path / "x.png"), False, "cog", "cog", "set", "test")
    assert sample.read_masks() == {}
    assert sample.read_mask().shape == HW
    assert not sample.read_mask().any()
    assert sample.read_mask((3, 7)).shape == (3, 7)


def test_a_normal_sample_with_defects_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"x.png is normal but has types=\('dent',\)"):
        Sample(Path("x.png"), False, "cog", "cog", "set", "test", types=("dent",))


def test_a_mask_follows_the_rotation_that_its_image_has_in_its_header(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: a stored column becomes a row
    Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(tmp_path / "x.jpg", exif=exif)
    mask = _mask(tmp_path / "m.png", 255)  # drawn on the stored picture
    sample = Sample(tmp_path / "x.jpg", True, "cog", "cog", "set", "test", mask=mask)
    upright = sample.read_mask((HW[1], HW[0]))
    assert upright.shape == (HW[1], HW[0])
    assert np.argwhere(upright).min(axis=0).tolist() == [0, 3]


def test_an_empty_mask_of_a_defect_and_one_of_another_size_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m.png is empty but .*x.png is labelled defective"):
        _sample(tmp_path, _mask(tmp_path / "m.png")).read_mask()
    with pytest.raises(DataError, match=r"has the size \(6, 10\), its image \(12, 20\) \(H, W\)"):
        _sample(tmp_path, _mask(tmp_path / "m.png", 1)).read_mask((12, 20))


def test_the_ringing_of_a_jpeg_mask_is_not_a_defect_and_a_typed_one_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros(HW, np.uint8)
    pixels[2:4, 3:5] = 255
    Image.fromarray(pixels).save(tmp_path / "m.jpg", quality=60)
    assert (np.asarray(Image.open(tmp_path / "m.jpg")) > 0).sum() > 4, "this JPEG rings"
    assert (_sample(tmp_path, tmp_path / "m.jpg").read_mask() == (pixels > 0)).all()
    with pytest.raises(DataError, match=r"JPEG, which blurs type numbers. Save typed masks as PNG"):
        _sample(tmp_path, tmp_path / "m.jpg", mask_types={255: "dent"}).read_mask()


def test_samples_can_be_hashed_and_sent_to_workers(tmp_path: Path) -> None:
    sample = _sample(tmp_path, _mask(tmp_path / "m.png", 1), types=("dent",), mask_types={1: "dent"})
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert len({sample, sample}) == 1


REAL_SETS = {  # set -> (normal, defective), as its source says
    "train/paper": (616, 540),
    "train/ball_screw": (0, 150),
    "dev/magnetic_tile": (220, 388),
    "dev/deeppcb": (300, 300),
    "bench/visa": (76, 100),
    "bench/tile_typed": (0, 36),
    "bench/wood_typed": (0, 29),
    "bench/leather_typed": (0, 36),
    "bench/steel_strip": (0, 300),
    "bench/mvtec": (25, 22),
}


@pytest.mark.skipif(DATA is None, reason="GENAU_DATA does not name the folder of real image sets")
@pytest.mark.parametrize("name", REAL_SETS)
def test_the_real_sets_have_the_pictures_and_masks_that_they_announce(name: str) -> None:
    root = Path(DATA or "") / name
    samples = read(root, guess_format(root) or "")
    count = Counter(sample.label for sample in samples)
    assert (count[False], count[True]) == REAL_SETS[name]
    assert all(sample.types and sample.has_mask for sample in samples if sample.label)
    for sample in [s for s in samples if s.label][::37]:
        masks = sample.read_masks()
        assert sorted(masks) == sorted(sample.types)
        assert all(mask.any() for mask in masks.values())
        assert (np.logical_or.reduce(list(masks.values())) == sample.read_mask()).all()


@pytest.mark.skipif(DATA is None, reason="GENAU_DATA does not name the folder of real image sets")
def test_the_real_capsules_are_the_official_test_split_and_sixteen_references() -> None:
    samples = read(Path(DATA or "") / "bench" / "visa", "visa", categories=["capsules"])
    counts = Counter((sample.split, sample.label) for sample in samples)
    assert counts == {("test", False): 60, ("test", True): 100, ("train", False): 16}
    types = Counter(name for sample in samples for name in sample.types)
    assert types == {"bubble": 30, "discolor": 15, "scratch": 15, "leak": 12, "misshape": 28}


@pytest.mark.skipif(DATA is None, reason="GENAU_DATA does not name the folder of real image sets")
def test_the_real_magnetic_tiles_come_in_groups_of_exposures() -> None:
    samples = read(Path(DATA or "") / "dev" / "magnetic_tile", "manifest")
    groups = Counter(sample.group for sample in samples)
    assert None not in groups
    assert len(groups) < len(samples) / 3
