"""README and docs: their Python code runs, their commands exist, their links lead somewhere, their tables are complete.

A Python block that cannot be run is preceded by `<!-- not run: reason -->`. Blocks of one page share their names, as a
reader who types them in one after the other does. They run with a tiny model in place of nano.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from genau import checkpoints, cli
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.inspector import Inspector
from genau.report.table import COLUMNS
from genau.results import INSPECTION_SCHEMA

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/CREDITS.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^(?P<before>[^\n]*)\n+```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
PUBLIC = ("*.md", "*.cff", "*.toml", "*.yml", "*.yaml", "Makefile", "*.py", "run")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def read(page: Path) -> str:
    if not page.exists():
        pytest.skip(f"{page.name} is not written yet")
    return page.read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield (line of the code, code) of the fenced blocks in these languages that are to be run."""
    for found in FENCE.finditer(f"\n{text}"):
        if found["language"] in languages and not NOT_RUN.search(found["before"]):
            yield text[: found.start("body") - 1].count("\n") + 1, found["body"]


@pytest.fixture
def tiny_nano(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> Inspector:
    """Put a tiny model that finds a defect in every picture in nano's place, so that every line of a page has work."""
    inspector.thresholds = Thresholds(image=0.0, pixel=0.0, type=0.0)
    monkeypatch.setattr(Inspector, "from_pretrained", lambda name="nano", device="cpu": inspector)
    tiny = Checkpoint("nano", inspector.model, inspector.processor, inspector.thresholds)
    monkeypatch.setattr(checkpoints, "load", lambda name: tiny)
    monkeypatch.setattr(checkpoints, "fingerprint", lambda name: "tiny")
    inspector.name = "nano"
    return inspector


@every_page
def test_python_code_runs(page: Path, tiny_nano: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = list(blocks(read(page), "python", "py"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples" / "pictures" / "capsules_bad_1.jpg", tmp_path / "part.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for line, body in code:
        padded = "\n" * (line - 1) + body  # so that a traceback names the line of the page
        exec(compile(padded, page_id(page), "exec"), names)


@every_page
def test_commands_and_their_flags_exist(page: Path) -> None:
    for line, body in blocks(read(page), "bash", "sh", "console"):
        for command in body.replace("\\\n", " ").splitlines():
            words = shlex.split(command.removeprefix("$ "), comments=True)
            if words[:1] == ["genau"]:
                assert unknown_words(words[1:]) == [], f"{page_id(page)}:{line}: {command}"
            if words[:1] == ["make"]:
                goals = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
                assert goals <= make_goals(), f"{page_id(page)}:{line}: {command}"


def unknown_words(words: list[str]) -> list[str]:
    """Return the verb or the flags that the command line does not know."""
    command: Any = typer.main.get_command(cli.app)
    rest = list(words)
    while hasattr(command, "commands"):
        verb = rest.pop(0) if rest else ""
        if verb.startswith("-"):
            break
        if verb not in command.commands:
            return [verb]
        command = command.commands[verb]
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return [word for word in rest if word.startswith("-") and word.split("=")[0] not in flags]


def make_goals() -> set[str]:
    targets = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {name for names in targets for name in names.split()}


@every_page
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page_id(page)} links to {target}, which is not there"


def test_every_page_of_the_docs_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", read(ROOT / "docs" / "index.md")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= listed


def test_the_architecture_page_names_every_module_and_no_other() -> None:
    source = ROOT / "src" / "genau"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    rows = re.findall(r"^\|(.*?)\|", read(ROOT / "docs" / "architecture.md").split("## Modules")[1], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+(?:\.py|/))`", row)}
    folders = tuple(name for name in named if name.endswith("/"))
    assert {name for name in modules - named if not name.startswith(folders)} == set(), "not in the table"
    assert {name for name in named if not (source / name).exists()} == set(), "in the table, but gone"


def test_the_schema_page_names_every_field_and_every_column() -> None:
    fields, columns = read(ROOT / "docs" / "results-schema.md").split("## Columns")

    def first_cells(text: str) -> list[str]:
        return [name for row in re.findall(r"^\|(.*?)\|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]

    schema = INSPECTION_SCHEMA["properties"]
    assert first_cells(fields) == [*schema, *schema["defects"]["items"]["properties"]]
    assert first_cells(columns) == list(COLUMNS)


def test_the_user_guide_names_every_flag_and_exit_code() -> None:
    guide = read(ROOT / "docs" / "inspect.md")
    group: Any = typer.main.get_command(cli.app)
    verb = group.commands["inspect"]
    flags = {flag for p in verb.params if p.param_type_name == "option" for flag in p.opts if len(flag) > 2}
    named = set(re.findall(r"`(--?[a-z-]+)", guide))
    assert flags - {"--output"} <= named, "not in the guide"
    codes = {int(code) for code in re.findall(r"^\| (\d) \|", guide, re.MULTILINE)}
    assert codes == {0, cli.EXIT_FAILED, cli.EXIT_USAGE, cli.EXIT_SOME_FAILED, cli.EXIT_GATE}


def test_the_install_page_names_the_default_pytorch() -> None:
    default = re.search(r"^TORCH_SPEC \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert default is not None
    assert f"`{default[1]}`" in read(ROOT / "docs" / "install.md")


def test_no_public_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    private = [f"/{'work'}/", f"{'..'}/shared", f"/{'tmp'}/v/", f"/{'root'}/"]
    skipped = {".venv", ".git", "runs", "build", "dist", "demo-report"}
    for pattern in PUBLIC:
        for path in ROOT.rglob(pattern):
            if path.is_file() and not skipped & set(path.relative_to(ROOT).parts):
                text = path.read_text(encoding="utf-8")
                assert not [word for word in private if word in text], f"{page_id(path)} names a private place"


def test_every_example_picture_is_credited_and_small() -> None:
    pictures = sorted(path for path in (ROOT / "examples" / "pictures").iterdir())
    credits = (ROOT / "examples" / "CREDITS.md").read_text(encoding="utf-8")
    assert len(pictures) >= 6
    for path in pictures:
        assert f"`{path.name}`" in credits, f"{path.name} has no line in CREDITS.md"
        assert path.stat().st_size < 150_000, f"{path.name} is larger than 150 kB; scale it down"


def test_the_example_program_runs(
    tiny_nano: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["inspect_picture.py", "--save", str(tmp_path / "out")])
    names: dict[str, object] = {"__name__": "__main__", "__file__": str(ROOT / "examples" / "inspect_picture.py")}
    exec((ROOT / "examples" / "inspect_picture.py").read_text(encoding="utf-8"), names)
    assert "capsules_bad_1.jpg" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    for python, words in (
        (str(old), "Python 3.9.1 is too old; genau needs Python 3.11"),
        ("no-such", "Install Python"),
    ):
        command = [make, "test", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode != 0
        assert words in run.stdout
