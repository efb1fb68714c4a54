"""Who is asked in `genau eval mmad` and `genau eval visa-dr`: GenAU, a local model, or an endpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genau.errors import UsageError

if TYPE_CHECKING:
    from genau.dialogue import Answerer

DEFAULT_MODEL = "nano"

ModelName = Annotated[
    str | None, typer.Option(help="GenAU: a shipped model or a folder. With --endpoint: the model's name there.")
]
Base = Annotated[str | None, typer.Option(help="A vision-language model of transformers: a folder or a hub name.")]
EndpointUrl = Annotated[str | None, typer.Option("--endpoint", help="OpenAI-compatible server: https://host/v1.")]
KeyVariable = Annotated[
    str | None, typer.Option("--api-key-env", help="Environment variable that holds the key; the key is never written.")
]
Read = Annotated[str, typer.Option(help="With --base: letter (generated words) or logits (the likelier option).")]
Dtype = Annotated[str, typer.Option(help="With --base: float32 or bfloat16.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer.")]
LongestSide = Annotated[int | None, typer.Option(min=0, help="Scale pictures down to this, in pixels; 0: never.")]
Detail = Annotated[str, typer.Option(help="With --endpoint: low, high or auto, as OpenAI has it; none: not sent.")]
Temperature = Annotated[str, typer.Option(help="With --endpoint: a number, or none for models that take no other.")]
LimitName = Annotated[str, typer.Option(help="With --endpoint: max_tokens, or max_completion_tokens for newer models.")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="With --endpoint: questions at once.")]
Timeout = Annotated[float, typer.Option(min=1, help="With --endpoint: seconds to wait for one answer.")]
Attempts = Annotated[int, typer.Option(min=1, help="With --endpoint: tries per question.")]


@dataclass(frozen=True)
class Choice:
    """What was typed about who is asked."""

    model: str | None
    base: str | None
    endpoint: str | None
    key_variable: str | None
    read: str
    dtype: str
    max_tokens: int
    longest_side: int | None  # None: as the pictures are
    detail: str
    temperature: str
    limit_name: str
    workers: int
    timeout_s: float
    attempts: int

    def __post_init__(self) -> None:
        """Refuse what does not go together, before anything is loaded.

        Raises:
            UsageError: two models are named, or none of the endpoint's.
        """
        if self.endpoint is not None and self.base is not None:
            raise UsageError("--endpoint asks over the network, --base a local model. Use one of them.")
        if self.endpoint is not None and self.model is None:
            raise UsageError("--endpoint needs the model's name on that server. Give it with --model.")
        if self.base is not None and self.model is not None:
            raise UsageError("--base is asked itself, and --model names another. Leave one of them out.")
        if self.endpoint is None and self.key_variable is not None:
            raise UsageError("--api-key-env belongs to --endpoint. Leave it out.")
        for option, value, known in (
            ("--read", self.read, ("letter", "logits")),
            ("--dtype", self.dtype, ("float32", "bfloat16")),
            ("--detail", self.detail, ("low", "high", "auto", "none")),
            ("--limit-name", self.limit_name, ("max_tokens", "max_completion_tokens")),
        ):
            if value not in known:
                raise UsageError(f"{option} {value!r} is not one of {', '.join(known)}.")

    def load(self, device: str) -> "Answerer":
        """Load or address the model."""
        if self.endpoint is not None:
            return self.at_endpoint(self.endpoint, self.model or "")
        if self.base is not None:
            from genau.baselines.vlm_words import VlmWords

            size: Any = {"max_tokens": self.max_tokens, "longest_side": self.longest_side}
            return VlmWords.from_pretrained(self.base, device, dtype=self.dtype, read=self.read, **size)  # type: ignore[arg-type]

        from genau.evaluation.dialogue.own import InspectorAnswers
        from genau.inspector import Inspector

        return InspectorAnswers(Inspector.from_pretrained(self.model or DEFAULT_MODEL, device))

    def at_endpoint(self, url: str, model: str) -> "Answerer":
        """Address a model on a server, with the same key and patience."""
        from genau.evaluation.dialogue.endpoint import EndpointModel, key_from
        from genau.evaluation.dialogue.transport import Transport

        return EndpointModel(
            Transport(url, key_from(self.key_variable), self.timeout_s, self.attempts),
            model,
            longest_side=self.longest_side,
            detail=None if self.detail == "none" else self.detail,
            temperature=_number(self.temperature),
            max_tokens=self.max_tokens,
            limit_name=self.limit_name,
            workers=self.workers,
        )


def side(typed: int | None, default: int, *, endpoint: bool) -> int | None:
    """Return the longest side in pixels: as typed, else for an endpoint the benchmark's own, else None."""
    if typed is None:
        return default if endpoint else None
    return typed or None


def refuse_inside(output: Path, data: Path) -> None:
    """Raise UsageError where the run folder would lie in the data."""
    if output.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"The run folder {output} lies in the data set {data}. Choose one outside with -o.")


def _number(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--temperature {text!r} is no number. Give 0, or none to send none.") from error
