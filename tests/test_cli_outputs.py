"""Output formats and certificates from the command line."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Genau = Callable[..., Any]


@pytest.fixture
def parts(picture: Callable[..., NDArray[np.uint8]], tmp_path: Path) -> Path:
    """Two pictures that are not square, and a file that is none."""
    (tmp_path / "parts").mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        Image.fromarray(picture(seed=number, spot=True)).save(tmp_path / "parts" / name)
    (tmp_path / "parts" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "parts"


@pytest.fixture
def out(genau: Genau, folder: Path, parts: Path, tmp_path: Path) -> Path:
    result = genau(
        "inspect", parts, "--model", folder, "-o", tmp_path / "out", "--format", "coco", "--formats", "masks"
    )
    assert result.code == 3, result.err
    return tmp_path / "out"


def test_formats_are_written_beside_the_results(out: Path) -> None:
    document = json.loads((out / "coco.json").read_text())
    assert [row["width"] for row in document["images"]] == [140, 140]
    assert [row["file_name"][-10:] for row in document["unreadable"]] == ["broken.png"]
    assert Image.open(out / "indexed" / "a.png.png").size == (140, 90)
    assert not (out / "results.parquet").exists()
    facts = json.loads((out / "run.json").read_text())
    assert facts["model"].endswith("model") and len(facts["fingerprint"]) == 16


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--format", "coco"], "Name one with -o"), (["--format", "coca", "-o", "x"], "Did you mean 'coco'?")],
)
def test_formats_that_cannot_be_written_end_with_2(genau: Genau, parts: Path, options: list[str], words: str) -> None:
    result = genau("inspect", parts, "--model", "no such model", *options)
    assert result.code == 2 and words in result.err


def test_a_certificate_of_one_part_is_written_and_its_digest_shown(genau: Genau, out: Path, tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    result = genau("certificate", out, "a.png", "--part-id", "SN-1", "--date", "2026-07-31", "-o", page)
    assert result.code == 0, result.err
    assert result.out == f"{hashlib.sha256(page.read_bytes()).hexdigest()}  {page}\n"
    text = page.read_text(encoding="utf-8")
    assert "SN-1" in text and "31 July 2026" in text
    assert hashlib.sha256((tmp_path / "parts" / "a.png").read_bytes()).hexdigest() in text
    again = genau("certificate", out, "a.png", "-o", page)
    assert again.code == 2 and "--overwrite" in again.err


def test_all_parts_get_a_certificate_and_an_unreadable_one_is_told(genau: Genau, out: Path, tmp_path: Path) -> None:
    with (out / "part_ids.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "part_id"), ("b.png", "SN-2")])
    result = genau("certificate", out, "--all", "-o", tmp_path / "pages")
    assert result.code == 3
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["a.png.html", "b.png.html"]
    assert "SN-2" in (tmp_path / "pages" / "b.png.html").read_text(encoding="utf-8")
    assert "SN-2" not in (tmp_path / "pages" / "a.png.html").read_text(encoding="utf-8")
    assert "broken.png" in result.err and "nothing to certify" in result.err
    again = genau("certificate", out, "--all", "-o", tmp_path / "pages")
    assert again.code == 2 and "not an empty folder" in again.err


def test_a_picture_that_is_gone_is_told(genau: Genau, out: Path, parts: Path, tmp_path: Path) -> None:
    (parts / "a.png").unlink()
    result = genau("certificate", out, "a.png", "-o", tmp_path / "c.html")
    assert result.code == 1 and "from the folder in which the run was made" in result.err
    assert not (tmp_path / "c.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "c.html"], "Name one picture of the run, or give --all"),
        (["a.png", "--all", "-o", "c"], "not both"),
        (["--all", "--part-id", "1", "-o", "c"], "--part-ids"),
        (["a.png", "-o", "c.pdf"], "is no HTML file"),
        (["a.png", "-o", "c.html", "--date", "tomorrow"], "is no date"),
        (["c.png", "-o", "c.html"], "holds no image 'c.png'"),
    ],
)
def test_arguments_that_cannot_be_meant_end_with_2(genau: Genau, out: Path, arguments: list[str], words: str) -> None:
    result = genau("certificate", out, *arguments)
    assert result.code == 2 and words in result.err
