"""`genau recipe` and what the other verbs do with a recipe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau import checkpoints
from genau.cli.recipes import parse_severity
from genau.errors import UsageError
from genau.inspector import Inspector
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.regions import SeverityRules

Draw = Callable[..., NDArray[np.uint8]]
Genau = Callable[..., Any]


@pytest.fixture
def folder(trained_looking: GenAUModel, processor: GenAUProcessor, tmp_path: Path) -> Path:
    checkpoints.save_merged(tmp_path / "model", trained_looking, processor)
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAU_RECIPES", str(tmp_path / "recipes"))
    return tmp_path / "recipes"


@pytest.fixture
def parts(picture: Draw, tmp_path: Path) -> Path:
    """`good/` with six pictures and `line/` with two."""
    for name, seeds in (("good", range(6)), ("line", range(10, 12))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            Image.fromarray(picture(seed, spot=seed == 11)).save(tmp_path / name / f"{seed}.png")
    return tmp_path


@pytest.fixture
def connector(genau: Genau, folder: Path, parts: Path) -> Any:
    options = [
        "--types",
        "scratch=thin bright line, dent",
        "--product",
        "plug",
        "--severity",
        "moderate=0.01, dent=severe",
    ]
    run = genau("recipe", "create", "connector", "--reference", parts / "good", "--model", folder, *options)
    assert run.code == 0, run.err
    return run


def test_a_recipe_is_made_shown_listed_and_removed(connector: Any, genau: Genau, place: Path) -> None:
    assert "references          6" in connector.out
    assert "genau calibrate --recipe connector" in connector.err
    shown = json.loads(genau("recipe", "show", "connector", "--json").out)
    assert shown["types"] == {"scratch": "thin bright line", "dent": None}
    assert shown["severity"] == {"moderate": 0.01, "severe": 0.05, "types": {"dent": "severe"}}
    assert [Path(one["file"]).name for one in shown["references"]] == [f"{number}.png" for number in range(6)]
    assert genau("recipe", "list").out.startswith("connector  plug  6 references")
    assert [one["name"] for one in json.loads(genau("recipe", "list", "--json").out)] == ["connector"]
    assert genau("recipe", "remove", "connector", "--yes").code == 0
    assert not (place / "connector").exists()
    assert "There are no recipes" in genau("recipe", "list").err


def test_a_calibrated_recipe_inspects_as_its_parts_would(
    connector: Any, genau: Genau, folder: Path, parts: Path, place: Path
) -> None:
    more = parts / "more"
    more.mkdir()
    for seed in range(20, 23):
        rng = np.random.default_rng(seed)
        Image.fromarray(rng.normal(150, 8, (90, 140, 3)).clip(0, 255).astype(np.uint8)).save(more / f"{seed}.png")
    page = parts / "pages" / "c.html"
    options = ["--target-false-alarms", "0.5", "--report", page]
    run = genau("calibrate", "--recipe", "connector", "--good", more, *options)
    assert run.code == 0, run.err
    assert page.is_file()
    assert "now in the recipe" in run.err
    kept = json.loads((place / "connector" / "thresholds.json").read_text())
    assert kept["expected"]["good"] == 3
    assert "recipe connector" in kept["data"]
    assert not Path("thresholds.json").exists()
    run = genau("inspect", "--recipe", "connector", parts / "line", "--no-analysis", "--jsonl", "-o", parts / "out")
    assert run.code == 0, run.err
    assert {row["threshold"] for row in run.rows} == {kept["image"]}
    assert [list(row["types"]) for row in run.rows] == [["scratch", "dent"]] * 2
    facts = json.loads((parts / "out" / "run.json").read_text())
    assert facts["settings"]["recipe"] == "connector"
    assert facts["fingerprint"] == checkpoints.fingerprint(folder)
    by_hand = genau(
        "inspect", parts / "line", "--model", folder, "--reference", parts / "good", "--product", "plug",
        "--types", "scratch=thin bright line, dent", "--no-analysis", "--jsonl",
    )  # fmt: skip
    assert [row["pred_score"] for row in by_hand.rows] == [row["pred_score"] for row in run.rows]
    assert facts["settings"]["threshold set by"] == kept["method"]
    genau(
        "inspect", "--recipe", "connector", "--threshold", "0.4", parts / "line", "--no-analysis", "-o", parts / "set"
    )
    by_hand_facts = json.loads((parts / "set" / "run.json").read_text())
    assert by_hand_facts["settings"]["threshold set by"] == "the command line"
    alert = genau(
        "inspect", "--recipe", "connector", "--sensitivity", "100", parts / "line", "--no-analysis", "--jsonl"
    )
    assert {row["threshold"] for row in alert.rows} == {0.0}


def test_what_a_recipes_tiles_cost_is_told_before_the_run(genau: Genau, folder: Path, parts: Path) -> None:
    made = genau("recipe", "create", "fine", "--model", folder, "--tile", "100", "--overlap", "0.1")
    assert made.code == 0, made.err
    run = genau("inspect", "--recipe", "fine", parts / "line", "--no-analysis", "--jsonl")
    assert run.code == 0, run.err
    assert "140x90: 3 views, the whole and 2 of 100 pixels" in run.err


def test_a_question_is_asked_with_a_recipe(connector: Any, genau: Genau, parts: Path) -> None:
    run = genau("ask", parts / "line" / "11.png", "Is there a dent?", "--recipe", "connector", "--jsonl")
    assert run.code == 0, run.err
    assert run.rows[0]["type"] == "dent"


def test_rebuilding_takes_other_references(connector: Any, genau: Genau, parts: Path) -> None:
    run = genau("recipe", "rebuild", "connector", "--reference", parts / "good" / "0.png")
    assert run.code == 0, run.err
    assert "references          1" in run.out
    (parts / "good" / "0.png").unlink()
    gone = genau("recipe", "rebuild", "connector")
    assert gone.code == 1
    assert "A reference cannot be used" in gone.err


def test_an_outdated_recipe_is_refused_with_the_command_that_helps(
    connector: Any, genau: Genau, folder: Path, parts: Path
) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"context_neighbours": 4}
    (folder / "config.json").write_text(json.dumps(config))
    run = genau("inspect", "--recipe", "connector", parts / "line")
    assert run.code == 1
    assert "genau recipe rebuild connector" in run.err
    again = genau("recipe", "rebuild", "connector")
    assert again.code == 0, again.err
    assert "Calibrate the recipe anew" in again.err
    assert genau("inspect", "--recipe", "connector", parts / "line", "--no-analysis").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("create", "a/b"), "'a/b' cannot be the name of a recipe"),
        (("create", "connector"), "There is a recipe"),
        (("create", "new", "--severity", "harsh=1"), "'harsh=1' is no rule of severity"),
        (("create", "new", "--severity", "moderate=0.5"), "must rise"),
        (("create", "new", "--tile", "12"), "at least 64"),
        (("show", "plug"), "There is no recipe 'plug'. There are connector."),
        (("rebuild", "conector"), "Did you mean 'connector'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    connector: Any, genau: Genau, place: Path, options: tuple[str, ...], words: str
) -> None:
    run = genau("recipe", *options)
    assert run.code == 2
    assert words in run.err
    assert sorted(path.name for path in place.iterdir()) == ["connector"]


def test_a_recipe_and_a_model_are_not_both_named(connector: Any, genau: Genau, parts: Path) -> None:
    run = genau("inspect", "--recipe", "connector", "--model", "nano", parts / "line")
    assert run.code == 2
    assert "--recipe already says which model" in run.err


def test_rules_of_severity_are_read() -> None:
    assert parse_severity(None) is None
    assert parse_severity("severe=0.2") == SeverityRules(severe=0.2)
    assert parse_severity("moderate=0.1, severe=0.2, bent pin = severe") == SeverityRules(
        0.1, 0.2, {"bent pin": "severe"}
    )
    for wrong in ("moderate=much", "=severe", "crack=terrible", ""):
        with pytest.raises(UsageError, match="is no rule of severity"):
            parse_severity(wrong)


def test_a_missing_place_of_a_part_judged_normal_is_told_on_the_terminal(inspector: Inspector, picture: Draw) -> None:
    from dataclasses import replace

    from genau.cli.inspecting import _line

    words = "The score says normal, the language model's own word is defect."
    missing = "The score says normal, but good parts have something that is missing here: left."
    result = replace(inspector.inspect(picture(1), threshold=1.0, analysis=False), contradiction=f"{words} {missing}")
    assert _line(result).endswith(f"<array>  Look: {missing}")
    assert "Look" not in _line(replace(result, contradiction=words))  # the report says it
    assert "Look" not in _line(replace(result, contradiction=None))
