"""The inverse of `prompts`: a model's words to fields, or to UNREADABLE. Silence and doubt never mean normal."""

import re

from genau.prompts import ANALYSIS_KEYS
from genau.results import Analysis, Verdict

_NEGATED = re.compile(
    r"\b(?:no|not|without|free of|non)[\s-]+(?:\w+\s+){0,2}?(?:defects?|defective|anomal\w+|damage)\b"
)
_DEFECT = re.compile(r"\b(?:defects?|defective|anomal\w+|abnormal|damaged?)\b")
_NORMAL = re.compile(r"\b(?:normal|good|intact|flawless)\b")
_NOT_NORMAL = re.compile(r"\b(?:not|isn't|is not)\s+(?:\w+\s+)?(?:normal|good|intact|flawless)\b")
_YES_NO = re.compile(r"^\W*(yes|no)\b")


def parse_verdict(text: str) -> Verdict:
    """Read a verdict out of free words; a text that says both or neither is UNREADABLE.

    A `Verdict:` line decides if there is one; else the whole text. "Yes" and "no" at the beginning answer the
    question whether there is a defect.
    """
    line = re.search(r"^\s*verdict\s*:\s*(.*)$", text, re.IGNORECASE | re.MULTILINE)
    words = (line.group(1) if line else text).strip().lower()
    if answer := _YES_NO.match(words):
        return Verdict.DEFECT if answer.group(1) == "yes" else Verdict.NORMAL
    negated = bool(_NEGATED.search(words))
    doubtful = bool(_NOT_NORMAL.search(words))
    rest = _NOT_NORMAL.sub(" ", _NEGATED.sub(" ", words))
    says_defect = doubtful or bool(_DEFECT.search(rest))
    says_normal = negated or bool(_NORMAL.search(rest))
    if says_defect == says_normal:
        return Verdict.UNREADABLE
    return Verdict.DEFECT if says_defect else Verdict.NORMAL


def parse_analysis(text: str) -> Analysis | None:
    """Read the seven keyed lines, in their order; None if one is missing, empty, doubled or out of order."""
    keys = ("Verdict", *ANALYSIS_KEYS)
    pattern = r"\s*" + r"\n".join(rf"{key}: *(\S.*?) *" for key in keys) + r"\s*"
    found = re.fullmatch(pattern, text.strip())
    return Analysis(*found.groups()) if found else None
