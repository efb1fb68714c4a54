"""Ask any vision-language model whether the part has a defect, and read "Yes" or "No" from one forward pass.

T tokens of a prompt, V the vocabulary. The question is that of VisA-D&R (Xu et al. 2025, "Towards Zero-Shot Anomaly
Detection and Reasoning with Multimodal Large Language Models"). Nothing is generated and no text is parsed: the score
is p(Yes) / (p(Yes) + p(No)) of the first token of the answer.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from genau.arguments import check_device, check_product, check_types
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import UsageError
from genau.images import Picture
from genau.judgement import Reply
from genau.results import Inspection

QUESTION = "Are there any defects for the {product} in the image? Please reply with 'Yes' or 'No'."
TYPE_QUESTION = "Is there any {type} on the {product} in the image? Please reply with 'Yes' or 'No'."
UNNAMED = "object"  # VisA-D&R's word for every product
SMALLEST_MASS = 0.05  # p(Yes) + p(No); with less the model would have said something else: unreadable, never normal


@dataclass(frozen=True)
class Questions:
    """The prompts of one task."""

    general: str
    types: Mapping[str, str]  # type -> its prompt


class PromptProcessor(Protocol):
    """What is needed of a family's processor."""

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> str:  # noqa: ANN401
        """Return the prompt with the picture's placeholder in it."""

    def __call__(self, *, images: list[Image.Image], text: list[str], **options: Any) -> Mapping[str, Tensor]:  # noqa: ANN401
        """Return the model's inputs."""


@dataclass(frozen=True, eq=False)
class AskVlm:
    """Zero-shot detector in words only: a score, no map. Each candidate type is one more question.

    Pictures are asked one by one, so that no padding of a batch changes a score.
    """

    model: Any  # an image-text-to-text model of transformers
    processor: PromptProcessor
    tokenizer: Any
    base: str
    yes_ids: tuple[int, ...]
    no_ids: tuple[int, ...]
    name: str = "ask-vlm"
    trained_products: Sequence[str] = ()
    trained_data: Sequence[str] = ()

    @classmethod
    def from_pretrained(cls, base: str, device: str = "cpu") -> "AskVlm":
        """Load a vision-language model from a folder or the hub, in fp32.

        Raises:
            UsageError: not such a model, or its family cannot be used. WeightsError: the weights cannot be had.
        """
        from transformers import AutoModelForImageTextToText

        from genau.baselines.hub import LOADING, weights_of

        check_device(device)
        folder = Path(base).expanduser()
        where = str(folder) if folder.is_dir() else base
        with weights_of(base, "an image-text-to-text model"):
            model: Any = AutoModelForImageTextToText.from_pretrained(where, **LOADING)
            processor = load_processor(where, model)
        return cls.of_parts(model.to(device), processor, base)

    @classmethod
    def of_parts(cls, model: Any, processor: Any, base: str) -> "AskVlm":  # noqa: ANN401
        """Use a loaded model and its processor.

        Raises:
            UsageError: the answer's two words begin with the same token, or there is no chat template.
        """
        if not getattr(processor, "chat_template", None):
            raise UsageError(
                f"{base} has no chat template, so a question cannot be put as it was trained on. Use an "
                "instruction-tuned model, or add its chat_template.jinja to the folder."
            )
        yes, no = answer_tokens(processor.tokenizer, base)
        return cls(model.eval(), processor, processor.tokenizer, base, yes, no)

    @property
    def settings(self) -> Mapping[str, str]:
        """Base and questions."""
        return {
            "base": self.base,
            "question": QUESTION,
            "type_question": TYPE_QUESTION,
            "smallest_mass": str(SMALLEST_MASS),
            "thresholds": Thresholds().method,
        }

    def prepare(self, task: Task) -> Questions:
        """Return the prompts.

        Raises:
            UsageError: references are given, or a name is impossible.
        """
        if task.references:
            raise UsageError(
                f"{self.name} looks at one picture and takes no references, but {len(task.references)} are given. "
                "Leave them out (--references 0), or use patch-memory."
            )
        product = check_product(task.product) or UNNAMED
        types = {
            name: f"{name} ({description})" if description else name
            for name, description in check_types(task.types).items()
        }
        self._refuse_control_tokens([product, *types.values()])
        return Questions(
            self._prompt(QUESTION.format(product=product)),
            {name: self._prompt(TYPE_QUESTION.format(type=text, product=product)) for name, text in types.items()},
        )

    def detect(self, pictures: Sequence[Picture], prepared: Questions) -> list[Detection]:
        """Ask all questions of each picture; where neither Yes nor No is likely, the picture is unreadable."""
        found = []
        for picture in pictures:
            mass, score = self._ask(picture, prepared.general)
            if mass < SMALLEST_MASS or not math.isfinite(score):
                reason = (
                    f"The model would answer neither Yes nor No: together they have the probability {mass:.2g}, below "
                    f"{SMALLEST_MASS}. Ask an instruction-tuned model that answers in these words."
                )
                failed = Inspection.failed(picture.name, reason)
                found.append(Detection(replace(failed, width=picture.width, height=picture.height)))
                continue
            types = {name: self._type_reply(picture, prompt) for name, prompt in prepared.types.items()}
            found.append(conclude(picture, Reply(score, text_score=score), types, Thresholds()))
        return found

    def _type_reply(self, picture: Picture, prompt: str) -> Reply:
        mass, score = self._ask(picture, prompt)
        readable = mass >= SMALLEST_MASS
        return Reply(score if readable else math.nan, text_score=score if readable else None)

    @torch.inference_mode()
    def _ask(self, picture: Picture, prompt: str) -> tuple[float, float]:
        """Return p(Yes) + p(No), and p(Yes)'s share of it."""
        # A template may write the first control token itself; the tokenizer would add it again.
        once = {"add_special_tokens": False} if prompt.startswith(self.tokenizer.bos_token or "\0") else {}
        image = Image.fromarray(picture.rgb)
        inputs = self.processor(images=[image], text=[prompt], return_tensors="pt", **once)
        inputs = {key: value.to(self.model.device) for key, value in inputs.items()}
        # The logits of thousands of visual tokens would be gigabytes.
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        logits: Tensor = self.model(**inputs, **last).logits[0, -1].float()  # (V,)
        probability = logits.softmax(-1)
        yes, no = (float(probability[list(ids)].sum()) for ids in (self.yes_ids, self.no_ids))
        mass = yes + no
        return mass, min(1.0, yes / mass) if mass > 0 else math.nan

    def _prompt(self, question: str) -> str:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)

    def _refuse_control_tokens(self, names: Sequence[str]) -> None:
        """Raise UsageError for a name that the tokenizer would read as a command or as a picture."""
        control = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        for text in names:
            if inside := [token for token in control if token.strip() and token in text]:
                raise UsageError(f"{text!r} holds {inside[0]!r}, a control token of {self.base}. Name it without.")


def answer_tokens(tokenizer: Any, base: str) -> tuple[tuple[int, ...], tuple[int, ...]]:  # noqa: ANN401
    """Return the first tokens of Yes and of No, with and without a space in front; a token that begins both is none.

    Raises:
        UsageError: nothing is left of one of them.
    """
    firsts = [
        {tokenizer(space + word, add_special_tokens=False).input_ids[0] for space in ("", " ")}
        for word in ("Yes", "No")
    ]
    shared = firsts[0] & firsts[1]
    yes, no = (tuple(sorted(ids - shared)) for ids in firsts)
    if not (yes and no):
        raise UsageError(
            f"The tokenizer of {base} begins 'Yes' and 'No' with the same token, so the answer cannot be read from one "
            "token. Use another model."
        )
    return yes, no


def load_processor(where: str, model: Any) -> Any:  # noqa: ANN401
    """Return the family's processor, or where that needs torchvision (for videos) the LLaVA-style `PlainProcessor`.

    Raises:
        UsageError: the family has neither.
    """
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin

    try:
        processor = AutoProcessor.from_pretrained(where, backend="pil")
        if hasattr(processor, "image_processor"):
            return processor
        reason = "its processor is a tokenizer only"
    except (ImportError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
    family = model.config.model_type
    if not family.startswith("llava"):
        raise UsageError(
            f"The processor of {where} (family {family}) cannot be loaded ({reason}). If torchvision is what it lacks, "
            "install the build of it that matches your torch; or use a model of the LLaVA family, which needs none."
        )
    image_processor = AutoImageProcessor.from_pretrained(where, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(where)
    template = ProcessorMixin.get_processor_dict(where)[0].get("chat_template") or tokenizer.chat_template
    return PlainProcessor(image_processor, tokenizer, model, template)


@dataclass(frozen=True, eq=False)
class PlainProcessor:
    """Pictures and words for LLaVA-style models: one placeholder token per visual feature, counted by the model itself.

    It costs a second pass of the vision tower, and needs nothing of the family but its `get_image_features`.
    """

    image_processor: Any
    tokenizer: Any
    model: Any
    chat_template: str

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> str:  # noqa: ANN401
        """Return the prompt with one placeholder in it."""
        prompt: str = self.tokenizer.apply_chat_template(conversation, chat_template=self.chat_template, **options)
        return prompt

    def __call__(self, *, images: list[Image.Image], text: list[str], **options: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Return the inputs for one prompt and its pictures, in their order.

        Raises:
            UsageError: the chat template has not put exactly one placeholder per picture into the prompt.
        """
        placeholder = self.tokenizer.convert_ids_to_tokens(self.model.config.image_token_id)
        (prompt,) = text
        words = prompt.split(placeholder)
        if len(words) - 1 != max(1, len(images)):
            raise UsageError(
                f"The chat template put {len(words) - 1} placeholders {placeholder!r} into the prompt; "
                f"{'one picture needs 1' if len(images) < 2 else f'{len(images)} pictures need {len(images)}'}. Add "
                "the model's own chat_template.jinja to its folder."
            )
        seen = self.image_processor(images=images, return_tensors="pt")
        pixels = {key: value.to(self.model.device) for key, value in seen.items()}
        features = self.model.get_image_features(**pixels, return_dict=True).pooler_output  # for each picture (N, D)
        filled = [placeholder * len(one) + after for one, after in zip(features, words[1:], strict=True)]
        return {**self.tokenizer("".join([words[0], *filled]), **options), **pixels}
