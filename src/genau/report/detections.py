"""Results as `supervision.Detections`, for drawing, tracking, counting and merging with other detectors."""

from importlib import import_module
from typing import Any

import numpy as np

from genau.errors import UsageError
from genau.report.instances import class_name, class_names, instances, types_of
from genau.results import Inspection


def to_supervision(result: Inspection) -> Any:  # noqa: ANN401 - of an optional library
    """Return `supervision.Detections` of one result, a row per defect, largest score first.

    N defects: xyxy (N, 4) float32 in pixels, right and bottom exclusive; mask (N, H, W) bool in the frame of the
    original; confidence (N,) float32; class_id (N,), the position of the type, after them "unknown" (the only class is
    "defect" without types); data["class_name"] (N,). Raises `UsageError` where the library is missing, for a result
    without masks, and for a picture that could not be inspected.
    """
    try:
        supervision = import_module("supervision")
    except ImportError as error:
        raise UsageError(
            'The library `supervision` is not installed. Install it with: pip install "genau[supervision]".'
        ) from error
    if result.error is not None:
        raise UsageError(
            f"{result.image!r} could not be inspected ({result.error}), so it has no detections; an empty list would "
            "pass it as good. Check `result.error is None` first."
        )
    found, types = list(instances(result)), types_of(result)
    names = class_names(types)
    size_hw = (result.height, result.width)
    masks = np.zeros((len(found), *size_hw), np.bool_)
    for row, instance in enumerate(found):
        masks[row][instance.box_yx] = instance.inside
    labels = [class_name(instance.defect, types) for instance in found]
    return supervision.Detections(
        xyxy=np.array([instance.defect.bbox_xyxy for instance in found], np.float32).reshape(-1, 4),
        mask=masks,
        confidence=np.array([instance.defect.score for instance in found], np.float32),
        class_id=np.array([names.index(label) for label in labels], np.int64),
        data={"class_name": np.array(labels, np.str_)},
    )
