"""`genau ask`."""

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.inspectors import Choice, ModelOrNone, Product, RecipeName, References, RoiFile, TypesText
from genau.cli.terminal import EXIT_FAILED, Device, say

if TYPE_CHECKING:
    from genau.answering import Answer

LEAVE = ("quit", "exit", "q")
MOST_EARLIER = 8  # free turns that a model is reminded of


def ask(
    image: Annotated[Path, typer.Argument(help="One picture.")],
    question: Annotated[str | None, typer.Argument(help="An English question; without one, lines are read.")] = None,
    more: Annotated[list[str] | None, typer.Option("--question", help="A further question; repeatable.")] = None,
    model: ModelOrNone = None,
    recipe: RecipeName = None,
    product: Product = None,
    types: TypesText = None,
    reference: References = None,
    roi: RoiFile = None,
    threshold: Annotated[float | None, typer.Option(help="Found from this score on, in [0, 1].")] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per question.")] = False,
    device: Device = "cpu",
) -> None:
    """Answer questions about one picture: is there, which kind, where, how many, how large, how severe.

    Models that were trained on conversations answer any other question in words.
    """
    choice = Choice(model, recipe, threshold)
    asked = choice.asked(product, types, reference, roi)
    inspector = choice.open(device)
    seen = inspector.see(image, asked.references, asked.roi)
    given = [*([question] if question is not None else []), *(more or [])]
    failed = False
    talk: list[tuple[str, str]] = []  # free questions and answers so far
    for line in given or _typed_lines():
        started = time.perf_counter()
        answer = inspector.answer(
            seen, line, product=asked.product, types=asked.types, threshold=threshold, earlier=talk
        )
        _print(answer, round(1000 * (time.perf_counter() - started), 1), jsonl)
        failed |= answer.reason is not None
        if answer.by == "words" and answer.answer and not answer.reason and not given:
            talk = [*talk, (line, answer.answer)][-MOST_EARLIER:]
    if given and failed:
        raise typer.Exit(EXIT_FAILED)


def _typed_lines() -> Iterator[str]:
    """Yield the lines of standard input until its end or `quit`; on a terminal with a prompt."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    typed = sys.stdin.isatty()
    if typed:
        say(f"Ask about the picture; {LEAVE[0]} ends.")
    while True:
        if typed:
            typer.echo("> ", err=True, nl=False)
        line = sys.stdin.readline()
        if not line or line.strip().lower() in LEAVE:
            return
        if line.strip():
            yield line.strip()


def _print(answer: "Answer", elapsed_ms: float, jsonl: bool) -> None:
    """Print the answer on stdout and the time that it took."""
    if jsonl:
        typer.echo(json.dumps(answer.to_dict() | {"elapsed_ms": elapsed_ms}, ensure_ascii=False))
        return
    typer.echo(answer.text + _note(answer))
    say(f"{elapsed_ms:.0f} ms")


def _note(answer: "Answer") -> str:
    """Return what must stand beside an answer: how far it can be trusted."""
    if answer.answer is None:
        return ""
    if answer.by == "words":
        against = f" But: {answer.contradiction}" if answer.contradiction else ""
        return f" [The model's words, confidence {answer.confidence:.2f}; they decide nothing.]{against}"
    return "" if answer.trained else " Not trained on this: asked by its words alone."
