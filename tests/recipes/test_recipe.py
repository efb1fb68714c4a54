"""Recipes on disk: made whole or not at all, refused where they do not fit, with what a person should look at."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from genau import checkpoints
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import ImageError, RecipeError, UsageError
from genau.inspector import Inspector
from genau.memories import load_memories
from genau.recipes import Recipe, find, make, names, remake, remove
from genau.recipes import folder as folders
from genau.recipes.folder import MEMORY, RECIPE, ROI, check_name, replacing
from genau.recipes.making import odd_ones
from genau.regions import SeverityRules
from genau.results import Verdict
from genau.views import ViewMemories

Draw = Callable[..., NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where recipes lie, with a tiny model behind every name."""
    monkeypatch.setenv("GENAU_RECIPES", str(tmp_path / "recipes"))
    return tmp_path / "recipes"


@pytest.fixture
def tiny(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> Inspector:
    checkpoint = Checkpoint("tiny", inspector.model, inspector.processor, inspector.thresholds)
    monkeypatch.setattr(checkpoints, "load", lambda name: checkpoint)
    monkeypatch.setattr(checkpoints, "fingerprint", lambda name: "first")
    return inspector


@pytest.fixture
def good(tmp_path: Path, picture: Draw) -> list[Path]:
    """Six pictures of good parts."""
    paths = [tmp_path / "good" / f"{number}.png" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        Image.fromarray(picture(number)).save(path)
    return paths


def test_what_is_written_is_what_is_read(tiny: Inspector, good: list[Path], place: Path) -> None:
    roi = np.zeros((90, 140), np.bool_)
    roi[10:80, 20:120] = True
    recipe = make(
        tiny,
        "connector",
        references=good[:3],
        product="plug  connector",
        types={"scratch": "thin bright line", "bent pin": None},
        roi=roi,
        severity=SeverityRules(0.01, 0.1, {"bent pin": "severe"}),
    )
    recipe = replace(recipe, thresholds=Thresholds(0.7, method="f1", types={"scratch": 0.4}), sensitivity=60.0)
    folder = recipe.save(place / "connector")
    assert sorted(path.name for path in folder.iterdir()) == sorted([RECIPE, MEMORY, ROI, "thresholds.json"])
    read = Recipe.load("connector")
    for name in ("name", "model", "fingerprint", "product", "types", "tile", "overlap", "severity", "sensitivity"):
        assert getattr(read, name) == getattr(recipe, name), name
    assert read.product == "plug connector"
    assert read.thresholds == recipe.thresholds
    assert read.references == recipe.references
    assert [Path(one.file) for one in read.references] == [path.resolve() for path in good[:3]]
    assert (read.references[0].width, read.references[0].height) == (140, 90)
    assert np.array_equal(read.roi, roi)  # type: ignore[arg-type]
    first, second = recipe.memory, read.memory
    assert first is not None and second is not None
    assert not isinstance(first, ViewMemories) and not isinstance(second, ViewMemories)
    assert second.pictures == 3
    for mine, theirs in zip(first.scales, second.scales, strict=True):
        assert torch.equal(mine.patches, theirs.patches)
        assert torch.equal(mine.distance, theirs.distance)
        assert torch.equal(mine.stands_for, theirs.stands_for)


def test_inspecting_with_a_recipe_is_inspecting_with_what_it_holds(
    tiny: Inspector, good: list[Path], place: Path, picture: Draw
) -> None:
    roi = np.zeros((90, 140), np.bool_)
    roi[:60] = True
    recipe = make(tiny, "connector", references=good[:2], product="plug", types=["dent"], roi=roi)
    replace(recipe, thresholds=Thresholds(0.9)).save(place / "connector")
    part = picture(9, spot=True)
    with_recipe = Inspector.from_recipe("connector").inspect(part)
    tiny.thresholds = Thresholds(0.9)
    by_hand = tiny.inspect(part, references=good[:2], product="plug", types=["dent"], roi=roi)
    assert with_recipe.pred_score == by_hand.pred_score
    assert with_recipe.types == by_hand.types
    assert with_recipe.threshold == 0.9
    assert np.array_equal(with_recipe.anomaly_map, by_hand.anomaly_map)
    (many,) = Inspector.from_recipe("connector").inspect_many([part])
    assert many.pred_score == pytest.approx(by_hand.pred_score, abs=1e-6)
    alone = tiny.inspect(part)
    assert alone.pred_score != by_hand.pred_score
    given = Inspector.from_recipe("connector").inspect(part, types=["scratch"], references=good[4:])
    assert list(given.types) == ["scratch"]
    assert given.pred_score == tiny.inspect(part, references=good[4:], product="plug", roi=roi).pred_score


def test_sensitivity_moves_the_recipes_threshold(tiny: Inspector, place: Path) -> None:
    recipe = replace(make(tiny, "plain"), thresholds=Thresholds(0.4, method="f1"), sensitivity=75.0)
    recipe.save(place / "plain")
    assert Inspector.from_recipe("plain").thresholds.image == pytest.approx(0.2)
    assert Recipe.load("plain").thresholds.image == 0.4


def test_severity_follows_the_recipes_rules(
    tiny: Inspector, place: Path, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genau.writer.MAX_FREE_TOKENS", 400)
    tiny.model.config.writes_analysis = True
    roi = np.zeros((90, 140), np.bool_)
    roi[40:52, 60:75] = True  # 1.4 % of the picture
    said = []
    for name, rules in (
        ("usual", SeverityRules()),
        ("lenient", SeverityRules(moderate=0.02)),
        ("strict", SeverityRules(types={"unknown": "severe"})),
    ):
        recipe = replace(make(tiny, name, roi=roi, severity=rules), thresholds=Thresholds(0.0, pixel=0.0))
        recipe.save(place / name)
        analysis = Inspector.from_recipe(name).inspect(picture(1)).analysis
        assert analysis is not None
        said.append(analysis.severity)
    assert said == ["moderate", "minor", "severe"]


def test_tiles_of_a_recipe_hold_for_pictures_that_are_larger(
    tiny: Inspector, good: list[Path], place: Path, picture: Draw
) -> None:
    recipe = make(tiny, "tiled", references=good[:2], tile=100)
    recipe.save(place / "tiled")
    read = Recipe.load("tiled")
    assert isinstance(read.memory, ViewMemories)
    assert read.memory.tile == 100
    inspector = Inspector.from_recipe("tiled")
    seen = inspector.see(picture(3))
    assert seen.tiling is not None and len(seen.tiling.boxes) == 2
    small = inspector.see(picture(3, height=60, width=80))
    assert small.tiling is None
    sizes = [(len(list(inspector.inspect_many([one]))), one.shape) for one in (picture(3), picture(3, 60, 80))]
    assert [count for count, _ in sizes] == [1, 1]


def test_another_model_is_refused_with_the_command_that_rebuilds(
    tiny: Inspector, good: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = replace(make(tiny, "connector", references=good[:1]), thresholds=Thresholds(0.7, method="f1"))
    calibrated.save(place / "connector")
    monkeypatch.setattr(checkpoints, "fingerprint", lambda name: "second")
    with pytest.raises(RecipeError, match=r"fingerprint first, here second.*genau recipe rebuild connector"):
        Inspector.from_recipe("connector")
    again = remake(Recipe.load("connector", with_memory=False), tiny)
    assert again.fingerprint == "second"
    assert again.thresholds == tiny.thresholds
    again.save(place / "connector", overwrite=True)
    assert Inspector.from_recipe("connector").setup.references is not None


def test_rebuilding_keeps_thresholds_where_the_model_is_the_same(tiny: Inspector, good: list[Path]) -> None:
    recipe = replace(make(tiny, "connector", references=good[:1]), thresholds=Thresholds(0.7, method="f1"))
    again = remake(recipe, tiny, good[2:4])
    assert again.thresholds.image == 0.7
    assert [Path(one.file).name for one in again.references] == ["2.png", "3.png"]


def test_a_recipe_of_another_version_says_so_and_can_be_rebuilt(tiny: Inspector, good: list[Path], place: Path) -> None:
    make(tiny, "old", references=good[:1]).save(place / "old")
    settings = yaml.safe_load((place / "old" / RECIPE).read_text())
    settings["memory_version"] = 0
    (place / "old" / RECIPE).write_text(yaml.safe_dump(settings))
    with pytest.raises(RecipeError, match=r"memory 0, here 1.*genau recipe rebuild old"):
        Recipe.load("old")
    remake(Recipe.load("old", with_memory=False), tiny).save(place / "old", overwrite=True)
    assert Recipe.load("old").memory is not None


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a\\b", "-x", "x" * 81, "end.", "tab\t", "ü"])
def test_names_that_are_no_folder_everywhere_are_refused(tiny: Inspector, place: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a recipe"):
        check_name(name)


def test_there_is_one_recipe_of_a_name(tiny: Inspector, place: Path) -> None:
    make(tiny, "connector").save(place / "connector")
    with pytest.raises(UsageError, match=r"There is a recipe .* already.*rebuild connector"):
        make(tiny, "connector").save(place / "connector")
    replace(make(tiny, "connector"), product="other").save(place / "connector", overwrite=True)
    assert Recipe.load("connector").product == "other"


def test_an_unknown_recipe_names_those_that_are_there(tiny: Inspector, place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no recipe 'plug'. There are none in .*genau recipe create"):
        find("plug")
    make(tiny, "plugs").save(place / "plugs")
    make(tiny, "board").save(place / "board")
    assert names() == ["board", "plugs"]
    with pytest.raises(UsageError, match=r"There are board, plugs. Did you mean 'plugs'\?"):
        find("plug")
    assert find(place / "board") == place / "board"
    (place / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no recipe.yaml"):
        find("empty")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "surprise: extra inputs are not permitted"),
        ({"overlap": 2}, "overlap: input should be less than"),
        ({"types": {"": None}}, "empty"),
        ({"name": None}, "name: input should be a valid string"),
    ],
)
def test_a_damaged_recipe_yaml_is_named_with_its_line(
    tiny: Inspector, place: Path, change: dict[str, Any], words: str
) -> None:
    file = make(tiny, "connector").save(place / "connector") / RECIPE
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change))
    with pytest.raises(RecipeError, match=words) as caught:
        Recipe.load("connector")
    assert "recipe.yaml cannot be used" in str(caught.value)
    file.write_text(": : :")
    with pytest.raises(RecipeError, match=r"recipe\.yaml cannot be used"):
        Recipe.load("connector")


def test_a_damaged_or_missing_memory_is_an_error_and_never_no_references(
    tiny: Inspector, good: list[Path], place: Path
) -> None:
    folder = make(tiny, "connector", references=good[:1]).save(place / "connector")
    memory = (folder / MEMORY).read_bytes()
    (folder / MEMORY).write_bytes(memory[: len(memory) // 2])
    with pytest.raises(RecipeError, match=r"references.safetensors is damaged.*rebuild"):
        Recipe.load("connector")
    (folder / MEMORY).unlink()
    with pytest.raises(RecipeError, match=r"references.safetensors is missing.*genau recipe rebuild connector"):
        Recipe.load("connector")
    with pytest.raises(RecipeError, match="is damaged"):
        load_memories(folder / RECIPE)


def test_a_full_disk_leaves_the_old_recipe(
    tiny: Inspector, good: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tiny, "connector", references=good[:1]).save(place / "connector")
    before = {path.name: path.read_bytes() for path in (place / "connector").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genau.recipes.recipe.save_memories", full)
    with pytest.raises(RecipeError, match=r"cannot be written \(No space left on device\).*untouched"):
        make(tiny, "connector", references=good[:2]).save(place / "connector", overwrite=True)
    assert {path.name: path.read_bytes() for path in (place / "connector").iterdir()} == before
    assert [path.name for path in place.iterdir()] == ["connector"]


def test_a_move_that_fails_puts_the_old_recipe_back(
    tiny: Inspector, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(make(tiny, "connector"), product="old").save(place / "connector")
    rename = Path.rename

    def fails_at_the_second(path: Path, target: Path) -> Path:
        if path.name.endswith(".writing"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_at_the_second)
    with pytest.raises(RecipeError, match="Input/output error"):
        replace(make(tiny, "connector"), product="new").save(place / "connector", overwrite=True)
    assert Recipe.load("connector").product == "old"


def test_two_processes_do_not_write_one_recipe_at_once(tiny: Inspector, place: Path) -> None:
    with replacing(place / "connector"), pytest.raises(UsageError, match="Another process is writing the recipe"):
        make(tiny, "connector").save(place / "connector", overwrite=True)
    (place / ".plug.writing").mkdir()  # of a process that was killed
    with pytest.raises(UsageError, match=r"if it was killed, remove '.*\.plug\.writing'"):
        make(tiny, "plug").save(place / "plug")


def test_a_folder_that_may_not_be_written_is_named(tiny: Inspector, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="cannot be written"):
        make(tiny, "connector").save(tmp_path / "file" / "connector")


def test_a_recipe_is_removed_but_never_what_else_lies_there(tiny: Inspector, place: Path, good: list[Path]) -> None:
    folder = make(tiny, "connector", references=good[:1]).save(place / "connector")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"also holds notes.txt"):
        remove("connector")
    (folder / "notes.txt").unlink()
    assert remove("connector") == folder
    assert not folder.exists()
    assert all(path.exists() for path in good)


def test_references_with_a_defect_stand_out(tiny: Inspector, good: list[Path], picture: Draw) -> None:
    bad = picture(20)
    bad[30:60, 50:90] = np.indices((30, 40)).sum(0)[..., None] % 2 * np.array([250, 20, 20], np.uint8)
    Image.fromarray(bad).save(good[2])
    recipe = make(tiny, "connector", references=good)
    worst = max(recipe.references, key=lambda one: one.oddness)
    assert Path(worst.file).name == "2.png"
    assert [Path(one.file).name for one in recipe.references if one.odd] == ["2.png"]
    assert any("2.png is unlike the other references" in note for note in recipe.notes)


def test_few_or_equal_references_are_never_called_odd() -> None:
    assert odd_ones([0.1, 0.1, 0.9, 0.1]) == [False] * 4
    assert odd_ones([0.2] * 8) == [False] * 8
    assert odd_ones([0.20, 0.20, 0.20, 0.20, 0.21]) == [False] * 5
    assert odd_ones([0.20, 0.21, 0.22, 0.19, 0.50]) == [False] * 4 + [True]


def test_references_of_several_sizes_are_told(tiny: Inspector, good: list[Path], picture: Draw) -> None:
    Image.fromarray(picture(1, height=60, width=80)).save(good[1])
    recipe = make(tiny, "connector", references=good[:3])
    assert any("2 of 140x90, 1 of 80x60" in note for note in recipe.notes)


def test_a_reference_that_cannot_be_used_stops_the_recipe(tiny: Inspector, good: list[Path], picture: Draw) -> None:
    with pytest.raises(ImageError, match=r"region of interest is 100x50 pixels, but the reference .*0.png is 140x90"):
        make(tiny, "connector", references=good[:2], roi=np.ones((50, 100), np.bool_))
    good[1].write_text("no picture")
    with pytest.raises(ImageError, match="A reference cannot be used"):
        make(tiny, "connector", references=good[:2])
    good[1].unlink()
    with pytest.raises(ImageError, match="A reference cannot be used"):
        remake(make(tiny, "connector", references=good[:1]), tiny, good[1:2])


def test_what_is_outside_the_region_of_interest_is_not_told_to_the_decoder(inspector: Inspector, picture: Draw) -> None:
    roi = np.zeros((90, 140), np.bool_)
    roi[:, :40] = True
    part = picture(3, spot=True)
    changed = part.copy()
    heard: list[torch.Tensor] = []
    inspector.model.context_token.register_forward_hook(lambda _, told, __: heard.append(told[0].detach()))
    inspector.see(changed, roi=roi)
    inspector.see(changed)
    inside, everywhere = heard
    assert (inside[..., :1].flatten().sort().values != everywhere[..., :1].flatten().sort().values).any()
    outside = (inside[0, :, 0] == -5.0).sum()  # quiet: the largest margin of a token's cells
    assert outside > (everywhere[0, :, 0] == -5.0).sum()
    quiet = inside[0][inside[0, :, 0] == -5.0]
    assert (quiet[:, 2:10] == 0).all()  # nothing of the context either


def test_the_environment_or_the_working_directory_says_where_recipes_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert folders.recipes_folder() == tmp_path / "recipes"
    monkeypatch.delenv("GENAU_RECIPES")
    assert folders.recipes_folder() == Path("recipes")
    assert os.environ.get("GENAU_RECIPES") is None


def test_verdicts_follow_the_recipes_threshold(tiny: Inspector, place: Path, picture: Draw) -> None:
    for name, threshold, verdict in (("lenient", 1.0, Verdict.NORMAL), ("harsh", 0.0, Verdict.DEFECT)):
        replace(make(tiny, name), thresholds=Thresholds(threshold)).save(place / name)
        assert Inspector.from_recipe(name).inspect(picture(1)).verdict is verdict


def test_a_process_killed_between_two_moves_leaves_the_old_recipe_to_be_found(tiny: Inspector, place: Path) -> None:
    replace(make(tiny, "connector"), product="old").save(place / "connector")
    (place / "connector").rename(place / ".connector.old")
    with pytest.raises(UsageError, match=r"killed. What it was before lies in '.*\.connector\.old': rename that"):
        Recipe.load("connector")
    with pytest.raises(RuntimeError), replacing(place / "connector"):
        raise RuntimeError
    assert Recipe.load("connector").product == "old"


@pytest.mark.parametrize("name", ["roi.png", "thresholds.json"])
def test_a_missing_part_of_a_recipe_is_an_error_and_never_another_decision(
    tiny: Inspector, place: Path, name: str
) -> None:
    folder = make(tiny, "connector", roi=np.eye(90, 140, dtype=np.bool_)).save(place / "connector")
    (folder / name).unlink()
    with pytest.raises(RecipeError, match=f"{name} is missing. Put it back"):
        Recipe.load("connector")


def test_a_recipe_whose_thresholds_are_the_models_asks_to_be_calibrated(tiny: Inspector) -> None:
    recipe = replace(make(tiny, "plain"), thresholds=Thresholds(0.6, method="set on other parts"))
    assert any("genau calibrate --recipe plain" in note for note in recipe.notes)
    calibrated = replace(recipe, thresholds=Thresholds(0.6, expected={"good": 30.0}))
    assert calibrated.notes == []
