"""Any vision-language model of transformers as an answerer: greedy words, or the likelier option by its logits.

V the vocabulary, T the tokens of a prompt.
"""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from genau.arguments import check_device
from genau.baselines import ask_vlm
from genau.dialogue import Outcome, Part, Prompt, Said, open_picture
from genau.errors import UsageError

Reading = Literal["letter", "logits"]


@dataclass(frozen=True, eq=False)
class VlmWords:
    """Asks a loaded model one prompt at a time, so that no padding changes an answer."""

    model: Any  # an image-text-to-text model of transformers
    processor: Any  # its processor, or a `PlainProcessor`
    base: str
    read: Reading = "letter"  # letter: generate words and read the option there; logits: never generate an option
    max_tokens: int = 200
    longest_side: int | None = None  # pixels; larger pictures are scaled down before the processor sees them

    @classmethod
    def from_pretrained(
        cls,
        base: str,
        device: str = "cpu",
        *,
        dtype: str = "float32",
        read: Reading = "letter",
        max_tokens: int = 200,
        longest_side: int | None = None,
    ) -> "VlmWords":
        """Load a model from a folder or the hub; `dtype` is float32 or bfloat16.

        Raises:
            UsageError: not such a model, or its family cannot be used. WeightsError: the weights cannot be had.
        """
        if dtype not in {"float32", "bfloat16"}:
            raise UsageError(f"dtype={dtype!r} must be float32 or bfloat16. Use bfloat16 to halve a GPU's memory.")
        asked = ask_vlm.AskVlm.from_pretrained(base)
        model = asked.model.to(device=check_device(device), dtype=getattr(torch, dtype))
        return cls(model, asked.processor, base, read, max_tokens, longest_side)

    @property
    def name(self) -> str:
        """Folder or hub id."""
        return self.base

    @property
    def workers(self) -> int:
        """One: the model is busy with it."""
        return 1

    @property
    def settings(self) -> Mapping[str, str]:
        """Base, precision and how answers are made."""
        decoding = "greedy" if self.read == "letter" else f"greedy; options by logits, mass {ask_vlm.SMALLEST_MASS}"
        return {
            "base": self.base,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "decoding": decoding,
            "max tokens": str(self.max_tokens),
            "longest side": "as it is" if self.longest_side is None else f"{self.longest_side} px",
        }

    @torch.inference_mode()
    def answer(self, prompt: Prompt) -> Said:
        """Answer one prompt; what is cut off, or where no option is likely, is unreadable.

        Raises:
            ImageError: a picture cannot be read. UsageError: the model's template cannot take such a prompt.
        """
        inputs = self._inputs(prompt)
        if self.read == "logits" and prompt.options:
            return self._choose(inputs, list(prompt.options))
        return self._write(inputs)

    def _inputs(self, prompt: Prompt) -> dict[str, Tensor]:
        tokenizer = self.processor.tokenizer
        conversation = [{"role": turn.role, "content": [_part(one) for one in turn.parts]} for turn in prompt.turns]
        text = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        images = [open_picture(shown, self.longest_side) for shown in prompt.pictures]
        # A template may write the first control token itself; the tokenizer would add it again.
        once = {"add_special_tokens": False} if text.startswith(tokenizer.bos_token or "\0") else {}
        inputs: Mapping[str, Tensor] = self.processor(images=images, text=[text], return_tensors="pt", **once)
        device, dtype = self.model.device, self.model.dtype
        return {k: v.to(device, dtype) if v.is_floating_point() else v.to(device) for k, v in inputs.items()}

    def _write(self, inputs: Mapping[str, Tensor]) -> Said:
        asked = int(inputs["input_ids"].shape[1])  # T
        whole: Tensor = self.model.generate(**inputs, do_sample=False, max_new_tokens=self.max_tokens)
        new = whole[0, asked:]
        ends = self.model.generation_config.eos_token_id
        last = int(new[-1]) if new.numel() else -1
        text = self.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        counts = (asked, int(new.numel()))
        if new.numel() >= self.max_tokens and last not in (ends if isinstance(ends, list) else [ends]):
            reason = f"cut off after {self.max_tokens} tokens; give more with --max-tokens"
            return Said(None, Outcome.UNREADABLE, reason, *counts)
        if not text:
            return Said(None, Outcome.UNREADABLE, "empty", *counts)
        return Said(text, Outcome.ANSWERED, "", *counts)

    def _choose(self, inputs: Mapping[str, Tensor], options: list[str]) -> Said:
        """Return the option whose first token is likeliest where the answer begins."""
        keeps = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        logits: Tensor = self.model(**inputs, **({"logits_to_keep": 1} if keeps else {})).logits[0, -1].float()  # (V,)
        probability = logits.softmax(-1)
        tokens = option_tokens(self.processor.tokenizer, options, self.base)
        mass = {option: float(probability[list(ids)].sum()) for option, ids in tokens.items()}
        together = sum(mass.values())
        asked = int(inputs["input_ids"].shape[1])
        if not math.isfinite(together) or together < ask_vlm.SMALLEST_MASS:
            reason = f"the options have the probability {together:.2g} together, below {ask_vlm.SMALLEST_MASS}"
            return Said(None, Outcome.UNREADABLE, reason, asked, 0)
        return Said(max(mass, key=lambda option: mass[option]), Outcome.ANSWERED, "", asked, 0)


def option_tokens(tokenizer: Any, options: list[str], base: str) -> dict[str, tuple[int, ...]]:  # noqa: ANN401
    """Return the first tokens of each option, with and without a space in front; one that begins two options is none.

    Raises:
        UsageError: nothing is left of an option.
    """
    firsts = {
        option: {tokenizer(space + option, add_special_tokens=False).input_ids[0] for space in ("", " ")}
        for option in options
    }
    found = {}
    for option, ids in firsts.items():
        others = set().union(*(firsts[other] for other in options if other != option))
        found[option] = tuple(sorted(ids - others))
        if not found[option]:
            raise UsageError(
                f"The tokenizer of {base} begins {option!r} with the same token as another option, so they cannot be "
                "told apart by one token. Use --read letter."
            )
    return found


def _part(part: Part) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
