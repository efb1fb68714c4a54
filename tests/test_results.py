"""Records: what contradicts itself is refused, and what is written can be read again."""

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from genau.results import INSPECTION_SCHEMA, Analysis, Defect, Inspection, Verdict

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def problems(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """Validate against the few JSON schema words that our schema uses; fail on any other."""
    known = {"$schema", "title", "type", "required", "properties", "additionalProperties", "items", "enum", "const"}
    assert set(schema) <= known | {"minItems", "maxItems"}
    if "const" in schema and value != schema["const"]:
        return [f"{where} is not {schema['const']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}={value} is not one of {schema['enum']}"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and (isinstance(value, bool) or not isinstance(value, tuple(_flat(TYPES[name] for name in names)))):
        return [f"{where} is {type(value).__name__}, not {names}"]
    found = []
    if isinstance(value, dict):
        found += [f"{where} lacks {key}" for key in schema.get("required", []) if key not in value]
        extra = schema.get("additionalProperties")
        for key, item in value.items():
            part = schema.get("properties", {}).get(key, extra)
            found += [f"{where}.{key} is not in the schema"] if part is None else problems(item, part, f"{where}.{key}")
    if isinstance(value, list):
        found += [f"{where} has {len(value)} items"] * (len(value) < schema.get("minItems", 0))
        found += [f"{where} has {len(value)} items"] * (len(value) > schema.get("maxItems", math.inf))
        found += [
            text for number, item in enumerate(value) for text in problems(item, schema["items"], f"{where}[{number}]")
        ]
    return found


def _flat(kinds: Any) -> list[type]:
    return [kind for entry in kinds for kind in (entry if isinstance(entry, tuple) else (entry,))]


def full() -> Inspection:
    return Inspection(
        "parts/ä.png",
        100,
        60,
        Verdict.DEFECT,
        0.75,
        0.5,
        1.0,
        0.75,
        Verdict.NORMAL,
        picture=np.zeros((60, 100, 3), np.uint8),
        anomaly_map=np.zeros((60, 100), np.float32),
        pred_mask=np.zeros((60, 100), np.bool_),
        defects=(Defect("dent", 0.9, (1, 2, 30, 40), 7, 7 / 6000, "top left"),),
        types={"dent": 0.9, "bent": math.nan},
        type_masks={"dent": np.zeros((60, 100), np.bool_)},
        analysis=Analysis("defect", "dent", "top left", "a dent", "minor", "impact", "sort out"),
        contradiction="The score says defect, the language model's own word is normal.",
        timing_ms={"see": 12.5, "total": 20},
    )


def rows() -> list[Inspection]:
    nan = math.nan
    plain = Inspection("a.png", 3, 2, Verdict.NORMAL, 0.1, 0.1, nan, 0.5)
    return [
        full(),
        plain,
        Inspection.failed("b.png", "cannot be read"),
        Inspection("c", 3, 2, Verdict.UNREADABLE, nan, 0.1, nan, 0.5),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_record_as_json_fits_the_schema(number: int) -> None:
    row = json.loads(json.dumps(rows()[number].to_dict(), allow_nan=False))
    assert problems(row, INSPECTION_SCHEMA) == problems(rows()[number].to_dict(), INSPECTION_SCHEMA) == []
    assert set(row) == set(INSPECTION_SCHEMA["properties"])


def test_a_record_of_version_1_0_is_still_read() -> None:
    old = full().to_dict() | {"schema_version": "1.0"}
    assert old.pop("calibrated_score") == 0.5
    assert problems(old, INSPECTION_SCHEMA) == []
    assert Inspection.from_dict(old).to_dict() == full().to_dict()


def test_a_record_of_a_later_version_is_refused_not_guessed_at() -> None:
    with pytest.raises(ValueError, match=r"schema_version '2.0' is not one of 1.0, .*version of genau that wrote it"):
        Inspection.from_dict(full().to_dict() | {"schema_version": "2.0"})


def test_the_calibrated_score_follows_from_score_and_threshold_and_is_null_without() -> None:
    part = replace(full(), pred_score=0.9, threshold=0.8)
    assert part.calibrated_score == part.to_dict()["calibrated_score"] == pytest.approx(0.75)
    assert Inspection.failed("b.png", "cannot be read").to_dict()["calibrated_score"] is None


def test_the_validator_of_these_tests_finds_faults() -> None:
    row = full().to_dict()
    del row["image"]
    row |= {"verdict": "maybe", "width": "100", "surprise": 1}
    row["defects"][0]["bbox_xyxy"] = [1, 2, 3]
    assert len(problems(row, INSPECTION_SCHEMA)) == 5


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("number", range(4))
def test_a_record_read_back_from_json_is_the_same_but_for_its_arrays(number: int) -> None:
    record = rows()[number]
    again = Inspection.from_dict(json.loads(json.dumps(record.to_dict())))
    assert again.to_dict() == record.to_dict()
    arrays = ("picture", "anomaly_map", "pred_mask", "type_masks")
    for name in set(Inspection.__dataclass_fields__) - set(arrays):
        assert same(getattr(record, name), getattr(again, name)), name
    assert again.anomaly_map.shape == (0, 0)
    assert isinstance(again.verdict, Verdict)


@pytest.mark.parametrize(
    ("verdict", "score"), [(Verdict.NORMAL, 0.5), (Verdict.NORMAL, 0.9), (Verdict.DEFECT, 0.49), (Verdict.DEFECT, 0.0)]
)
def test_a_verdict_that_does_not_follow_from_the_score_is_refused(verdict: Verdict, score: float) -> None:
    with pytest.raises(ValueError, match=f"verdict={verdict} does not follow from {score} and 0.5"):
        Inspection("a", 3, 2, verdict, score, score, score, 0.5)


@pytest.mark.parametrize("verdict", [Verdict.NORMAL, Verdict.DEFECT])
def test_without_a_score_or_a_threshold_only_unreadable_stands(verdict: Verdict) -> None:
    for score, threshold in ((math.nan, 0.5), (0.2, math.nan), (math.nan, math.nan)):
        with pytest.raises(ValueError, match="does not follow"):
            Inspection("a", 3, 2, verdict, score, 0.2, 0.2, threshold)
        assert Inspection("a", 3, 2, Verdict.UNREADABLE, score, 0.2, 0.2, threshold).verdict == "unreadable"


@pytest.mark.parametrize("name", ["pred_score", "map_score", "text_score"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.inf])
def test_a_score_outside_its_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name}={value} is not in \[0, 1\]"):
        replace(full(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["picture", "anomaly_map", "pred_mask"])
def test_an_array_that_lies_on_its_side_is_refused(name: str) -> None:
    turned = np.swapaxes(getattr(full(), name), 0, 1)
    with pytest.raises(ValueError, match=rf"{name} has shape \(100, 60\), the image \(60, 100\)"):
        replace(full(), **{name: turned})


def test_an_error_beside_a_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="verdict=normal stands beside the error 'cannot be read'; use unreadable"):
        replace(rows()[1], error="cannot be read")


def test_a_failed_row_has_no_numbers_and_says_why() -> None:
    row = Inspection.failed("b.png", "cannot be read").to_dict()
    assert (row["verdict"], row["error"]) == ("unreadable", "cannot be read")
    assert row["pred_score"] is row["map_score"] is row["text_score"] is row["threshold"] is None


def test_an_unknown_verdict_in_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="'fine' is not a valid Verdict"):
        Inspection.from_dict(full().to_dict() | {"verdict": "fine"})


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        full().verdict = Verdict.NORMAL  # type: ignore[misc]


def test_the_text_of_an_analysis_is_its_seven_keyed_lines() -> None:
    analysis = full().analysis
    assert analysis is not None
    assert analysis.text == (
        "Verdict: defect\nTypes: dent\nLocation: top left\nAppearance: a dent\nSeverity: minor"
        "\nLikely cause: impact\nRecommendation: sort out"
    )
