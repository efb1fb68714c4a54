"""From a typed question about a seen picture to its `Answer`: one pass of queries; map and scores decide, not words.

A named type is decided by its own query, score and map; any other question by those of "any defect". Questions that
map and scores do not answer are put to the decoder, if it was trained on conversations: its words decide nothing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from genau.answers import parse_verdict
from genau.arguments import Types, check_product, check_types
from genau.calibration import Thresholds, check_threshold
from genau.errors import UsageError
from genau.findings import SAY, Value, find, kind, score_words
from genau.judgement import Reply, decide
from genau.model.configuration import GenAUConfig
from genau.prompts import ANALYSIS_KEYS, Query
from genau.questions import Intent, parse_question
from genau.regions import SeverityRules
from genau.results import Verdict

NOT_SUPPORTED = "not_supported_by_model"
NO_SCORE = "score_is_no_number"
CUT_OFF = "cut_off"
NO_WORDS = "no_words"
REFUSALS = {
    NOT_SUPPORTED: "No shipped model answers this; models trained on conversations do, see docs/train-large.md. Ask "
    "whether there is a defect, of which kind, where, how many, how large or how severe, each in one short English "
    "sentence.",
    NO_SCORE: "The model's score of this picture is not a number in [0, 1], so nothing is said of it. Check the model.",
    CUT_OFF: "The model came to no end and was cut off. Ask for less in one question.",
    NO_WORDS: "The model ended its answer before its first word. Ask in other words.",
}
_YES_NO = re.compile(r"^\W*(?:yes|no)\b\s*?(?:[,.:;!-]+|\n|$)", re.IGNORECASE)
_KEY = re.compile(rf"^\W*(?:{'|'.join(ANALYSIS_KEYS)}):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What was answered to one question about one picture, or why nothing was."""

    question: str  # as it was asked
    intent: str | None = None  # one of `GenAUConfig.questions`; None: not understood
    type: str | None = None  # the named type; None: any defect
    answer: str | None = None  # one sentence or two, or the model's words; None: see `reason`
    value: Value | None = None
    # presence: whether yes; kind: types, likeliest first; place: 3x3 words, largest region first; count: regions;
    # size: share of the picture, in [0, 1]; severity: a word. Not found: False (or True), [], [], 0, 0.0, "none";
    # found, but on no region of the map: None
    score: float | None = None  # in [0, 1]
    threshold: float | None = None  # found if and only if score >= threshold
    boxes: tuple[tuple[int, int, int, int], ...] = ()  # xyxy, pixels of the original, right and bottom exclusive
    types: Mapping[str, float] = field(default_factory=dict)  # kind: the score of each candidate, in [0, 1]
    trained: bool = False  # whether the model was trained on what was asked; False: asked by its words alone
    reason: str | None = None  # a key of REFUSALS: why there is no answer, or not all of it
    supported_by: tuple[str, ...] = ()  # models that would answer; none is shipped
    by: Literal["map", "words"] = "map"  # what answered: map and scores, or the decoder's own words
    confidence: float | None = None  # words: the geometric mean of their probabilities, in [0, 1]; not calibrated
    contradiction: str | None = None  # words that pass a part which score and map call defective: what they said

    def __post_init__(self) -> None:
        """Refuse an answer that is also a refusal, and one that is neither; only words may be cut off."""
        cut_off = self.reason == CUT_OFF and self.by == "words"
        if (self.answer is None) == (self.reason is None) and not (cut_off and self.answer):
            raise ValueError(f"answer={self.answer!r} stands beside reason={self.reason!r}; exactly one must be None.")

    @property
    def text(self) -> str:
        """What to show: the answer, marked where it was cut off, or in words why there is none."""
        why = REFUSALS[self.reason] if self.reason else ""
        return why if self.answer is None else f"{self.answer} … ({why})" if why else self.answer

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, and `text` beside the fields."""
        row = asdict(self) | {"types": dict(self.types), "text": self.text}
        return row | {"boxes": [list(box) for box in self.boxes], "supported_by": list(self.supported_by)}


class SeenPicture(Protocol):
    """A picture that was seen; see `genau.inspector.SeenImage`."""

    @property
    def roi(self) -> NDArray[np.bool_] | None:
        """(H, W), True where to inspect."""


Seen_contra = TypeVar("Seen_contra", bound=SeenPicture, contravariant=True)


class Asker(Protocol[Seen_contra]):
    """What this module needs of an `Inspector`."""

    thresholds: Thresholds

    @property
    def model(self) -> Any:  # noqa: ANN401 - anything with a GenAUConfig as `config`
        """The model."""

    @property
    def eye(self) -> Any:  # noqa: ANN401 - anything that can `speak`, as `genau.seeing.Eye`
        """What has seen the picture; asked only where the model speaks."""

    def replies(self, images: Sequence[Seen_contra], queries: Sequence[Query]) -> tuple[list[list[Reply]], Any]:
        """Return each picture's replies to all queries, first of all."""

    def likeliest_type(self, image: Seen_contra) -> str | None:
        """Return the trained type whose own map scores highest; None if there are none."""


def answer_question(
    asker: Asker[Seen_contra],
    seen: Seen_contra,
    question: str,
    *,
    product: str | None = None,
    types: Types | None = None,
    threshold: float | None = None,
    rules: SeverityRules | None = None,
    earlier: Sequence[tuple[str, str]] = (),
) -> Answer:
    """Answer a typed English question about a seen picture: presence, kind, place, count, size or severity.

    `product` names the part; `types` are candidates, as names or {name: short visual description}; `threshold`
    replaces the one that decides this question: the type's for a named type, the picture's for any defect; `rules` say
    how severe defects are. Any other question is answered in words by a model that was trained on conversations, with
    the free questions and answers in `earlier` before it; of another model `answer` is None and `reason` is
    "not_supported_by_model".

    Raises:
        UsageError: no text, an empty, repeated or overlong name, a threshold outside [0, 1], earlier turns that are no
        pairs or too long.
    """
    if not isinstance(question, str):
        raise UsageError(f"The question is {question!r}, which is no text. Give a sentence in quotes.")
    part, asked = check_product(product), check_types(types)
    config: GenAUConfig = asker.model.config
    meant = parse_question(question, tuple(asked), config.trained_types, part)
    at = asker.thresholds.image if meant is None or meant.type is None else asker.thresholds.of_type(meant.type)
    at = check_threshold(at if threshold is None else threshold)
    if meant is None or meant.intent not in config.questions:
        if config.speaks and question.strip():
            at = asker.thresholds.image if threshold is None else threshold
            return _in_words(asker, seen, question, earlier, Query(product=part), at)
        return Answer(question, None if meant is None else str(meant.intent), reason=NOT_SUPPORTED)
    candidates = list(asked) if meant.intent is Intent.KIND else []
    queries = [Query(meant.type, asked.get(meant.type or ""), part)]
    queries += [Query(name, asked[name], part) for name in candidates]
    first, *others = asker.replies([seen], queries)[0][0]
    if not all(math.isfinite(reply.pred_score) for reply in (first, *others)):
        return Answer(question, str(meant.intent), meant.type, reason=NO_SCORE)
    value: Value | None
    finding = find(meant, first, at, asker.thresholds.pixel, seen.roi, rules or SeverityRules())
    scores = {name: reply.pred_score for name, reply in zip(candidates, others, strict=True)}
    if meant.intent is Intent.KIND:
        likeliest = None if candidates or not finding.found else asker.likeliest_type(seen)
        said, value = kind(finding, scores, asker.thresholds.of_type, likeliest)
    else:
        said, value = SAY[meant.intent](finding, meant)
    boxes = tuple(region.bbox_xyxy for region in finding.regions)
    trained = _trained(config, [meant.type] if meant.type else candidates)
    return Answer(question, str(meant.intent), meant.type, said, value, finding.score, at, boxes, scores, trained)


def _in_words(
    asker: Asker[Seen_contra],
    seen: Seen_contra,
    question: str,
    earlier: Sequence[tuple[str, str]],
    general: Query,
    at: float,
) -> Answer:
    """Let the decoder answer, and hold its words against the general score only if they pass the part."""
    spoken = asker.eye.speak(seen, question, earlier)
    if not math.isfinite(spoken.confidence):
        return Answer(question, reason=NO_SCORE, by="words")
    if not spoken.text:
        return Answer(question, reason=NO_WORDS if spoken.ended else CUT_OFF, by="words")
    against = None
    if passes(spoken.text):
        score = asker.replies([seen], [general])[0][0][0].pred_score
        if decide(score, at) is Verdict.DEFECT:
            against = f"The words find nothing wrong, the score says defect {score_words(score, at)}: trust the score."
    reason = None if spoken.ended else CUT_OFF
    return Answer(
        question,
        None,
        None,
        spoken.text,
        reason=reason,
        by="words",
        confidence=spoken.confidence,
        contradiction=against,
    )


def passes(words: str) -> bool:
    """Whether words plainly say that a part is good; "no" alone may answer any question, so it does not say so."""
    claims = _KEY.sub("", _YES_NO.sub("", words.strip(), count=1))  # "Likely cause: none" is no doubt
    return parse_verdict(claims) is Verdict.NORMAL


def _trained(config: GenAUConfig, names: Sequence[str]) -> bool:
    """Whether all the names are trained types; without names, whether anything was trained."""
    if not names:
        return bool(config.trained_types or config.trained_products)
    return set(names) <= set(config.trained_types)
