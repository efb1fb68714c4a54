"""MMAD's files and prompts: Jiang et al. 2025, "MMAD: The Comprehensive Benchmark for Multimodal Large Language Models
in Industrial Anomaly Detection" (ICLR). The wording is the benchmark's own, from its `evaluation/examples`:
`Transformers/qwen2_5_vl_query.py` (order of the parts) and `GPT4/gpt4v.py` (instruction, options).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genau.dialogue import Prompt, Shown, Turn
from genau.errors import DataError
from genau.evaluation.dialogue.items import Chain, Item, check_names, check_pictures, read_json

QUESTIONS, KNOWLEDGE = "mmad.json", "domain_knowledge.json"
DETECTION, CLASSIFICATION, LOCALIZATION = "Anomaly Detection", "Defect Classification", "Defect Localization"
TASKS = (
    DETECTION,
    CLASSIFICATION,
    LOCALIZATION,
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
RENAMED = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}  # as helper/summary.py does
GOOD = "good"  # a folder of this name in the path; summary.py looks for the letters, which differ in no path of theirs
LETTERS = "ABCDE"
INSTRUCTION = (
    "\nYou are an industrial inspector who checks products by images. You should judge whether there is a defect in "
    "the query image and answer the questions about it.\nAnswer with the option's letter from the given choices "
    "directly.\n"
)
LETTER_ONLY = "Answer with the option's letter from the given choices directly! "
KNOWN = (
    "Following is the domain knowledge which contains some type of defect and the normal object characteristics: \n "
)
TEMPLATES = (
    "Following is/are {} image of normal sample, which can be used as a template to compare the image being queried."
)
QUERY = "Following is the query image: "
LIST = "Following is the question list: "


@dataclass(frozen=True)
class Setting:
    """How MMAD is asked; the defaults are those of its scripts."""

    shots: int = 1  # good parts shown before the picture
    templates: Literal["random", "similar"] = "random"
    knowledge: bool = False  # put the product's domain knowledge into the prompt
    shuffle: int | None = None  # the seed that orders the options anew; None: the file's order
    datasets: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None


def read(folder: Path, setting: Setting) -> list[Chain]:
    """Return MMAD's questions, each a chain of its own, in the file's order.

    Raises:
        DataError: the files are not MMAD's, or pictures are missing. UsageError: an unknown data set or task.
    """
    path = folder / QUESTIONS
    content = read_json(path, "MMAD's questions, {picture: {conversation: […]}}")
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds no pictures. It must be MMAD's {{picture: {{conversation: […]}}}}.")
    datasets = check_names(setting.datasets, (name.split("/")[0] for name in content), "--dataset")
    tasks = check_names(setting.tasks, TASKS, "--task")
    knowledge = read_json(folder / KNOWLEDGE, "MMAD's domain knowledge") if setting.knowledge else {}
    chains: list[Chain] = []
    for picture, entry in content.items():
        if picture.split("/")[0] not in datasets:
            continue
        before = _before(folder, picture, entry, setting, knowledge)
        chains += [(item,) for item in _items(path, picture, entry, before, setting) if item.task in tasks]
    if not chains:
        raise DataError(f"{path} has no question of the data sets and tasks chosen. Leave out --dataset or --task.")
    hint = "Put the data sets beside mmad.json, or name those that are there with --dataset."
    check_pictures(chains, folder, hint)
    return chains


def _before(
    folder: Path, picture: str, entry: Mapping[str, Any], setting: Setting, knowledge: Mapping[str, Any]
) -> tuple[str | Shown, ...]:
    """Return what stands in front of each question about one picture."""
    parts: list[str | Shown] = [INSTRUCTION, LETTER_ONLY]
    if setting.knowledge:
        parts.append(KNOWN + _known(picture, knowledge))
    if setting.shots:
        names = _list(entry, f"{setting.templates}_templates", picture)[: setting.shots]
        if len(names) < setting.shots:
            raise DataError(
                f"{picture} has {len(names)} {setting.templates} templates in {QUESTIONS}; --shots {setting.shots} "
                f"needs as many. Ask with --shots {len(names)}."
            )
        parts += [TEMPLATES.format(len(names)), *(Shown(folder / name, reference=True) for name in names)]
    return (*parts, QUERY, Shown(folder / picture), LIST)


def _known(picture: str, knowledge: Mapping[str, Any]) -> str:
    dataset, product = [*picture.split("/"), ""][:2]
    try:
        return "\n".join(knowledge[dataset.replace("DS-MVTec", "MVTec")][product].values())
    except (KeyError, AttributeError) as error:
        raise DataError(
            f"{KNOWLEDGE} knows nothing of {dataset}/{product}. Ask without --domain-knowledge, or leave the data set "
            "out with --dataset."
        ) from error


def _items(
    path: Path, picture: str, entry: Mapping[str, Any], before: Sequence[str | Shown], setting: Setting
) -> Iterator[Item]:
    for number, asked in enumerate(_list(entry, "conversation", picture)):
        try:
            question, texts, right = asked["Question"], dict(asked["Options"]), asked["Answer"]
            task = RENAMED.get(asked["type"], asked["type"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: question {number + 1} of {picture} lacks Question, Answer, Options or type ({error}). "
                "Download mmad.json again."
            ) from error
        name = f"{picture}#{number + 1}"
        order = list(texts)
        if setting.shuffle is not None:
            random.Random(f"{setting.shuffle} {name}").shuffle(order)
        if task not in TASKS or right not in texts or len(texts) > len(LETTERS):
            raise DataError(
                f"{path}: question {number + 1} of {picture} has the type {task!r}, the answer {right!r} and the "
                f"options {', '.join(texts)}; it must be one of {len(TASKS)} types, and the answer one of at most "
                f"{len(LETTERS)} options. Download mmad.json again."
            )
        options = {LETTERS[place]: str(texts[key]) for place, key in enumerate(order)}
        words = f"{question} \n" + "".join(f"{letter}. {text}\n" for letter, text in options.items())
        prompt = Prompt((Turn("user", (*before, words)),), str(question), options, task)
        dataset, category = [*picture.split("/"), ""][:2]
        good = GOOD in picture.split("/")
        yield Item(name, picture, dataset, category, task, good, LETTERS[order.index(right)], prompt)


def _list(entry: Mapping[str, Any], key: str, picture: str) -> list[Any]:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, list):
        raise DataError(f"{QUESTIONS}: {picture} has no list {key!r}. It must be MMAD's file; download it again.")
    return value
