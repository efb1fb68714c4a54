"""Figures of the words: do they agree with the annotation?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genau.metrics import Figure, UndefinedMetricError, measured, text
from genau.prompts import NOTHING
from genau.results import UNKNOWN_TYPE

REFERENCE_FIELDS = ("types", "location", "severity", "recommendation", "appearance", "likely_cause")


def text_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Return the figures of rows that have an `analysis`; of defective parts that were called defective."""
    found = [row for row in rows if row["label"] and row["verdict"] == "defect"]
    places = [
        text.words_agree(row["analysis"]["location"], _listed(row["true_location"]))
        for row in found
        if row.get("true_location")
    ]
    kinds = [
        text.types_agree(_listed(row["analysis"]["types"]), row["true_types"]) for row in found if row["true_types"]
    ]
    figures = {
        "text_location_agreement": measured(lambda: _mean(places, "defective pictures with a mask that were found")),
        "text_type_precision": measured(lambda: _mean([p for p, _ in kinds if p is not None], "typed answers")),
        "text_type_recall": measured(lambda: _mean([r for _, r in kinds], "found defects of known type")),
    }
    told = [row for row in rows if any(str(words).strip() for words in row.get("true_analysis", {}).values())]
    if told:
        fields = [text.field_accuracy(row["analysis"], row["true_analysis"]) for row in told]
        for name in REFERENCE_FIELDS:
            values = [row[name] for row in fields if name in row]
            figures[f"text_{name}"] = measured(lambda values=values: _mean(values, "described pictures"))  # type: ignore[misc]
        whole = [
            text.rouge_l(
                _joined(row["analysis"], row["true_analysis"]), _joined(row["true_analysis"], row["true_analysis"])
            )
            for row in told
        ]
        figures["text_rouge_l"] = measured(lambda: _mean(whole, "described pictures"))
    return figures


def _listed(words: str) -> list[str]:
    """Return the names that are said; to say that the type is unknown is to say nothing."""
    return [word.strip() for word in words.split(",") if word.strip() not in {NOTHING, UNKNOWN_TYPE}]


def _joined(analysis: Mapping[str, str], fields: Mapping[str, str]) -> str:
    """Return the fields that the reference has as one text, in the order of the answer."""
    return " ".join(analysis[name] for name in REFERENCE_FIELDS if name in fields and name in analysis)


def _mean(values: Sequence[float], of: str) -> float:
    if not values:
        raise UndefinedMetricError(f"There are no {of}. Leave this measure out.")
    return float(np.mean(values))
