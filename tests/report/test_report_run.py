"""A run on disk: lines at once, masks that equal the result, nothing lost and nothing overwritten."""

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import UsageError
from genau.report import RunWriter, run, write_run
from genau.results import Defect, Inspection, Verdict


def inspection(image: str = "part.png", score: float = 0.8, **changes: Any) -> Inspection:
    """Return a 48 x 64 result with one defect that is a scratch."""
    mask = np.zeros((48, 64), np.bool_)
    mask[10:20, 30:50] = True
    values: dict[str, Any] = {
        "text_verdict": Verdict.DEFECT,
        "picture": np.full((48, 64, 3), 120, np.uint8),
        "anomaly_map": np.where(mask, 0.9, 0.1).astype(np.float32),
        "pred_mask": mask,
        "defects": (Defect("scratch", 0.9, (30, 10, 50, 20), 200, 200 / (48 * 64), "center"),),
        "types": {"scratch": 0.9, "bent/pin": 0.2},
        "type_masks": {"scratch": mask, "bent/pin": ~mask},
        "timing_ms": {"see": 20.0, "ask": 10.0},
    }
    verdict = Verdict.DEFECT if score >= 0.5 else Verdict.NORMAL
    return Inspection(image, 64, 48, verdict, score, score, score, 0.5, **(values | changes))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_mask_file_equals_the_mask(tmp_path: Path) -> None:
    result = inspection("sub/part.jpg")
    write_run([result], tmp_path)
    stored = Image.open(tmp_path / "masks/sub/part.jpg.png")
    assert stored.mode == "L"
    assert (np.asarray(stored) == result.pred_mask * 255).all()
    for name, path in (("scratch", "scratch"), ("bent/pin", "bent_pin")):
        stored = Image.open(tmp_path / f"masks/sub/part.jpg.{path}.png")
        assert (np.asarray(stored) == result.type_masks[name] * 255).all()
    assert Image.open(tmp_path / "overlays/sub/part.jpg.jpg").size == (64, 48)


def test_every_result_is_on_disk_before_the_next_one_comes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    assert writer.add(inspection("a.png")) == lines(tmp_path)[0]
    writer.add(inspection("b.png"))
    assert [row["image"] for row in lines(tmp_path)] == ["a.png", "b.png"]
    assert Inspection.from_dict(lines(tmp_path)[0]).defects == inspection().defects
    writer.close()


def test_a_killed_run_leaves_valid_lines(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from test_report_run import inspection
        from genau.report import RunWriter
        writer = RunWriter({str(tmp_path / "run")!r})
        for number in range(3):
            writer.add(inspection(f"{{number}}.png"))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    assert subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode != 0
    assert [row["image"] for row in lines(tmp_path / "run")] == ["0.png", "1.png", "2.png"]
    assert not (tmp_path / "run/report.html").exists()


def test_an_exception_in_the_body_still_gives_table_and_page(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path) as writer:
        writer.add(inspection())
        raise KeyboardInterrupt
    assert len(table(tmp_path)) == 1
    assert "The run stopped before its end." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_exception_of_the_body_is_raised_even_if_closing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RuntimeError, match=r"boom") as caught, RunWriter(tmp_path) as writer:
        writer.add(inspection())
        monkeypatch.setattr(run, "write_table", full)
        raise RuntimeError("boom")
    assert "No space left" in caught.value.__notes__[0]


def test_images_of_one_name_in_two_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    empty = np.zeros((48, 64), np.bool_)
    with RunWriter(tmp_path) as writer:
        writer.add(inspection("/data/a/part.png"), PurePosixPath("a/part.png"))
        writer.add(inspection("/data/b/part.png", pred_mask=empty), PurePosixPath("b/part.png"))
        writer.add(inspection("/data/a/part.png"))
        writer.add(inspection("/data/b/part.png", pred_mask=empty))
    rows = table(tmp_path)
    assert [row["mask"] for row in rows] == [
        "masks/a/part.png.png",
        "masks/b/part.png.png",
        "masks/part.png.png",
        "masks/part~2.png.png",
    ]
    assert [bool(np.asarray(Image.open(tmp_path / row["mask"])).any()) for row in rows] == [True, False, True, False]


@pytest.mark.parametrize("bad", ["../x.png", "/tmp/x.png"])
def test_a_path_out_of_the_folder_is_refused_and_nothing_is_written_outside(tmp_path: Path, bad: str) -> None:
    with RunWriter(tmp_path / "run") as writer, pytest.raises(UsageError, match=r"leaves the output folder"):
        writer.add(inspection(), PurePosixPath(bad))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert lines(tmp_path / "run") == []


def test_a_type_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    mask = np.ones((48, 64), np.bool_)
    write_run([inspection(type_masks={"../../../x": mask, "..": mask})], tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run/masks").iterdir())) == 3


def test_the_table_has_a_column_per_type_and_a_row_per_image(tmp_path: Path) -> None:
    results = [
        inspection("a.png"),
        inspection("b.png", 0.1, types={"dent": 0.4}),
        Inspection.failed("c.png", "cut off"),
    ]
    write_run(results, tmp_path)
    first, second, third = table(tmp_path)
    assert (first["n_defects"], first["top_type"], first["type:scratch"], first["type:dent"]) == (
        "1",
        "scratch",
        "0.9",
        "",
    )
    assert float(first["defect_area_fraction"]) == pytest.approx(200 / (48 * 64))
    assert first["total_ms"] == "30.0"
    assert (second["verdict"], second["type:scratch"], second["type:dent"]) == ("normal", "", "0.4")
    assert (third["verdict"], third["pred_score"], third["error"]) == ("unreadable", "", "cut off")
    assert third["mask"] == third["overlay"] == third["defect_area_fraction"] == ""


def test_a_used_folder_is_refused_and_the_error_names_the_flag(tmp_path: Path) -> None:
    write_run([inspection("a.png")], tmp_path)
    with pytest.raises(UsageError, match=r"already holds results\.jsonl.*another folder with -o.*--overwrite"):
        RunWriter(tmp_path)
    assert [row["image"] for row in lines(tmp_path)] == ["a.png"]


def test_a_folder_with_somebody_elses_masks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/part.png.png").write_bytes(b"ground truth")
    with pytest.raises(UsageError, match=r"already holds masks/"):
        RunWriter(tmp_path)


def test_overwrite_replaces_the_run_and_deletes_nothing_else(tmp_path: Path) -> None:
    write_run([inspection("a.png"), inspection("b.png")], tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    writer = RunWriter(tmp_path, overwrite=True)
    assert not (tmp_path / "report.html").exists(), "a killed run must not show the page of the one before"
    writer.add(inspection("a.png", 0.1))
    writer.close()
    assert [row["pred_score"] for row in lines(tmp_path)] == [0.1]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "masks/b.png.png").exists()


def test_a_file_in_the_place_of_the_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    for folder in (tmp_path / "out", tmp_path / "out/below"):
        with pytest.raises(UsageError, match=r"Cannot write to the output folder.*must be a folder.*choose another"):
            RunWriter(folder)


def test_a_full_disk_ends_the_run_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run, "write_bytes", full)
    with pytest.raises(UsageError, match=r"No space left on device.*Free some space"), RunWriter(tmp_path) as writer:
        writer.add(inspection())
    assert len(lines(tmp_path)) == len(table(tmp_path)) == 1, "the row is there although its pictures are not"


def test_a_line_that_a_full_disk_cut_off_does_not_spoil_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(tmp_path)
    writer.add(inspection("a.png"))
    whole = writer._lines.write

    def half(line: str) -> int:
        whole(line[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._lines, "write", half)
    with pytest.raises(UsageError, match="No space left"):
        writer.add(inspection("b.png"))
    writer.close()
    assert [row["image"] for row in table(tmp_path)] == ["a.png"]


def test_a_name_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = "caf\udce9.png"
    write_run([inspection(name)], tmp_path)
    assert lines(tmp_path)[0]["image"] == name
    assert len(table(tmp_path)) == 1
    assert "caf?.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_result_without_arrays_is_a_row_without_pictures(tmp_path: Path) -> None:
    write_run([Inspection.from_dict(inspection().to_dict())], tmp_path)
    assert table(tmp_path)[0]["mask"] == ""
    assert not (tmp_path / "masks").exists()


def test_a_closed_run_takes_no_more(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    assert writer.close() == writer.close() == tmp_path / "report.html"
    with pytest.raises(UsageError, match=r"closed\. Open a new RunWriter"):
        writer.add(inspection())


def test_a_run_of_nothing_is_a_page_that_says_so(tmp_path: Path) -> None:
    assert "No image was inspected." in write_run([], tmp_path).read_text(encoding="utf-8")


def test_save_writes_the_run_of_one_image(tmp_path: Path) -> None:
    report = inspection().save(tmp_path / "new/out")
    assert report == tmp_path / "new/out/report.html"
    assert sorted(path.name for path in report.parent.iterdir()) == [
        "masks",
        "overlays",
        "report.html",
        "results.csv",
        "results.jsonl",
        "run.json",
    ]
