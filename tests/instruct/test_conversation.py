"""A conversation is checked at birth, and its mask is in the frame of its picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import DataError
from genau.instruct import Conversation, Turn

HW = (6, 10)


def make(*turns: tuple[str, str], images: int = 1, **fields: Any) -> Conversation:
    said = tuple(Turn(role, text) for role, text in turns)  # type: ignore[arg-type]
    fields = {"id": "gear-7", "source": "a.jsonl, record 3", **fields}
    return Conversation(images=tuple(Path(f"{k}.png") for k in range(images)), turns=said, **fields)


ASKED = ("user", "<image>\nAny defect?")
ANSWERED = ("assistant", "Yes.")


def test_question_and_answer_are_given_without_placeholder() -> None:
    one = make(ASKED, ("assistant", "Yes."), ("user", "Where?"), ("assistant", "Top left."))
    assert (one.question, one.answer) == ("Any defect?", "Top left.")


@pytest.mark.parametrize(("placeholders", "images"), [(0, 1), (2, 1), (1, 0), (1, 3)])
def test_placeholders_that_do_not_match_the_pictures_are_refused_with_both_numbers(
    placeholders: int, images: int
) -> None:
    with pytest.raises(DataError) as error:
        make(("user", "<image>" * placeholders + "Any defect?"), ANSWERED, images=images)
    for words in ("'gear-7' (a.jsonl, record 3)", f"{placeholders} <image> placeholder", f"{images} picture"):
        assert words in str(error.value)
    assert "Correct the text, or the list of pictures" in str(error.value)


def test_several_pictures_and_none_are_fine() -> None:
    assert len(make(("user", "<image><image>Which is good?"), ("assistant", "The first."), images=2).images) == 2
    assert make(("user", "What is a burr?"), ("assistant", "A sliver."), images=0).images == ()


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ((), "has no turns"),
        ((ANSWERED, ASKED), "turn 1 is the assistant's, but it must be the user's"),
        ((ASKED, ("user", "Well?")), "turn 2 is the user's, but it must be the assistant's"),
        ((ASKED,), "ends with a question. Add the answer"),
        ((ASKED, ("assistant", "  ")), "turn 2 says nothing"),
        ((("user", "<image>\n"), ANSWERED), "turn 1 says nothing"),
        ((ASKED, ("assistant", "<image> is good.")), "the answer in turn 2 holds <image>"),
    ],
)
def test_turns_begin_with_the_user_and_alternate(turns: tuple[tuple[str, str], ...], words: str) -> None:
    with pytest.raises(DataError, match="gear-7") as error:
        make(*turns)
    assert words in str(error.value)


def test_a_good_part_has_neither_types_nor_masks() -> None:
    with pytest.raises(DataError, match=r"about a good part but has types \['burr'\] and 0 masks"):
        make(ASKED, ANSWERED, defective=False, types=("burr",))


def drawn(folder: Path, **fields: Any) -> Conversation:
    """A part with a mask of the value 1 in two pixels and of the value 2 in three."""
    values = np.zeros(HW, np.uint8)
    values[0, 1:3], values[4, 5:8] = 1, 2
    Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(folder / "p.png")
    Image.fromarray(values).save(folder / "m.png")
    fields = {"defective": True, "types": ("cut", "burr"), "masks": (folder / "m.png",), **fields}
    turns = (Turn("user", "<image>\nDefect?"), Turn("assistant", "Yes."))
    return Conversation("c", (folder / "p.png",), turns, "test", **fields)


def test_the_mask_is_that_of_the_type_that_is_asked_for(tmp_path: Path) -> None:
    names = {1: "cut", 2: "burr"}
    assert drawn(tmp_path, mask_types=names).read_mask().sum() == 5
    burr = drawn(tmp_path, mask_types=names, asked="burr").read_mask()
    assert (burr.shape, burr.sum(), bool(burr[4, 6])) == (HW, 3, True)
    absent = drawn(tmp_path, mask_types=names, asked="dent").read_mask()
    assert absent.shape == HW
    assert not absent.any()


def test_a_mask_that_does_not_tell_types_apart_is_refused_for_a_question_about_one(tmp_path: Path) -> None:
    assert drawn(tmp_path).read_mask().sum() == 5
    assert drawn(tmp_path, types=("cut",), asked="cut").read_mask().sum() == 5
    with pytest.raises(DataError, match=r"does not say which pixels are of which of the types \['cut', 'burr'\]"):
        drawn(tmp_path, asked="cut").read_mask()


def test_a_good_part_has_an_empty_mask_and_an_unannotated_one_has_none(tmp_path: Path) -> None:
    good = drawn(tmp_path, defective=False, types=(), masks=(), asked="cut")
    assert good.has_mask
    assert good.read_mask().shape == HW
    assert not good.read_mask().any()
    unknown = drawn(tmp_path, masks=())
    assert not unknown.has_mask
    with pytest.raises(DataError, match="has no mask, so its defective pixels are unknown"):
        unknown.read_mask()


def test_pictures_and_masks_may_be_bytes(tmp_path: Path) -> None:
    one = drawn(tmp_path)
    files = [(tmp_path / name).read_bytes() for name in ("p.png", "m.png")]
    again = Conversation("c", (files[0],), one.turns, "tar", defective=True, types=("cut",), masks=(files[1],))
    assert np.array_equal(again.read_mask(), one.read_mask())
    assert "PNG" not in repr(again)
