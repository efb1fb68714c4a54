"""Answers free questions about a seen picture in words, by a decoder that was trained on conversations.

The question is read on a copy of the picture's memory, in the form in which conversations are trained; then the
likeliest word follows the likeliest word. Nothing that is said here decides about a part: see `answering`.
Shapes: T words, L remembered ones, D the decoder's width, V its vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genau.errors import CheckpointError, UsageError
from genau.model.backbones import Memory
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import CHAT_FORMATS

MOST_TOKENS = 256  # of one answer
MOST_READ = 4096  # tokens of a question and the turns before it
# A loop is a phrase of at most so many tokens, said so often in a row, and so many tokens in all: "0000" is a number.
LONGEST_PHRASE, LOOP_TIMES, SHORTEST_LOOP = 32, 4, 16


@dataclass(frozen=True)
class Spoken:
    """What was said to one question."""

    text: str  # without the end of the turn; a phrase that was said again and again stands once
    ended: bool  # whether the model came to an end by itself; False: it was cut off
    tokens: int  # all that were chosen, repetitions and the end of the turn included
    mean_log_probability: float  # natural, of the tokens of `text` and the end; NaN if the model gave no numbers

    @property
    def confidence(self) -> float:
        """The geometric mean of the tokens' probabilities, in [0, 1]; not calibrated."""
        return math.exp(self.mean_log_probability)


class Speaker:
    """Speaks with one model; it keeps nothing of what it was asked."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor) -> None:
        """Raise CheckpointError where the end of a turn is not one token: then no answer would ever end."""
        self.model, self.processor = model, processor
        tokenizer, end = processor.tokenizer, CHAT_FORMATS[processor.chat_format].end_of_turn
        ids = tokenizer(end, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise CheckpointError(
                f"The tokenizer reads {end!r}, the end of a turn of chat format {processor.chat_format!r}, as "
                f"{len(ids)} tokens; it must be one. Use the tokenizer that belongs to the model."
            )
        self.end_id = int(ids[0])
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._silent = sorted((special | set(tokenizer.all_special_ids)) - {self.end_id})

    @torch.inference_mode()
    def say(
        self,
        memory: Memory,
        question: str,
        *,
        earlier: Sequence[tuple[str, str]] = (),
        most_tokens: int = MOST_TOKENS,
    ) -> Spoken:
        """Answer on a copy of a picture's memory of one row, which stays as it is.

        `earlier` are questions and answers about the same picture, oldest first. The same memory and words always
        give the same answer.

        Raises:
            UsageError: no question, no pairs, too many words to read, or no room for an answer.
        """
        step = self._read_before(question, earlier).to(memory.seen.device)
        if most_tokens < 1:
            raise UsageError(f"most_tokens={most_tokens} leaves no room for an answer. Allow 1 or more.")
        said: list[int] = []
        logs: list[float] = []
        ended = False
        while len(logs) < most_tokens and not (ended or repeated(said)):
            hidden, memory = self._read(step, memory)
            token, log = self._choose(hidden)
            logs.append(log)
            if not math.isfinite(log):
                break
            ended = token == self.end_id
            said += [] if ended else [token]
            step = step.new_tensor([[token]])
        chosen = len(logs)
        if again := repeated(said):
            said, logs = said[:-again], logs[:-again]
        text = self.processor.tokenizer.decode(said, clean_up_tokenization_spaces=False)
        text = text if ended else text.rstrip("\ufffd")  # half of a character at the cut
        return Spoken(text.strip(), ended, chosen, math.fsum(logs) / len(logs))

    def _read_before(self, question: str, earlier: Sequence[tuple[str, str]]) -> Tensor:
        """Return the ids (1, T) of all that stands before the answer."""
        for turn in earlier:
            if isinstance(turn, str) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
                raise UsageError(f"The earlier turn {turn!r} is no pair. Give (question, answer) pairs of texts.")
        if not question.strip():
            raise UsageError("The question has no words. Ask one.")
        stripped = [(asked.strip(), answered.strip()) for asked, answered in earlier]  # as conversations are trained
        ids = self.processor.talk_ids(question.strip(), stripped)
        if ids.shape[1] > MOST_READ:
            raise UsageError(
                f"The question and {len(earlier)} earlier turns have {ids.shape[1]} tokens; at most {MOST_READ} are "
                "read. Shorten the question, or give fewer turns."
            )
        return ids

    def _read(self, ids: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Read ids (1, T) on; return the last one's hidden state (D,) and the memory."""
        backbone = self.model.backbone
        hidden, memory = backbone.read(backbone.embed(ids), torch.ones_like(ids, dtype=torch.bool), memory)
        return hidden[0, -1], memory

    def _choose(self, hidden: Tensor) -> tuple[int, float]:
        """Return the likeliest token that is a word or the end of the turn, and its log-probability among all V."""
        logits = self.model.backbone.logits(hidden)
        words = logits.clone()
        words[len(self.processor.tokenizer) :] = -torch.inf  # a table may be longer than its tokenizer
        words[[number for number in self._silent if number < len(words)]] = -torch.inf
        token = int(words.argmax())
        return token, float(logits.log_softmax(-1)[token])


def repeated(said: Sequence[int]) -> int:
    """Return how many tokens at the end only say a phrase again and again, 0 if that is no loop yet."""
    for length in range(1, LONGEST_PHRASE + 1):
        times = max(LOOP_TIMES, math.ceil(SHORTEST_LOOP / length))
        tail = said[-times * length :]
        if len(tail) == times * length and all(tail[at] == tail[at % length] for at in range(len(tail))):
            return length * (times - 1)
    return 0
