"""What is asked about a picture, and the true answer; every question can be asked of good and of defective parts.

No wording says whether there is a defect: "Where is the scratch?" would give half of the answer away. Phrasings are
drawn without a look at the part, so that nothing but the picture tells one answer from the other.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from genau.instruct.facts import Facts
from genau.instruct.knowledge import GOOD, UNKNOWN, UNKNOWN_ADVICE, Entry, Knowledge
from genau.prompts import DEFECT_WORD, NORMAL_ADVICE, NORMAL_WORD, NOTHING, answer_text
from genau.regions import SEVERITIES, SeverityRules

Rng = np.random.Generator
DETECTION, KIND, PLACE, COUNT, SIZE = "detection", "kind", "place", "count", "size"
SEVERITY, ANALYSIS, REASONING, PRESENCE = "severity", "analysis", "reasoning", "presence"
KINDS = (DETECTION, KIND, PLACE, COUNT, SIZE, SEVERITY, ANALYSIS, REASONING, PRESENCE)
NORMAL_LOOK = "no visible defect"
_RULES = SeverityRules()
_ONLY_IF = "if there are any"

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    DETECTION: (
        "Is there any defect? Answer yes or no.",
        "Does the part have a defect?",
        "Would you sort this part out as defective?",
        "Look the part over. Is anything wrong with it?",
    ),
    KIND: (
        f"Which kinds of defect does the part have, {_ONLY_IF}?",
        "Name the type of each defect, or say that there is none.",
        "What type of defect is it, if the part has one?",
    ),
    PLACE: (
        f"Where in the picture are defects, {_ONLY_IF}?",
        "Say in which areas of the picture the part is defective, or that it is not.",
        "In a grid of three rows and three columns, where do you see defects, if at all?",
    ),
    COUNT: (
        "How many separate defective regions are there?",
        "Count the defective regions; zero is a possible answer.",
        f"How many regions of the part are defective, {_ONLY_IF}?",
    ),
    SIZE: (
        "How much of the picture is defective?",
        f"How large are the defects compared with the picture, {_ONLY_IF}?",
        "Give the share of the picture that is defective; zero is a possible answer.",
    ),
    SEVERITY: (
        f"Rate the severity: {NOTHING} for a good part, {SEVERITIES[0]} below {_RULES.moderate:.1%} of the picture, "
        f"{SEVERITIES[1]} from there on, {SEVERITIES[2]} from {_RULES.severe:.0%} on.",
        f"By their share of the picture, are the defects {SEVERITIES[0]} (below {_RULES.moderate:.1%}), "
        f"{SEVERITIES[1]} or {SEVERITIES[2]} (from {_RULES.severe:.0%} on), or is there none?",
    ),
    ANALYSIS: (
        "Give the full analysis: verdict, types, location, appearance, severity, likely cause, recommendation.",
        "Write the inspection report of this part, one line per key from Verdict to Recommendation.",
        "Analyse the part. Answer line by line: Verdict, Types, Location, Appearance, Severity, Likely cause, "
        "Recommendation.",
    ),
    REASONING: (
        "Is the part good or defective? Give your reasons, and say what should be done.",
        "Explain what you see on the part and what follows from it.",
        "Describe the condition of the part. If something is wrong, what may be the cause?",
    ),
    PRESENCE: (
        "Does the part have this defect: {type}?",
        "Look for this defect: {type}. Is it there?",
        'Is the defect "{type}" present?',
    ),
}
PRODUCT_FORMS = ("", "Product: {product}. ")


def possible(facts: Facts) -> tuple[str, ...]:
    """Return the kinds of question that the annotation of a defective picture can answer."""
    needs = {KIND: facts.types, PRESENCE: facts.types, **dict.fromkeys((PLACE, COUNT, SIZE, SEVERITY), facts.regions)}
    return tuple(kind for kind in KINDS if kind not in needs or needs[kind])


def question_text(kind: str, product: str, rng: Rng, asked: str | None = None) -> str:
    """Draw a phrasing; the part itself is not looked at."""
    before = str(rng.choice(PRODUCT_FORMS)).format(product=product)
    return before + str(rng.choice(QUESTIONS[kind])).replace("{type}", asked or "")


def answer_of(kind: str, facts: Facts, knowledge: Knowledge, rng: Rng, asked: str | None = None) -> str:
    """Return the true answer to a question of this kind; `asked` is the type that a question of presence names."""
    if kind == PRESENCE:
        return _presence(facts, asked or "")
    if kind == ANALYSIS:
        return analysis_text(facts, knowledge, rng)
    if kind == REASONING:
        return _reasoning(facts, knowledge, rng)
    return _SIMPLE[kind](facts)


def entry_of(facts: Facts, knowledge: Knowledge) -> Entry:
    """Return what is known of the largest type of a defective part."""
    if not facts.types:
        return Entry()
    return knowledge.of((facts.sample.category, facts.sample.product), facts.types[0])


def analysis_text(facts: Facts, knowledge: Knowledge, rng: Rng) -> str:
    """Return the keyed lines, the verdict's first; what the data set says itself comes before all else."""
    if not facts.defective:
        lines = dict.fromkeys(("Types", "Location", "Severity", "Likely cause"), NOTHING)
        lines |= {"Appearance": NORMAL_LOOK, "Recommendation": NORMAL_ADVICE}
        return f"Verdict:{answer_text(NORMAL_WORD, lines)}"
    cause, advice = _cause_and_advice(facts, knowledge, rng)
    lines = {"Types": ", ".join(facts.types) or UNKNOWN, "Location": facts.location, "Appearance": facts.appearance}
    lines |= {"Severity": facts.severity, "Likely cause": cause, "Recommendation": advice}
    return f"Verdict:{answer_text(DEFECT_WORD, lines)}"


def _cause_and_advice(facts: Facts, knowledge: Knowledge, rng: Rng) -> tuple[str, str]:
    told, entry = facts.sample.analysis or {}, entry_of(facts, knowledge)
    cause = told.get("likely_cause") or (str(rng.choice(entry.cause)) if entry.cause else UNKNOWN)
    advice = told.get("recommendation") or (
        str(rng.choice(entry.recommendation)) if entry.recommendation else UNKNOWN_ADVICE
    )
    return " ".join(cause.split()), " ".join(advice.split())


def _detection(facts: Facts) -> str:
    return "Yes, the part is defective." if facts.defective else "No, the part is normal."


def _kind(facts: Facts) -> str:
    if not facts.defective:
        return "None: the part has no defect."
    return f"{_capital(_listed(facts.types))}."


def _place(facts: Facts) -> str:
    return f"In the {_areas(facts.places)} of the picture." if facts.defective else "Nowhere: the part has no defect."


def _count(facts: Facts) -> str:
    count = len(facts.regions)
    if not count:
        return "Zero: the part has no defect."
    return "One defective region." if count == 1 else f"{count} defective regions."


def _size(facts: Facts) -> str:
    if not facts.defective or facts.share is None:
        return "0 %: the part has no defect."
    return f"About {_percent(facts.share)} of the picture."


def _severity(facts: Facts) -> str:
    return f"{_capital(facts.severity)}."


_SIMPLE: Mapping[str, Callable[[Facts], str]] = {
    DETECTION: _detection,
    KIND: _kind,
    PLACE: _place,
    COUNT: _count,
    SIZE: _size,
    SEVERITY: _severity,
}


def _presence(facts: Facts, asked: str) -> str:
    if asked not in facts.types:
        return "No, it is not there."
    place = facts.place_of.get(asked, NOTHING)
    return "Yes, it is there." if place == NOTHING else f"Yes, in the {_areas(place.split(', '))} of the picture."


def _reasoning(facts: Facts, knowledge: Knowledge, rng: Rng) -> str:
    """Return sentences: what is on this picture, what is known of such defects, what to do."""
    if not facts.defective:
        look = knowledge.of((facts.sample.category, facts.sample.product), GOOD).appearance
        good = f" Good parts look like this: {look[0]}." if look else ""
        return f"The part is good: there is {NORMAL_LOOK}.{good} Recommendation: {NORMAL_ADVICE}."
    these = "this defect" if len(facts.types) == 1 else "these defects"
    named = f" with {these}: {_listed(facts.types)}" if facts.types else ", but the type of the defect is unknown"
    seen = f" It lies in the {_areas(facts.places)} of the picture" if facts.places else ""
    if facts.appearance != UNKNOWN:
        seen += f"; it looks like this: {facts.appearance}" if seen else f" It looks like this: {facts.appearance}"
    entry = entry_of(facts, knowledge)
    general = f" {_capital(facts.types[0])} in general: {entry.appearance[0]}." if entry.appearance else ""
    cause, advice = _cause_and_advice(facts, knowledge, rng)
    because = "The cause is unknown" if cause == UNKNOWN else f"Likely cause: {cause}"
    seen += "." if seen else ""
    return f"The part is defective{named}.{seen}{general} {because}. Recommendation: {advice}."


def _areas(places: Sequence[str]) -> str:
    return f"{_listed(places)} area{'s' if len(places) > 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _percent(share: float) -> str:
    """Return a share in per cent with two digits that count: 0.031 %, 4.2 %, 37 %."""
    return f"{float(f'{100 * share:.2g}'):g} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
