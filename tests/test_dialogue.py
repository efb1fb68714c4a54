"""Prompts and what is said to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.dialogue import Outcome, Prompt, Said, Shown, Turn, open_picture
from genau.errors import ImageError


def test_an_answer_has_words_and_silence_has_a_reason() -> None:
    assert Said("B").outcome is Outcome.ANSWERED
    assert Said.nothing(Outcome.UNREADABLE, "empty").text is None
    for text, outcome, reason in (
        (None, Outcome.ANSWERED, ""),
        ("B", Outcome.UNREADABLE, "cut off"),
        (None, Outcome.FAILED, ""),
        ("B", Outcome.ANSWERED, "why"),
    ):
        with pytest.raises(ValueError, match="do not fit the outcome"):
            Said(text, outcome, reason)


def test_earlier_turns_come_first_and_bring_their_pictures() -> None:
    first, second = Shown(Path("a.png"), reference=True), Shown(Path("b.png"))
    prompt = Prompt((Turn("user", ("And why?",)),), "And why?")
    whole = prompt.after([Turn("user", (first, "look", second)), Turn("assistant", ("Yes",))])
    assert [turn.role for turn in whole.turns] == ["user", "assistant", "user"]
    assert list(whole.pictures) == [first, second]
    assert list(prompt.pictures) == []


def test_a_picture_is_scaled_down_and_never_up(tmp_path: Path, picture: Callable[..., NDArray[np.uint8]]) -> None:
    path = tmp_path / "part.png"
    Image.fromarray(picture(0, 60, 120)).save(path)
    assert open_picture(Shown(path), 40).size == (40, 20)
    assert open_picture(Shown(path), None).size == open_picture(Shown(path), 500).size == (120, 60)
    halves = np.zeros((60, 120, 3), np.uint8)
    halves[:, 1::2] = 200  # the mean of each cell, not one of its pixels
    Image.fromarray(halves).save(path)
    assert np.asarray(open_picture(Shown(path), 60)).tolist() == np.full((30, 60, 3), 100).tolist()
    with pytest.raises(ImageError, match="gone"):
        open_picture(Shown(tmp_path / "gone.png"), None)
