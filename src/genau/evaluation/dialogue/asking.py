"""The loop: ask what is not yet answered, several at once where the model allows it, and write each answer down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from genau.dialogue import Answerer, Outcome, Said, Turn
from genau.errors import GenAUError, ImageError
from genau.evaluation.dialogue.items import Chain, Item
from genau.evaluation.dialogue.record import Record, key_of

EARLIER = "an earlier question about the picture was not answered"
MOST_FAILED_IN_A_ROW = 5  # then the server is down, and asking on would only fill the table with failures


@dataclass(frozen=True)
class Asked:
    """One question and what was said to it."""

    item: Item
    said: Said


def ask_all(
    answerer: Answerer, chains: Sequence[Chain], record: Record, step: Callable[[], None] = lambda: None
) -> list[Asked]:
    """Return what is said to every question, in their order; `step` is called for each.

    Raises:
        GenAUError: nothing came back several times in a row. All answers until then are kept.
    """
    settings = dict(answerer.settings)
    done: dict[int, list[Asked]] = {}
    failed = 0
    with ThreadPoolExecutor(max_workers=max(1, answerer.workers)) as pool:
        running: dict[Future[list[Asked]], int] = {}
        waiting = iter(enumerate(chains))
        try:
            while True:
                for place, chain in _some(waiting, 2 * max(1, answerer.workers) - len(running)):
                    running[pool.submit(_ask_chain, answerer, settings, chain, record, step)] = place
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running.pop(future)] = answers = future.result()
                    lost = [asked.said.reason for asked in answers if asked.said.outcome is Outcome.FAILED]
                    failed = failed + len(lost) if len(lost) == len(answers) else 0
                    if failed >= MOST_FAILED_IN_A_ROW:
                        raise GenAUError(
                            f"{failed} questions in a row got no answer; the last one: {lost[-1]} What was answered is "
                            "kept: repeat the command to go on."
                        )
        finally:
            for future in running:  # those that run still write their answers down
                future.cancel()
    return [asked for place in range(len(chains)) for asked in done[place]]


def unanswered(answerer: Answerer, chains: Sequence[Chain], record: Record) -> list[Chain]:
    """Return the questions that a run would ask, as the rest of each chain from the first open one on."""
    settings, found = dict(answerer.settings), []
    for chain in chains:
        turns: list[Turn] = []
        for place, item in enumerate(chain):
            try:
                said = record.get(key_of(item.prompt.after(turns), answerer.name, settings))
            except ImageError:  # it becomes a row, and is not asked
                break
            if said is None:
                found.append(chain[place:])
                break
            if said.text is None:
                break
            turns += [*item.prompt.turns, Turn("assistant", (said.text,))]
    return found


def _some(waiting: Iterator[tuple[int, Chain]], count: int) -> Iterator[tuple[int, Chain]]:
    for _ in range(count):
        item = next(waiting, None)
        if item is None:
            return
        yield item


def _ask_chain(
    answerer: Answerer, settings: Mapping[str, str], chain: Chain, record: Record, step: Callable[[], None]
) -> list[Asked]:
    """Ask questions one after the other, each with the answers so far before it; one left open ends the chain."""
    turns: list[Turn] = []
    answers: list[Asked] = []
    for item in chain:
        if answers and answers[-1].said.text is None:
            before = answers[-1].said
            reason = before.reason if before.reason.startswith(EARLIER) else f"{EARLIER}: {before.reason}"
            said = Said.nothing(before.outcome, reason)
        else:
            said = _ask(answerer, settings, item, turns, record)
        answers.append(Asked(item, said))
        if said.text is not None:
            turns += [*item.prompt.turns, Turn("assistant", (said.text,))]
        step()
    return answers


def _ask(answerer: Answerer, settings: Mapping[str, str], item: Item, turns: Sequence[Turn], record: Record) -> Said:
    prompt = item.prompt.after(turns)
    try:
        key = key_of(prompt, answerer.name, settings)
        said = record.get(key)
        if said is None:
            said = answerer.answer(prompt)
            record.add(key, item.id, said)
    except ImageError as error:
        return Said.nothing(Outcome.UNREADABLE, f"the picture cannot be read: {error}")
    return said
