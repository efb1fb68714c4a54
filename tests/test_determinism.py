"""The same pictures give the same files, byte by byte, on one machine; and the same scores in batches of any size."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genau import weights

EXAMPLES = Path(__file__).parent.parent / "examples" / "pictures"
Genau = Callable[..., Any]


@pytest.fixture(params=["tiny", "nano"])
def model(request: pytest.FixtureRequest) -> object:
    """The tiny model, and the shipped one where its base lies in the cache."""
    if request.param == "tiny":
        return request.getfixturevalue("folder")
    if not (weights.base_folder() / "base.json").is_file() or os.environ.get("GENAU_TEST_SLOW") != "1":
        pytest.skip("Set GENAU_TEST_SLOW=1 with nano's base in the cache; this takes about a minute.")
    return "nano"


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of a run's files by name; of results.jsonl without the wall times."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == "results.jsonl" or name.startswith(("masks/", "overlays/")):
            found[name] = path.read_bytes()
    rows = [json.loads(line) for line in found["results.jsonl"].splitlines()]
    assert all(row.pop("timing_ms") for row in rows)
    return found | {"results.jsonl": json.dumps(rows).encode()}


@pytest.mark.parametrize("tiles", [(), ("--tile", "200")])
def test_two_runs_give_the_same_bytes(genau: Genau, model: object, tmp_path: Path, tiles: tuple[str, ...]) -> None:
    told = ("inspect", EXAMPLES, "--model", model, "--types", "scratch, dent", *tiles)
    if tiles:
        told = ("inspect", EXAMPLES / "capsules_bad_1.jpg", *told[2:])
    for run in ("one", "two"):
        assert genau(*told, "-o", tmp_path / run).code == 0
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert len([name for name in one if name.startswith("masks/")]) >= (1 if tiles else 6)
    assert len([name for name in one if name.startswith("overlays/")]) == (1 if tiles else 6)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_batches_of_one_and_three_give_the_same_verdicts_and_scores(genau: Genau, model: object) -> None:
    told = ("inspect", EXAMPLES, "--model", model, "--types", "scratch, dent", "--jsonl")
    ones, threes = (genau(*told, "--batch-size", size).rows for size in (1, 3))
    assert len(ones) == len(threes) == 6
    for one, other in zip(ones, threes, strict=True):
        assert (one["image"], one["verdict"]) == (other["image"], other["verdict"])
        for name in ("pred_score", "map_score", "text_score"):
            assert one[name] == pytest.approx(other[name], abs=1e-4)
        assert one["types"] == pytest.approx(other["types"], abs=1e-4)
