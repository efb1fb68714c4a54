from pathlib import Path, PurePosixPath

import pytest

from genau.errors import UsageError
from genau.paths import find_pictures


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(found: list[tuple[Path, PurePosixPath]]) -> list[str]:
    return [str(name) for _, name in found]


def test_a_folder_is_searched_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    lay(tmp_path, "b10.png", "b2.PNG", "a/x.JPG", "a/y.tiff", ".hidden/x.png", "._b2.png", "notes.txt")
    found = find_pictures([tmp_path])
    assert names(found) == ["a/x.JPG", "a/y.tiff", "b2.PNG", "b10.png"]
    assert [path for path, _ in found] == [tmp_path / name for name in names(found)]


def test_named_files_are_kept_in_the_given_order_even_if_odd_or_missing(tmp_path: Path) -> None:
    lay(tmp_path, "z.raw", "a.png")
    found = find_pictures([tmp_path / "z.raw", tmp_path / "missing.png", str(tmp_path / "a.png")])
    assert names(found) == ["z.raw", "missing.png", "a.png"]


def test_a_single_path_is_one_path_and_not_its_letters(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    assert names(find_pictures(str(tmp_path))) == ["a.png"]


def test_a_picture_named_twice_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "sub/a.png", "sub/b.png")
    monkeypatch.chdir(tmp_path / "sub")
    found = find_pictures(["b.png", "../sub/b.png", tmp_path])
    assert names(found) == ["b.png", "sub/a.png"]


def test_equal_names_get_parent_folders_and_never_leave_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "line1/cam/1.png", "line2/cam/1.png", "line3/2.png")
    monkeypatch.chdir(tmp_path / "line3")
    found = find_pictures(["../line1/cam", "../line2/cam/1.png", "2.png"])
    assert names(found) == ["line1/cam/1.png", "line2/cam/1.png", "2.png"]


def test_names_that_differ_in_case_only_get_a_number(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "A.png")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell upper from lower case")
    found = names(find_pictures([tmp_path]))
    assert len({name.casefold() for name in found}) == 2
    assert any(name.endswith("-2.png") for name in found)


def test_names_are_taken_below_the_base_where_they_can(tmp_path: Path) -> None:
    lay(tmp_path, "data/a/1.png", "elsewhere/2.png")
    found = find_pictures([tmp_path / "data/a", tmp_path / "elsewhere/2.png"], base=tmp_path / "data")
    assert names(found) == ["a/1.png", "2.png"]


def test_links_between_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    lay(tmp_path, "in/a.png", "far/b.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/more").symlink_to(tmp_path / "far")
    assert names(find_pictures([tmp_path / "in"])) == ["a.png", "more/b.png"]


def test_a_folder_without_pictures_says_what_is_there_instead(tmp_path: Path) -> None:
    lay(tmp_path, "a.txt", "b.txt", "sub/c.TXT", "d.csv", ".e.png")
    with pytest.raises(
        UsageError, match=r"no pictures; found there: 3 \.txt files.*1 \.csv file.*1 hidden file"
    ) as caught:
        find_pictures([tmp_path])
    assert ".jpeg .jpg" in str(caught.value)
    assert "Name another folder" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="found there: nothing"):
        find_pictures([tmp_path / "empty"])


def test_a_pattern_that_the_shell_left_alone_is_explained(tmp_path: Path) -> None:
    lay(tmp_path, "in/a.png", "in/odd[1].png")
    with pytest.raises(UsageError, match=r"pattern that was not expanded.*Name the folder instead \('.*in'\)"):
        find_pictures([tmp_path / "in/*.png"])
    assert names(find_pictures([tmp_path / "in/odd[1].png"])) == ["odd[1].png"]


def test_no_path_at_all_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"No picture was named\. Name at least one"):
        find_pictures([])
