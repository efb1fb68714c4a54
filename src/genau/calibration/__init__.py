"""Thresholds from data, with their provenance: where they fall, by which method, and what to expect of them."""

from genau.calibration.bounds import good_needed, share_interval, upper_bound
from genau.calibration.choice import METHODS, Method, choose, cross_validated, outcomes
from genau.calibration.decision import calibrate
from genau.calibration.masks import MaskTally, PixelThreshold, pixel_from_good
from genau.calibration.scored import Scored, read_results
from genau.calibration.summary import WhatIf, percent, summary, what_if
from genau.calibration.thresholds import (
    AS_CALIBRATED,
    NEVER,
    THRESHOLDS_FILE,
    Thresholds,
    check_threshold,
    with_sensitivity,
)
from genau.results import calibrated_score

__all__ = [
    "AS_CALIBRATED",
    "METHODS",
    "NEVER",
    "THRESHOLDS_FILE",
    "MaskTally",
    "Method",
    "PixelThreshold",
    "Scored",
    "Thresholds",
    "WhatIf",
    "calibrate",
    "calibrated_score",
    "check_threshold",
    "choose",
    "cross_validated",
    "good_needed",
    "outcomes",
    "percent",
    "pixel_from_good",
    "read_results",
    "share_interval",
    "summary",
    "upper_bound",
    "what_if",
    "with_sensitivity",
]
