"""All that a run is trained on, put together from its settings."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genau.datasets.sample import UNTYPED, Sample
from genau.datasets.synthetic import DEFECT_TYPES
from genau.images import Letterbox
from genau.layouts import FixedLayout, Layout, layout_of
from genau.processor import GenAUProcessor
from genau.reading import read_size
from genau.training.live.rows import ChosenTalks, Pictures, Rows, Talks, annotated
from genau.training.live.schedule import Schedule, Ticket
from genau.training.live.settings import LiveSettings
from genau.training.plain import read_samples

log = logging.getLogger(__name__)
WORD_CHARACTERS = 4  # of English, for each token; lengths need only be similar


@dataclass(frozen=True)
class Material:
    """What a run is trained on, in order."""

    samples: tuple[Sample, ...]  # annotated pictures
    rows: Rows
    steps: int
    types: tuple[str, ...]  # that are asked for


def gather(settings: LiveSettings, processor: GenAUProcessor) -> Material:
    """Read the lists of all data and fix the order of the run; no picture is read but for its size.

    Raises:
        UsageError, DataError: as the data's readers. ImageError: a picture is missing.
    """
    samples = annotated(read_samples(settings.data))
    pictures = Pictures(samples, settings.scenes, settings.references, settings.seed)
    talks = open_talks(settings)
    schedule = Schedule(len(pictures), talks.total if talks else 0, settings.talk, settings.per_step, settings.seed)
    steps = settings.steps or schedule.steps(settings.epochs or 1)
    places = schedule.grouped(steps, length_of(pictures, talks, processor), settings.group)
    types = {name for sample in samples for name in sample.types} - {UNTYPED}
    return Material(samples, Rows(schedule, pictures, talks, places), steps, tuple(sorted({*DEFECT_TYPES, *types})))


def open_talks(settings: LiveSettings) -> ChosenTalks | None:
    """Return the conversations that can be trained, or None where none are named."""
    if not settings.conversations:
        return None
    from genau.instruct import StreamedConversations

    stream = StreamedConversations(
        list(settings.conversations), images=settings.images, skip_missing=settings.skip_missing
    )
    return ChosenTalks(stream, skip_missing=settings.skip_missing)


def length_of(pictures: Pictures, talks: Talks | None, processor: GenAUProcessor) -> Callable[[Ticket], float]:
    """Return a function that tells about how many words a sample has: visual tokens of pictures, text of the rest."""
    layout: Layout = layout_of(processor.layout) if processor.layout else FixedLayout(processor.visual_tokens)
    canvas = processor.image_processor.size
    visual = [visual_tokens(sample.image, layout, canvas) for sample in pictures.samples]

    def length(ticket: Ticket) -> float:
        if ticket.talk:
            assert talks is not None
            return sum(len(turn.text) for turn in talks[ticket.number].turns) / WORD_CHARACTERS
        return visual[ticket.number] if ticket.number < len(visual) else 0  # scenes are of every size

    return length


def visual_tokens(picture: Path, layout: Layout, canvas: int) -> int:
    """Return how many visual tokens stand for a picture on a canvas (side in pixels), by its size alone."""
    content = Letterbox(read_size(picture), canvas).content_hw
    return sum(piece for piece in layout.pieces(content) if isinstance(piece, int))
