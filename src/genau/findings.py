"""What a query's score and map say to a question, as a sentence and a value; nothing here is generated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genau.judgement import Reply, decide
from genau.questions import Intent, Question
from genau.regions import Region, SeverityRules, find_regions, locations
from genau.results import Verdict

MOST_BOXES = 3  # named in words; an answer holds all of them
V = TypeVar("V")
Value = bool | int | float | str | list[str]


@dataclass(frozen=True, eq=False)
class Finding:
    """What the deciding query said."""

    name: str  # the type, or "defect"
    score: float
    threshold: float
    found: bool
    regions: list[Region]  # of the query's own mask; none if nothing was found
    rules: SeverityRules = field(default_factory=SeverityRules)

    @property
    def scores(self) -> str:
        """Score and threshold in words, with as many digits as it takes to tell them apart."""
        return score_words(self.score, self.threshold)

    @property
    def share(self) -> float:
        """The regions' share of the picture, in [0, 1]."""
        return sum(region.area_fraction for region in self.regions)


def score_words(score: float, threshold: float) -> str:
    """Return "(score 0.21, threshold 0.50)"."""
    digits = 2 if f"{score:.2f}" != f"{threshold:.2f}" else 4
    return f"(score {score:.{digits}f}, threshold {threshold:.{digits}f})"


def find(
    meant: Question,
    reply: Reply,
    threshold: float,
    pixel: float,
    roi: NDArray[np.bool_] | None,
    rules: SeverityRules,
) -> Finding:
    """Return what a reply says at a threshold of its score and one of its map; `roi` (H, W) is where to look."""
    found = decide(reply.pred_score, threshold) is Verdict.DEFECT
    regions: list[Region] = []
    if found and reply.draw:
        mask = reply.draw() >= pixel
        regions = find_regions(mask if roi is None else mask & roi)  # outside too a threshold of 0 is reached
    return Finding(meant.type or "defect", reply.pred_score, threshold, found, regions, rules)


def presence(finding: Finding, meant: Question) -> tuple[str, bool]:
    """Say yes or no; "is the part OK?" is answered with yes where nothing was found."""
    yes = finding.found is not meant.asks_if_good
    seen = f"{_a(finding.name)} was found" if finding.found else f"no {finding.name} was found"
    return f"{'Yes' if yes else 'No'}: {seen} {finding.scores}.", yes


def place(finding: Finding, _: Question) -> tuple[str, list[str] | None]:
    """Say where the regions are, with the boxes of the largest ones."""
    if not finding.regions:
        return _nowhere(finding, [])
    boxes = "; ".join(_box(region) for region in finding.regions[:MOST_BOXES])
    more = len(finding.regions) - MOST_BOXES
    where = locations(finding.regions, len(finding.regions))
    also = f"; and {more} more" if more > 0 else ""
    return f"{_start(finding.name)}: {where}; box {boxes}{also} {finding.scores}.", where.split(", ")


def count(finding: Finding, _: Question) -> tuple[str, int | None]:
    """Say how many connected regions the mask has."""
    number = len(finding.regions)
    if not number:
        return _nowhere(finding, 0)
    plural = "" if number == 1 else "s"
    return f"{_start(finding.name)}: {number} separate region{plural} of the map {finding.scores}.", number


def size(finding: Finding, _: Question) -> tuple[str, float | None]:
    """Say how large all regions are together, and the largest one's box; no map knows millimetres."""
    if not finding.regions:
        return _nowhere(finding, 0.0)
    area = sum(region.area_px for region in finding.regions)
    x0, y0, x1, y1 = finding.regions[0].bbox_xyxy
    said = f"{_start(finding.name)}: {area} px, {finding.share:.2%} of the picture; the largest region is "
    return f"{said}{x1 - x0} px wide and {y1 - y0} px high {finding.scores}.", finding.share


def grade(finding: Finding, _: Question) -> tuple[str, str | None]:
    """Say how severe it is, which follows from its share of the picture, and from its type where there are rules."""
    word = finding.rules.of(finding.share, [finding.name])
    if not finding.regions:
        return _nowhere(finding, word)
    by = "by the rule for its type" if finding.name in finding.rules.types else "by its share of the picture alone"
    said = f"{_start(finding.name)}: {word}, {by}, {finding.share:.2%}"
    return f"{said} {finding.scores}.", word


SAY: Mapping[Intent, Callable[[Finding, Question], tuple[str, Value | None]]] = {
    Intent.PRESENCE: presence,
    Intent.PLACE: place,
    Intent.COUNT: count,
    Intent.SIZE: size,
    Intent.SEVERITY: grade,
}


def kind(
    finding: Finding, scores: Mapping[str, float], threshold: Callable[[str], float], likeliest: str | None
) -> tuple[str, list[str]]:
    """Say which candidates were found, best first; without candidates, name the likeliest trained type as a guess."""
    if not finding.found:
        return f"No defect was found {finding.scores}.", []
    if not scores:
        if likeliest is None:
            return f"A defect was found {finding.scores}; this model knows no types. Name candidate types.", []
        return f"A guess: {likeliest}. A defect was found {finding.scores}; name candidate types for scores.", [
            likeliest
        ]
    ranked = sorted(scores, key=lambda name: -scores[name])
    found = [name for name in ranked if scores[name] >= threshold(name)]
    if not found:
        best = f"{ranked[0]} comes nearest {score_words(scores[ranked[0]], threshold(ranked[0]))}"
        return f"A defect was found {finding.scores}, but none of the candidate types: {best}.", []
    named = "; ".join(f"{name} {score_words(scores[name], threshold(name))}" for name in found)
    return f"A defect was found {finding.scores}: {named}.", found


def _nowhere(finding: Finding, nothing: V) -> tuple[str, V | None]:
    """Say that nothing was found; a value is given only then: what is found but not localised has none."""
    if not finding.found:
        return f"No {finding.name} was found {finding.scores}.", nothing
    found = f"{_start(_a(finding.name))} was found {finding.scores}"
    return f"{found}, but no region of its map reaches the mask threshold.", None


def _start(name: str) -> str:
    return name[:1].upper() + name[1:]


def _a(name: str) -> str:
    return "a defect" if name == "defect" else name


def _box(region: Region) -> str:
    return ", ".join(map(str, region.bbox_xyxy))
