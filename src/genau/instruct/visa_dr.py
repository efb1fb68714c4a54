"""Reader of VisA-D&R: questions of detection and of reasoning about pictures of VisA.

`test_data.json` is a list of `{"image": "VisA/CATEGORY/…", "anomaly": true | false}`: whether there is a defect.
`visa_dr.json` is a list of `{"image", "questions": […]}` whose questions are asked one after the other, each with its
answer under `answers`; records that come as `conversations` are read as in the LLaVA layout. Pictures are named below
the folder that holds `VisA/`. Source: Xu et al. 2025, "Towards Zero-Shot Anomaly Detection and Reasoning with
Multimodal Large Language Models".
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from genau.datasets.layout import Tell, product_words, refuse
from genau.errors import DataError
from genau.instruct import llava, records
from genau.instruct.conversation import Conversation, Turn
from genau.instruct.pictures import PictureFolder
from genau.instruct.records import Record
from genau.prompts import IMAGE_TOKEN

KEYS = frozenset({"questions", "anomaly"})
_FILES = ("visa_dr.json", "test_data.json")
_DETECTION = "Does the part in the picture have a defect? Answer yes or no."
_ANSWERS = {True: "Yes", False: "No"}


def file_of(folder: Path) -> Path | None:
    """Return the file of questions in a folder, or in `VisA/` below it; the one with reasoning first."""
    places = [place / name for name in _FILES for place in (folder, folder / "VisA")]
    return next((place for place in places if place.is_file()), None)


def read(
    path: Path, images: Path | None = None, *, tell: Tell = refuse, missing: Tell | None = None
) -> Iterator[Conversation]:
    """Yield one conversation per record: all its questions in turn, or that of detection where it has none.

    Without `images` the pictures are named below the folder over the file's. `tell` and `missing` are as in
    `instruct.read`.
    """
    file = file_of(path) if path.is_dir() else path
    if file is None or not file.is_file():
        raise DataError(f"{path} does not hold {' or '.join(_FILES)}. Give the file of VisA-D&R, or its folder.")
    folder = PictureFolder(images or file.parent.parent, missing or tell)
    for number, (start, length) in enumerate(records.places(file), start=1):
        source = f"{file}, record {number}"
        try:
            row = records.load(file, start, length, source)
            if "conversations" in row:
                conversation = llava.load(file, start, length, number, folder)
            else:
                conversation = _conversation(row, source, folder)
        except DataError as error:
            tell(str(error))
            continue
        if conversation is not None:
            yield conversation


def _conversation(row: Record, source: str, folder: PictureFolder) -> Conversation | None:
    image, anomaly = row.get("image"), row.get("anomaly")
    if not isinstance(image, str):
        raise DataError(f"{source}: image is {image!r}; it must be the path of a picture. Correct it.")
    if anomaly is not None and anomaly not in (0, 1):
        raise DataError(f"{source}: anomaly is {anomaly!r}; it must be true or false. Correct it.")
    defective = None if anomaly is None else bool(anomaly)
    questions, answers = row.get("questions"), row.get("answers")
    kind = "reasoning"
    if questions is None:
        if defective is None:
            raise DataError(f"{source} has neither 'questions' nor 'anomaly'. It needs one of them; check the file.")
        kind, questions, answers = "detection", [_DETECTION], [_ANSWERS[defective]]
    if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
        counts = [len(one) if isinstance(one, list) else 0 for one in (questions, answers)]
        raise DataError(
            f"{source} has {counts[0]} questions and {counts[1]} answers; each question needs its answer to learn "
            "from. Use the release that has both, or leave the record out."
        )
    found = folder.find([image], str(row.get("id", image)), source)
    if found is None:
        return None
    turns: list[Turn] = []
    for question, answer in zip(questions, answers, strict=True):
        before = "" if turns else f"{IMAGE_TOKEN}\n"
        turns += [Turn("user", f"{before}{question}"), Turn("assistant", str(answer))]
    parts = PurePosixPath(image).parts
    return Conversation(
        id=str(row.get("id", f"{image}#{kind}")),
        images=found,
        turns=tuple(turns),
        source=source,
        product=product_words(parts[1]) if len(parts) > 2 else None,
        kind=kind,
        defective=defective,
    )
