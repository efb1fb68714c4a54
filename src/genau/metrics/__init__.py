"""Measures of image scores and anomaly maps; undefined is an error, never a zero."""

from genau.metrics.image import UndefinedMetricError, auroc, average_precision, balanced_accuracy, f1_max
from genau.metrics.pixel import PixelHistogram

__all__ = ["PixelHistogram", "UndefinedMetricError", "auroc", "average_precision", "balanced_accuracy", "f1_max"]
