"""`genau calibrate`: thresholds from pictures and from earlier results, and their use; what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.calibration import NEVER, Scored, Thresholds
from genau.checkpoints import fingerprint
from genau.cli.scoring import type_scores
from genau.results import Inspection, Verdict

Draw = Callable[..., NDArray[np.uint8]]
Genau = Callable[..., Any]


@pytest.fixture
def parts(picture: Draw, tmp_path: Path) -> Path:
    """`good/` with four pictures, `bad/dent/` with three, `masks/dent/` with theirs."""
    for folder in ("good", "bad/dent", "masks/dent"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / "good" / f"{number}.png")
    for number in range(3):
        Image.fromarray(picture(10 + number, spot=True)).save(tmp_path / "bad" / "dent" / f"{number}.png")
        mask = np.zeros((90, 140), np.uint8)
        mask[22:34, 70:84] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / "dent" / f"{number}_mask.png")
    return tmp_path


def write_results(path: Path, scores: list[float], kind: str, folder: str = "line") -> Path:
    """Write results whose pictures need not exist."""
    rows = []
    for number, score in enumerate(scores):
        verdict = Verdict.DEFECT if score >= 0.5 else Verdict.NORMAL
        row = Inspection(
            f"{folder}/{kind}/{number}.png", 9, 6, verdict, score, score, score, 0.5, types={"dent": score}
        )
        rows.append(json.dumps(row.to_dict()))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def results(tmp_path: Path) -> list[object]:
    good = write_results(tmp_path / "good.jsonl", [k / 100 for k in range(60)], "good")
    bad = write_results(tmp_path / "bad.jsonl", [0.5 + k / 100 for k in range(40)], "dent")
    return ["--good", good, "--bad", bad]


def test_pictures_give_thresholds_that_inspection_then_uses(genau: Genau, folder: Path, parts: Path) -> None:
    out, page = parts / "new" / "t.json", parts / "new" / "c.html"
    options = ["--model", folder, "--types", "dent", "--method", "f1", "--masks", parts / "masks"]
    run = genau("calibrate", "--good", parts / "good", "--bad", parts / "bad", *options, "-o", out, "--report", page)
    assert run.code == 0, run.err
    found = Thresholds.load(out)
    assert (found.expected["good"], found.expected["bad"], found.expected["unused"]) == (4, 3, 0)
    assert "over 3 drawn masks" in found.method
    assert found.data == f"4 good ({parts / 'good'}); 3 bad ({parts / 'bad'}); model {folder}"
    assert f"Threshold {found.image:.3f}: at most" in run.out
    assert "Type dent: " in run.out
    assert f"genau inspect PATH --thresholds {out}" in run.err
    assert page.read_text().startswith("<!doctype html>")

    inspected = genau("inspect", parts / "good", parts / "bad", "--model", folder, "--thresholds", out, "--jsonl")
    assert {row["threshold"] for row in inspected.rows} == {found.image}
    alarms = sum(row["verdict"] == "defect" for row in inspected.rows[:4])
    assert alarms / 4 == found.expected["seen_false_alarm_rate"]


def test_thresholds_of_another_model_are_used_with_a_warning(genau: Genau, folder: Path, parts: Path) -> None:
    out = parts / "t.json"
    genau("calibrate", "--good", parts / "good", "--model", folder, "-o", out)
    assert Thresholds.load(out).model == fingerprint(folder)
    options = [parts / "good", "--model", folder, "--thresholds", out, "--jsonl"]
    assert "another model" not in genau("inspect", *options).err
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"text_weight": 0.0', '"text_weight": 0.25'))
    run = genau("inspect", *options)
    assert run.code == 0
    assert f"Warning: the thresholds in {out} were set on scores of another model" in run.err
    assert f"Run `genau calibrate` again with --model {folder}." in run.err


def test_scores_of_a_run_and_of_pictures_are_the_same(genau: Genau, folder: Path, parts: Path) -> None:
    genau("inspect", parts / "good", "--model", folder, "--no-analysis", "-o", parts / "run")
    for name, source in (("a", parts / "good"), ("b", parts / "run"), ("c", parts / "run" / "results.jsonl")):
        assert genau("calibrate", "--good", source, "--model", folder, "-o", parts / f"{name}.json").code == 0
    a, b, c = (Thresholds.load(parts / f"{name}.json") for name in "abc")
    assert a.image == pytest.approx(b.image, abs=1e-4)
    assert b.image == c.image
    assert a.pixel == b.pixel == 0.3  # the model's own


def test_earlier_results_are_summed_up_in_words(
    genau: Genau, folder: Path, results: list[object], tmp_path: Path
) -> None:
    run = genau("calibrate", *results, "--model", folder, "-o", tmp_path / "t.json")
    assert run.code == 0
    assert run.out.splitlines()[0] == (
        "Threshold 0.590: at most 4.9 % false alarms with 95 % confidence (60 good pictures; for 1 % you need 299)."
    )
    assert "75 % of the 40 bad ones are found" in run.out
    assert Thresholds.load(tmp_path / "t.json").types["dent"] == pytest.approx(0.545, abs=0.06)
    target = genau("calibrate", *results, "--model", folder, "--target-false-alarms", 0.1, "-o", tmp_path / "u.json")
    assert "(60 good pictures)." in target.out
    assert Thresholds.load(tmp_path / "u.json").image < Thresholds.load(tmp_path / "t.json").image


def test_a_type_is_present_only_in_pictures_of_its_own_folder() -> None:
    good = [Scored("good/1.png", 0.1, {"bent pin": 0.1, "dent": 0.2})]
    bad = [
        Scored(f"bad/{folder}/1.png", 0.9, {"bent pin": pin, "dent": dent})
        for folder, pin, dent in (("Bent_Pin", 0.8, 0.3), ("dent", 0.4, 0.9), ("other", 0.5, 0.5))
    ]
    assert type_scores(good, bad, ["bent pin", "dent"]) == {
        "bent pin": ([0.8], [0.1, 0.4]),
        "dent": ([0.9], [0.2, 0.3]),
    }


def test_the_knob_moves_verdicts_from_none_to_all(genau: Genau, folder: Path, parts: Path) -> None:
    def verdicts(*options: object) -> set[object]:
        rows = genau("inspect", parts / "good", "--model", folder, "--no-analysis", "--jsonl", *options).rows
        return {row["verdict"] for row in rows}

    Thresholds(0.5).save(parts / "t.json")
    assert verdicts("--thresholds", parts / "t.json", "--sensitivity", 0) == {"normal"}
    assert verdicts("--thresholds", parts / "t.json", "--sensitivity", 100) == {"defect"}
    assert verdicts("--sensitivity", 0) == {"normal"}  # of the model's own, which calls all defective
    row = genau("inspect", parts / "good", "--model", folder, "--sensitivity", 0, "--jsonl", "-o", parts / "o").rows[0]
    assert row["threshold"] == NEVER
    assert row["calibrated_score"] < 0.5
    assert "sensitivity" in (parts / "o" / "report.html").read_text()


def test_pictures_that_cannot_be_read_are_named_and_not_used(genau: Genau, folder: Path, parts: Path) -> None:
    (parts / "good" / "letter.png").write_bytes(b"Dear Sir")
    run = genau("calibrate", "--good", parts / "good", "--model", folder, "-o", parts / "t.json")
    assert run.code == 3
    assert f"Not used: {parts / 'good' / 'letter.png'}" in run.err
    assert "Not used, because they have no score: 1 pictures." in run.out
    assert Thresholds.load(parts / "t.json").expected["good"] == 4


def test_references_are_left_out_of_the_good_parts(genau: Genau, folder: Path, parts: Path) -> None:
    options = ["--model", folder, "--reference", parts / "good" / "0.png"]
    run = genau("calibrate", "--good", parts / "good", *options, "-o", parts / "t.json")
    assert "Left out of the good pictures, because they are references themselves: 1." in run.err
    assert Thresholds.load(parts / "t.json").expected["good"] == 3
    none = genau("calibrate", "--good", parts / "good", "--model", folder, "--reference", parts / "good")
    assert none.code == 2
    assert "All good pictures are references. Give good pictures that are not." in none.err


def test_test_data_is_refused_unless_it_is_allowed_and_then_said(genau: Genau, folder: Path, parts: Path) -> None:
    (parts / "Test").mkdir()
    (parts / "good").rename(parts / "Test" / "good")
    command = ["calibrate", "--good", parts / "Test" / "good", "--model", folder, "-o", parts / "t.json"]
    run = genau(*command)
    assert run.code == 2
    assert f"4 of 4 pictures are test data: {parts / 'Test' / 'good' / '0.png'} lies in the folder" in run.err
    assert "--allow-test-data" in run.err
    assert not (parts / "t.json").exists()
    assert genau(*command, "--allow-test-data").code == 0
    assert "on 4 pictures of test data (--allow-test-data)" in Thresholds.load(parts / "t.json").method


def test_test_data_is_refused_in_results_too(genau: Genau, folder: Path, tmp_path: Path) -> None:
    good = write_results(tmp_path / "good.jsonl", [0.1, 0.2], "good", folder="part/test")
    run = genau("calibrate", "--good", good, "--model", folder, "-o", tmp_path / "t.json")
    assert run.code == 2
    assert "2 of 2 pictures are test data" in run.err


def test_files_are_replaced_only_if_asked_for(
    genau: Genau, folder: Path, results: list[object], tmp_path: Path
) -> None:
    command = ["calibrate", *results, "--model", folder, "-o", tmp_path / "t.json", "--report", tmp_path / "c.html"]
    (tmp_path / "c.html").write_text("mine")
    run = genau(*command)
    assert run.code == 2
    assert "c.html exists already. Choose another name, or replace it with --overwrite." in run.err
    assert (tmp_path / "c.html").read_text() == "mine"
    assert genau(*command, "--overwrite").code == 0
    assert "What other settings would do" in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bad", "good"], "named as good and as bad. Give two folders that share no picture"),
        (["--bad", "empty"], "holds no pictures"),
        (["--method", "f1"], "There are no bad pictures with a score; the method 'f1' needs at least 2"),
        (["--method", "f3"], "'f3' is no method of calibration"),
        (["--confidence", "95"], "confidence=95.0 is not between 0 and 1"),
        (["--target-false-alarms", "0"], "rate=0.0 is not between 0 and 1"),
        (["--types", "dent,dent"], "The type 'dent' is given twice"),
        (["--masks", "good"], "--masks needs bad pictures to inspect"),
        (["--masks", "none"], "is no folder"),
        (["--masks", "good", "--pixel-from-good"], "both set the mask's threshold. Choose one."),
        (["-o", "good"], "is a folder; a file is written"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_writes_nothing(
    genau: Genau, folder: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(parts)
    (parts / "empty").mkdir()
    run = genau("calibrate", "--good", "good", "--model", folder, *options)
    assert run.code == 2
    assert words in run.err
    assert not (parts / "thresholds.json").exists()


def test_one_good_picture_is_too_few(genau: Genau, folder: Path, parts: Path) -> None:
    run = genau("calibrate", "--good", parts / "good" / "0.png", "--model", folder, "-o", parts / "t.json")
    assert run.code == 2
    assert "There is 1 good picture with a score; a threshold needs at least 2" in run.err


def test_the_mask_threshold_can_lie_above_good_maps(genau: Genau, folder: Path, parts: Path) -> None:
    options = ["--model", folder, "--pixel-from-good", "-o", parts / "t.json"]
    assert genau("calibrate", "--good", parts / "good", *options).code == 0
    assert "above the maps of 4 good pictures" in Thresholds.load(parts / "t.json").method


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sensitivity", "101"], "The sensitivity 101.0 is not between 0 (never alarms) and 100"),
        (["--sensitivity", "60", "--threshold", "0.4"], "--threshold and --sensitivity both move the threshold"),
        (["--thresholds", "broken.json"], "broken.json is damaged"),
        (["--thresholds", "absent.json"], "There is no file 'absent.json'. Make one with `genau calibrate -o`"),
    ],
)
def test_inspection_refuses_thresholds_that_it_cannot_use(
    genau: Genau, parts: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(parts)
    (parts / "broken.json").write_text('{"image": 0.5, "surprise": 1}')
    run = genau("inspect", "good", "--model", "none", *options)  # before the model is looked for
    assert run.code in {1, 2}
    assert words in run.err
