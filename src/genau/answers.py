"""The inverse of `prompts`: a model's words to fields, or to UNREADABLE. Silence and doubt never mean normal.

A part passes only on a plain claim; everything that hedges, refuses, excepts or asks takes the claim back.
"""

import re

from genau.prompts import ANALYSIS_KEYS
from genau.results import Analysis, Verdict

_FAULT = (
    r"(?:defect(?!-free)\w*|anomal\w+|abnormal\w*|damage[ds]?|scratch\w*|crack\w*|dents?|dented|broken|flaw(?!less)\w*|"
    r"faulty|faults?|imperfect\w*|irregular\w*|contaminat\w*|missing|deform\w*)"
)
_SOUND = r"(?:normal|intact|flawless|undamaged|(?:defect|damage|fault)[- ]free|non[- ]defective)"
_FINE = r"(?:good|fine|ok|okay)"  # too common to mean the part, unless it is all that is said of something
_ANY = r"(?:(?:an?|any|the|have|has|show|contain|see|visible|obvious|apparent|clear|evident|signs?|evidence|of)\s+)*"
_LIST = rf"{_FAULT}(?:(?:\s*,\s*{_FAULT})*\s*,?\s*(?:or|nor)\s+(?:any\s+)?{_FAULT})?"  # "scratches, dents or cracks"
_NEITHER = r"\b(?:no|not|without|nothing|free of|free from|isn't|aren't|doesn't|don't|neither)\s+"
_TURNED = r"\b(?:no|not|non|never|hardly|nor|neither|far from|no longer|anything but|\w+n't)[\s-]+(?:\w+\s+){0,3}?"

_CERTAINLY = re.compile(r"\b(?:no doubt|without (?:a )?doubt|no question)\b")
_FAULTLESS = re.compile(rf"{_NEITHER}{_ANY}{_LIST}\b")
_FAULTY = re.compile(rf"\b{_FAULT}\b")
_MENTIONED = re.compile(rf"\b{_SOUND}\b")
_NOT_SOUND = re.compile(rf"{_TURNED}(?:{_SOUND}|{_FINE}|(?:free of|free from|without)\s+{_ANY}{_FAULT})\b")
_IS = r"(?:\b(?:is|are|looks?|appears?|seems?)|'s)\s+(?:to be\s+)?(?:(?:completely|entirely|perfectly|all)\s+)?"
_NOUN = r"(?!picture|image|photo|view|example|question|light)\w+"
_CLAIM = re.compile(
    rf"(?:^|:)\W*(?:{_SOUND}|{_FINE})\W*$|(?:^|:)\W*{_SOUND}\s*,"  # "normal", "answer: normal", "normal, all in place"
    rf"|{_IS}(?:{_SOUND}|{_FINE})(?=\W*$|\s*,|\s+and\b)|{_IS}an?\s+(?:{_SOUND}|{_FINE})\s+{_NOUN}"
    rf"|\b(?:{_SOUND}|{_FINE})\s+(?:part|product|item|sample|condition|order)\b"
)
_DOUBT = re.compile(
    r"\b(?:can ?not|can't|could|couldn't|might|may|maybe|perhaps|possibly|probably|likely|unlikely|unclear|uncertain|"
    r"unsure|unable|whether|if|would|should|doubt\w*|unknown|sorry|as an ai|not (?:sure|certain|possible|enough)|"
    r"(?:hard|difficult|impossible) to|do not know|don't know|idea)\b"
)
_EXCEPT = re.compile(r"\b(?:but|except\w*|however|although|though|apart from|aside from|other than|otherwise|almost)\b")
_YES_NO = re.compile(r"^\W*(yes|no)\b(?=\W*$|\s*[,:-])")


def parse_verdict(text: str) -> Verdict:
    """Read a verdict out of free words; a text that says both or neither is UNREADABLE.

    `Verdict:` lines decide if there are any, and must agree; else the whole text. "Yes" and "no" at the beginning
    answer the question whether there is a defect.
    """
    lines = re.findall(r"^[^\w\n]*verdict[^\w\n]*?[:=](.*)$", text, re.IGNORECASE | re.MULTILINE)
    readings = {_read(words) for words in lines or [text]}
    return readings.pop() if len(readings) == 1 else Verdict.UNREADABLE


def _read(text: str) -> Verdict:
    words = _CERTAINLY.sub(" ", text.lower().replace("\u2019", "'"))
    clauses = [clause.strip() for clause in re.findall(r"[^.;!?\n]+\??", words)]
    clauses = [clause for clause in clauses if not clause.endswith("?")]  # a question claims nothing
    says_defect = says_normal = mentioned = False
    for clause in clauses:
        if _DOUBT.search(clause):
            continue
        answer = _YES_NO.match(clause) if clause is clauses[0] else None
        turned = _NOT_SOUND.sub(" ", clause)
        rest = _FAULTLESS.sub(" ", turned)
        says_defect |= turned != clause or bool(_FAULTY.search(_MENTIONED.sub(" ", rest)))
        mentioned |= bool(_MENTIONED.search(turned))
        says_normal |= rest != turned or bool(_CLAIM.search(turned))
        if answer:
            says_defect, says_normal = says_defect or answer[1] == "yes", says_normal or answer[1] == "no"
    if says_defect == says_normal:
        return Verdict.UNREADABLE
    if says_defect:
        return Verdict.UNREADABLE if mentioned else Verdict.DEFECT  # "normal or defect"
    hedged = any(_DOUBT.search(clause) or _EXCEPT.search(clause) for clause in clauses)
    return Verdict.UNREADABLE if hedged else Verdict.NORMAL


def parse_analysis(text: str) -> Analysis | None:
    """Read the seven keyed lines, in their order; None if one is missing, empty, doubled or out of order."""
    keys = ("Verdict", *ANALYSIS_KEYS)
    pattern = r"\s*" + r"\n".join(rf"{key}: *(\S.*?) *" for key in keys) + r"\s*"
    found = re.fullmatch(pattern, text.strip())
    return Analysis(*found.groups()) if found else None
