"""A synthetic data set comes with the words that the engine knows of its defects."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from genau.datasets import read
from genau.datasets.sample import ANALYSIS_KEYS
from genau.datasets.synthesis import write_dataset
from genau.datasets.synthetic import DEFECT_TYPES
from genau.errors import DataError
from genau.results import Analysis


def test_the_keys_of_a_reference_are_the_lines_of_an_analysis_after_the_verdict() -> None:
    assert ("verdict", *ANALYSIS_KEYS) == tuple(field.name for field in fields(Analysis))


def test_a_defective_scene_is_described_and_its_good_twin_is_not(tmp_path: Path) -> None:
    for sample in read(write_dataset(tmp_path / "s", 3, seed=4, size_hw=(80, 96)), "manifest"):
        if not sample.label:
            assert sample.analysis is None
            continue
        words = sample.analysis or {}
        masks = sample.read_masks()
        largest = max(masks, key=lambda name: masks[name].sum())
        assert set(words) == {"types", "appearance", "likely_cause", "recommendation"}
        assert set(words["types"].split(", ")) == set(sample.types)
        if len(sample.types) == 1:
            assert words["likely_cause"] in DEFECT_TYPES[largest].causes
            assert words["recommendation"] in DEFECT_TYPES[largest].recommendations
        assert words["appearance"]


def _manifest(root: Path, analysis: Any) -> Path:
    write_dataset(root, 1, seed=0, size_hw=(64, 80))
    rows = [json.loads(line) for line in (root / "annotations.jsonl").read_text().splitlines()]
    (root / "annotations.jsonl").write_text("\n".join(json.dumps(row | {"analysis": analysis}) for row in rows))
    return root


def test_a_reference_description_is_read_from_its_row(tmp_path: Path) -> None:
    analysis = {"location": "top left", "severity": "minor"}
    samples = read(_manifest(tmp_path / "a", analysis), "manifest")
    assert [sample.analysis for sample in samples] == [analysis, analysis]
    assert len(set(samples)) == 2
    assert read(_manifest(tmp_path / "b", None), "manifest")[0].analysis is None


@pytest.mark.parametrize(
    ("analysis", "words"),
    [
        ("text", r"line 1: analysis is 'text'; it must be an object, for example \{'location': 'top'\}"),
        ({"locaton": "top"}, r"line 1: analysis has the key 'locaton'. Did you mean 'location'\? Known are types, loc"),
        ({"severity": 3}, r"line 1: severity of analysis is 3; it must be a text"),
        ({"verdict": "defect"}, r"line 1: analysis has the key 'verdict'"),
    ],
)
def test_a_wrong_reference_description_is_an_error_with_its_line(tmp_path: Path, analysis: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(_manifest(tmp_path / "a", analysis), "manifest")
