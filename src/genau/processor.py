"""The door for pictures and words: in go arrays and strings, out come tensors. Knows no model.

Shapes: B pictures, S canvas side, Q questions, T words.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_base import ImageProcessingMixin

from genau.errors import UsageError
from genau.images import Letterbox
from genau.layouts import FixedLayout, Layout, layout_of
from genau.prompts import (
    CHAT_FORMATS,
    DEFECT_WORD,
    IMAGE_TOKEN,
    INSTRUCTION,
    MAX_NAME_CHARACTERS,
    NORMAL_WORD,
    QUERY_TOKENS,
    VERDICT_PROMPT,
    Query,
    Span,
    question_spans,
)

IGNORED_LABEL = -100  # PyTorch's cross entropy skips it


class LetterboxImageProcessor(ImageProcessingMixin):  # type: ignore[misc]
    """Pictures to a square canvas, scaled as the encoder was trained; the padding has the encoder's zero."""

    model_input_names = ["pixel_values", "content_hw"]  # noqa: RUF012 - the framework's own attribute

    def __init__(
        self,
        size: int = 640,
        mean: float | Sequence[float] = 127.0,  # of 8-bit values; of all channels, or one of each
        scale: float | Sequence[float] = 128.0,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.mean, self.scale = size, mean, scale

    @property
    def padding(self) -> tuple[int, int, int]:
        """The colour of the canvas beside a picture, which the encoder sees as zero."""
        red, green, blue = torch.tensor(self.mean).expand(3).tolist()
        return round(red), round(green), round(blue)

    def letterbox(self, height: int, width: int) -> Letterbox:
        """Return how a picture of this size (pixels) lies on the canvas."""
        return Letterbox((height, width), self.size)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """Pictures (H, W, 3) of any sizes -> `pixel_values` (B, 3, S, S) and `content_hw` (B, 2), canvas pixels."""
        canvases, contents = [], []
        mean, scale = (torch.tensor(value).expand(3)[:, None, None] for value in (self.mean, self.scale))
        for rgb in pictures:
            box = self.letterbox(*rgb.shape[:2])
            canvases.append(torch.from_numpy(box.apply(rgb, fill=self.padding)))
            contents.append(box.content_hw)
        pixel_values = (torch.stack(canvases).permute(0, 3, 1, 2).float() - mean) / scale
        return {"pixel_values": pixel_values.contiguous(), "content_hw": torch.tensor(contents)}


class GenAUProcessor(ProcessorMixin):  # type: ignore[misc]
    """Composes an image processor and a tokenizer that holds the picture and query tokens."""

    def __init__(
        self,
        image_processor: LetterboxImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_format: str = "chatml",
        visual_tokens: int = 64,
        layout: dict[str, Any] | None = None,
    ) -> None:
        """`layout` says how a picture lies among the words, see `layouts`; without it, as so many visual tokens."""
        super().__init__(image_processor, tokenizer)
        self.chat_format, self.visual_tokens, self.layout = chat_format, visual_tokens, layout
        tokenizer.add_tokens([*QUERY_TOKENS, IMAGE_TOKEN], special_tokens=True)

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str,
        processor_dict: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Load the two parts by their own classes: no registry lookup, no code from the folder."""
        kwargs = {key: value for key, value in kwargs.items() if key not in {"trust_remote_code", "subfolder"}}
        settings = dict((processor_dict or {}).get("image_processor", {}))
        settings = {key: settings[key] for key in ("size", "mean", "scale") if key in settings}
        return [
            LetterboxImageProcessor(**settings),
            AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs),
        ]

    def token_ids(self) -> dict[str, int]:
        """Return the ids that the model's configuration must hold.

        Raises:
            UsageError: the first tokens of the two verdict words are the same, so the verdict could not be read.
        """
        normal, defect = (self._encode([Span(word)])[0] for word in (NORMAL_WORD, DEFECT_WORD))
        if normal == defect:
            raise UsageError(
                f"The tokenizer begins {NORMAL_WORD!r} and {DEFECT_WORD!r} with the same token {normal}: "
                "the verdict cannot be read from one word. Choose other verdict words in prompts.py."
            )
        ids = self.tokenizer.convert_tokens_to_ids([*QUERY_TOKENS, IMAGE_TOKEN])
        names = ("seg_defect_token_id", "seg_normal_token_id", "image_token_id")
        return dict(zip(names, ids, strict=True)) | {"normal_word_id": normal, "defect_word_id": defect}

    def _encode(self, spans: Sequence[Span]) -> list[int]:
        ids: list[int] = []
        for span in spans:
            if not span.trusted and len(span.text) > MAX_NAME_CHARACTERS:
                raise UsageError(
                    f"{span.text[:30]!r}… has {len(span.text)} characters; a product, type or description may have "
                    f"{MAX_NAME_CHARACTERS}. Shorten it."
                )
            if span.trusted:
                ids += self.tokenizer(span.text, add_special_tokens=False).input_ids
            else:
                ids += self.encode_text(span.text)
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of plain text: what looks like a control token, as "<|im_start|>" in a name, stays text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return ids

    def instruction_ids(self) -> Tensor:
        """Return the fixed instruction (1, T0), up to where the picture begins."""
        chat = CHAT_FORMATS[self.chat_format]
        return torch.tensor([self._encode([Span(chat.before_instruction + INSTRUCTION + chat.before_picture)])])

    def picture_ids(self, contents_hw: Sequence[tuple[int, int]] | Tensor) -> dict[str, Tensor]:
        """Return the pictures' places in the prompt, `picture_ids` and `picture_mask` (B, T1), right-padded.

        `contents_hw` (B, 2) are the pictures' parts of the canvas, in canvas pixels. One image token stands for each
        visual token.
        """
        layout: Layout = layout_of(self.layout) if self.layout else FixedLayout(self.visual_tokens)
        image = self.tokenizer.convert_tokens_to_ids([IMAGE_TOKEN])
        rows: list[list[int]] = []
        for height, width in contents_hw:
            pieces = layout.pieces((int(height), int(width)))
            rows.append(
                [i for one in pieces for i in (image * one if isinstance(one, int) else self._encode([Span(one)]))]
            )
        return self._padded("picture", rows)

    def pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """Pictures (H, W, 3) -> `pixel_values` (B, 3, S, S), `content_hw` (B, 2), and what `picture_ids` returns."""
        tensors: dict[str, Tensor] = self.image_processor(pictures)
        return tensors | self.picture_ids(tensors["content_hw"])

    def questions(
        self, queries: Sequence[Query], answers: Sequence[str] | None = None, forms: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Questions -> `query_ids`, `query_mask` (Q, T), `verdict_at` (Q,), and with `answers` also `labels` (Q, T).

        `asked_ids`, `asked_mask` (Q, T') are the same questions in the first phrasing, without product and answer: what
        is looked for, whatever the picture is. A label stands at the word that it follows, so it needs no shift; the
        end of the turn is one, or the model would never learn to stop. `forms` chooses the phrasing of each question.
        """
        chat = CHAT_FORMATS[self.chat_format]
        rows, asked, labels, verdict_at = [], [], [], []
        for number, query in enumerate(queries):
            form = forms[number] if forms else 0
            ids = self._question(query, form)
            asked.append(self._question(replace(query, product=None), 0))
            verdict_at.append(len(ids) - 1)
            # An answer holds the data's names of types, so it is as little trusted as a question.
            answer = [*self.encode_text(answers[number]), *self._encode([Span(chat.end_of_turn)])] if answers else []
            rows.append(ids + answer[:-1])
            labels.append([IGNORED_LABEL] * (len(ids) - 1) + answer)
        batch = self._padded("query", rows) | self._padded("asked", asked) | {"verdict_at": torch.tensor(verdict_at)}
        if answers:
            length = batch["query_ids"].shape[1]
            batch["labels"] = torch.tensor([row + [IGNORED_LABEL] * (length - len(row)) for row in labels])
        return batch

    def talks(self, talks: Sequence[Sequence[tuple[str, str]]]) -> dict[str, Tensor]:
        """Conversations after a picture, (question, answer) each -> `talk_ids`, `talk_mask`, `talk_labels` (Q, T).

        Labels stand as in `questions`; only what the assistant says has any.
        """
        chat = CHAT_FORMATS[self.chat_format]
        again = chat.before_picture.removeprefix(chat.end_of_turn)  # opens the user's next turn
        rows, labels = [], []
        for talk in talks:
            ids: list[int] = []
            said: list[int] = []
            for number, (question, answer) in enumerate(talk):
                asked = self._encode([Span(again if number else chat.before_question)])
                asked += self.encode_text(question) + self._encode([Span(chat.before_answer)])
                answered = self.encode_text(answer) + self._encode([Span(chat.end_of_turn)])
                ids += asked + answered
                said += [IGNORED_LABEL] * len(asked) + answered
            rows.append(ids[:-1])
            labels.append(said[1:])
        batch = self._padded("talk", rows)
        length = batch["talk_ids"].shape[1]
        return batch | {"talk_labels": torch.tensor([row + [IGNORED_LABEL] * (length - len(row)) for row in labels])}

    def _question(self, query: Query, form: int) -> list[int]:
        chat, spans = CHAT_FORMATS[self.chat_format], question_spans(query, form)
        return self._encode([Span(chat.before_question), *spans, Span(chat.before_answer + VERDICT_PROMPT)])

    def _padded(self, name: str, rows: Sequence[list[int]]) -> dict[str, Tensor]:
        """Return ids and mask (Q, T), padded on the right."""
        length, pad = max(len(row) for row in rows), self.tokenizer.pad_token_id or 0
        return {
            f"{name}_ids": torch.tensor([row + [pad] * (length - len(row)) for row in rows]),
            f"{name}_mask": torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows]),
        }

    def talk_ids(self, question: str, earlier: Sequence[tuple[str, str]] = ()) -> Tensor:
        """Return what a decoder reads of a free question (1, T), up to where its answer begins, as in `talks`.

        `earlier` are questions and answers about the same picture.
        """
        # Cutting a conversation's last word, the end of its turn, leaves exactly what training has before an answer.
        ids: Tensor = self.talks([[*earlier, (question, "")]])["talk_ids"]
        return ids

    def __call__(self, images: Sequence[NDArray[np.uint8]], queries: Sequence[Query], **_: object) -> BatchFeature:
        """Return all inputs of `GenAUModel.forward` for one question per picture."""
        data = self.pictures(images) | self.questions(queries)
        data |= {"instruction_ids": self.instruction_ids()}
        return BatchFeature(data | {"image_index": torch.arange(len(images))})
