"""From a typed English question to what is meant by it: a small grammar, nothing learned.

What the grammar does not know, it refuses: a wrong reading of a question would be a wrong answer about a part.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

LONGEST_QUESTION = 300  # characters; longer ones are no questions of this grammar


class Intent(StrEnum):
    """What a question asks for; the names are those of `GenAUConfig.questions`."""

    PRESENCE = "presence"
    KIND = "kind"
    PLACE = "place"
    COUNT = "count"
    SIZE = "size"
    SEVERITY = "severity"


@dataclass(frozen=True)
class Question:
    """What was meant."""

    intent: Intent
    type: str | None = None  # None: any defect
    named: bool = False  # whether the type is one of the names that the caller or the model knows
    asks_if_good: bool = False  # "is the part OK?": yes means that nothing was found


def parse_question(
    text: str, types: Sequence[str] = (), trained: Sequence[str] = (), product: str | None = None
) -> Question | None:
    """Return what is meant, or None if the grammar does not cover it.

    `types` are the caller's candidates, `trained` the model's own; a type is returned as it is spelt there. A defect
    that is neither is returned by its words, singular. `product` may stand for "the part".
    """
    if len(text) > LONGEST_QUESTION or not (line := _plain(text)):
        return None
    names = _Names((*types, *trained))
    meant = _parse_line(line, names)
    if product and (meant is None or (meant.type and not meant.named)):
        as_part = re.sub(rf"\b{re.escape(_plain(product))}(e?s)?\b", "part", line)
        return meant if as_part == line else _parse_line(as_part, names)
    return meant


def singular(phrase: str) -> str:
    """Return a phrase with its last word in the singular: "scratches" -> "scratch"."""
    before, space, word = phrase.rpartition(" ")
    if re.search(r"[^aeiou]ies$", word):
        word = word[:-3] + "y"
    elif re.search(r"(s|x|z|ch|sh)es$", word):
        word = word[:-2]
    elif re.search(r"[^sui]s$", word) and len(word) > 3:
        word = word[:-1]
    return before + space + word


def _plain(text: str) -> str:
    """Return lower case on one line, without politeness, contractions and the marks at its end."""
    line = " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").lower().split())
    line = line.strip("\"' ").rstrip("?!. ")
    line = re.sub(r"^(?:(?:hello|hi|hey|please|now|and|then|so)\b[, ]*)+", "", line)
    line = re.sub(r"[, ]+(?:please|thanks|thank you)$", "", line)
    line = re.sub(r"\b(what|where)'?s\b", r"\1 is", line)
    return line.replace("colour", "color")


class _Names:
    """Finds a known type in what was typed; earlier names win."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by_key: dict[str, str] = {}
        self.by_adjective: dict[str, str] = {}
        for name in names:
            key = self.key(name)
            self.by_key.setdefault(key, name)
            for adjective in _adjectives(key):
                self.by_adjective.setdefault(adjective, name)

    @staticmethod
    def key(phrase: str) -> str:
        return singular(re.sub(r"[-_ ]+", " ", _plain(phrase)))

    def find(self, phrase: str) -> str | None:
        return self.by_key.get(self.key(phrase))


def _adjectives(key: str) -> Iterator[str]:
    """Yield how a part with that defect is called: "scratch" -> "scratched"."""
    yield key + "ed"
    yield key + key[-1:] + "ed"
    if key.endswith("ation"):
        yield key.removesuffix("ation") + "ed"  # deformed, discolored
        yield key.removesuffix("ion") + "ed"  # contaminated
    yield from {"wear": ("worn",), "corrosion": ("corroded",), "burr": ("burred",)}.get(key, ())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_THINGS = _words("part piece product item object component workpiece sample unit picture image photo surface")
_GENERAL = _words("defect anomaly fault flaw damage problem issue imperfection abnormality irregularity blemish") | {
    f"{thing} {bad}"
    for thing in ("anything", "something")
    for bad in ["wrong", "abnormal", "unusual", "strange", "suspicious", "defective", "damaged", "broken"]
}
_GENERAL |= {f"{bad} {place}" for bad in ("defective", "damaged") for place in ("area", "region", "spot", "place")}
_BAD = _words("defective faulty bad damaged broken abnormal anomalous flawed affected wrong") | {"not ok", "not okay"}
_GOOD = _words("ok okay good fine normal intact perfect flawless alright defect-free faultless undamaged") | {
    "all right",
    "in order",
    "defect free",
    "without defects",
}
# No name of a defect has one of these words: a question with them asks for something else.
_NOT_IN_A_TYPE = (
    _words("a an the and or but not no nor neither both to of with without for from by in on at under over near into")
    | _words("my your his her their our its that this these those which who whose what why how when where if than as")
    | _words("is are was were be been being do does did has have had can could should would will may must it you me")
    | _words("us we i they he she him them more most less least other else before after because so very too only")
    | _words("color price cost name brand maker text material age temperature time date person people reason cause way")
    | _words("chance idea question answer word weight instruction thing anything something nothing everything weather")
)
_PRONOUN_INTENTS = {Intent.PLACE, Intent.SEVERITY}  # "how large is it?" may mean the part

# Pieces of the patterns below
SUBJECT = rf"(?:(?:(?:the|this|that) )?(?:(?:whole|entire) )?(?:{'|'.join(sorted(_THINGS))})|it|this)"
AROUND = (  # where one may look; a question about a place on the part ("on the left", "on the label") is not covered
    r"(?: (?:visible|present|located|here|there|anywhere|exactly|at all))*"
    rf"(?: (?:in|on|at|of|to|with) {SUBJECT})?(?: (?:visible|here|there|anywhere|at all))*"
)
SEEN = (
    rf"(?: (?:are|is) (?:there|it|this|that|these|they|visible|present|shown|here|on {SUBJECT})"
    r"| there (?:are|is)| it (?:is|has)| (?:do|can) (?:you|we|i) (?:see|find|detect)"
    rf"| (?:does|has) {SUBJECT}(?: (?:have|show|got))?)"
)
SHARE = r"(?:(?:what |which )?(?:percentage|percent|share|fraction|portion|proportion)|how much)"
SPOT = r"(?:side|corner|edge|half|area|place|position|region|location|spot|part)"
MEASURE = r"(?:large|big|wide|long|small|tall|high|extensive)"
WHAT = r"(?P<what>.+?)"
STATE = r"(?P<state>[a-z]+(?:[ -][a-z]+){0,2}?)"  # "scratched", "ok"
KNOWN = r"(?P<known>.+?)"  # only a known name, or any defect: the pattern alone says too little
ANY = r"(?P<any>.+?)"  # only any defect
GOOD = r"(?P<good>)"  # yes means that nothing was found
_PATTERNS = (
    (Intent.PRESENCE, rf"(?:is|are) there {WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"(?:if|whether) there (?:is|are) {WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"(?:do|can|could) (?:you|we|i) (?:see|find|detect|spot|notice) {WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"(?:does|do) {SUBJECT} (?:have|show|contain|exhibit) {WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"has {SUBJECT} (?:got )?{WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"(?:check|look|search|inspect)(?: {SUBJECT})? for {WHAT}{AROUND}"),
    (Intent.PRESENCE, rf"is {SUBJECT} free (?:of|from) {WHAT}{GOOD}"),
    (Intent.PRESENCE, rf"(?:if|whether) {SUBJECT} is free (?:of|from) {WHAT}{GOOD}"),
    (Intent.PRESENCE, rf"(?:is|are) {WHAT} (?:visible|present){AROUND}"),
    (
        Intent.PRESENCE,
        rf"is (?:{SUBJECT}|everything|anything|all) (?:an? )?{STATE}(?: (?:part|piece|one))?(?: with {SUBJECT})?",
    ),
    (Intent.PRESENCE, rf"(?:if|whether) (?:{SUBJECT}|everything|anything) is {STATE}"),
    (Intent.PRESENCE, rf"(?:does|do) (?:{SUBJECT}|everything) look {STATE}"),
    (Intent.PRESENCE, rf"does {SUBJECT} pass(?: (?:the )?inspection)?{GOOD}"),
    (Intent.PRESENCE, rf"any {KNOWN}{AROUND}"),
    (Intent.PRESENCE, rf"{KNOWN}"),
    (Intent.KIND, rf"(?:what|which) (?:kinds?|types?|sorts?|class|classes) of {ANY}(?:{SEEN})?{AROUND}"),
    (Intent.KIND, rf"what (?:is|are) the (?:kinds?|types?|sorts?|names?|class) of {ANY}{AROUND}"),
    (Intent.KIND, rf"what (?:is|are) the {ANY}(?: types?)?{AROUND}"),
    (Intent.KIND, rf"(?:what|which) {ANY}(?: types?)?{SEEN}{AROUND}"),
    (Intent.KIND, rf"(?:what is )?(?P<any>wrong)(?: with {SUBJECT})?"),
    (Intent.KIND, rf"(?:name|list|classify|identify) {ANY}{AROUND}"),
    (Intent.PLACE, rf"where (?:exactly )?(?:is|are) {SUBJECT} {STATE}"),
    (Intent.PLACE, rf"where (?:exactly )?(?:is|are) {WHAT}{AROUND}"),
    (Intent.PLACE, rf"where {WHAT} (?:is|are){AROUND}"),
    (Intent.PLACE, rf"where (?:do|can|could) (?:you|we|i) (?:see|find|detect) {WHAT}{AROUND}"),
    (Intent.PLACE, rf"where (?:does|has) {SUBJECT} (?:have |show |got )?{WHAT}"),
    (Intent.PLACE, rf"(?:on|at|in) (?:which|what) {SPOT} (?:of {SUBJECT} )?(?:is|are) {WHAT}{AROUND}"),
    (Intent.PLACE, rf"(?:which|what) {SPOT} (?:of {SUBJECT} )?(?:is|are) {STATE}"),
    (Intent.PLACE, rf"(?:locate|find|show me|show|point to|point at|point out|mark|highlight) {WHAT}{AROUND}"),
    (Intent.PLACE, rf"(?:what is )?(?:the )?(?:location|position|place) of {WHAT}{AROUND}"),
    (Intent.COUNT, rf"how many {WHAT}(?:{SEEN})?{AROUND}"),
    (Intent.COUNT, rf"count {WHAT}{AROUND}"),
    (Intent.COUNT, rf"(?:what is )?(?:the )?number of {WHAT}{AROUND}"),
    (Intent.SIZE, rf"how {MEASURE} (?:is|are) {WHAT}{AROUND}"),
    (Intent.SIZE, rf"how {MEASURE} {WHAT} (?:is|are){AROUND}"),
    (Intent.SIZE, rf"(?:what is )?(?:the )?(?:size|area|extent|dimensions?|width|length|height) of {WHAT}{AROUND}"),
    (Intent.SIZE, rf"{SHARE} (?:of {SUBJECT} )?is (?:affected|covered) by {WHAT}"),
    (Intent.SIZE, rf"{SHARE} (?:of {SUBJECT} )?is {STATE}"),
    (Intent.SIZE, rf"{SHARE} (?:of {SUBJECT} )?(?:does|do) {WHAT} (?:cover|affect|fill|take up)"),
    (Intent.SEVERITY, rf"how (?:severe|serious|bad) (?:is|are) {WHAT}{AROUND}"),
    (Intent.SEVERITY, rf"(?:what is )?(?:the )?severity of {WHAT}{AROUND}"),
)
_LEAD = re.compile(
    r"(?:(?:can|could|would|will) you (?:please )?)?(?:(?:tell me|say|let me know|i want to know)(?: please)?,? )?"
)
_DETERMINERS = re.compile(
    r"^(?:(?:an?|the|any|some|all|each|every|this|that|these|those|visible|(?:kinds?|types?|signs?|traces?) of) )+"
)


@cache
def _compiled() -> tuple[tuple[Intent, re.Pattern[str]], ...]:
    return tuple((intent, re.compile(pattern)) for intent, pattern in _PATTERNS)


def _parse_line(line: str, names: _Names) -> Question | None:
    """Return the first reading that makes sense, of the line itself or without "can you tell me"."""
    for said in dict.fromkeys((line, _LEAD.sub("", line, count=1))):
        for intent, pattern in _compiled():
            if (match := pattern.fullmatch(said)) and (meant := _read(intent, match.groupdict(), names)):
                return meant
    return None


def _read(intent: Intent, said: dict[str, str | None], names: _Names) -> Question | None:
    """Return the question of one pattern's words, or None if they cannot be meant."""
    meant = Question(intent, asks_if_good="good" in said)
    if state := said.get("state"):
        if name := names.find(state) or names.by_adjective.get(state):
            return replace(meant, type=name, named=True)
        return replace(meant, asks_if_good=state in _GOOD) if _any_defect(state, intent) else None
    for group in ("any", "known", "what"):
        if not (phrase := said.get(group)):
            continue
        bare = _DETERMINERS.sub("", phrase)
        if group != "any" and (name := names.find(phrase) or names.find(bare)):
            return replace(meant, type=name, named=True)
        if names.key(bare) in _GENERAL or phrase == "wrong" or (phrase == "it" and intent in _PRONOUN_INTENTS):
            return meant
        return replace(meant, type=singular(bare)) if group == "what" and _may_be_a_type(bare) else None
    return meant


def _any_defect(state: str, intent: Intent) -> bool:
    """Whether a word is said of parts with any defect, or of good ones where that can be asked."""
    return state in _BAD or (state in _GOOD and intent is Intent.PRESENCE)


def _may_be_a_type(phrase: str) -> bool:
    """Whether unknown words can be asked as the name of a defect: one to three plain words that name a thing."""
    words = phrase.replace("-", " ").split()
    fit = re.fullmatch(r"[a-z]{3,20}(?:[ -][a-z]{2,20}){0,2}", phrase) is not None
    return fit and not any({word, singular(word)} & (_NOT_IN_A_TYPE | _THINGS) for word in words)
