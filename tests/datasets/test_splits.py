"""Test data is known by the names of folders and by annotations, and only by these."""

import json
from pathlib import Path

import pytest

from genau.datasets.splits import held_back


def touch(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_a_folder_named_test_anywhere_above_holds_pictures_back(tmp_path: Path) -> None:
    held = touch(tmp_path, "cap/test/good/1.png", "cap/TEST/2.png", "x/test_public/3.png")
    free = touch(tmp_path, "cap/train/good/1.png", "contest/1.png", "latest/test.png", "a_test/1.png")
    found = held_back([*held, *free])
    assert list(found) == held
    assert found[held[0]] == f"lies in the folder {tmp_path / 'cap' / 'test'}"


def test_a_relative_path_is_seen_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "test/1.png")
    monkeypatch.chdir(tmp_path / "test")
    assert list(held_back([Path("1.png")])) == [Path("1.png")]


def test_a_manifest_says_which_pictures_are_test(tmp_path: Path) -> None:
    first, second, third = touch(tmp_path, "set/images/a.png", "set/images/b.png", "set/images/c.png")
    rows = [{"image": "images/a.png", "split": "test"}, {"image": "images/b.png", "split": "train"}]
    (tmp_path / "set" / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = held_back([first, second, third])
    assert found == {first: f"is marked as test data in {tmp_path / 'set' / 'annotations.jsonl'}"}


def test_a_table_of_visa_says_which_pictures_are_test(tmp_path: Path) -> None:
    first, second = touch(tmp_path, "caps/Data/Images/Normal/1.JPG", "caps/Data/Images/Normal/2.JPG")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text(
        "object,split,label,image,mask\n"
        "caps,train,normal,caps/Data/Images/Normal/1.JPG,\ncaps,test,normal,caps/Data/Images/Normal/2.JPG,\n"
    )
    assert list(held_back([first, second])) == [second]


@pytest.mark.parametrize("content", ["{", "[1]", '{"split": "test"}', "\n"])
def test_annotations_that_cannot_be_read_hold_nothing_back(tmp_path: Path, content: str) -> None:
    (path,) = touch(tmp_path, "images/a.png")
    (tmp_path / "annotations.jsonl").write_text(content)
    assert held_back([path]) == {}
