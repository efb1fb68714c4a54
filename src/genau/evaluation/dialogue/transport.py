"""JSON over HTTP that waits and tries again: rate limits, overload, timeouts. The standard library only."""

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urlsplit

from genau.errors import GenAUError, UsageError

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # statuses that may pass
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
MOST_WORDS = 300  # characters of a server's message that are shown
MOST_BYTES = 16 * 2**20  # of one response
REMOVED = "[key removed]"


class NoAnswerError(GenAUError):
    """The server gave no answer to one request, after all attempts."""


class RefusedError(GenAUError):
    """The server refuses this one request; `code` is the machine-readable reason where it gives one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing: the status becomes an error."""


@dataclass(frozen=True)
class Transport:
    """Posts JSON to one server."""

    base_url: str  # up to the version: https://host/v1
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    attempts: int = 6
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Refuse what is no address of a server."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{self.base_url!r} is no address of an endpoint. Give one like https://host/v1.")
        if parts.username or parts.password or parts.query:
            raise UsageError(
                "The endpoint's address holds a name, a password or a query, and it is written into the results. Leave "
                "them out, and give a key by --api-key-env."
            )

    def post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Send and return the JSON object that comes back; waits and tries again where that may help.

        Raises:
            UsageError: the key or the address is wrong. RefusedError: this request is. NoAnswerError: all attempts
            failed.
        """
        body = json.dumps(content).encode()
        reason = ""
        for attempt in range(self.attempts):
            wait_s = 0.0
            try:
                return self._once(path, body)
            except urllib.error.HTTPError as error:
                text, code = _message(error)
                reason = f"HTTP {error.code}: {self._safe(text)}"
                if error.code not in AGAIN or code == "insufficient_quota":
                    raise self._final(error.code, reason, code) from None
                wait_s = retry_after_s(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                reason = self._safe(f"{type(error).__name__}: {getattr(error, 'reason', None) or error}")
            except ValueError as error:
                reason = self._safe(str(error))
            if attempt + 1 < self.attempts:
                backoff_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt) * random.uniform(0.5, 1.0)
                self.sleep(max(backoff_s, min(wait_s, LONGEST_WAIT_S)))
        raise NoAnswerError(f"{self.base_url} did not answer in {self.attempts} attempts; the last one: {reason}.")

    def _once(self, path: str, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "User-Agent": "genau"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        url = f"{self.base_url.rstrip('/')}/{path}"
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout_s) as response:
            text = _read(response)
        try:
            answer = json.loads(text)
        except ValueError:
            raise ValueError(f"no JSON but {text[:MOST_WORDS]!r}") from None
        if not isinstance(answer, dict):
            raise ValueError(f"no JSON object but {text[:MOST_WORDS]!r}")
        return answer

    def _final(self, status: int, reason: str, code: str) -> GenAUError:
        """Return the error of a status that trying again does not change."""
        if status in {401, 403}:
            return UsageError(
                f"{self.base_url} does not accept the key ({reason}). Put a valid one into an environment variable and "
                "name that variable with --api-key-env."
            )
        if status in {404, 405} or 300 <= status < 400:
            return UsageError(
                f"{self.base_url} has no such model or address ({reason}). --endpoint must end before "
                "/chat/completions, for example https://host/v1; --model is the model's name there."
            )
        if code == "insufficient_quota":
            return UsageError(f"{self.base_url} says that the account is used up ({reason}). Fill it up, then repeat.")
        return RefusedError(f"The endpoint refuses the request ({reason}).", code)

    def _safe(self, text: str) -> str:
        """Return a server's words on one line, without the key that some of them repeat."""
        line = " ".join(text.split())
        return (line.replace(self.key, REMOVED) if self.key else line)[:MOST_WORDS]


def retry_after_s(value: str | None) -> float:
    """Return the seconds of a Retry-After header, which is a number or a date; 0 where there is none."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _read(response: IO[bytes]) -> str:
    return response.read(MOST_BYTES).decode(errors="replace")


def _message(error: urllib.error.HTTPError) -> tuple[str, str]:
    """Return a server's message and code, as OpenAI's form has them, or else what the body begins with."""
    try:
        text = _read(error)
    except (OSError, http.client.HTTPException):
        return str(error.reason), ""
    try:
        told = json.loads(text)["error"]
        return str(told["message"]), str(told.get("code") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return text.strip() or str(error.reason), ""
