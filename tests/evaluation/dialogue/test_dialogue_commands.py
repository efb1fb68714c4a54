"""`genau eval mmad` and `genau eval visa-dr` as a user types them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genau.inspector import Inspector

Genau = Callable[..., Any]
KEY = "sk-very-secret-0123"


@pytest.fixture
def remote(server: Any, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setenv("GENAU_TEST_KEY", KEY)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return ["--endpoint", server.url, "--model", "gpt-test", "--api-key-env", "GENAU_TEST_KEY"]


def everything(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


def test_mmad_at_an_endpoint_writes_tables_and_asks_nothing_twice(
    genau: Genau, mmad_folder: Path, tmp_path: Path, server: Any, remote: list[object]
) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        if number == 2:
            return server.refused(429, "slow", Retry_After="1")
        words = body["messages"][0]["content"][-1]["text"]
        return server.spoken("A", "length") if "Where" in words else server.spoken("A")

    server.script = script
    out = tmp_path / "out"
    command = ["eval", "mmad", "--data", mmad_folder, "-o", out, *remote]
    run = genau(*command, "--price-in", 2.5, "--price-out", 10)
    assert run.code == 0, run.err
    assert "0 of 24 questions are answered already." in run.err
    assert "To ask: 24 questions, 48 pictures to send" in run.err
    metrics = json.loads((out / "metrics.json").read_text())
    average = metrics["table"]["Average"]
    assert average["Anomaly Detection"]["accuracy"] == average["Anomaly Detection"]["constant"] == 0.5
    assert average["Object Analysis"]["accuracy"] == 1
    assert average["Defect Localization"]["unreadable"] == 4
    assert metrics["detection"]["DS-MVTec"]["overkill"]["value"] == 1
    assert metrics["settings"]["longest side"] == "512 px"
    with (out / "per_subtask.csv").open() as file:
        rows = {row["task"]: row for row in csv.DictReader(file)}
    assert rows["Defect Localization"]["accuracy"] == "0.0"
    assert rows["Average"]["questions"] == "24"
    with (out / "per_dataset.csv").open() as file:
        assert [row["dataset"] for row in csv.DictReader(file)] == ["DS-MVTec", "GoodsAD", "Average"]
    assert len((out / "questions.jsonl").read_text().splitlines()) == 24
    assert "Anomaly Detection" in run.out
    assert "0.500 (A)" in run.out
    assert KEY not in everything(out) + run.out + run.err
    sent = len(server.bodies)
    assert genau(*command).out == run.out
    assert len(server.bodies) == sent
    assert genau(*command, "--retry-unreadable").code == 0
    assert len(server.bodies) == sent + 4
    assert genau(*command, "--shuffle-options", 1, "--shots", 0).code == 0
    assert len(server.bodies) == sent + 4 + 24


def test_a_dry_run_asks_nothing(
    genau: Genau, mmad_folder: Path, tmp_path: Path, server: Any, remote: list[object]
) -> None:
    run = genau("eval", "mmad", "--data", mmad_folder, "-o", tmp_path / "o", *remote, "--dry-run", "--limit", 6)
    assert (run.code, run.out, server.bodies) == (0, "", [])
    assert "To ask: 6 questions, 12 pictures to send" in run.err
    assert not (tmp_path / "o" / "metrics.json").exists()


def test_questions_without_an_answer_end_with_3_and_a_dead_server_with_1(
    genau: Genau, mmad_folder: Path, tmp_path: Path, server: Any, remote: list[object]
) -> None:
    server.script = lambda number, _: server.refused(400, "too small") if number == 3 else server.spoken("B")
    command = ["eval", "mmad", "--data", mmad_folder, "-o", tmp_path / "out", *remote, "--workers", 1]
    run = genau(*command)
    assert run.code == 3
    assert "Questions that got no answer: 1. Repeat the command" in run.err
    assert genau(*command).code == 0
    server.script = lambda *_: server.refused(503, "down")
    run = genau(*command[:-2], "--attempts", 1, "--shots", 2)
    assert run.code == 1
    assert "questions in a row got no answer" in run.err


def test_genau_itself_is_asked_and_says_what_it_does_not_support(
    genau: Genau, mmad_folder: Path, tmp_path: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inspector, "from_pretrained", lambda name="nano", device="cpu": inspector)
    run = genau("eval", "mmad", "--data", mmad_folder, "-o", tmp_path / "out", "--dataset", "GoodsAD")
    assert run.code == 0, run.err
    assert "To ask" not in run.err
    row = json.loads((tmp_path / "out" / "metrics.json").read_text())["table"]["Average"]["Object Analysis"]
    assert (row["accuracy"], row["unsupported"], row["accuracy_of_answered"]) == (0, 4, None)


def test_visa_dr_asks_yes_or_no_and_holds_words_against_their_references(
    genau: Genau, visa_dr_folder: Path, tmp_path: Path, server: Any, remote: list[object]
) -> None:
    def script(_: int, body: dict[str, Any]) -> Any:
        last = body["messages"][-1]["content"][-1]["text"]
        return server.spoken("6" if "Points:" in last else "Yes, there is a dark spot.")

    server.script = script
    file, out = visa_dr_folder / "test_data.json", tmp_path / "out"
    options = ["--detection", file, "--reasoning", file, "--judge", "gpt-judge", "-o", out]
    run = genau("eval", "visa-dr", "--data", visa_dr_folder, *options, *remote)
    assert run.code == 0, run.err
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["detection"]["mean"]["recall"]["value"] == 1
    assert metrics["detection"]["mean"] == metrics["detection_against"]["always Yes"]["mean"]
    assert metrics["reasoning"]["mean"]["judge"]["value"] == pytest.approx(0.6)
    assert 0.2 < metrics["reasoning"]["mean"]["rouge_l"]["value"] < 0.8
    assert (metrics["questions"], metrics["judge"]["model"]) == (24, "gpt-judge")
    with (out / "per_class.csv").open() as file_:
        rows = list(csv.DictReader(file_))
    assert [row["class"] for row in rows] == ["candle", "pcb1", "mean"]
    assert rows[0]["rouge_l"] != ""
    assert "always No" in run.out
    assert "rouge l of other pictures" in run.out
    assert {body["model"] for body in server.bodies} == {"gpt-test", "gpt-judge"}


def test_the_key_of_one_server_is_not_sent_to_the_judges(
    genau: Genau, visa_dr_folder: Path, tmp_path: Path, server: Any, remote: list[object]
) -> None:
    server.script = lambda _, body: server.spoken("5" if body["model"] == "gpt-judge" else "Yes.")
    judging = ["--judge", "gpt-judge", "--judge-endpoint", server.url.replace("127.0.0.1", "localhost")]
    file = visa_dr_folder / "test_data.json"
    run = genau(
        "eval", "visa-dr", "--data", visa_dr_folder, "--reasoning", file, "-o", tmp_path / "out", *remote, *judging
    )
    assert run.code == 0, run.err
    by_model = {body["model"]: head for body, head in zip(server.bodies, server.headers, strict=True)}
    assert "Authorization" in by_model["gpt-test"]
    assert "Authorization" not in by_model["gpt-judge"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--endpoint", "http://h/v1"], "--endpoint needs the model's name on that server"),
        (["--endpoint", "http://h/v1", "--base", "x", "--model", "y"], "Use one of them"),
        (["--base", "x", "--model", "nano"], "Leave one of them out"),
        (["--api-key-env", "KEY"], "--api-key-env belongs to --endpoint"),
        (["--read", "words"], "--read 'words' is not one of letter, logits"),
        (["--templates", "first"], "--templates 'first' is not one of random, similar"),
        (["--endpoint", "http://h/v1", "--model", "y", "--temperature", "warm"], "--temperature 'warm' is no number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    genau: Genau, mmad_folder: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    run = genau("eval", "mmad", "--data", mmad_folder, "-o", tmp_path / "out", *options)
    assert run.code == 2
    assert words in run.err
    assert not (tmp_path / "out" / "answers.jsonl").exists()


def test_a_judge_needs_a_server_and_something_to_judge(genau: Genau, visa_dr_folder: Path, tmp_path: Path) -> None:
    start = ["eval", "visa-dr", "--data", visa_dr_folder, "-o", tmp_path / "out"]
    file = visa_dr_folder / "test_data.json"
    assert "--judge needs a server" in genau(*start, "--reasoning", file, "--judge", "x").err
    assert "--judge-endpoint and --judge-key-env belong to --judge" in genau(*start, "--judge-key-env", "K").err
    assert "Name VisA-D&R's file with --detection" in genau(*start).err
    assert "lies in the data set" in genau(*start[:-1], visa_dr_folder / "out", "--detection", file).err
