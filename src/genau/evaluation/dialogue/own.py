"""GenAU as an answerer: the engine of `genau ask`, for the three tasks that its map and scores decide.

A model that was trained on conversations is asked all else in words, with the benchmark's own prompt.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from genau.answering import CUT_OFF, NO_SCORE, NO_WORDS, REFUSALS, Answer
from genau.arguments import check_types
from genau.dialogue import Outcome, Prompt, Said, Turn
from genau.errors import UsageError
from genau.evaluation.dialogue import mmad, visa_dr
from genau.evaluation.own import digest
from genau.inspector import Inspector
from genau.seeing import SeenImage
from genau.speaking import MOST_TOKENS

# Nothing else is asked: "How many bottles are there?" would be answered with the count of defects called bottle.
TASKS = (mmad.DETECTION, mmad.CLASSIFICATION, mmad.LOCALIZATION, visa_dr.DETECTION)
_SAME = {"upper": "top", "lower": "bottom", "middle": "center", "centre": "center", "central": "center"}
_PLACES = re.compile(r"\b(?:(?:top|bottom) (?:left|center|right)|center (?:left|right)|top|bottom|left|right|center)\b")


class InspectorAnswers:
    """Answers what `genau ask` can; the rest is unsupported, which is counted and never right."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector, self._weights = inspector, digest(inspector.model)
        self._speaks = inspector.model.config.speaks
        self._seen: tuple[tuple[tuple[Path, bool], ...], SeenImage] | None = None  # the last picture

    @property
    def name(self) -> str:
        """The model's name or folder."""
        return self._inspector.name

    @property
    def settings(self) -> Mapping[str, str]:
        """Weights and thresholds, and how a model speaks that does."""
        thresholds = self._inspector.thresholds
        words = {"other questions": f"in words, at most {MOST_TOKENS} tokens"} if self._speaks else {}
        return words | {
            "weights": self._weights,
            "threshold": f"{thresholds.image:g} ({thresholds.method})",
            "mask threshold": f"{thresholds.pixel:g}",
        }

    @property
    def workers(self) -> int:
        """One: the last picture is remembered."""
        return 1

    def answer(self, prompt: Prompt) -> Said:
        """Answer by score and map, or in words what they do not; errors as `Inspector.see` and `Speaker.say`."""
        said = self._decide(prompt)
        return self._speak(prompt) if self._speaks and said.outcome is Outcome.UNSUPPORTED else said

    def _speak(self, prompt: Prompt) -> Said:
        """Ask with the benchmark's words; its pictures are seen, good parts as what the picture is compared with."""
        *before, question = ["\n".join(_words(turn)) for turn in prompt.turns]
        earlier = list(zip(before[::2], before[1::2], strict=True))
        spoken = self._inspector.eye.speak(self._see(prompt), question, earlier)
        if spoken.ended and spoken.text:
            return Said(spoken.text, tokens_out=spoken.tokens)
        why = REFUSALS[NO_WORDS if spoken.ended else CUT_OFF]
        return Said(None, Outcome.UNREADABLE, why, tokens_out=spoken.tokens)

    def _decide(self, prompt: Prompt) -> Said:
        if prompt.task not in TASKS:
            return _unsupported(f"{prompt.task or 'free words'}: {REFUSALS['not_supported_by_model']}")
        types: dict[str, str] = {}
        if prompt.task == mmad.CLASSIFICATION:
            types = {option: text.strip(" .") for option, text in prompt.options.items()}
            try:
                check_types(list(types.values()))
            except UsageError as error:
                return _unsupported(f"the options cannot be asked as defects: {error}")
        answer = self._inspector.answer(self._see(prompt), _bare(prompt.question), types=list(types.values()) or None)
        if answer.answer is None:
            unreadable = answer.reason == NO_SCORE
            return Said.nothing(Outcome.UNREADABLE if unreadable else Outcome.UNSUPPORTED, answer.text)
        chosen = _likeliest(answer, types) if types else _chosen(answer, prompt.options)
        return Said(chosen) if chosen is not None else _unsupported(f"no single option says: {answer.answer}")

    def _see(self, prompt: Prompt) -> SeenImage:
        shown = tuple((picture.path, picture.reference) for picture in prompt.pictures)
        if self._seen is None or self._seen[0] != shown:
            (image,) = [path for path, reference in shown if not reference]
            references = [path for path, reference in shown if reference]
            self._seen = shown, self._inspector.see(image, references or None)
        return self._seen[1]


def _words(turn: Turn) -> Iterator[str]:
    return (part.strip() for part in turn.parts if isinstance(part, str))


def _unsupported(reason: str) -> Said:
    return Said.nothing(Outcome.UNSUPPORTED, reason)


def _bare(question: str) -> str:
    """Return the last question without its premise ("There is a defect in the object.") and the form of the reply."""
    asked = [sentence.strip() for sentence in re.findall(r"[^.?!]+\?", question)]
    return (asked[-1] if asked else question).replace("for the object in the image", "in the image")


def _likeliest(answer: Answer, types: Mapping[str, str]) -> str | None:
    """Return the option whose type scores highest: the question takes for granted that there is a defect."""
    scores = {option: answer.types.get(name, math.nan) for option, name in types.items()}
    finite = {option: score for option, score in scores.items() if math.isfinite(score)}
    return max(finite, key=lambda option: finite[option], default=None)


def _chosen(answer: Answer, options: Mapping[str, str]) -> str | None:
    """Return the one option that says what was found, else None."""
    if isinstance(answer.value, bool):
        word = "yes" if answer.value else "no"
        fit = [option for option, text in options.items() if re.match(rf"{word}\b", text.strip(), re.IGNORECASE)]
    elif isinstance(answer.value, list) and answer.value:
        fit = [option for option, text in options.items() if _places(text) == [answer.value[0]]]
    else:
        fit = []
    return fit[0] if len(fit) == 1 else None


def _places(text: str) -> list[str]:
    """Return the location words of an option as our own results have them: "Upper-left corner" -> ["top left"]."""
    words = [_SAME.get(word, word) for word in re.findall(r"[a-z]+", text.lower())]
    found = _PLACES.findall(" ".join(words))
    return sorted({place.replace("center", "").strip() or place for place in found})
