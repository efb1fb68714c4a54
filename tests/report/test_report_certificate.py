"""The certificate: complete in itself, true to the run, and refused where something no longer fits."""

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import ImageError, UsageError
from genau.report import write_certificate, write_run
from genau.report.certificate import Issue, evidence_in, render_certificate
from genau.report.finished import FinishedRun
from genau.report.part_ids import read_part_ids
from genau.results import Analysis, Defect, Inspection, Verdict

PICTURE = np.full((48, 64, 3), 120, np.uint8)
ISSUED = datetime(2026, 7, 31, 14, 5, tzinfo=UTC)


def inspection(image: str = "part.png", **changes: Any) -> Inspection:
    mask = np.zeros((48, 64), np.bool_)
    mask[10:20, 30:50] = True
    values: dict[str, Any] = {
        "picture": PICTURE,
        "anomaly_map": np.where(mask, 0.9, 0.1).astype(np.float32),
        "pred_mask": mask,
        "defects": (Defect("<b>scratch", 0.912, (30, 10, 50, 20), 200, 200 / (48 * 64), "center"),),
        "types": {"<b>scratch": 0.8},
        "analysis": Analysis("defect", "scratch", "center", "thin", "minor", "a tool", "rework"),
        "contradiction": "They differ.",
    }
    return Inspection(image, 64, 48, Verdict.DEFECT, 0.75, 0.7, 0.8, 0.5, **(values | changes))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "part.png")
    return tmp_path / "part.png"


@pytest.fixture
def run(tmp_path: Path, part: Path) -> FinishedRun:
    results = [inspection("line1/a.png"), inspection(str(part)), Inspection.failed("b.png", "broken")]
    write_run([*results, inspection("line2/a.png")], tmp_path / "run")
    return FinishedRun(tmp_path / "run")


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body>")[1]))


def test_a_certificate_says_all_of_the_part(tmp_path: Path, part: Path) -> None:
    words: dict[str, Any] = {"part_id": "SN-7", "inspector": "Ana <P>", "recipe": "capsules", "issued": ISSUED}
    path = inspection(str(part)).certificate(tmp_path / "c.html", model="nano", fingerprint="16b3", **words)
    page = path.read_text(encoding="utf-8")
    for text in (
        "Part SN-7",
        "▲ Defect",
        "Score 0.750 ≥ threshold 0.500",
        "(64 × 48 px)",
        "Model nano",
        "Model fingerprint 16b3",
        "Recipe capsules",
        f"Issued {ISSUED.astimezone():%d %B %Y, %H:%M:%S}",
        "map 0.700, text 0.800",
        "&lt;b&gt;scratch 0.912 center 200 6.51 30, 10 – 50, 20",
        "200 px, 6.51 % of the picture",
        "Words and decision disagree. They differ.",
        "Likely cause a tool",
        "Ana &lt;P&gt; Inspector",
        hashlib.sha256(part.read_bytes()).hexdigest(),
        "GenAU is not a safety device",
    ):
        assert text in plain(page), text
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "@page { size: A4" in page and "<script" not in page


def test_the_digests_of_a_run_are_those_of_the_files(run: FinishedRun, part: Path) -> None:
    entry = run.find("part.png")
    line = (run.folder / "results.jsonl").read_bytes().split(b"\n")[1]
    evidence = evidence_in(run, entry, part.read_bytes(), PICTURE)
    assert evidence.picture_sha256 == hashlib.sha256(part.read_bytes()).hexdigest()
    page = render_certificate(evidence, Issue("SN-7"))
    assert hashlib.sha256(line).hexdigest() in page and "line 2 of results.jsonl" in page


def test_a_result_in_memory_has_the_digest_of_its_line_in_a_run(tmp_path: Path, run: FinishedRun, part: Path) -> None:
    digest = hashlib.sha256(run.find("part.png").line).hexdigest()
    assert digest in write_certificate(inspection(str(part)), tmp_path / "c.html").read_text(encoding="utf-8")


def test_a_picture_from_memory_is_certified_by_its_pixels(tmp_path: Path) -> None:
    page = write_certificate(inspection("<array>"), tmp_path / "c.html").read_text(encoding="utf-8")
    assert hashlib.sha256(PICTURE.tobytes()).hexdigest() in page
    assert "no file" in page and "Part not stated" in plain(page)


def test_a_certificate_is_not_replaced_by_accident(tmp_path: Path) -> None:
    write_certificate(inspection(), tmp_path / "c.html", part_id="1")
    with pytest.raises(UsageError, match=r"exists already.*--overwrite"):
        write_certificate(inspection(), tmp_path / "c.html", part_id="2")
    write_certificate(inspection(), tmp_path / "c.html", part_id="2", overwrite=True)
    assert "Part 2" in plain((tmp_path / "c.html").read_text(encoding="utf-8"))


def test_what_cannot_be_certified_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to certify"):
        write_certificate(Inspection.failed("b.png", "broken"), tmp_path / "c.html")
    with pytest.raises(UsageError, match=r"holds no picture"):
        write_certificate(Inspection.from_dict(inspection().to_dict()), tmp_path / "c.html")
    with pytest.raises(UsageError, match=r"part_id is empty"):
        write_certificate(inspection(), tmp_path / "c.html", part_id=" ")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"Cannot write to the output folder"):
        write_certificate(inspection(), tmp_path / "file" / "c.html")


def test_an_image_is_found_by_the_end_of_its_path_where_that_is_enough(run: FinishedRun) -> None:
    assert run.find("line2/a.png").number == 4
    assert run.find("b.png").result.error == "broken"
    with pytest.raises(UsageError, match=r"2 images of the run end in 'a\.png'.*Give more"):
        run.find("a.png")
    with pytest.raises(UsageError, match=r"no image 'port\.png'; it holds 4 images.*Did you mean 'part\.png'"):
        run.find("port.png")
    with pytest.raises(UsageError, match=r"holds no image '1/a\.png'"):
        run.find("1/a.png")


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path: Path, run: FinishedRun) -> None:
    with pytest.raises(UsageError, match=r"holds no results\.jsonl, so it is no run"):
        FinishedRun(tmp_path)
    (run.folder / "results.csv").unlink()
    with pytest.raises(UsageError, match=r"no results\.csv: the run was killed"):
        FinishedRun(run.folder)


def test_a_line_that_was_changed_is_noticed(run: FinishedRun) -> None:
    lines = run.folder / "results.jsonl"
    text = lines.read_text(encoding="utf-8")
    lines.write_text(text.replace('"defect"', '"normal"', 1), encoding="utf-8")  # against its own score
    with pytest.raises(UsageError, match=r"Line 1 of .* is no result.*does not follow"):
        run.find("part.png")
    lines.write_text(text.replace("line1/a.png", "line1/x.png"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"row 1 of results\.csv is 'line1/a\.png'"):
        run.find("part.png")


def test_an_overlay_that_was_deleted_and_a_picture_of_another_size_are_noticed(run: FinishedRun) -> None:
    entry = run.find("part.png")
    with pytest.raises(ImageError, match=r"is 64 x 48 pixels \(H x W\) now, but was 48 x 64"):
        evidence_in(run, entry, b"", PICTURE.transpose(1, 0, 2))
    assert entry.overlay is not None
    (run.folder / entry.overlay).unlink()
    with pytest.raises(ImageError, match=r"overlay .* deleted or changed after the run"):
        evidence_in(run, entry, b"", PICTURE)


def test_a_picture_that_is_newer_than_the_run_is_noted(run: FinishedRun, part: Path) -> None:
    entry = run.find("part.png")
    assert evidence_in(run, entry, b"", PICTURE).note == ""
    later = (run.folder / "results.jsonl").stat().st_mtime + 5
    os.utime(part, (later, later))
    page = render_certificate(evidence_in(run, entry, b"", PICTURE), Issue())
    assert "newer than the run" in page


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("image,part\na,1\n", r"has no column part_id"),
        ("image,part_id\nx.png,1\n", r"Line 2 .* no image of the run"),
        ("image,part_id\na.png,1\n", r"Line 2 .* 2 images end so"),
        ("image,part_id\npart.png,1\npart.png,2\n", r"Line 3 .* again, which has the part_id '1'"),
        ("image,part_id\npart.png,\n", r"gives no part_id"),
    ],
)
def test_a_table_of_part_ids_that_does_not_fit_is_refused(run: FinishedRun, table: str, words: str) -> None:
    (run.folder / "part_ids.csv").write_text(table)
    with pytest.raises(UsageError, match=words):
        read_part_ids(None, run)


def test_part_ids_are_found_in_the_run_or_read_from_a_file(tmp_path: Path, run: FinishedRun, part: Path) -> None:
    assert read_part_ids(None, run) == {}
    file = tmp_path / "ids.csv"
    file.write_text("\ufeffpart_id,image\nSN-1,line1/a.png\nSN-2,part.png\n", encoding="utf-8")
    assert read_part_ids(file, run) == {"line1/a.png": "SN-1", str(part): "SN-2"}
    with pytest.raises(UsageError, match=r"cannot be read from .*absent\.csv"):
        read_part_ids(tmp_path / "absent.csv", run)
    assert json.loads(run.find("line1/a.png").line)["image"] == "line1/a.png"
