"""What comes with the package, and what importing it does: nothing."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata, util
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import genau

ROOT = Path(__file__).parent.parent
UNWANTED = {"torchvision", "timm", "open-clip-torch", "anomalib", "ultralytics", "opencv-python"}
HEAVY = ("torch", "transformers", "peft", "numpy", "scipy", "PIL")

Edge = tuple[str, str]  # who requires it, what is required


def requirements_of(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return what an installed distribution requires on this machine, with the given extras of it."""
    texts = metadata.requires(name) or []
    asked = [Requirement(text) for text in texts]
    return [r for r in asked if r.marker is None or any(r.marker.evaluate({"extra": x}) for x in {"", *extras})]


def closure_of(name: str) -> dict[str, str]:
    """Return {distribution: who asked for it first} for everything that `name` needs without extras, and itself."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str], str]] = [(name, frozenset(), "")]
    while waiting:
        here, extras, asked_by = waiting.pop()
        key = canonicalize_name(here)
        if (key, extras) in seen:
            continue
        seen.add((key, extras))
        found.setdefault(key, asked_by)
        waiting += [(r.name, frozenset(r.extras), here) for r in requirements_of(here, extras)]
    return found


def run_python(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter with an empty home, which is also the working folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "GENAU_", "XDG_", "TORCH"))}
    environment = kept | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_no_declared_dependency_leads_to_torchvision() -> None:
    asked_by = closure_of("genau")
    assert {"torch", "transformers", "peft", "llguidance", "numpy"} <= asked_by.keys()
    unwanted = {name: asked_by[name] for name in UNWANTED & asked_by.keys()}
    assert not unwanted, f"these come in through (name: asked for by) {unwanted}; choose another dependency"


def test_no_extra_names_torchvision_or_what_brings_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, texts in extras.items():
        names = {canonicalize_name(Requirement(text).name) for text in texts}
        assert not names & UNWANTED, f"the extra {extra} names {names & UNWANTED}"


def test_the_tests_run_without_torchvision() -> None:
    assert util.find_spec("torchvision") is None, (
        "torchvision is installed here, so these tests cannot show that genau works without it. "
        "Use the environment that `make test` makes."
    )


def test_importing_genau_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, genau; print([name for name in {HEAVY} if name in sys.modules])"
    run = run_python(code, tmp_path)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["genau", "--help"]
from genau.cli import main
try:
    main()
except SystemExit as stopped:
    print("EXIT", stopped.code, [name for name in {HEAVY} if name in sys.modules])
"""
    run = run_python(code, tmp_path)
    assert "inspect" in run.stdout
    assert run.stdout.strip().splitlines()[-1] == "EXIT 0 []"


def test_importing_every_module_prints_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    files = [path.relative_to(ROOT / "src").with_suffix("") for path in (ROOT / "src" / "genau").rglob("*.py")]
    names = sorted(".".join(path.parts).removesuffix(".__init__") for path in files)
    assert len(names) > 30
    code = f"""
import importlib, logging, os, sys
import torch, transformers  # what these set on their own is not ours
def state():
    ours = ("GENAU_", "HF_", "TRANSFORMERS_", "TOKENIZERS_", "OMP_", "CUDA_")
    chosen = {{key: value for key, value in os.environ.items() if key.startswith(ours)}}
    return chosen, torch.get_num_threads(), torch.initial_seed(), logging.getLogger().handlers[:]
before = state()
for name in {names}:
    importlib.import_module(name)
sys.exit(0 if before == state() else f"importing changed {{before}} to {{state()}}")
"""
    run = run_python(code, tmp_path)
    assert run.returncode == 0, run.stderr
    assert (run.stdout, run.stderr) == ("", "")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [], f"importing wrote {left}"


def test_every_public_name_is_there_and_a_wrong_one_is_answered_with_the_right_ones() -> None:
    for name in genau.__all__:
        assert getattr(genau, name).__name__ == name
    try:
        genau.Inspecter  # noqa: B018
    except AttributeError as error:
        assert "Inspector" in str(error)
    else:
        raise AssertionError("a wrong name was answered")


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    latest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {genau.__version__, metadata.version("genau"), str(citation["version"]), latest[1]} == {declared}


def test_the_citation_names_the_paper_and_says_that_its_authors_are_others() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2607.01049"
    assert "no relation" in citation["message"]
    assert json.dumps(citation, default=str)  # plain values only


def test_shipped_files_stay_small() -> None:
    shipped = [
        path for path in (ROOT / "src" / "genau").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    total = sum(path.stat().st_size for path in shipped if path.suffix == ".safetensors")
    assert total <= 20e6, f"our own weights are {total / 1e6:.1f} MB; at most 20 MB come with the package"
