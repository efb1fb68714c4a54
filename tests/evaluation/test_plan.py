"""What is evaluated depends on the data and the number of references, never on the seed or the detector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import DataError, UsageError
from genau.evaluation.plan import Settings, fingerprint, make_plan


def images(folder: Path, **settings: Any) -> list[list[str]]:
    runs = make_plan(Settings((folder,), **settings))
    return [[sample.image.name for unit in run.units for sample in unit.samples] for run in runs]


def without_splits(folder: Path) -> Path:
    """Put every picture into one split; those whose number is equal show the same part."""
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["split"], row["group"] = "train", Path(row["image"]).stem.split("_")[-1]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_only_the_test_split_is_evaluated_and_references_come_from_the_others(make_set: Any) -> None:
    (run,) = make_plan(Settings((make_set(),), references=(2,)))
    assert run.split == "test"
    assert [unit.category for unit in run.units] == ["bolt", "nut"]
    for unit in run.units:
        assert {sample.split for sample in unit.samples} == {"test"}
        assert len(unit.samples) == 10
        assert len(unit.task.references) == 2
        assert all(unit.category in path.name and "train" in path.name for path in unit.task.references)
        assert unit.task.product == f"steel {unit.category}"


def test_every_run_sees_the_same_pictures_and_only_references_depend_on_the_seed(make_set: Any) -> None:
    folder = without_splits(make_set(good=20, train=0, categories=("bolt",)))
    settings = Settings((folder,), references=(0, 1, 2), seeds=(0, 1, 2), most=3)
    runs = make_plan(settings)
    assert [(run.references, run.seed) for run in runs] == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert len({tuple(sample.image for sample in run.units[0].samples) for run in runs}) == 1
    assert len({run.units[0].task.references for run in runs[4:]}) > 1
    assert make_plan(settings) == runs
    assert len(runs[0].units[0].samples) == 6


def test_no_part_is_both_a_reference_and_evaluated(make_set: Any) -> None:
    folder = without_splits(make_set(good=20, train=0, bad=20, categories=("bolt",)))
    for run in make_plan(Settings((folder,), references=(1, 4), seeds=(0, 1))):
        (unit,) = run.units
        numbers = {path.stem.split("_")[-1] for path in unit.task.references}
        assert {sample.group for sample in unit.samples} <= {str(number) for number in range(20)}
        assert numbers.isdisjoint(sample.group for sample in unit.samples)


def test_pictures_can_be_reserved_so_that_runs_without_references_are_comparable(make_set: Any) -> None:
    folder = without_splits(make_set(good=20, train=0, categories=("bolt",)))
    assert images(folder, references=(0,), reserve=2)[0] == images(folder, references=(2,))[0]
    assert images(folder, references=(0,))[0] != images(folder, references=(2,))[0]


def test_a_type_is_a_candidate_in_its_category_or_in_the_whole_set(make_set: Any) -> None:
    folder = make_set(bad=1)  # both categories have dents only
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["types"] = ["scratch"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def candidates(types: str) -> list[list[str]]:
        (run,) = make_plan(Settings((folder,), types=types))  # type: ignore[arg-type]
        return [list(unit.task.types) for unit in run.units]

    assert candidates("none") == [[], []]
    assert candidates("filtered") == [["dent"], ["scratch"]]
    assert candidates("all") == [["dent", "scratch"], ["dent", "scratch"]]


def test_types_are_asked_and_counted_by_their_published_grouping(tmp_path: Path) -> None:
    for folder in ("train/good", "test/good", "test/bent_wire", "test/cable_swap"):
        (tmp_path / "mvtec" / "cable" / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / "mvtec" / "cable" / folder / "000.png")
    (run,) = make_plan(Settings((tmp_path / "mvtec",), types="unified-all"))
    (unit,) = run.units
    assert list(unit.task.types) == ["bent", "misplaced"]
    assert sorted(kind for sample in unit.samples for kind in sample.types) == ["bent", "misplaced"]


def test_a_set_without_a_published_grouping_is_not_unified(make_set: Any) -> None:
    with pytest.raises(UsageError, match=r"No grouping of types is published for the manifest layout"):
        make_plan(Settings((make_set(),), types="unified-all"))


def test_all_types_are_those_of_the_whole_set_also_where_one_category_is_asked_for(make_set: Any) -> None:
    folder = make_set(bad=1)
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["types"] = ["scratch"]  # of a nut
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = make_plan(Settings((folder,), categories=("bolt",), types="all"))
    assert list(run.units[0].task.types) == ["dent", "scratch"]


def test_candidates_of_the_callers_choice_replace_those_of_the_data(make_set: Any) -> None:
    (run,) = make_plan(Settings((make_set(),), candidates=("rust", "dent")))
    assert list(run.units[0].task.types) == ["rust", "dent"]
    with pytest.raises(UsageError, match="--types and --candidates both choose"):
        Settings((Path("x"),), types="all", candidates=("rust",))


def test_a_category_is_evaluated_though_another_is_incomplete(make_set: Any) -> None:
    folder = make_set()
    (folder / "images" / "nut_test_good_0.png").unlink()
    (run,) = make_plan(Settings((folder,), categories=("bolt",)))
    assert not run.all_categories
    with pytest.raises(DataError, match="nut_test_good_0"):
        make_plan(Settings((folder,)))


def test_units_of_similar_names_have_files_of_their_own(make_set: Any) -> None:
    (run,) = make_plan(Settings((make_set(categories=("metal nut", "metal_nut", "Metal nut")),)))
    assert len({unit.key.casefold() for unit in run.units}) == 3
    assert all(unit.key.isascii() and " " not in unit.key for unit in run.units)


def test_of_several_products_in_a_category_none_is_named(make_set: Any) -> None:
    folder = make_set(categories=("bolt",))
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["product"] = "brass bolt"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = make_plan(Settings((folder,)))
    assert run.units[0].task.product is None
    assert run.units[0].products == {"steel bolt", "brass bolt"}


def test_more_references_than_good_pictures_are_refused_with_their_number(make_set: Any) -> None:
    with pytest.raises(DataError, match=r"'bolt' has 3 good pictures that may serve as references, 4 were asked for"):
        make_plan(Settings((make_set(),), references=(4,)))


def test_a_category_that_does_not_exist_is_answered_with_the_closest(make_set: Any) -> None:
    with pytest.raises(DataError, match=r"no category 'bold'. Did you mean 'bolt'\?"):
        make_plan(Settings((make_set(),), categories=("bold",)))


def test_some_categories_are_said_not_to_be_all(make_set: Any) -> None:
    folder = make_set()
    assert make_plan(Settings((folder,)))[0].all_categories
    assert not make_plan(Settings((folder,), categories=("nut",)))[0].all_categories


def test_two_sets_of_one_name_are_refused(make_set: Any, tmp_path: Path) -> None:
    first = make_set()
    second = tmp_path / "copy"
    second.symlink_to(first)
    with pytest.raises(UsageError, match=r"are both data sets called 'parts'. Evaluate them one by one"):
        make_plan(Settings((first, second)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": ()}, "Name a folder with --data"),
        ({"references": (-1,)}, "at least 0"),
        ({"references": (1, 1)}, "different whole numbers"),
        ({"seeds": ()}, "different whole numbers"),
        ({"types": "some"}, "not one of none, filtered, all, unified-filtered"),
        ({"most": 0}, "most=0 is less than 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings(**({"data": (Path("x"),)} | settings))


def test_the_fingerprint_changes_with_the_pictures_and_not_with_the_place(make_set: Any) -> None:
    folder = make_set()
    settings = Settings((folder,), references=(1,))
    before = fingerprint(settings, make_plan(settings))
    assert fingerprint(settings, make_plan(settings)) == before
    moved = folder.rename(folder.with_name("elsewhere"))
    elsewhere = Settings((moved,), references=(1,))
    assert fingerprint(elsewhere, make_plan(elsewhere)) == before
    annotations = moved / "annotations.jsonl"
    annotations.write_text(annotations.read_text().replace('"types": ["scratch"]', '"types": ["dent"]'))
    assert fingerprint(elsewhere, make_plan(elsewhere)) != before
    fewer = Settings((moved,), references=(1,), most=2)
    assert fingerprint(fewer, make_plan(fewer)) != before
