"""VisA-D&R's files and prompts.

Xu et al. 2025, "Towards Zero-Shot Anomaly Detection and Reasoning with Multimodal Large Language Models" (CVPR). A file
is a list of {id, image, conversations: [{from, value}], metadata: {anomaly}}.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genau.dialogue import Prompt, Shown, Turn
from genau.errors import DataError, UsageError
from genau.evaluation.dialogue.items import Chain, Item, check_names, check_pictures, read_json

QUESTION = "Are there any defects for the object in the image? Please reply with 'Yes' or 'No'."
DETECTION, REASONING = "detection", "reasoning"
YES, NO = "Yes", "No"
DATASET = "VisA-D&R"
PLACEHOLDER = "<image>\n"
WHAT = "a list of {image, conversations, metadata: {anomaly}}, as VisA-D&R's files are"
HINT = "--data is the folder that the file's `image` entries start from; put VisA's pictures there."


def read(
    folder: Path, detection: Path | None, reasoning: Path | None, classes: tuple[str, ...] | None = None
) -> tuple[list[Chain], list[Chain]]:
    """Return the chains of both files; errors as the functions below, and where no file is named."""
    if detection is None and reasoning is None:
        raise UsageError("Nothing is asked. Name VisA-D&R's file with --detection, --reasoning, or both.")
    return (
        read_detection(folder, detection, classes) if detection else [],
        read_reasoning(folder, reasoning, classes) if reasoning else [],
    )


def read_detection(folder: Path, file: Path, classes: tuple[str, ...] | None = None) -> list[Chain]:
    """Return the question whether there is a defect for each picture, once for a picture that is listed twice.

    Raises:
        DataError: the file is not VisA-D&R's, or pictures are missing. UsageError: an unknown class.
    """
    chains: dict[str, Chain] = {}
    for picture, category, good, _ in _entries(file, classes):
        turn = Turn("user", (Shown(folder / picture), QUESTION))
        prompt = Prompt((turn,), QUESTION, {YES: YES, NO: NO}, DETECTION)
        item = Item(picture, picture, DATASET, category, DETECTION, good, NO if good else YES, prompt)
        known = chains.setdefault(picture, (item,))
        if known[0].good is not good:
            raise DataError(f"{file} calls {picture} good in one entry and defective in another. Correct it there.")
    check_pictures(chains.values(), folder, HINT)
    return list(chains.values())


def read_reasoning(folder: Path, file: Path, classes: tuple[str, ...] | None = None) -> list[Chain]:
    """Return each entry's questions as one chain: the picture stands before the first, answers before the next.

    Raises:
        DataError: as `read_detection`, or an entry has a question without an answer. UsageError: an unknown class.
    """
    chains = []
    for number, (picture, category, good, entry) in enumerate(_entries(file, classes), start=1):
        turns = entry.get("conversations")
        pairs = list(_pairs(turns)) if isinstance(turns, list) else []
        if not pairs or not all(re.search(r"\w", words) for pair in pairs for words in pair):
            raise DataError(
                f"{file}, entry {number}: conversations must be turns of 'human' and 'gpt' in pairs, all with words. "
                f"Those of {picture} are not; correct the file, or leave the entry out."
            )
        chain = []
        for place, (question, reference) in enumerate(pairs):
            shown = (Shown(folder / picture),) if place == 0 else ()
            prompt = Prompt((Turn("user", (*shown, question)),), question, task=REASONING)
            name = f"{picture}#{entry.get('id', number)}.{place + 1}"
            chain.append(Item(name, picture, DATASET, category, REASONING, good, reference, prompt))
        chains.append(tuple(chain))
    check_pictures(chains, folder, HINT)
    return chains


def _entries(file: Path, classes: tuple[str, ...] | None) -> Iterator[tuple[str, str, bool, Mapping[str, Any]]]:
    content = read_json(file, WHAT)
    if not isinstance(content, list) or not content:
        raise DataError(f"{file} is no list, or an empty one; it must be {WHAT}. Name the right file.")
    rows = []
    for number, entry in enumerate(content, start=1):
        try:
            picture, anomaly = entry["image"], entry["metadata"]["anomaly"]
            category = picture.split("/")[1]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(
                f"{file}, entry {number}: image (with the class as second folder: VisA/candle/…) or metadata.anomaly "
                f"is missing ({error!r}). The file must be {WHAT}."
            ) from error
        rows.append((picture, category, not anomaly, entry))
    wanted = check_names(classes, (row[1] for row in rows), "--class")
    return (row for row in rows if row[1] in wanted)


def _pairs(turns: list[Any]) -> Iterator[tuple[str, str]]:
    words = [(turn.get("from"), turn.get("value")) for turn in turns if isinstance(turn, Mapping)]
    for (asks, question), (answers, reference) in zip(words[::2], words[1::2], strict=False):
        if asks == "human" and answers == "gpt" and isinstance(question, str) and isinstance(reference, str):
            yield question.replace(PLACEHOLDER, ""), reference
