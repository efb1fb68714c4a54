"""Where visual tokens stand among the words of a picture."""

import pytest

from genau.errors import CheckpointError
from genau.layouts import LAYOUTS, FixedLayout, layout_of, layout_settings


def test_a_fixed_layout_has_the_same_tokens_for_every_picture() -> None:
    assert FixedLayout(64).pieces((90, 640)) == FixedLayout(64).pieces((640, 640)) == [64]


def test_a_layout_comes_back_from_its_settings() -> None:
    assert layout_settings(FixedLayout(7)) == {"kind": "fixed", "tokens": 7}
    assert layout_of({"kind": "fixed", "tokens": 7}) == FixedLayout(7)


def test_an_unknown_layout_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"'fixd' is not one of fixed.*Did you mean 'fixed'"):
        layout_of({"kind": "fixd"})
    assert "fixed" in LAYOUTS


def test_a_layout_with_other_numbers_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"does not fit 'fixed'.*Save it again"):
        layout_of({"kind": "fixed", "cells": 7})
