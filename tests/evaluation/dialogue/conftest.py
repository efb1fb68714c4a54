"""A miniature MMAD and VisA-D&R, a server that answers as it is told to, and an answerer that needs none."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genau.dialogue import Prompt, Said

Draw = Callable[..., NDArray[np.uint8]]
Reply = tuple[int, Any, dict[str, str]]  # status, JSON or bytes, headers
GOOD_PARTS = {"DS-MVTec/bottle": "MVTec-AD/bottle/train/good", "GoodsAD/food_box": "GoodsAD/food_box/train/good"}
KINDS = ("Is there any defect in the object?", {"A": "Yes.", "B": "No."}, "Anomaly Detection")
TYPES = ("There is a defect in the object. What is the type of the defect?", "Defect Classification")
PLACES = ("There is a defect in the object. Where is the defect?", "Defect Localization")


def question(text: str, answer: str, options: Mapping[str, str], kind: str) -> dict[str, Any]:
    return {"Question": text, "Answer": answer, "Options": dict(options), "type": kind, "annotation": True}


def save(folder: Path, name: str, rgb: NDArray[np.uint8]) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return name


@pytest.fixture
def mmad_folder(tmp_path: Path, picture: Draw) -> Path:
    """Two data sets, each with two good and two defective parts: 4 questions about a defective part, 2 about a good."""
    folder, content, seed = tmp_path / "mmad", {}, 0
    for product, templates in GOOD_PARTS.items():
        shown = [save(folder, f"{templates}/{k}.png", picture(90 + k, 40, 70)) for k in range(3)]
        for kind in ("good", "broken"):
            for number in range(2):
                seed += 1
                place = "image" if product.startswith("DS") else "test"
                rgb = picture(seed, 48, 80, spot=kind == "broken")
                name = save(folder, f"{product}/{place}/{kind}/{number}.png", rgb)
                asked = [question(KINDS[0], "B" if kind == "good" else "A", KINDS[1], KINDS[2])]
                if kind == "broken":
                    texts = {"A": "Scratch.", "B": "Broken.", "C": "Stain.", "D": "Hole."}
                    asked.append(question(TYPES[0], "B", texts, TYPES[1]))
                    places = {"A": "Top left.", "B": "Bottom right.", "C": "Upper-center part.", "D": "Center."}
                    asked.append(question(PLACES[0], "C", places, PLACES[1]))
                asked.append(question("How many parts?", "A", {"A": "One.", "B": "Two."}, "Object Details"))
                content[name] = {"conversation": asked, "similar_templates": shown, "random_templates": shown[::-1]}
    (folder / "mmad.json").write_text(json.dumps(content), encoding="utf-8")
    knowledge = {"MVTec": {"bottle": {"good": "A round rim.", "broken": "A piece is missing."}}}
    (folder / "domain_knowledge.json").write_text(json.dumps(knowledge), encoding="utf-8")
    return folder


@pytest.fixture
def visa_dr_folder(tmp_path: Path, picture: Draw) -> Path:
    """Two classes, each with two good and two defective parts; both kinds of file in one."""
    folder, entries = tmp_path / "visa-dr", []
    for seed, (name, bad) in enumerate((name, bad) for name in ("candle", "pcb1") for bad in (0, 1, 0, 1)):
        shown = save(
            folder, f"VisA/{name}/{'bad' if bad else 'good'}/{seed}.png", picture(seed, 40, 64, spot=bool(bad))
        )
        said = "Yes, there is a dark spot." if bad else "No, the surface is clean."
        turns = ["<image>\nAre there any defects?", said, "What could be the cause?", f"Cause number {seed}."]
        talk = [{"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(turns)]
        entries.append({"id": seed, "image": shown, "metadata": {"anomaly": bool(bad)}, "conversations": talk})
    (folder / "test_data.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


@dataclass
class Scripted:
    """An answerer that says what a function of the prompt says, and counts."""

    reply: Callable[[Prompt], str | Said]
    name: str = "scripted"
    settings: Mapping[str, str] = field(default_factory=lambda: {"version": "1"})
    workers: int = 1
    asked: list[Prompt] = field(default_factory=list)

    def answer(self, prompt: Prompt) -> Said:
        self.asked.append(prompt)
        said = self.reply(prompt)
        return Said(said) if isinstance(said, str) else said


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@dataclass
class Server:
    """A server on a free port; `script` gives the reply to the request of a number, from 0 on."""

    url: str = ""
    script: Callable[[int, dict[str, Any]], Reply] = lambda number, body: Server.spoken("A")
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @staticmethod
    def spoken(text: object, finish: str = "stop", refusal: str | None = None) -> Reply:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        usage = {"prompt_tokens": 40, "completion_tokens": 2}
        return 200, {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}, {}

    @staticmethod
    def refused(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return status, {"error": {"message": message, "code": code}}, named


@pytest.fixture
def server() -> Iterator[Server]:
    state, lock = Server(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(state.bodies)
                state.bodies.append(body)
                state.headers.append(dict(self.headers))
                state.paths.append(self.path)
            status, content, headers = state.script(number, body)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_address[1]}/v1"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    running.shutdown()
    running.server_close()
    thread.join()
