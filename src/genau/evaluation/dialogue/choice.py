"""From an answer in free words to the option that is meant, or to None: what cannot be read is never right."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_ANNOUNCED = re.compile(  # "Answer: B", "the answer is B"; but not "the answer is A scratch"
    r"(?i:\banswer(?:\s+is)?\s*[:=])[\s*(\[\"'`]*([A-E])\b|(?i:\banswer\s+is)\s+[*(\[\"'`]*([A-E])\b(?!\s+[a-z])"
)
_LETTER = re.compile(r"\b([A-E])\b")  # the benchmark's own expression (GPT4/gpt4v.py, parse_answer)
_ARTICLE = re.compile(r"\bA (?!(?:or|and|because|since|as|is|but)\b)(?=[a-z])")  # "A scratch", not "A or B"
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_FIRST = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def read_option(text: str, options: Mapping[str, str]) -> str | None:
    """Return the option that an answer names, or None where it names none or more than one.

    In this order: an announced letter ("Answer: B"), the letters that stand alone if they are all the same, and an
    option's own words. The article "A" in a sentence that announces nothing is no answer.
    """
    words = _spoken(text)
    if words is None:
        return None
    announced: set[str] = {one or other for one, other in _ANNOUNCED.findall(words)} & options.keys()
    if len(announced) == 1:
        return announced.pop()
    if announced:
        return None
    alone = set(_LETTER.findall(_ARTICLE.sub("", words)))
    if len(alone) == 1:
        letter = alone.pop()
        return letter if letter in options else None
    same = [letter for letter, option in options.items() if _plain(option) == _plain(words)]
    return same[0] if len(same) == 1 and not alone else None


def read_yes_no(text: str) -> str | None:
    """Return Yes or No where an answer begins with it, or says one of them and not the other; else None."""
    words = _spoken(text)
    if words is not None and (first := _FIRST.match(words)):
        return str(first[1]).capitalize()
    said = set() if words is None else {word.capitalize() for word in _YES_NO.findall(words)}
    return said.pop() if len(said) == 1 else None


def read_as_published(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter that MMAD's scripts take: the last one that stands alone, else that of the closest option.

    Nothing is unreadable to them: the closest option is taken however far it is. For comparison with their tables.
    """
    if letters := _LETTER.findall(text):
        return str(letters[-1])
    closest = get_close_matches(text, list(options.values()), n=1, cutoff=0.0)
    return next((letter for letter, option in options.items() if option in closest), None)


def yes_as_published(text: str) -> str:
    """Return Yes where "Yes" or "yes" is anywhere in the answer, else No, as VisA-D&R's script does."""
    return "Yes" if "Yes" in text or "yes" in text else "No"


def _spoken(text: str) -> str | None:
    """Return the answer without what the model thought aloud; None if it never stopped thinking."""
    words = _THOUGHT.sub("", text)
    return None if "<think>" in words else words.strip()


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .")
