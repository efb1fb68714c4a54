"""Words to fields: a part passes only on a plain claim."""

import random
import string

import pytest

from genau.answers import parse_analysis, parse_verdict
from genau.prompts import ANALYSIS_KEYS, DEFECT_WORD, NORMAL_WORD, answer_text
from genau.results import Verdict

NORMAL = (
    "normal",
    " Normal.",
    "Verdict: normal",
    "**Verdict:** normal",
    "verdict : NORMAL\nTypes: none",
    '{"verdict": "normal"}',
    "Answer: normal",
    "No",
    "No.",
    "No, there are no defects.",
    "No visible defects.",
    "There are no visible signs of damage.",
    "No scratches, dents or cracks.",
    "The part is free of defects.",
    "The part is not defective.",
    "It isn't defective, all edges are clean.",
    "non-defective",
    "The part is defect-free.",
    "The part does not have any defects.",
    "There is nothing abnormal.",
    "The part looks normal.",
    "This is a normal connector.",
    "The screw is in good condition.",
    "Everything is intact and clean.",
    "Is there any defect? No.",
    "No doubt, the part is normal.",
    "normally shaped; the part is normal",
)
DEFECT = (
    "defect",
    "Verdict: defect\nAppearance: the rest looks normal",
    "Yes",
    "Yes, there is a scratch.",
    "The part is not normal",
    "The part isn’t normal.",
    "It is no longer intact.",
    "This is far from normal.",
    "not a normal part",
    "It is never without defects.",
    "The part is not without defects.",
    "not free of defects",
    "not defect-free",
    "not just defective, it is broken",
    "No doubt defective.",
    "abnormal",
    "There are abnormalities.",
    "an abnormally bent pin, damaged",
    "I see an anomaly in the top left.",
    "The part is defective. It may have been dropped.",
    "It has no major defects.",
    "There are no other defects.",
    "a missing screw",
)
UNREADABLE = (
    "",
    "   \n",
    "Verdict:",
    "Verdict:\nAppearance: the surface is normal",
    "Verdict: normal or defect",
    "Verdict: normal\nVerdict: defect",
    "Verdict: normal\nVerdict:",
    "I cannot say.",
    "I cannot say whether it is normal.",
    "It might be normal.",
    "It may be defective.",
    "I cannot say whether it is defective.",
    "The part is probably normal.",
    "The part is normal. However, I am not sure.",
    "The part is normal except for the left edge.",
    "The part is almost normal.",
    "The part is normal, but the pin is bent.",
    "The part is normal but defective.",
    "normal defect",
    "As an AI, I am unable to inspect normal parts.",
    "I'm sorry, I can't help with that. No.",
    "No idea.",
    "No, I cannot see a defect in this light.",
    "No, the part is not normal.",
    "Yes, the part is normal.",
    "Yes, no defects.",
    "Is this part normal?",
    "Under normal lighting I see a metal plate.",
    "This is a normal picture of a plate.",
    "A good look at the plate.",
    "Good question",
    "It is good that you ask.",
    "normally",
    "abnorm",
    "It would be normal if the pin were straight.",
    "The plate is blue.",
    "Normalerweise ist das so.",
    "unknown",
)


@pytest.mark.parametrize("text", NORMAL)
def test_a_plain_claim_passes_the_part(text: str) -> None:
    assert parse_verdict(text) is Verdict.NORMAL


@pytest.mark.parametrize("text", DEFECT)
def test_a_fault_or_a_denied_soundness_is_a_defect(text: str) -> None:
    assert parse_verdict(text) is Verdict.DEFECT


@pytest.mark.parametrize("text", UNREADABLE)
def test_silence_doubt_and_contradiction_are_unreadable(text: str) -> None:
    assert parse_verdict(text) is Verdict.UNREADABLE


@pytest.mark.parametrize("word", [NORMAL_WORD, DEFECT_WORD])
def test_our_own_verdict_words_are_read_back(word: str) -> None:
    assert parse_verdict("Verdict:" + answer_text(word)) == word.strip()


def random_line(rng: random.Random) -> str:
    letters = string.ascii_letters + string.digits + " ,;:-.äß…[](){}*+?\\|^$"
    return "x" + "".join(rng.choices(letters, k=rng.randrange(40))) + "y"


def written(seed: int) -> tuple[dict[str, str], str]:
    rng = random.Random(seed)
    lines = {key: random_line(rng) for key in ANALYSIS_KEYS}
    return lines, "Verdict:" + answer_text(rng.choice([NORMAL_WORD, DEFECT_WORD]), lines)


@pytest.mark.parametrize("seed", range(30))
def test_parsing_an_analysis_is_the_inverse_of_writing_it(seed: int) -> None:
    lines, text = written(seed)
    analysis = parse_analysis(text)
    assert analysis is not None
    assert {key: getattr(analysis, key.lower().replace(" ", "_")) for key in ANALYSIS_KEYS} == lines
    assert analysis.verdict in {"normal", "defect"}
    assert analysis.text == text
    assert parse_verdict(text) == analysis.verdict


@pytest.mark.parametrize("number", range(1 + len(ANALYSIS_KEYS)))
def test_a_missing_doubled_emptied_or_moved_line_is_no_analysis(number: int) -> None:
    rows = written(1)[1].split("\n")
    missing = rows[:number] + rows[number + 1 :]
    doubled = [*rows[:number], rows[number], *rows[number:]]
    emptied = [*rows[:number], rows[number].split(":")[0] + ": ", *rows[number + 1 :]]
    moved = [*missing, rows[number]] if number < len(ANALYSIS_KEYS) else [rows[number], *missing]
    for broken in (missing, doubled, emptied, moved):
        assert parse_analysis("\n".join(broken)) is None


def test_words_around_an_analysis_are_not_accepted() -> None:
    text = written(2)[1]
    assert parse_analysis("Here you are.\n" + text) is None
    assert parse_analysis(text + "\nI hope this helps.") is None
    assert parse_analysis("") is None
