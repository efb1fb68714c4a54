"""From a model's replies about one picture to its `Inspection`: map, mask, verdict, typed defects, contradictions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genau.calibration import Thresholds
from genau.images import Picture
from genau.regions import Region, find_regions, keep_regions, locations, to_defects
from genau.relations import Places, missing_regions, relate
from genau.results import MISSED, Inspection, Verdict


@dataclass(frozen=True, eq=False)
class Reply:
    """The answer to one question about one picture, of GenAU or of a baseline."""

    pred_score: float  # in [0, 1]
    map_score: float = math.nan  # in [0, 1], the map's part of it
    text_score: float | None = None  # in [0, 1], the word's part of it; None: nothing was said in words
    draw: Callable[[], NDArray[np.float32]] | None = None
    # Makes the map (H, W) in [0, 1], frame of the original: the maps of 200 types at once would fill the memory.


@dataclass(frozen=True, eq=False)
class Judged:
    """An inspection without words, and the regions from which words can be made."""

    inspection: Inspection
    regions: list[Region]


def judge(
    picture: Picture,
    general: Reply,
    types: Mapping[str, Reply],
    thresholds: Thresholds,
    roi: NDArray[np.bool_] | None = None,
    places: Places | None = None,
) -> Judged:
    """Decide on one picture. `general` answers "any defect", `types` one named type each.

    `verdict` is defect if and only if `pred_score >= thresholds.image`; a part judged normal has an empty mask, and
    without a map there is none. `roi` (H, W) is where was inspected; `places` compares each place with good parts.
    """
    verdict = decide(general.pred_score, thresholds.image)
    if verdict is Verdict.UNREADABLE:
        reason = f"The model's score of this picture is {general.pred_score}, not a number in [0, 1]. Check the model."
        failed = Inspection.failed(picture.name, reason)
        return Judged(replace(failed, width=picture.width, height=picture.height), [])
    anomaly_map = general.draw() if general.draw else np.zeros((0, 0), np.float32)
    inspected = np.ones_like(anomaly_map, np.bool_) if roi is None else roi  # even where a threshold of 0 is reached
    regions: list[Region] = []
    unmarked: list[Region] = []  # of a part judged normal
    if general.draw and verdict is Verdict.NORMAL:
        unmarked = missing_regions(places, np.zeros_like(inspected), inspected)
    if general.draw and verdict is Verdict.DEFECT:
        marked = (anomaly_map >= thresholds.pixel) & inspected
        regions = find_regions(marked)
        regions += missing_regions(places, marked, inspected)
    means: dict[str, list[float]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, reply in types.items():  # one map at a time
        if regions and reply.draw and reply.pred_score >= thresholds.of_type(name):
            type_map = reply.draw()
            means[name] = [float(type_map[region.box_yx][region.inside].mean()) for region in regions]
            masks[name] = (type_map >= thresholds.pixel) & inspected
    text_verdict = None if general.text_score is None else decide(general.text_score, 0.5)
    inspection = Inspection(
        image=picture.name,
        width=picture.width,
        height=picture.height,
        verdict=verdict,
        pred_score=general.pred_score,
        map_score=general.map_score,
        text_score=math.nan if general.text_score is None else general.text_score,
        threshold=thresholds.image,
        text_verdict=text_verdict,
        picture=picture.rgb,
        anomaly_map=anomaly_map,
        pred_mask=keep_regions(regions, (anomaly_map.shape[0], anomaly_map.shape[1])),
        defects=to_defects(regions, anomaly_map, means, relate(regions, places)),
        types={name: reply.pred_score for name, reply in types.items()},
        type_masks=masks,
        contradiction=contradiction(verdict, text_verdict, regions if general.draw else None, unmarked),
    )
    return Judged(inspection, regions)


def decide(score: float, threshold: float) -> Verdict:
    """Return the verdict of a score; a score that is not a number is unreadable, never normal."""
    if not math.isfinite(score):
        return Verdict.UNREADABLE
    return Verdict.DEFECT if score >= threshold else Verdict.NORMAL


def contradiction(
    verdict: Verdict,
    text_verdict: Verdict | None,
    regions: list[Region] | None,
    unmarked: Sequence[Region] = (),
) -> str | None:
    """Return in words where score, words, map and references disagree, or None; what is None was not asked.

    `unmarked` are the places of a part judged normal where something clearly is missing.
    """
    notes = []
    if text_verdict not in {None, verdict}:
        notes.append(f"The score says {verdict}, the language model's own word is {text_verdict}.")
    if verdict is Verdict.DEFECT and regions == []:
        notes.append("The score says defect, but no region of the map is above the mask threshold.")
    if unmarked:
        notes.append(f"{MISSED} {locations(unmarked)}.")
    return " ".join(notes) or None
