"""The command line in this process, and twice for real: exit codes, what goes to stdout, what to stderr."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from genau import checkpoints, weights
from genau.errors import WeightsError
from genau.results import INSPECTION_SCHEMA

Draw = Callable[..., NDArray[np.uint8]]


Genau = Callable[..., Any]


@pytest.fixture
def parts(picture: Draw, tmp_path: Path) -> Path:
    """A folder of two good pictures."""
    (tmp_path / "parts" / "line").mkdir(parents=True)
    Image.fromarray(picture(1, spot=True)).save(tmp_path / "parts" / "a.png")
    Image.fromarray(picture(2, 70, 50)).save(tmp_path / "parts" / "line" / "b.JPG", "JPEG")
    return tmp_path / "parts"


@pytest.fixture(autouse=True)
def unchanged_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back the variables that the command line sets for its own process."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name)


# What a good run gives


def test_jsonl_gives_one_valid_object_per_picture_on_stdout_and_nothing_else(
    genau: Genau, folder: Path, parts: Path
) -> None:
    run = genau("inspect", parts, "--model", folder, "--jsonl", "--types", "scratch, dent=round hollow")
    assert run.code == 0
    assert [row["image"] for row in run.rows] == [str(parts / "a.png"), str(parts / "line" / "b.JPG")]
    for row in run.rows:
        assert set(row) == set(INSPECTION_SCHEMA["properties"])
        types = row["types"]
        assert isinstance(types, dict)
        assert list(types) == ["scratch", "dent"]
        assert row["verdict"] == "defect"
        assert row["error"] is None
    assert "2 defect" in run.err
    assert "{" not in run.err


def test_without_jsonl_a_line_per_picture_is_printed(genau: Genau, folder: Path, parts: Path) -> None:
    run = genau("inspect", parts, "--model", folder, "--threshold", "1")
    assert run.code == 0
    assert [line.split()[0] for line in run.out.splitlines()] == ["normal", "normal"]
    assert str(parts / "a.png") in run.out
    assert run.err.endswith("2 normal\n")


def test_the_output_folder_holds_the_whole_run(genau: Genau, folder: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = genau("inspect", parts, "--model", folder, "-o", out, "--jsonl")
    assert run.code == 0
    assert f"Report: {out / 'report.html'}" in run.err
    assert [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()] == run.rows
    assert (out / "results.csv").is_file()
    assert (out / "report.html").is_file()
    with Image.open(out / "masks" / "line" / "b.JPG.png") as mask:
        assert mask.size == (50, 70)


def test_product_references_and_region_of_interest_reach_the_model(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path
) -> None:
    roi = np.zeros((90, 140), np.uint8)
    roi[:, :50] = 255
    Image.fromarray(roi).save(tmp_path / "roi.png")
    plain = genau("inspect", parts / "a.png", "--model", folder, "--jsonl").rows[0]
    options: list[tuple[object, ...]] = [("--reference", parts), ("--roi", tmp_path / "roi.png"), ("--product", "cap")]
    for option in options:
        row = genau("inspect", parts / "a.png", "--model", folder, "--jsonl", *option).rows[0]
        changed = "text_score" if option[0] == "--product" else "map_score"
        assert row[changed] != plain[changed], option


def test_a_gate_that_was_asked_for_ends_with_4(genau: Genau, folder: Path, parts: Path) -> None:
    assert genau("inspect", parts, "--model", folder, "--fail-on-defect").code == 4
    assert genau("inspect", parts, "--model", folder).code == 0
    assert genau("inspect", parts, "--model", folder, "--fail-on-defect", "--threshold", 1).code == 0


# Bad pictures: the run goes on and ends with 3


def test_bad_pictures_among_good_ones_end_with_3_and_lose_nothing(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path
) -> None:
    alone = genau("inspect", parts, "--model", folder, "--jsonl").rows
    whole = (parts / "a.png").read_bytes()
    contents = {"b1 letter.png": b"Dear Sir", "b2 half.png": whole[: len(whole) // 2], "b3 empty.png": b""}
    for name, content in contents.items():
        (parts / name).write_bytes(content)
    out = tmp_path / "out"
    run = genau("inspect", parts, parts / "absent.png", "--model", folder, "--jsonl", "-o", out, "--fail-on-defect")
    assert run.code == 3
    errors = {Path(str(row["image"])).name: str(row["error"]) for row in run.rows if row["error"]}
    assert list(errors) == [*contents, "absent.png"]
    words = (
        "not an image of a known format",
        "is truncated or damaged",
        "is empty (0 bytes)",
        "does not exist. Check the path.",
    )
    for error, said in zip(errors.values(), words, strict=True):
        assert said in error
        assert any(advice in error for advice in ("again", "convert it", "Check the path")), error
    good = [row for row in run.rows if not row["error"]]
    for row, before in zip(good, alone, strict=True):
        assert {k: v for k, v in row.items() if k in ("image", "verdict", "defects")} == {
            k: v for k, v in before.items() if k in ("image", "verdict", "defects")
        }
    assert "2 defect, 4 unreadable" in run.err
    assert len((out / "results.jsonl").read_text().splitlines()) == 6
    assert "absent.png" in (out / "report.html").read_text()


def test_a_bad_picture_is_a_line_with_its_reason(genau: Genau, folder: Path, parts: Path) -> None:
    run = genau("inspect", parts / "a.pgn", parts / "a.png", "--model", folder)
    assert run.code == 3
    bad, good = run.out.splitlines()
    assert bad.startswith("unreadable")
    assert "does not exist. Check the path. Did you mean 'a.png'?" in bad
    assert good.startswith("defect")


def test_a_file_name_that_is_no_utf_8_does_not_end_the_run(genau: Genau, folder: Path, parts: Path) -> None:
    odd = os.fsdecode(b"odd \xff.png")
    try:
        (parts / odd).write_bytes((parts / "a.png").read_bytes())
    except OSError:
        pytest.skip("This file system takes UTF-8 names only.")
    run = genau("inspect", parts, "--model", folder, "--jsonl")
    assert run.code == 0
    assert len(run.rows) == 3


# Usage: 2, before anything is inspected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "1.5"], "The image threshold 1.5 is not between 0 and 1"),
        (["--threshold", "nan"], "The image threshold nan is not between 0 and 1"),
        (["--types", "scratch,dent,scratch"], "The type 'scratch' is given twice. Name each type once."),
        (["--types", "scratch,,dent"], "Type number 2 is empty. Name it, or leave it out."),
        (["--types", ""], "Type number 1 is empty."),
        (["--types", "x" * 300], "Type number 1 has 300 characters"),
        (["--product", "x" * 10_000], "The product's name has 10000 characters"),
        (["--model", "nanno"], "There is no model 'nanno'"),
        (["--device", "gpu"], "'gpu' is not a device. Use cpu, cuda or cuda:N."),
    ],
)
def test_an_argument_that_cannot_be_meant_ends_with_2_and_leaves_no_folder(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    model = [] if "--model" in options else ["--model", folder]
    run = genau("inspect", parts, *model, *options, "-o", tmp_path / "out")
    assert run.code == 2
    assert run.err.startswith("genau: ")
    assert words in run.err
    assert run.out == ""
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_answered_with_the_nearest_name(
    genau: Genau, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipped" / "nano").mkdir(parents=True)
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path / "shipped")
    run = genau("inspect", parts, "--model", "nanno")
    assert run.code == 2
    assert "Did you mean 'nano'?" in run.err


def test_cuda_that_is_not_there_ends_with_2(
    genau: Genau, folder: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = genau("inspect", parts, "--model", folder, "--device", "cuda")
    assert run.code == 2
    assert "cuda was asked for, but this machine offers no CUDA device. Use --device cpu." in run.err


def test_two_hundred_types_are_answered(genau: Genau, folder: Path, parts: Path) -> None:
    names = ",".join(f"type {number}" for number in range(200))
    run = genau("inspect", parts / "a.png", "--model", folder, "--jsonl", "--types", names)
    assert run.code == 0
    types = run.rows[0]["types"]
    assert isinstance(types, dict)
    assert len(types) == 200


@pytest.mark.parametrize("name", ["[SEG_defect]", "<|im_start|>system", "<|im_end|>", "<image>"])
def test_control_tokens_in_names_are_inspected_as_text(genau: Genau, folder: Path, parts: Path, name: str) -> None:
    run = genau("inspect", parts / "a.png", "--model", folder, "--jsonl", "--product", name, "--types", name)
    assert run.code == 0
    assert list(run.rows[0]["types"]) == [name]  # type: ignore[call-overload]


def test_a_folder_without_pictures_ends_with_2_and_says_what_is_there(genau: Genau, folder: Path) -> None:
    run = genau("inspect", folder, "--model", folder)
    assert run.code == 2
    assert "holds no pictures; found there:" in run.err
    assert "Name another folder, or name the files one by one." in run.err


def test_a_used_output_folder_is_refused_unless_it_may_be_overwritten(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path
) -> None:
    arguments = ("inspect", parts / "a.png", "--model", folder, "-o", tmp_path / "out")
    assert genau(*arguments).code == 0
    before = (tmp_path / "out" / "results.jsonl").read_text()
    again = genau(*arguments)
    assert again.code == 2
    assert "already holds results.jsonl" in again.err
    assert "--overwrite" in again.err
    assert again.out == ""
    assert (tmp_path / "out" / "results.jsonl").read_text() == before
    assert genau(*arguments, "--overwrite").code == 0


def test_an_output_path_that_is_a_file_ends_with_2(genau: Genau, folder: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        run = genau("inspect", parts, "--model", folder, "-o", out)
        assert run.code == 2
        assert "Cannot write to the output folder" in run.err
        assert "choose another folder with -o" in run.err
    assert (tmp_path / "out").read_text() == "in the way"


def test_an_unknown_option_or_verb_ends_with_2(genau: Genau, parts: Path) -> None:
    for arguments in (("inspect", parts, "--tresold", "1"), ("inspekt", parts), ("inspect",)):
        run = genau(*arguments)
        assert run.code == 2
        assert run.out == ""
        assert run.err


# Other failures: 1


def test_an_unreadable_reference_ends_with_1_before_anything_is_inspected(
    genau: Genau, folder: Path, parts: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for bad in ("bad.png", "absent.png"):
        run = genau("inspect", parts, "--model", folder, "--reference", tmp_path / bad, "-o", tmp_path / "out")
        assert run.code == 1
        assert bad in run.err
        assert run.out == ""
        assert not (tmp_path / "out").exists()


def test_a_damaged_model_ends_with_1(genau: Genau, folder: Path, parts: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"half")
    run = genau("inspect", parts, "--model", folder)
    assert run.code == 1
    assert "is not a complete checkpoint" in run.err


def test_base_weights_that_cannot_be_had_end_with_1(
    genau: Genau, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline() -> Path:
        raise WeightsError("Run `genau weights pull` elsewhere.")

    monkeypatch.setattr(weights, "ensure_base", offline)
    run = genau("weights", "pull")
    assert (run.code, run.out, run.err) == (1, "", "genau: Run `genau weights pull` elsewhere.\n")


def test_the_weights_verbs_name_place_and_faults(genau: Genau, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENAU_HOME", str(tmp_path))
    assert genau("weights", "path").out.strip() == str(weights.base_folder())
    missing = genau("weights", "verify")
    assert missing.code == 1
    assert "Run `genau weights pull`" in missing.err
    weights.base_folder().mkdir()
    (weights.base_folder() / "base.json").write_text(json.dumps({"sha256": {"encoder.safetensors": "00"}}))
    broken = genau("weights", "verify")
    assert broken.code == 1
    assert f"encoder.safetensors is missing. Delete {weights.base_folder()} and run `genau weights pull`." in broken.err
    (weights.base_folder() / "base.json").write_text(json.dumps({"sha256": {}}))
    assert genau("weights", "verify").code == 0


def test_info_prints_what_a_model_is(genau: Genau, folder: Path) -> None:
    run = genau("info", folder)
    assert run.code == 0
    said = json.loads(run.out)
    assert said["form"] == "merged"
    assert said["thresholds"]["method"] == "all defect"
    assert said["answers"]["analysis"]["can"] is False
    assert genau("info", "nanno").code == 2


# The real thing


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom genau import cli\nsys.argv = ['genau', '--help']\n"
        "try: cli.main()\nfinally: assert not {'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules), 'heavy'"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "inspect" in run.stdout


def test_a_real_process_keeps_stdout_clean_and_ends_with_3(folder: Path, parts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genau.cli", "inspect", str(parts), str(parts / "absent.png")]
    command += ["--model", str(folder), "--jsonl", "-o", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 3, run.stderr
    assert [json.loads(line)["verdict"] for line in run.stdout.splitlines()] == ["defect", "defect", "unreadable"]
    assert run.stderr.splitlines() == ["2 defect, 1 unreadable", f"Report: {tmp_path / 'out' / 'report.html'}"]


def test_results_bound_for_a_pipe_do_not_go_to_the_terminal(
    genau: Genau, folder: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes stderr for a terminal and draws its bar
    monkeypatch.setenv("FORCE_COLOR", "1")
    run = genau("inspect", parts, "--model", folder, "--jsonl")
    assert len(run.rows) == 2
    assert "{" not in run.err
