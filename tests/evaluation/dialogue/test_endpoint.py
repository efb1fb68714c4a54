"""A server that misbehaves in every known way, and what becomes of the question."""

import base64
import io
import re
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.dialogue import Outcome, Prompt, Shown, Turn
from genau.errors import ImageError, UsageError
from genau.evaluation.dialogue.endpoint import EndpointModel, key_from
from genau.evaluation.dialogue.transport import LONGEST_WAIT_S, Transport, retry_after_s

KEY = "sk-very-secret-0123"
Ask = Callable[..., Any]


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def model(server: Any, waits: list[float]) -> EndpointModel:
    transport = Transport(server.url, KEY, timeout_s=5, attempts=3, sleep=waits.append)
    return EndpointModel(transport, "gpt-test", max_tokens=7)


@pytest.fixture
def prompt(tmp_path: Path, picture: Callable[..., NDArray[np.uint8]]) -> Prompt:
    path = tmp_path / "part.png"
    Image.fromarray(picture(0, 300, 900)).save(path)
    return Prompt((Turn("user", ("Look:", Shown(path), "Which?")),), "Which?", {"A": "x", "B": "y"})


def test_words_and_pictures_are_sent_in_their_order(server: Any, model: EndpointModel, prompt: Prompt) -> None:
    said = model.answer(prompt.after([Turn("user", ("Hello",)), Turn("assistant", ("Hm",))]))
    assert (said.text, said.tokens_in, said.tokens_out) == ("A", 40, 2)
    (body,) = server.bodies
    assert {key: body[key] for key in ("model", "temperature", "max_tokens")} == {
        "model": "gpt-test",
        "temperature": 0,
        "max_tokens": 7,
    }
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    look, shown, which = body["messages"][2]["content"]
    assert (look["text"], which["text"], shown["image_url"]["detail"]) == ("Look:", "Which?", "low")
    head, _, data = shown["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (sent.format, sent.size) == ("JPEG", (512, 171))
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_what_is_not_wanted_is_not_sent(server: Any, model: EndpointModel, prompt: Prompt) -> None:
    plain = replace(model, detail=None, temperature=None, limit_name="max_completion_tokens")
    plain = replace(plain, transport=replace(model.transport, key=None))
    plain.answer(prompt)
    assert server.bodies[0].keys() == {"model", "max_completion_tokens", "messages"}
    assert server.bodies[0]["messages"][0]["content"][1]["image_url"].keys() == {"url"}
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("content", "finish", "refusal", "words"),
    [
        ("A", "length", None, r"cut off after 7 tokens; give more with --max-tokens"),
        ("A", "content_filter", None, "filtered"),
        ("A", "stop", "I cannot help with that.", r"refused: I cannot help"),
        (None, "stop", None, r"empty \(finish_reason stop\)"),
        (" ", "stop", None, "empty"),
    ],
)
def test_what_is_no_whole_answer_is_unreadable(
    server: Any, model: EndpointModel, prompt: Prompt, content: str | None, finish: str, refusal: str | None, words: str
) -> None:
    server.script = lambda *_: server.spoken(content, finish, refusal)
    said = model.answer(prompt)
    assert (said.text, said.outcome, said.tokens_out) == (None, Outcome.UNREADABLE, 2)
    assert re.match(words, said.reason)
    assert len(server.bodies) == 1


def test_an_answer_in_pieces_is_joined(server: Any, model: EndpointModel, prompt: Prompt) -> None:
    server.script = lambda *_: server.spoken([{"type": "text", "text": "Ans"}, {"type": "text", "text": "wer: B"}])
    assert model.answer(prompt).text == "Answer: B"


@pytest.mark.parametrize(
    "fault",
    [(429, {"error": {"message": "slow", "code": "x"}}, {}), (500, b"", {}), (503, b"x", {}), (200, b"<p>", {})],
)
def test_what_may_pass_is_tried_again(
    server: Any, model: EndpointModel, prompt: Prompt, waits: list[float], fault: Any
) -> None:
    server.script = lambda number, _: fault if number < 2 else server.spoken("B")
    assert model.answer(prompt).text == "B"
    assert len(server.bodies) == 3
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2  # doubled, with jitter


def test_a_server_says_when_to_come_again(
    server: Any, model: EndpointModel, prompt: Prompt, waits: list[float]
) -> None:
    later = ["7", formatdate(time.time() + 30, usegmt=True), "999999"]
    server.script = lambda number, _: server.refused(429, "slow", Retry_After=later[number % 3])
    said = replace(model, transport=replace(model.transport, attempts=4)).answer(prompt)
    assert waits[0] == 7
    assert 25 < waits[1] <= 30
    assert waits[2] == LONGEST_WAIT_S
    assert said.outcome is Outcome.FAILED
    assert "did not answer in 4 attempts; the last one: HTTP 429: slow" in said.reason
    assert [retry_after_s(value) for value in (None, "", "soon", "-3")] == [0, 0, 0, 0]


def test_a_server_that_is_slow_or_gone_is_tried_again_and_given_up(
    server: Any, model: EndpointModel, prompt: Prompt, waits: list[float]
) -> None:
    def sleepy(*_: object) -> Any:
        time.sleep(0.4)
        return server.spoken("A")

    server.script = sleepy
    said = replace(model, transport=replace(model.transport, timeout_s=0.1)).answer(prompt)
    assert said.outcome is Outcome.FAILED
    assert "timed out" in said.reason
    assert len(waits) == 2
    gone = replace(model.transport, base_url="http://127.0.0.1:1/v1")
    assert "refused" in replace(model, transport=gone).answer(prompt).reason


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, None, r"does not accept the key .*name that variable with --api-key-env"),
        (403, None, r"does not accept the key"),
        (404, "model_not_found", r"has no such model or address .*--endpoint must end before /chat/completions"),
        (302, None, r"has no such model or address"),
        (429, "insufficient_quota", r"the account is used up"),
    ],
)
def test_what_no_repetition_mends_stops_the_run_at_once(
    server: Any, model: EndpointModel, prompt: Prompt, status: int, code: str | None, words: str
) -> None:
    elsewhere = {"Location": server.url.replace("127.0.0.1", "localhost") + "/elsewhere"} if status == 302 else {}
    server.script = lambda *_: server.refused(status, f"bad key {KEY}", code, **elsewhere)
    with pytest.raises(UsageError, match=words) as caught:
        model.answer(prompt)
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert "[key removed]" in str(caught.value)


def test_a_refused_request_is_a_row_and_a_filtered_one_is_unreadable(
    server: Any, model: EndpointModel, prompt: Prompt
) -> None:
    replies = [server.refused(400, "image too small"), server.refused(400, "policy", "content_filter"), (200, {}, {})]
    server.script = lambda number, _: replies[number]
    small, filtered, nothing = (model.answer(prompt) for _ in range(3))
    assert (small.outcome, filtered.outcome, nothing.outcome) == (Outcome.FAILED, Outcome.UNREADABLE, Outcome.FAILED)
    assert "HTTP 400: image too small" in small.reason
    assert "has no choices" in nothing.reason


def test_settings_name_what_changes_an_answer_and_never_the_key(model: EndpointModel) -> None:
    assert model.settings["model"] == "gpt-test"
    assert KEY not in repr(model) + repr(model.settings) + repr(model.transport)
    others = [
        replace(model, longest_side=300),
        replace(model, detail="high"),
        replace(model, temperature=1.0),
        replace(model, max_tokens=9),
        replace(model, transport=replace(model.transport, base_url="http://other/v1")),
    ]
    assert all(other.settings != model.settings for other in others)
    assert replace(model, workers=9).settings == model.settings


def test_the_key_comes_from_a_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    monkeypatch.delenv("NO_KEY", raising=False)
    assert key_from("MY_KEY") == KEY
    assert key_from(None) is None
    with pytest.raises(UsageError, match=r"--api-key-env NO_KEY: that environment variable is not set"):
        key_from("NO_KEY")
    with pytest.raises(UsageError, match="takes the name of an environment variable") as caught:
        key_from(KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host/v1", "is no address"),
        ("file:///etc", "is no address"),
        ("https://me:pw@host/v1", "a name, a password"),
        ("https://host/v1?key=1", "or a query"),
    ],
)
def test_an_address_that_would_leak_or_lead_nowhere_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Transport(url)


def test_a_picture_that_cannot_be_read_is_not_sent(server: Any, model: EndpointModel, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        model.answer(Prompt((Turn("user", (Shown(tmp_path / "bad.png"),)),), "?"))
    assert server.bodies == []
