"""From a model's replies about one picture to its `Inspection`: map, mask, verdict, typed defects, contradictions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genau.calibration import Thresholds
from genau.images import Letterbox, Picture
from genau.maps import to_original
from genau.regions import Region, find_regions, keep_regions, to_defects
from genau.results import Inspection, Verdict


@dataclass(frozen=True, eq=False)
class Reply:
    """The model's answer to one question about one picture."""

    margin: NDArray[np.float32]  # (h, w) on the finest grid
    map_score: float
    text_score: float
    pred_score: float


@dataclass(frozen=True, eq=False)
class Judged:
    """An inspection without words, and the regions from which words can be made."""

    inspection: Inspection
    regions: list[Region]


def judge(
    picture: Picture,
    letterbox: Letterbox,
    general: Reply,
    types: Mapping[str, Reply],
    thresholds: Thresholds,
    roi: NDArray[np.bool_] | None = None,
) -> Judged:
    """Decide on one picture. `general` answers "any defect", `types` one named type each.

    `verdict` is defect if and only if `pred_score >= thresholds.image`; a part judged normal has an empty mask.
    """
    verdict = decide(general.pred_score, thresholds.image)
    if verdict is Verdict.UNREADABLE:
        reason = f"The model's score of this picture is {general.pred_score}, not a number in [0, 1]. Check the model."
        failed = Inspection.failed(picture.name, reason)
        return Judged(replace(failed, width=picture.width, height=picture.height), [])
    anomaly_map = to_original(general.margin, letterbox, roi)
    inspected = np.ones_like(anomaly_map, np.bool_) if roi is None else roi  # even where a threshold of 0 is reached
    regions = find_regions((anomaly_map >= thresholds.pixel) & inspected) if verdict is Verdict.DEFECT else []
    mask = keep_regions(regions, (picture.height, picture.width))
    means: dict[str, list[float]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, reply in types.items():  # one map at a time: 200 of them would fill the memory
        if regions and reply.pred_score >= thresholds.type:
            type_map = to_original(reply.margin, letterbox, roi)
            means[name] = [float(type_map[region.box_yx][region.inside].mean()) for region in regions]
            masks[name] = (type_map >= thresholds.pixel) & inspected
    text_verdict = decide(general.text_score, 0.5)
    inspection = Inspection(
        image=picture.name,
        width=picture.width,
        height=picture.height,
        verdict=verdict,
        pred_score=general.pred_score,
        map_score=general.map_score,
        text_score=general.text_score,
        threshold=thresholds.image,
        text_verdict=text_verdict,
        picture=picture.rgb,
        anomaly_map=anomaly_map,
        pred_mask=mask,
        defects=to_defects(regions, anomaly_map, means),
        types={name: reply.pred_score for name, reply in types.items()},
        type_masks=masks,
        contradiction=contradiction(verdict, text_verdict, regions),
    )
    return Judged(inspection, regions)


def decide(score: float, threshold: float) -> Verdict:
    """Return the verdict of a score; a score that is not a number is unreadable, never normal."""
    if not math.isfinite(score):
        return Verdict.UNREADABLE
    return Verdict.DEFECT if score >= threshold else Verdict.NORMAL


def contradiction(verdict: Verdict, text_verdict: Verdict, regions: list[Region]) -> str | None:
    """Return in words where score, words and map disagree, or None."""
    notes = []
    if text_verdict is not verdict:
        notes.append(f"The score says {verdict}, the language model's own word is {text_verdict}.")
    if verdict is Verdict.DEFECT and not regions:
        notes.append("The score says defect, but no region of the map is above the mask threshold.")
    return " ".join(notes) or None
