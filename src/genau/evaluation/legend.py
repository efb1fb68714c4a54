"""What the measures of metrics.json are called, what they say, and which way is better."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genau.metrics.pixel import AUPRO_FPR_LIMIT

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Measure:
    """One key of metrics.json in words."""

    key: str
    name: str
    group: str  # heading of the table that it stands in
    better: Better = "higher"  # "": a yardstick, or unknown
    says: str = ""  # in a sentence


_VERDICT = "Verdict and score"

# fmt: off
_KNOWN = [
    Measure("image_auroc", "Image AUROC", "Whole pictures",
            says="How often a defective picture scores above a good one; 0.5 is chance."),
    Measure("image_ap", "Image AP", "Whole pictures", says="Average precision; chance is the defective share."),
    Measure("image_f1_max", "Image F1-max", "Whole pictures", says="F1 at the best threshold, the truth known."),
    Measure("pixel_auroc", "Pixel AUROC", "Pixels", says="How often a defective pixel scores above a good one."),
    Measure("pixel_ap", "Pixel AP", "Pixels", says="Average precision over pixels; hard where defects are small."),
    Measure("pixel_f1_max", "Pixel F1-max", "Pixels", says="F1 over pixels at the best threshold."),
    Measure("pixel_aupro", f"Pixel AUPRO @ {AUPRO_FPR_LIMIT}", "Pixels",
            says=f"Mean overlap with each defect region, up to a false positive rate of {AUPRO_FPR_LIMIT}."),
    Measure("pixel_iou", "Pixel IoU", "Pixels", says="Overlap of drawn and true mask on defective pictures."),
    Measure("rejection", "Rejection", "Pixels", says="Share of good pictures on which nothing is drawn."),
    Measure("verdict_balanced_accuracy", "Verdict balanced accuracy", _VERDICT,
            says="Mean of the recalls of good and defective, at the model's own threshold."),
    Measure("verdict_precision", "Verdict precision", _VERDICT, says="Share of alarms that are right."),
    Measure("verdict_recall", "Verdict recall", _VERDICT, says="Share of defective pictures that are found."),
    Measure("verdict_specificity", "Verdict specificity", _VERDICT, says="Share of good pictures that pass."),
    Measure("verdict_f1", "Verdict F1", _VERDICT, says="Harmonic mean of precision and recall."),
    Measure("unreadable", "Unreadable", _VERDICT, "lower", "Share of pictures without a readable verdict."),
    Measure("ece", "Expected calibration error", _VERDICT, "lower", "How far scores are from what they foretell."),
    Measure("brier", "Brier score", _VERDICT, "lower", "Mean squared distance of the score from the truth."),
    Measure("type_accuracy", "Type accuracy", "Defect types", says="The type with the largest score is the true one."),
    Measure("type_macro_recall", "Type macro recall", "Defect types", says="Mean over types of the recall."),
    Measure("type_macro_f1", "Type macro F1", "Defect types", says="Mean over types of F1."),
    Measure("type_macro_auroc", "Type macro AUROC", "Defect types", says="Mean over types, each against the others."),
    Measure("type_constant_accuracy", "Accuracy of the commonest type", "Defect types", "",
            "What one gets by always answering with the commonest type: the yardstick for type accuracy."),
    Measure("type_constant_macro_recall", "Macro recall of the commonest type", "Defect types", ""),
    Measure("type_constant_macro_f1", "Macro F1 of the commonest type", "Defect types", ""),
    Measure("type_pixel_auroc", "Type pixel AUROC", "Defect types", says="Mean over good and types, pixel by pixel."),
    Measure("type_pixel_ap", "Type pixel AP", "Defect types", says="Average precision, mean over good and types."),
    Measure("type_pixel_f1", "Type pixel F1", "Defect types", says="F1 of a pixel's likeliest class, mean."),
    Measure("text_location_agreement", "Location agreement", "Words", says="Named places against those of the mask."),
    Measure("text_type_precision", "Named types, precision", "Words", says="Share of the named types that are there."),
    Measure("text_type_recall", "Named types, recall", "Words", says="Share of the types present that are named."),
    Measure("text_rouge_l", "ROUGE-L", "Words", says="Longest common word sequence with the annotated description."),
    Measure("text_contradiction", "Contradictions", "Words", "lower", "Share where words and verdict differ."),
    # Of one type
    Measure("n", "Pictures", "One type", "", "Pictures with this type."),
    Measure("recall", "Recall", "One type"),
    Measure("precision", "Precision", "One type"),
    Measure("f1", "F1", "One type"),
    Measure("auroc", "AUROC", "One type"),
    Measure("average_precision", "AP", "One type"),
    Measure("pixel_n", "Pixels", "One type", "", "Pixels with this type."),
    Measure("pixel_recall", "Pixel recall", "One type"),
    Measure("pixel_precision", "Pixel precision", "One type"),
    Measure("pixel_f1", "Pixel F1", "One type"),
    Measure("pixel_average_precision", "Pixel AP", "One type"),
]
# fmt: on
_BY_KEY = {measure.key: measure for measure in _KNOWN}
_GROUP_OF_PREFIX = {
    "image": "Whole pictures",
    "pixel": "Pixels",
    "verdict": _VERDICT,
    "type": "Defect types",
    "text": "Words",
}
GROUPS = ("Whole pictures", "Pixels", _VERDICT, "Defect types", "Words", "One type", "Other")
COUNT = "n_"  # how keys of counts begin
NO_MEASURES = frozenset({"trained_on", "left_out", "intervals", "undefined", "notes", "over"})


def is_measure(key: str) -> bool:
    """Return whether a key of metrics.json is a measure: neither a count nor a remark on the others."""
    return key not in NO_MEASURES and not key.startswith(COUNT)


def measure(key: str) -> Measure:
    """Return what a key means; an unknown one keeps its key as name, and which way is better is not said."""
    known = _BY_KEY.get(key)
    return known or Measure(key, key, _GROUP_OF_PREFIX.get(key.partition("_")[0], "Other"), "")


def measures_of(records: Iterable[Mapping[str, Any]]) -> list[Measure]:
    """Return the measures that any of the records has, in the order of this legend, unknown ones last."""
    keys: Collection[str] = dict.fromkeys(key for record in records for key in record if is_measure(key))
    return sorted(map(measure, keys), key=lambda found: (GROUPS.index(found.group), _place(found.key)))


def _place(key: str) -> tuple[int, str]:
    return (list(_BY_KEY).index(key), "") if key in _BY_KEY else (len(_BY_KEY), key)
