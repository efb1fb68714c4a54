"""What a large training would do, before it is started: all data are read, nothing is trained.

The base need not be there: its parameters are counted on the meta device.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from genau.datasets.sample import Sample
from genau.errors import DataError, GenAUError
from genau.layouts import FixedLayout, Layout, layout_of
from genau.model.modeling import GenAUModel
from genau.reading import read_picture
from genau.training.live.material import open_talks, visual_tokens
from genau.training.live.rows import ChosenTalks, talk_of
from genau.training.live.schedule import Schedule
from genau.training.live.settings import LiveSettings
from genau.training.live.start import starting_point
from genau.training.plain import read_samples
from genau.training.processes import running

log = logging.getLogger(__name__)
MOST_FAULTS = 10  # that are told one by one
QUESTIONS, ANSWER_WORDS = 3, 80  # of a picture, and of an answer, for the estimate of memory
BITS = {"8bit": "int8", "4bit": "nf4"}


@dataclass(frozen=True)
class Plan:
    """What would be trained, in words, and what stands against it."""

    lines: tuple[str, ...]
    faults: tuple[str, ...]

    def refuse_faults(self) -> None:
        """Raise DataError where anything cannot be read."""
        if self.faults:
            more = len(self.faults) - MOST_FAULTS
            shown = "; ".join(self.faults[:MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")
            raise DataError(f"{len(self.faults)} pictures or conversations cannot be used: {shown}")


def make_plan(settings: LiveSettings) -> Plan:
    """Read all data of a run, count what would be trained, and estimate the memory that it takes.

    Raises:
        UsageError, DataError, CheckpointError: as a run would before its first step.
    """
    samples = read_samples(settings.data)
    faults: list[str] = []
    used = tuple(sample for sample in samples if sample.has_mask)
    _read(samples, faults)
    talks = _talks(settings, faults)
    pictures = len(used) + settings.scenes
    if not pictures:
        raise DataError(f"None of {len(samples)} samples has a mask, so maps cannot be trained. Add masks to the data.")
    schedule = Schedule(pictures, talks.total if talks else 0, settings.talk, settings.per_step, settings.seed)
    steps = settings.steps or schedule.steps(settings.epochs or 1)
    lines = [*_told(samples), *_talks_told(talks), *_schedule_told(settings, schedule, steps)]
    canvas, layout, parts = _model(settings)
    tokens = [visual_tokens(sample.image, layout, canvas) for sample in used if not _is_fault(sample, faults)]
    if tokens:
        lines.append(
            f"canvas {canvas} x {canvas}; {mean(tokens):.0f} visual tokens for each picture on average, "
            f"at most {max(tokens)}"
        )
    return Plan((*lines, *parts), tuple(faults))


def _read(samples: Sequence[Sample], faults: list[str]) -> None:
    """Decode every picture and mask once."""
    for sample in samples:
        try:
            rgb = read_picture(sample.image).rgb
            if sample.has_mask:
                sample.read_masks((rgb.shape[0], rgb.shape[1]))
        except GenAUError as error:
            faults.append(f"{sample.image}: {error}")


def _is_fault(sample: Sample, faults: Sequence[str]) -> bool:
    return any(fault.startswith(f"{sample.image}:") for fault in faults)


def _talks(settings: LiveSettings, faults: list[str]) -> ChosenTalks | None:
    """Read every conversation with its picture."""
    try:
        talks = open_talks(settings)
    except GenAUError as error:
        talks = _talks_without_faults(settings)
        count = talks.missing if talks else 0
        more = f" {count} conversations have a fault: `genau data conversations FILE` names them." if count > 1 else ""
        faults.append(f"{error}{more}")
        return talks
    for number in range(talks.total if talks else 0):
        try:
            talk_of(talks[number])  # type: ignore[index]
        except GenAUError as error:
            faults.append(str(error))
    return talks


def _talks_without_faults(settings: LiveSettings) -> ChosenTalks | None:
    """Read on after a fault, so that the rest is counted too; None where no conversation can be read."""
    try:
        return open_talks(settings.model_copy(update={"skip_missing": True}))
    except GenAUError:
        return None


def _told(samples: Sequence[Sample]) -> Iterator[str]:
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        rows[f"{sample.dataset} {sample.category}"].append(sample)
    for name, own in sorted(rows.items()):
        bad = sum(sample.label for sample in own)
        types = Counter(name for sample in own for name in sample.types)
        unmasked = sum(not sample.has_mask for sample in own)
        kinds = f" ({', '.join(f'{kind} {count}' for kind, count in sorted(types.items()))})" if types else ""
        left_out = f"; {unmasked} without a mask are left out" if unmasked else ""
        yield f"{name}: {len(own) - bad} good, {bad} defective{kinds}{left_out}"


def _talks_told(talks: ChosenTalks | None) -> Iterator[str]:
    if talks:
        others = talks.talks.total - talks.total - talks.missing
        yield (
            f"conversations: {talks.total} with one picture; left out: {others} that show other than one, "
            f"{talks.missing} whose picture is missing"
        )


def _schedule_told(settings: LiveSettings, schedule: Schedule, steps: int) -> Iterator[str]:
    yield (
        f"an epoch: {schedule.pictures} pictures, {settings.scenes} of them synthetic, and "
        f"{schedule.talks_per_epoch} conversations"
    )
    yield (
        f"{steps} steps of {settings.per_step} samples ({settings.gpus} processes x {settings.batch_size} x "
        f"{settings.accumulation}): {steps * settings.per_step / schedule.per_epoch:.2f} epochs"
    )
    if running() != settings.gpus:
        yield f"gpus={settings.gpus} processes are expected, and {running()} runs now: start the training with torchrun"


def _model(settings: LiveSettings) -> tuple[int, Layout, list[str]]:
    """Return the canvas, how pictures lie among words, and what trains, with the memory that it takes."""
    if not settings.base:
        model, processor = starting_point(settings)
        layout = layout_of(processor.layout) if processor.layout else FixedLayout(processor.visual_tokens)
        return processor.image_processor.size, layout, list(_trained(model))
    from genau.bases import find_config
    from genau.model.backbones.families import family
    from genau.model.estimate import Workload, estimate

    found = find_config(settings.base)
    habits = family(found.family).habits(found.config.to_dict(), settings.image_size)
    asked = Workload(
        dtype=BITS[settings.quantize] if settings.quantize else settings.dtype,
        batch_size=settings.batch_size,
        questions=QUESTIONS,
        words=ANSWER_WORDS,
        canvas=settings.image_size,
        rank=settings.lora_rank,
        gpus=settings.gpus,
    )
    result = estimate(found.config, asked)
    count, gib = result.parameters, 2**30
    kind = "checkpointing" if settings.gradient_checkpointing else "plain"
    memory = (result.training | result.sharded)[settings.sharding if settings.sharding != "none" else kind]
    fits = [f"{size} GB" for size, enough in memory.fits().items() if enough]
    lines = [
        f"{settings.base} ({found.family}; {found.source}): {count.base:,} parameters",
        f"trains {count.trainable:,} parameters: LoRA {count.lora:,}, projector {count.projector:,}, "
        f"ours {count.own:,}",
        f"memory of each GPU, estimated: {memory.total / gib:.1f} GiB; "
        + (f"fits on {', '.join(fits)}" if fits else "fits on none of 24, 40 and 80 GB"),
    ]
    return habits.image_size, layout_of(habits.layout), lines


def _trained(model: GenAUModel) -> Iterator[str]:
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts["LoRA" if "lora_" in name else name.split(".")[0]] += parameter.numel()
    total = sum(parameter.numel() for parameter in model.parameters())
    each = ", ".join(f"{name} {count:,}" for name, count in sorted(parts.items()))
    yield f"trains {sum(parts.values()):,} of {total:,} parameters: {each}"
