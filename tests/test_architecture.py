"""Who may import whom, how long things may be, and what has no place here; docs/architecture.md gives the reasons."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "genau"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 300, 60  # lines

# What every leaf may see. Leaves are not in it: they meet in `cli` only.
CORE = (
    "answering answers appearance arguments assembly bases calibration checkpoints datasets detection dialogue "
    "errors findings images inspector instruct judgement layouts maps memories metrics model modelcard passport "
    "paths pixels places processor prompts questions reading recipes regions relations results rle seeing setup "
    "shards speaking tiling views weights words writer"
)
LEAVES = ("training", "evaluation", "baselines", "report", "serving", "batch", "export")

# A module, and everything below it unless that has a row of its own -> the modules of ours that it may import, each
# with everything below it. "" is the public face, `genau/__init__.py`. A new module needs a row: that is a decision.
MAY_IMPORT = {
    "": "inspector model processor results",
    # Vocabulary
    "errors": "",
    "prompts": "",
    "results": "",  # and AT_CALL_TIME
    "questions": "",
    "layouts": "errors",
    # Pixels and words
    "answers": "prompts results",
    "images": "errors",
    "paths": "errors",
    "pixels": "errors",
    "reading": "errors images pixels",
    "regions": "prompts results",
    "rle": "errors",
    "relations": "images regions results",
    "places": "images model relations",
    "appearance": "regions",
    "maps": "images",
    "calibration": "calibration errors results",
    "arguments": "errors images paths prompts reading",
    "judgement": "calibration images maps regions relations results",
    # The model, and the processor that knows nothing of it
    "model": "errors layouts model",
    "processor": "errors images layouts prompts",
    "weights": "errors model.backbones",
    "shards": "errors",  # of a large base
    "bases": "errors model.backbones shards",
    "assembly": "bases errors layouts model processor shards",
    "modelcard": "calibration model",
    "checkpoints": "assembly calibration errors model modelcard processor weights",
    "passport": "bases calibration checkpoints errors model weights",
    "words": "model processor",
    "speaking": "errors model processor prompts",
    "writer": "answers appearance errors judgement model processor prompts regions results",
    "tiling": "errors",
    "views": "errors images judgement model tiling",
    "seeing": "errors images judgement maps model places processor prompts relations speaking tiling views words",
    "inspector": "answering arguments calibration checkpoints errors images judgement model processor prompts reading "
    "results seeing setup tiling views writer",
    "setup": "arguments images model.context reading regions tiling views",
    "memories": "errors model.context views",
    "recipes": "arguments calibration checkpoints errors images inspector memories paths reading recipes regions setup "
    "views",
    "findings": "judgement questions regions results",
    "answering": "answers arguments calibration errors findings judgement model.configuration prompts questions "
    "regions results",
    "detection": "calibration images judgement results",
    "dialogue": "reading",
    # Data and measures
    "datasets": "datasets errors paths reading",
    "datasets.synthetic": "appearance datasets.synthetic errors",
    "metrics": "errors metrics",
    "instruct": "appearance datasets errors instruct paths prompts reading regions",
    # Leaves
    "report": "calibration errors metrics report results rle",
    **{leaf: f"{CORE} {leaf}" for leaf in LEAVES if leaf != "report"},
    "cli": f"{CORE} cli {' '.join(LEAVES)}",
}
# Stated exceptions, inside functions only: a result can save and plot itself.
AT_CALL_TIME = {("results", "report"), ("inspector", "recipes")}
# Loaded by `genau --help`: all else inside functions only. (Type checkers may see more.)
LAZY = {"": "", "cli": "cli errors"}
# Modules that may know tensors; between the two doors nothing else does.
TORCH = (
    "arguments assembly baselines bases checkpoints evaluation.dialogue.similarity inspector memories model passport "
    "places processor seeing speaking training weights words writer"
)
BANNED_LIBRARIES = {
    "torchvision": "transformers and our own reader do without it",
    "timm": "it pulls torchvision in",
    "open_clip": "it pulls torchvision in",
    "cv2": "Pillow, numpy and scipy are enough",
    **dict.fromkeys(
        ("pickle", "dill", "cloudpickle", "joblib", "shelve"), "its files can run code; use safetensors or JSON"
    ),
}
BANNED_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "base", "legacy"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where the statement stands."""

    target: str  # dotted; ours without the leading "genau.", "" for the public face
    ours: bool
    line: int
    where: str  # "top", "function" or "typing"


def name_of(path: Path, root: Path = SOURCE) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Yield every import at every nesting level, dynamic ones by a literal name too."""
    yield from _imports_below(tree, "top")


def _imports_below(node: ast.AST, where: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = "function"
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _imports_below(ast.Module(child.body, []), "typing")
            yield from _imports_below(ast.Module(child.orelse, []), where)
            continue
        for target in _targets(child):
            ours = target == "genau" or target.startswith("genau.")
            line = getattr(child, "lineno", 0)
            yield Import(target.removeprefix("genau").removeprefix(".") if ours else target, ours, line, inside)
        yield from _imports_below(child, inside)


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = "." * node.level + (node.module or "")
        for alias in node.names:
            full = f"{origin}.{alias.name}"
            yield full if full.removeprefix("genau.") in MODULES else origin
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
        named = node.args[0] if node.args else None
        yield named.value if isinstance(named, ast.Constant) and isinstance(named.value, str) else "<dynamic>"


def row_of(module: str) -> str | None:
    """Return the most special row of the table for a module."""
    rows = [row for row in MAY_IMPORT if module == row or (row and module.startswith(f"{row}."))]
    return max(rows, key=len, default=None)


def covered(target: str, allowed: str) -> bool:
    """Whether a module is one of those in `allowed`, or lies below one."""
    return any(target == name or target.startswith(f"{name}.") for name in allowed.split())


def faults_of(module: str, tree: ast.Module) -> list[str]:
    """Return in words which imports break the table."""
    row = row_of(module)
    if row is None:
        return [f"{module} has no row in MAY_IMPORT: decide what it may import"]
    faults = []
    for item in imports_of(tree):
        here = f"{module or '__init__'}:{item.line}"
        if item.target.startswith("."):
            faults.append(f"{here} imports {item.target} relatively: name the module in full")
        elif item.target == "<dynamic>" and module:
            faults.append(f"{here} imports a module by a computed name, which no test can follow")
        if not item.ours:
            continue
        exception = (module, item.target.split(".")[0]) in AT_CALL_TIME and item.where == "function"
        if not exception and not covered(item.target, MAY_IMPORT[row]):
            faults.append(f"{here} may not import {item.target or 'genau'}; allowed: {MAY_IMPORT[row] or 'nothing'}")
        if item.where == "top" and not covered(item.target, LAZY.get(module.split(".", maxsplit=1)[0], item.target)):
            faults.append(f"{here} imports {item.target} at once; move it into the function that needs it")
    return faults


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_modules_import_only_what_the_table_allows() -> None:
    faults = [fault for name, path in MODULES.items() for fault in faults_of(name, parse(path))]
    assert not faults, "\n".join(faults)


def test_the_table_keeps_leaves_apart_and_the_core_below_them() -> None:
    for row, allowed in MAY_IMPORT.items():
        if row != "cli":
            assert not set(allowed.split()) & ({*LEAVES, "cli"} - {row}), f"{row} would see a leaf"
    assert set(CORE.split()) <= MAY_IMPORT.keys()


def test_only_modules_between_the_doors_know_tensors() -> None:
    for name, path in MODULES.items():
        libraries = {item.target.split(".")[0] for item in imports_of(parse(path)) if not item.ours}
        if not covered(name, TORCH):
            assert not libraries & {"torch", "transformers", "peft"}, f"{name} imports a tensor library"
        if covered(name, "model"):
            assert "PIL" not in libraries, f"{name} imports PIL: pictures become tensors in processor.py"


def test_no_module_imports_a_library_that_we_do_without() -> None:
    for name, path in MODULES.items():
        for item in imports_of(parse(path)):
            library = item.target.split(".")[0]
            assert item.ours or library not in BANNED_LIBRARIES, (
                f"{name}:{item.line} imports {library}: {BANNED_LIBRARIES[library]}"
            )


def test_every_module_is_named_by_a_noun() -> None:
    named = {part: path for path in FILES for part in (*path.relative_to(SOURCE).parts[:-1], path.stem)}
    bad = {part: path for part, path in named.items() if part in BANNED_NAMES}
    assert not bad, f"{bad}: a function lives beside its only user, or in a module named by what it is about"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{path.name} has {lines} lines; at most {LONGEST_MODULE}. Split it by subject."
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, (
                f"{path.name}:{node.lineno} {node.name}() has {length} lines; at most {LONGEST_FUNCTION}. "
                "Take out a part that has a name."
            )


def unsafe_calls(tree: ast.Module) -> list[str]:
    """Return calls of `print`, and of loaders that could run code from a file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name == "print":
            found.append(f"line {node.lineno}: print(); results go through typer.echo, all else through logging")
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True could run code from the file")
        if options.get("allow_pickle", "False") != "False":
            found.append(f"line {node.lineno}: allow_pickle could run code from the file")
    return found


def test_nothing_prints_and_no_file_that_is_loaded_can_run_code() -> None:
    found = {name: unsafe_calls(parse(path)) for name, path in MODULES.items()}
    assert not any(found.values()), {name: faults for name, faults in found.items() if faults}


# The checker is a program too.


@pytest.mark.parametrize(
    ("module", "code", "words"),
    [
        ("model.fusion", "import genau.processor", "may not import processor"),
        ("model.fusion", "from genau import processor", "may not import processor"),
        ("model.fusion", "class A:\n  def f(self):\n    if 1:\n      from genau.images import Picture", "images"),
        ("model.fusion", "from importlib import import_module\nimport_module('genau.images')", "images"),
        ("model.fusion", "from ..images import Picture", "relatively"),
        ("processor", "from genau.model.modeling import GenAUModel", "may not import model.modeling"),
        ("training.run", "from genau.report import RunWriter", "may not import report"),
        ("report.page", "from genau.inspector import Inspector", "may not import inspector"),
        ("results", "from genau.report import write_run", "may not import report"),
        ("errors", "from genau import Verdict", "may not import genau"),
        ("cli", "from genau.inspector import Inspector", "at once"),
        ("datasets.synthetic.noise", "from genau.reading import read_picture", "may not import reading"),
        ("newcomer", "import math", "no row"),
        ("maps", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from genau.inspector import X", "inspector"),
    ],
)
def test_a_forbidden_import_is_seen_at_every_level(module: str, code: str, words: str) -> None:
    assert any(words in fault for fault in faults_of(module, ast.parse(code)))


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("results", "def save():\n  from genau.report import write_run"),
        ("cli", "def train():\n  from genau.training.run import run"),
        ("cli", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from genau.results import Inspection"),
        ("training.trainer", "from genau.model.modeling import GenAUModel\nimport genau.training.losses"),
    ],
)
def test_an_allowed_import_is_not_reported(module: str, code: str) -> None:
    assert faults_of(module, ast.parse(code)) == []


def test_unsafe_calls_are_seen() -> None:
    code = "def f():\n  print(1)\n  torch.load(p)\n  torch.load(p, weights_only=False)\n  np.load(p, allow_pickle=True)"
    assert len(unsafe_calls(ast.parse(code))) == 4
    assert unsafe_calls(ast.parse("torch.load(p, weights_only=True); self.print(1)")) == []
