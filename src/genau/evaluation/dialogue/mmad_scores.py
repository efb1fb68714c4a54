"""MMAD's table: accuracy per data set and task, with interval, chance, the best constant answer, and as published."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genau.dialogue import Outcome
from genau.evaluation.dialogue.estimates import RESAMPLES, Estimate, Pictures, mean_of
from genau.evaluation.dialogue.marks import Mark
from genau.evaluation.dialogue.mmad import DETECTION, LETTERS, TASKS
from genau.metrics import Figure, verdict
from genau.metrics.figure import measured

AVERAGE = "Average"
Credit = Callable[[Mark], float | None]  # points of an answer in [0, 1]; None: it does not count
Groups = dict[str, dict[str, list[Mark]]]  # data set -> task
Table = dict[str, dict[str, Estimate]]  # data set or AVERAGE -> task or AVERAGE


@dataclass(frozen=True)
class Cell:
    """One figure of the table with what it must be held against."""

    accuracy: Figure  # of all questions; for DETECTION the mean of those of good and of defective parts
    questions: int
    unreadable: int  # nothing came back among them
    unsupported: int
    of_answered: float | None  # the same figure over the answered questions alone
    chance: float | None  # guessing among the options
    constant: float | None  # the best model that always says one letter
    letter: str  # which letter that is
    as_published: float | None  # read and counted as MMAD's scripts do

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        accuracy = self.accuracy
        row: dict[str, Any] = {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
        row |= {"reason": accuracy.reason, "questions": self.questions, "unreadable": self.unreadable}
        row |= {"unsupported": self.unsupported, "accuracy_of_answered": self.of_answered, "chance": self.chance}
        return row | {"constant": self.constant, "constant_letter": self.letter, "as_published": self.as_published}


def score(marks: Sequence[Mark]) -> dict[str, dict[str, Cell]]:
    """Return {data set or Average: {task or Average: cell}}; a task is averaged over data sets, a data set over tasks.

    These are MMAD's means: plain ones over data sets and tasks, however many questions each has. A cell without
    questions is left out of them (MMAD's script counts it as 0).
    """
    groups: Groups = defaultdict(dict)
    for task in TASKS:  # the order of the columns
        for one in marks:
            if one.item.task == task:
                groups[one.item.dataset].setdefault(task, []).append(one)

    def table(credit: Credit, resamples: int = 1) -> Table:
        return _table(groups, credit, resamples)

    ours = table(lambda one: float(one.right), RESAMPLES)
    answered = table(lambda one: float(one.right) if one.option is not None else None)
    chance = table(lambda one: 1 / len(one.item.prompt.options))
    published = table(lambda one: None if one.published is None else float(one.published == one.item.expected))
    constants = {letter: table(lambda one, said=letter: float(one.item.expected == said)) for letter in LETTERS}  # type: ignore[misc]
    cells: dict[str, dict[str, Cell]] = {}
    for dataset, row in ours.items():
        cells[dataset] = {}
        for task, estimate in row.items():
            letter = max(LETTERS, key=lambda said: constants[said][dataset][task].value or 0.0)
            names = list(groups) if dataset == AVERAGE else [dataset]
            here = [one for name in names for one in _of(groups[name], task)]
            cells[dataset][task] = Cell(
                estimate.figure(),
                len(here),
                sum(one.outcome in {Outcome.UNREADABLE, Outcome.FAILED} for one in here),
                sum(one.outcome is Outcome.UNSUPPORTED for one in here),
                answered[dataset][task].value,
                chance[dataset][task].value,
                constants[letter][dataset][task].value,
                letter,
                published[dataset][task].value,
            )
    return cells


def detection(marks: Sequence[Mark]) -> dict[str, dict[str, Figure]]:
    """Return precision, recall, F1, overkill and miss of `Anomaly Detection` for each data set."""
    found: dict[str, dict[str, Figure]] = {}
    for dataset in _datasets(marks):
        here = [one for one in marks if one.item.dataset == dataset and one.item.task == DETECTION]
        if not here:
            continue
        labels = np.array([not one.item.good for one in here])
        said = np.array([_verdict(one) for one in here])
        found[dataset] = {
            "precision": measured(lambda said=said, labels=labels: verdict.precision(said, labels)),  # type: ignore[misc]
            "recall": measured(lambda said=said, labels=labels: verdict.recall(said, labels)),  # type: ignore[misc]
            "f1": measured(lambda said=said, labels=labels: verdict.f1(said, labels)),  # type: ignore[misc]
            "overkill": measured(lambda said=said, labels=labels: 1 - verdict.specificity(said, labels)),  # type: ignore[misc]
            "miss": measured(lambda said=said, labels=labels: 1 - verdict.recall(said, labels)),  # type: ignore[misc]
        }
    return found


def _verdict(one: Mark) -> str:
    if one.option is None:
        return "unreadable"
    return "defect" if one.right is not one.item.good else "normal"


def _datasets(marks: Sequence[Mark]) -> list[str]:
    return list(dict.fromkeys(one.item.dataset for one in marks))


def _of(row: Mapping[str, list[Mark]], task: str) -> list[Mark]:
    return [one for marks in row.values() for one in marks] if task == AVERAGE else row.get(task, [])


def _table(groups: Groups, credit: Credit, resamples: int) -> Table:
    tasks = [task for task in TASKS if any(task in row for row in groups.values())]
    table: Table = {}
    for dataset, row in groups.items():
        marks = _of(row, AVERAGE)
        pictures = Pictures([one.item.picture for one in marks], [one.item.good for one in marks], resamples)
        cells = {task: _cell(row.get(task, []), credit, pictures, balanced=task == DETECTION) for task in tasks}
        table[dataset] = {**cells, AVERAGE: mean_of(list(cells.values()), f"task of {dataset}")}
    columns = [*tasks, AVERAGE]
    table[AVERAGE] = {task: mean_of([table[name][task] for name in groups], "data set") for task in columns}
    return table


def _cell(marks: Sequence[Mark], credit: Credit, pictures: Pictures, *, balanced: bool) -> Estimate:
    """Return the mean credit; balanced: the mean of that of good and that of defective parts."""
    if not balanced:
        return _mean(marks, credit, pictures, "There are no such questions, or none was answered.")
    sides = []
    for good, word in ((True, "good"), (False, "defective")):
        side = [one for one in marks if one.item.good is good]
        sides.append(_mean(side, credit, pictures, f"There are no {word} parts, or no answers to theirs. Add some."))
        if sides[-1].value is None:
            return sides[-1]
    return mean_of(sides, "side")


def _mean(marks: Sequence[Mark], credit: Credit, pictures: Pictures, reason: str) -> Estimate:
    points = [(one.item.picture, value) for one in marks if (value := credit(one)) is not None]
    return pictures.mean([name for name, _ in points], [value for _, value in points], reason)
