"""Measures of image scores, anomaly maps, defect types and words; undefined is an error, never a zero."""

from genau.metrics.bootstrap import PixelBootstrap, interval, replicates, resample_indices
from genau.metrics.figure import Figure, measured
from genau.metrics.image import (
    UndefinedMetricError,
    auroc,
    average_precision,
    balanced_accuracy,
    f1_max,
    precision_recall_points,
    roc_points,
)
from genau.metrics.overlap import iou
from genau.metrics.pixel import PixelHistogram
from genau.metrics.reliability import brier, expected_calibration_error, reliability_points
from genau.metrics.text import field_accuracy, rouge_l, types_agree, words_agree
from genau.metrics.type_pixels import TypePixels
from genau.metrics.types import (
    constant_accuracy,
    constant_macro_f1,
    constant_macro_recall,
    macro_auroc,
    macro_f1,
    macro_recall,
    per_type,
    top1_accuracy,
)
from genau.metrics.verdict import f1, precision, recall, specificity, unreadable_share, verdict_balanced_accuracy

__all__ = [
    "Figure",
    "PixelBootstrap",
    "PixelHistogram",
    "TypePixels",
    "UndefinedMetricError",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "constant_accuracy",
    "constant_macro_f1",
    "constant_macro_recall",
    "expected_calibration_error",
    "f1",
    "f1_max",
    "field_accuracy",
    "interval",
    "iou",
    "macro_auroc",
    "macro_f1",
    "macro_recall",
    "measured",
    "per_type",
    "precision",
    "precision_recall_points",
    "recall",
    "reliability_points",
    "replicates",
    "resample_indices",
    "roc_points",
    "rouge_l",
    "specificity",
    "top1_accuracy",
    "types_agree",
    "unreadable_share",
    "verdict_balanced_accuracy",
    "words_agree",
]
