"""Annotated types go by the names of the multi-type protocol, and by their own where there is none."""

import pytest

from genau.datasets import FORMATS
from genau.datasets.real_iad import DEFECT_CODES
from genau.datasets.type_names import UNIFIED_TYPES, unify
from genau.errors import UsageError


@pytest.mark.parametrize(
    ("dataset", "category", "raw", "unified"),
    [
        ("mvtec", "screw", "manipulated_front", "bent"),
        ("mvtec", "zipper", "squeezed teeth", "squeeze"),
        ("mvtec", "toothbrush", "defective", "damaged"),
        ("mvtec", "grid", "thread", "thread"),
        ("mpdd", "tubes", "anomalous", "flattening"),
        ("mpdd", "metal_plate", "total_rust", "rust"),
        ("mad-sim", "01Gorilla", "Burrs", "burr"),
        ("mad-sim", "01Gorilla", "Missing", "missing"),
        ("real-iad", "toy", "foreign objects", "foreign"),
        ("visa", "candle", "chunk of wax missing", "chunk of wax missing"),
        ("folder", "cog", "My_Own", "My_Own"),
    ],
)
def test_a_type_is_called_as_the_protocol_calls_it(dataset: str, category: str, raw: str, unified: str) -> None:
    assert unify(dataset, category, raw) == unified


def test_each_set_has_as_many_types_as_the_protocol_counts() -> None:
    counts = {"mvtec": 20, "mpdd": 7, "mad-sim": 3, "mad-real": 2, "real-iad": 8}
    assert {name: len(types) for name, types in UNIFIED_TYPES.items()} == counts
    assert set(UNIFIED_TYPES) <= set(FORMATS)


def test_no_annotated_type_has_two_unified_names() -> None:
    for types in UNIFIED_TYPES.values():
        names = [name for unified, others in types.items() for name in {unified, *others}]
        assert len(names) == len(set(names))


def test_every_defect_code_of_real_iad_has_a_unified_name() -> None:
    assert {unify("real-iad", "toy", name) for name in DEFECT_CODES.values()} == set(UNIFIED_TYPES["real-iad"])


def test_an_unknown_type_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"'scrach' of tubes is no type of mpdd. Did you mean 'scratch'\?"):
        unify("mpdd", "tubes", "scrach")
