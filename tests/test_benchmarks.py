"""The tables of the documentation are those of the runs' own files."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genau.metrics import auroc

ROOT = Path(__file__).parent.parent
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def writer() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "make_benchmarks.py"))


@pytest.mark.parametrize("name", ["benchmarks.md", "ablations.md"])
def test_the_page_is_what_the_runs_say(writer: dict[str, Any], name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert writer["written"](page) == page, "run: python tools/make_benchmarks.py"


def test_every_run_of_the_script_has_its_file_and_its_command() -> None:
    runs = runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))["RUNS"]
    assert {path.stem for path in RESULTS} == set(runs)
    for path in RESULTS:
        assert json.loads(path.read_text())["command"].startswith("genau eval --data $GENAU_DATA/")


def test_a_changed_figure_changes_the_page(writer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    monkeypatch.setitem(writer["TABLES"], "visa", lambda: "\n| another | table |\n| --- | --- |\n\n")
    assert writer["written"](page) != page


@pytest.mark.parametrize(("helped", "believed"), [(2, False), (50, True)])
def test_a_weight_of_the_word_must_be_worth_it(helped: int, believed: bool) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "release_nano.py"))
    labels, guess = np.tile([0.0, 1.0], 50), np.random.default_rng(0).random(100)
    word = guess.copy()
    word[1 : 2 * helped : 2] += 0.3  # of the first defective pictures
    gain = auroc(word, labels > 0) - auroc(guess, labels > 0)
    assert (gain >= tool["WORTH"]) is believed
    assert gain > 0
    weight, _, _ = tool["choose"]({"dev/0": np.stack([labels, guess, word], 1)})
    assert (weight > 0) is believed
