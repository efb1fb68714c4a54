"""A model behind an OpenAI-compatible server: chat completions with pictures."""

import base64
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from genau.dialogue import Outcome, Part, Prompt, Said, Shown, open_picture
from genau.errors import UsageError
from genau.evaluation.dialogue.transport import NoAnswerError, RefusedError, Transport

JPEG_QUALITY = 95  # cv2.imencode's own, which MMAD's scripts use
KEPT_PICTURES = 32  # encoded ones that are kept: the questions about one picture come one after the other
FILTERED = ("content_filter", "content_policy_violation")


@dataclass(frozen=True)
class EndpointModel:
    """Asks over the network; settings name everything but the key."""

    transport: Transport
    model: str  # its name on that server
    longest_side: int | None = 512  # pixels; larger pictures are scaled down before they are sent
    detail: str | None = "low"  # OpenAI's word for how closely a picture is looked at; None: not sent
    temperature: float | None = 0.0  # None: not sent, for models that allow no other than their own
    max_tokens: int = 200
    limit_name: str = "max_tokens"  # newer models of OpenAI want max_completion_tokens
    workers: int = 4
    _encoded: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the last encoded pictures."""
        object.__setattr__(self, "_encoded", lru_cache(KEPT_PICTURES)(self._encode))

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.model

    @property
    def settings(self) -> Mapping[str, str]:
        """What is sent beside the prompt, and where."""
        return {
            "endpoint": self.transport.base_url.rstrip("/"),
            "model": self.model,
            "longest side": "as it is" if self.longest_side is None else f"{self.longest_side} px",
            "detail": self.detail or "not sent",
            "temperature": "not sent" if self.temperature is None else f"{self.temperature:g}",
            self.limit_name: str(self.max_tokens),
        }

    def answer(self, prompt: Prompt) -> Said:
        """Send one prompt; whatever is no whole answer is unreadable.

        Raises:
            ImageError: a picture cannot be read. UsageError: key, address or model are wrong.
        """
        content: dict[str, Any] = {"model": self.model, self.limit_name: self.max_tokens}
        if self.temperature is not None:
            content["temperature"] = self.temperature
        content["messages"] = [
            {"role": turn.role, "content": [self._part(part) for part in turn.parts]} for turn in prompt.turns
        ]
        try:
            return self._read(self.transport.post("chat/completions", content))
        except RefusedError as error:
            if error.code in FILTERED:
                return Said.nothing(Outcome.UNREADABLE, f"filtered: {error}")
            return Said.nothing(Outcome.FAILED, str(error))
        except NoAnswerError as error:
            return Said.nothing(Outcome.FAILED, str(error))

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        url: dict[str, str] = {"url": self._encoded(part)}
        if self.detail:
            url["detail"] = self.detail
        return {"type": "image_url", "image_url": url}

    def _encode(self, shown: Shown) -> str:
        buffer = io.BytesIO()
        open_picture(shown, self.longest_side).save(buffer, format="JPEG", quality=JPEG_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

    def _read(self, answer: Mapping[str, Any]) -> Said:
        """Return what a response says, or why it says nothing."""
        try:
            choice = answer["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            refusal, text = message.get("refusal"), _text(message.get("content"))
        except (KeyError, IndexError, TypeError, AttributeError):
            return Said.nothing(Outcome.FAILED, f"the response has no choices: {str(answer)[:200]}")
        usage = answer.get("usage")
        counted = usage if isinstance(usage, Mapping) else {}
        reason = ""
        if refusal:
            reason = f"refused: {str(refusal)[:200]}"
        elif finish == "length":
            reason = f"cut off after {self.max_tokens} tokens; give more with --max-tokens"
        elif finish == "content_filter":
            reason = "filtered by the endpoint"
        elif not text:
            reason = f"empty (finish_reason {finish})"
        tokens = (_count(counted.get("prompt_tokens")), _count(counted.get("completion_tokens")))
        if reason:
            return Said(None, Outcome.UNREADABLE, reason, *tokens)
        return Said(text, Outcome.ANSWERED, "", *tokens)


def key_from(variable: str | None) -> str | None:
    """Return the key that an environment variable holds; None where no variable is named.

    Raises:
        UsageError: it is not set.
    """
    if variable is None:
        return None
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):  # perhaps the key itself: it is not repeated
        raise UsageError(
            "--api-key-env takes the name of an environment variable, and what it was given cannot be one. Put the key "
            "into a variable, for example OPENAI_API_KEY, and give that name."
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"--api-key-env {variable}: that environment variable is not set, or empty. Put the key into it, or leave "
            "the option out for a server that wants none. The name is given, never the key."
        )
    return key


def _text(content: object) -> str:
    """Return the words of a message, which some servers send in pieces."""
    if isinstance(content, list):
        return "".join(str(piece.get("text", "")) for piece in content if isinstance(piece, Mapping)).strip()
    return content.strip() if isinstance(content, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
