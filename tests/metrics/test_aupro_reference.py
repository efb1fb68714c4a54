"""AUPRO and pixel AUROC are those of adeval, an independent implementation, on the inputs of tools/."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from genau.metrics import PixelHistogram

TOOL = Path(__file__).parent.parent.parent / "tools" / "make_aupro_reference.py"
REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_name("aupro_reference.json").read_text())
# adeval counts in 20,000 strips and weighs regions in float32: at most a few pixel pairs in 20,000 tie there and not
# here. Measured: 1.3e-5 at most.
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_aupro_reference", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_aupro_and_pixel_auroc_are_those_of_adeval(case: str, tool: ModuleType) -> None:
    maps, masks = tool.make_inputs(case)
    expected = REFERENCE["cases"][case]
    assert tool.digest((maps, masks)) == expected["inputs"], "numpy makes other inputs now: run the tool again"
    histogram = PixelHistogram()
    for scores, mask in zip(maps, masks, strict=True):
        histogram.update(scores, mask > 0)
    assert histogram.aupro(tool.FPR_LIMIT) == pytest.approx(expected["aupro"], abs=TOLERANCE)
    assert histogram.auroc() == pytest.approx(expected["pixel_auroc"], abs=TOLERANCE)


def test_the_reference_holds_every_case_of_the_tool(tool: ModuleType) -> None:
    assert REFERENCE["cases"].keys() == tool.CASES.keys()
    assert REFERENCE["made_by"]["fpr_limit"] == tool.FPR_LIMIT
