"""A killed evaluation goes on where it stopped; two never write into one folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from genau.errors import DataError, UsageError
from genau.evaluation.journal import Journal, opened, write_json

PLAN = {"units": ["a"], "types": "none"}
KEY = "parts--bolt--0-references--seed-0"


def fill(folder: Path, rows: int, settled: int) -> Journal:
    (folder / "units").mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    with journal.appending(KEY) as file:
        for number in range(rows):
            file.add({"image": f"{number}.png", "name": "Größe"})
            if number + 1 == settled:
                journal.save(KEY, settled, {"pixels.normal": np.arange(5)})
    return journal


def test_rows_that_no_counts_cover_are_dropped_and_the_others_kept(tmp_path: Path) -> None:
    journal = fill(tmp_path, rows=5, settled=3)
    settled, arrays = journal.load(KEY)
    assert settled == 3
    assert arrays["pixels.normal"].tolist() == [0, 1, 2, 3, 4]
    assert [row["image"] for row in journal.rows(KEY)] == ["0.png", "1.png", "2.png"]


def test_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    journal = fill(tmp_path, rows=3, settled=3)
    with (tmp_path / "units" / f"{KEY}.jsonl").open("a") as file:
        file.write('{"image": "3.p')
    assert journal.load(KEY)[0] == 3
    assert len(list(journal.rows(KEY))) == 3


@pytest.mark.parametrize("damage", ["counts", "rows", "lost rows"])
def test_a_unit_with_damaged_files_is_done_again(tmp_path: Path, damage: str) -> None:
    journal = fill(tmp_path, rows=3, settled=3)
    counts, rows = tmp_path / "units" / f"{KEY}.npz", tmp_path / "units" / f"{KEY}.jsonl"
    if damage == "counts":
        counts.write_bytes(counts.read_bytes()[:40])
    elif damage == "rows":
        rows.write_text(rows.read_text().replace('{"image": "1.png"', '{"image" "1.png"'))
    else:
        rows.write_text("")
    assert journal.load(KEY) == (0, {})
    assert rows.read_text() == ""


def test_a_used_folder_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with opened(tmp_path / "run", PLAN, resume=False, overwrite=False):
        pass
    refused = pytest.raises(
        UsageError, match=r"already holds plan.json. Go on with that run by --resume, .*--overwrite"
    )
    with refused, opened(tmp_path / "run", PLAN, resume=False, overwrite=False):
        pass


@pytest.mark.parametrize("name", ["units/mine.npz", "failures/mine.jpg", "metrics.json"])
def test_files_of_others_are_neither_deleted_nor_written_beside(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    refused = pytest.raises(UsageError, match="already holds")
    with refused, opened(tmp_path, PLAN, resume=False, overwrite=False):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    if name != "metrics.json":
        with opened(tmp_path, PLAN, resume=False, overwrite=True):
            pass
        assert (tmp_path / name).read_text() == "mine"


def test_a_run_without_its_plan_is_not_begun_anew_by_resuming(tmp_path: Path) -> None:
    fill(tmp_path, rows=3, settled=3)
    with pytest.raises(UsageError, match=r"lacks plan.json"), opened(tmp_path, PLAN, resume=True, overwrite=False):
        pass
    assert len(list(Journal(tmp_path).rows(KEY))) == 3


def test_an_error_of_the_network_is_not_called_one_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), opened(tmp_path, PLAN, resume=False, overwrite=False):
        raise ConnectionError("hub is down")


def test_a_run_is_not_resumed_with_another_plan(tmp_path: Path) -> None:
    with opened(tmp_path, PLAN, resume=False, overwrite=False):
        pass
    with opened(tmp_path, PLAN, resume=True, overwrite=False):
        pass
    refused = pytest.raises(UsageError, match=r"other settings or data \(types differ\)")
    with refused, opened(tmp_path, PLAN | {"types": "all"}, resume=True, overwrite=False):
        pass


def test_overwriting_removes_the_earlier_run_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, rows=2, settled=2)
    write_json(tmp_path / "metrics.json", {})
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "units" / "mine.csv").write_text("mine")
    with opened(tmp_path, PLAN, resume=False, overwrite=True) as journal:
        assert journal.load(KEY) == (0, {})
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / "units" / "mine.csv").read_text() == "mine"
    assert not (tmp_path / "metrics.json").exists()
    assert json.loads((tmp_path / "plan.json").read_text()) == PLAN


def test_two_evaluations_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path, PLAN, resume=False, overwrite=False):
        for resume, overwrite in ((True, False), (False, True), (False, False)):
            with (
                pytest.raises(UsageError, match="Another evaluation is writing into"),
                opened(tmp_path, PLAN, resume=resume, overwrite=overwrite),
            ):
                pass
    with opened(tmp_path, PLAN, resume=True, overwrite=False):  # and afterwards it is free
        pass


def test_resume_and_overwrite_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use one of them"), opened(tmp_path, PLAN, resume=True, overwrite=True):
        pass


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"cannot be written .*--resume goes on from there"),
        opened(tmp_path / "file" / "run", PLAN, resume=False, overwrite=False),
    ):
        pass


def test_a_damaged_row_is_named_with_its_line(tmp_path: Path) -> None:
    journal = fill(tmp_path, rows=2, settled=2)
    path = tmp_path / "units" / f"{KEY}.jsonl"
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(DataError, match=r"line 3, is damaged. Run again with --resume"):
        list(journal.rows(KEY))


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "metrics.json", {"image_auroc": float("nan")})
    assert not (tmp_path / "metrics.json").exists()
