"""`genau eval` as a user runs it, with a tiny model."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genau import cli

Genau = Callable[..., Any]


def test_an_evaluation_prints_its_table_and_writes_its_folder(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set()
    run = genau(
        "eval", "--model", folder, "--data", data, "--references", "0,1", "--types", "all", "-o", tmp_path / "out"
    )
    assert run.code == 0, run.err
    assert run.out.splitlines()[0].split()[:4] == ["data", "set", "references", "seed"]
    assert sum(line.startswith("parts") for line in run.out.splitlines()) == 6  # 2 runs of 2 categories and a mean
    assert "report.html" in run.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["command"].startswith("genau eval --model")
    assert [r["protocol"]["references"] for r in metrics["runs"]] == [0, 1]
    with (tmp_path / "out" / "per_category.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == ["bolt", "nut", "mean"] * 2
    assert float(rows[0]["image_auroc"]) == pytest.approx(metrics["runs"][0]["per_category"]["bolt"]["image_auroc"])


def test_two_runs_are_compared_picture_by_picture(genau: Genau, make_set: Any, folder: Path, tmp_path: Path) -> None:
    data = make_set(categories=("bolt",))
    assert genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "ours").code == 0
    assert genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "again").code == 0
    run = genau("eval", "compare", tmp_path / "ours", tmp_path / "again")
    assert run.code == 0, run.err
    assert "0.000" in run.out
    assert genau("eval", "compare", tmp_path / "ours", tmp_path / "again", "--as", "csv").out.count(",") > 10
    assert json.loads(genau("eval", "compare", tmp_path / "ours", tmp_path / "again", "--as", "json").out)


def test_a_gate_that_is_missed_ends_with_4_and_says_which(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set(bad=0, train=0, categories=("bolt",))
    run = genau("eval", "--model", folder, "--data", data, "--min-image-auroc", "0.1", "-o", tmp_path / "out")
    assert run.code == cli.EXIT_GATE
    assert "Gate missed: image_auroc of parts, 0 references, seed 0 is n/a, at least 0.1" in run.err


def test_pictures_that_cannot_be_inspected_end_with_3(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set(categories=("bolt",))
    (data / "images" / "bolt_test_good_0.png").write_bytes(b"")
    run = genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "out")
    assert run.code == cli.EXIT_SOME_FAILED
    assert "could not be inspected: 1" in run.err


def test_masks_that_cannot_be_used_end_with_3_and_are_the_reason(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set(categories=("bolt",))
    for mask in (data / "masks").iterdir():
        mask.write_bytes(b"no mask")
    run = genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "out")
    assert run.code == cli.EXIT_SOME_FAILED
    assert "Masks that could not be used: 4" in run.err
    assert "n/a: 4 masks could not be used" in run.out


def test_a_gate_is_missed_by_a_mean_over_some_of_the_categories(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set()
    rows = [json.loads(line) for line in (data / "annotations.jsonl").read_text().splitlines()]
    for row in rows:
        row["mask"] = None if row["category"] == "nut" else row["mask"]
    (data / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = genau("eval", "--model", folder, "--data", data, "--min-pixel-auroc", "0", "-o", tmp_path / "out")
    assert run.code == cli.EXIT_GATE
    assert "over 1 of 2 categories" in run.err


def test_a_run_folder_inside_the_data_set_is_refused(genau: Genau, folder: Path, make_set: Any) -> None:
    data = make_set()
    run = genau("eval", "--model", folder, "--data", data, "-o", data / "run")
    assert run.code == cli.EXIT_USAGE
    assert "lies in the data set" in run.err
    assert not (data / "run").exists()


def test_a_task_that_is_refused_leaves_no_run_folder(genau: Genau, make_set: Any, tmp_path: Path) -> None:
    data = make_set()
    (data / "images" / "nut_train_good_2.png").write_bytes(b"no picture")
    run = genau("eval", "--model", "clip", "--base", tmp_path / "none", "--data", data, "-o", tmp_path / "out")
    assert run.code != 0
    assert not (tmp_path / "out").exists()


def test_a_reference_that_cannot_be_read_is_said_before_anything_is_written(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = make_set()
    (data / "images" / "nut_train_good_2.png").write_bytes(b"no picture")
    run = genau("eval", "--model", folder, "--data", data, "--references", "3", "-o", tmp_path / "out")
    assert run.code == cli.EXIT_FAILED
    assert "A reference cannot be used" in run.err
    assert "nut_train_good_2.png" in run.err
    assert not (tmp_path / "out").exists()


def test_runs_that_share_nothing_are_not_compared_in_silence(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        data = make_set(name=name, categories=("bolt",))
        assert genau("eval", "--model", folder, "--data", data, "-o", tmp_path / f"run-{name}").code == 0
    run = genau("eval", "compare", tmp_path / "run-first", tmp_path / "run-second")
    assert run.code == cli.EXIT_USAGE
    assert "nothing in common" in run.err


def test_file_names_that_are_no_unicode_are_evaluated(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    data = tmp_path / os.fsdecode(b"caf\xe9")
    for kind in ("good", "bad"):
        (data / kind).mkdir(parents=True)
    for number, image in enumerate(sorted((make_set() / "images").iterdir())):
        shutil.copy(image, data / ("bad" if "bad" in image.name else "good") / os.fsdecode(b"part\xff%d.png" % number))
    run = genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "out")
    assert run.code == 0, run.err
    assert genau("eval", "--model", folder, "--data", data, "-o", tmp_path / "out", "--resume").code == 0


def test_a_used_folder_is_refused_until_it_is_said_what_to_do(
    genau: Genau, folder: Path, make_set: Any, tmp_path: Path
) -> None:
    arguments = ("eval", "--model", folder, "--data", make_set(categories=("bolt",)), "-o", tmp_path / "out")
    assert genau(*arguments).code == 0
    refused = genau(*arguments)
    assert refused.code == cli.EXIT_USAGE
    assert "--resume" in refused.err
    assert "--overwrite" in refused.err
    first = (tmp_path / "out" / "images.jsonl").read_bytes()
    assert genau(*arguments, "--resume").code == 0
    assert genau(*arguments, "--overwrite").code == 0
    assert (tmp_path / "out" / "images.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "genau eval needs a data set and a run folder"),
        (("--data", "DATA", "-o", "OUT", "--references", "four"), "is no list of whole numbers"),
        (("--data", "DATA", "-o", "OUT", "--types", "some"), "not one of none, filtered, all"),
        (("--data", "DATA", "-o", "OUT", "--format", "vis"), "Did you mean 'visa'"),
        (("--data", "DATA", "-o", "OUT", "--format", "visa"), "looks like the manifest layout"),
        (("--data", "DATA", "-o", "OUT", "--category", "bold"), "Did you mean 'bolt'"),
        (("--data", "DATA", "-o", "OUT", "--model", "patch-memry"), "Did you mean 'patch-memory'?"),
        (("--data", "DATA", "-o", "OUT", "--base", "x"), "--base belongs to a baseline"),
        (("--data", "DATA", "-o", "OUT", "--model", "patch-memory", "--analysis"), "writes no analysis"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    genau: Genau, make_set: Any, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    places = {"DATA": str(make_set()), "OUT": str(tmp_path / "out")}
    run = genau("eval", *(places.get(word, word) for word in arguments))
    assert run.code in {cli.EXIT_USAGE, cli.EXIT_FAILED}
    assert words in run.err
    assert not (tmp_path / "out").exists()


def test_data_check_says_what_is_in_a_folder_and_what_is_wrong(genau: Genau, make_set: Any) -> None:
    data = make_set()
    good = genau("data", "check", data)
    assert good.code == 0, good.err + good.out
    assert "manifest" in good.out
    (data / "images" / "nut_test_bad_0.png").write_bytes(b"no picture")
    bad = genau("data", "check", data)
    assert bad.code == cli.EXIT_FAILED
    assert "nut_test_bad_0.png" in bad.out
