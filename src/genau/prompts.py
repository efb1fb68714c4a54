"""What we ask the model, and the form of its answer. Plain strings; tokens and tensors are the processor's.

The order is: fixed instruction, picture, what to look for, `[SEG_defect][SEG_normal] Verdict:`; then, only if asked
for, the rest of the answer. So the instruction is read once for all pictures, a picture once for all questions, and
one pass without generation gives the map and the verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass

INSTRUCTION = "You inspect industrial parts in pictures and find their defects."
QUERY_TOKENS = ("[SEG_defect]", "[SEG_normal]")  # paper: their last hidden states query the picture
IMAGE_TOKEN = "<image>"
VERDICT_PROMPT = "".join(QUERY_TOKENS) + " Verdict:"
NORMAL_WORD, DEFECT_WORD = " normal", " defect"  # single tokens of nano's decoder; checked at load for every other
MAX_NAME_CHARACTERS = 200  # of a product, a type or its description


@dataclass(frozen=True)
class ChatFormat:
    """How a family writes the turns of a chat around a picture."""

    before_instruction: str
    before_picture: str
    before_question: str
    before_answer: str
    end_of_turn: str


CHAT_FORMATS = {
    "chatml": ChatFormat(
        "<|im_start|>system\n",
        "<|im_end|>\n<|im_start|>user\n",
        "\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "qwen-vl": ChatFormat(  # of Qwen2.5-VL and Qwen3-VL: the question stands directly after the picture
        "<|im_start|>system\n",
        "<|im_end|>\n<|im_start|>user\n",
        "",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "smolvlm": ChatFormat(
        "<|im_start|>System: ", "<end_of_utterance>\nUser:", "", "<end_of_utterance>\nAssistant:", "<end_of_utterance>"
    ),
    "idefics3": ChatFormat(
        "<|begin_of_text|>System: ",
        "<end_of_utterance>\nUser:",
        "",
        "<end_of_utterance>\nAssistant:",
        "<end_of_utterance>",
    ),
}


@dataclass(frozen=True)
class Query:
    """One question about a picture: any defect at all (`type` None), or one named type."""

    type: str | None = None
    description: str | None = None  # a short visual description of the type
    product: str | None = None


@dataclass(frozen=True)
class Span:
    """A piece of a prompt. What a user wrote is not `trusted`: it never becomes a control token."""

    text: str
    trusted: bool = True


# The first form is asked at inspection; training also uses the others, so that the model does not hang on one wording.
ANY_DEFECT_FORMS = ("Look for any defect.", "Is there any defect?", "Inspect the part.", "Find anything abnormal.")
TYPE_FORMS = (
    ("Look for this defect: ", "."),
    ("Is there any ", "?"),
    ("Find each ", " on the part."),
    ("Does the part have this defect: ", "?"),
)
PRODUCT_FORMS = (("Product: ", ". "), ("This is a ", ". "), ("The part is a ", ". "))


def question_spans(query: Query, form: int = 0) -> list[Span]:
    """Return the words of a question in the `form`-th phrasing (taken modulo the number of phrasings)."""
    spans = []
    if query.product:
        before, after = PRODUCT_FORMS[form % len(PRODUCT_FORMS)]
        spans += [Span(before), Span(query.product, trusted=False), Span(after)]
    if query.type is None:
        return [*spans, Span(ANY_DEFECT_FORMS[form % len(ANY_DEFECT_FORMS)])]
    before, after = TYPE_FORMS[form % len(TYPE_FORMS)]
    spans += [Span(before), Span(query.type, trusted=False)]
    if query.description:
        spans += [Span(" ("), Span(query.description, trusted=False), Span(")")]
    return [*spans, Span(after)]


# The lines of an analysis after its first, `Verdict: normal|defect`; see `results.Analysis`.
ANALYSIS_KEYS = ("Types", "Location", "Appearance", "Severity", "Likely cause", "Recommendation")
FREE_KEYS = ("Appearance", "Likely cause", "Recommendation")  # the model's own words; the rest follows from the mask
NORMAL_ADVICE = "accept the part"  # Recommendation of a normal part, and of no other
NOTHING = "none"  # Types, Location and Severity of a normal part


def answer_text(verdict_word: str, lines: Mapping[str, str] | None = None) -> str:
    """Return what the assistant says after `Verdict:`, with or without the analysis; the inverse is in `answers`."""
    if lines is None:
        return verdict_word
    return verdict_word + "".join(f"\n{key}: {lines[key]}" for key in ANALYSIS_KEYS)
