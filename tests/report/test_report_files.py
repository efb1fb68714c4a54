"""Names and places of a run's files: inside the folder, never given twice, written whole or not at all."""

from pathlib import Path, PurePosixPath

import pytest

from genau.errors import UsageError
from genau.report.files import Places, disk_errors, file_safe, replacing, safe_relative


@pytest.mark.parametrize("bad", ["../out.png", "a/../../out.png", "/etc/passwd.png", "C:/x.png"])
def test_a_relative_path_that_leaves_the_folder_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match=r"leaves the output folder.*line1/part\.png"):
        safe_relative("x.png", PurePosixPath(bad))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("a/b/c.png", "a/b/c.png"),
        ("./c.png", "c.png"),
        ("/data/line 3/c.png", "c.png"),
        ("../../c.png", "c.png"),
        ("C:\\data\\c.png", "c.png"),
        ("..", "_"),
        ("", "image"),
        ("ab:c?.png", "ab_c_.png"),
    ],
)
def test_without_a_relative_path_the_name_of_the_image_gives_a_safe_one(image: str, expected: str) -> None:
    assert str(safe_relative(image, None)) == expected


def test_a_long_name_is_shortened_but_stays_unique() -> None:
    one, two = file_safe("ä" * 300 + "1.png"), file_safe("ä" * 300 + "2.png")
    assert one != two
    assert len(one.encode()) <= 120 and one.endswith(".png")


def test_the_suffix_of_the_image_keeps_namesakes_apart() -> None:
    places = Places()
    jpg, png = places.take(PurePosixPath("a.jpg"), []), places.take(PurePosixPath("a.png"), [])
    assert (jpg.mask, png.mask) == ("masks/a.jpg.png", "masks/a.png.png")


def test_the_same_name_is_never_given_twice_also_where_case_is_ignored() -> None:
    places = Places()
    names = [places.take(PurePosixPath(name), []).mask for name in ("a.jpg", "a.jpg", "A.jpg")]
    assert names == ["masks/a.jpg.png", "masks/a~2.jpg.png", "masks/A~3.jpg.png"]


def test_a_type_mask_never_has_the_name_of_another_images_mask() -> None:
    places = Places()
    first = places.take(PurePosixPath("a.jpg"), ["dent"])
    second = places.take(PurePosixPath("a.jpg.dent"), [])
    assert first.type_masks == ("masks/a.jpg.dent.png",)
    assert second.mask not in {first.mask, *first.type_masks}


def test_a_file_is_never_put_where_a_folder_is_needed() -> None:
    places = Places()
    places.take(PurePosixPath("a.jpg"), [])
    inner = places.take(PurePosixPath("a.jpg.png/b.jpg"), [])
    assert not inner.mask.startswith("masks/a.jpg.png/")


def test_types_that_are_equal_as_file_names_are_numbered() -> None:
    place = Places().take(PurePosixPath("a.jpg"), ["bent/pin", "bent:pin", "Bent_Pin"])
    assert place.type_masks == (
        "masks/a.jpg.bent_pin.png",
        "masks/a.jpg.bent_pin~2.png",
        "masks/a.jpg.Bent_Pin~3.png",
    )


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match=r"stop"), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    assert target.read_text() == "old"


def test_a_full_disk_is_reported_with_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"Cannot write.*No space left on device.*Free some space.*another folder"),
        disk_errors(tmp_path),
    ):
        raise OSError(28, "No space left on device", str(tmp_path / "x.png"))
