"""What a base would need of a GPU, before a byte of it is fetched: memory for inspection and for training.

Weights, gradients and optimizer are counted exactly; activations by the formulas of `activations`, which tests hold
against measurement. Left out: the CUDA context, fragmentation and kernels' scratch, for which `USABLE` leaves room.
Sharding follows Rajbhandari et al., *ZeRO* (arXiv 1910.02054, section 5): stage 3, and
FSDP alike, divides weights, gradients and optimizer by the GPUs and gathers what it computes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from transformers import PreTrainedConfig

from genau.errors import UsageError, suggest
from genau.layouts import layout_of
from genau.model.activations import (
    FP32,
    DecoderSizes,
    Reading,
    head_bytes,
    kept_bytes,
    memory_bytes,
    passing_bytes,
)
from genau.model.backbones.catalog import family_of
from genau.model.backbones.families import family
from genau.model.parameters import LEVELS, UPSAMPLE, Parameters, count_parameters

GIB = 2**30
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}  # nf4: one fp32 scale for 64 numbers
QUANTISED = ("int8", "nf4")  # the decoder's linear layers only; all else is in bfloat16, ours in float32
OPTIMIZER_BYTES = 2 * FP32  # AdamW: two moments
GPUS_GIB = (24, 40, 80)
USABLE = 0.92  # of a GPU
MAX_LIVE = 10**9  # gathered numbers that ZeRO-3 keeps (DeepSpeed's `stage3_max_live_parameters`)
INSTRUCTION_WORDS, QUESTION_WORDS = 40, 40  # tokens of the fixed instruction, and of a question without its answer
LOGITS_COPIES = 3  # logits, their softmax, their gradient


@dataclass(frozen=True)
class Workload:
    """What is asked of the model on each GPU at once."""

    dtype: str = "bfloat16"  # of WEIGHT_BYTES
    batch_size: int = 1  # pictures
    questions: int = 1  # for each picture
    words: int = 160  # of a question with its answer
    canvas: int | None = None  # side in pixels; None: what the family usually sees
    rank: int = 64  # of LoRA
    gpus: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.dtype not in WEIGHT_BYTES:
            raise UsageError(
                f"dtype {self.dtype!r} is not one of {', '.join(WEIGHT_BYTES)}.{suggest(self.dtype, WEIGHT_BYTES)}"
            )
        for name in ("batch_size", "questions", "words", "rank", "gpus"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    @property
    def product(self) -> str:
        """The dtype in which products are made."""
        return "float32" if self.dtype == "float32" else "bfloat16"


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    activations: float
    keys_values: float
    gradients: float = 0.0
    optimizer: float = 0.0
    gathered: float = 0.0  # what sharding brings together for a moment

    @property
    def total(self) -> float:
        """Their sum."""
        values: dict[str, float] = asdict(self)
        return sum(values.values())

    def fits(self) -> dict[int, bool]:
        """Return whether it fits, by a GPU's memory in GiB."""
        return {size: self.total <= USABLE * size * GIB for size in GPUS_GIB}

    def to_dict(self) -> dict[str, Any]:
        """Return GiB, rounded, and what it fits on."""
        numbers = {
            f"{name}_gib": round(value / GIB, 3) for name, value in (asdict(self) | {"total": self.total}).items()
        }
        return numbers | {"fits": {f"{size} GiB": fits for size, fits in self.fits().items()}}


@dataclass(frozen=True)
class Estimate:
    """What a base needs."""

    workload: Workload
    parameters: Parameters
    canvas: int
    visual_tokens: int  # of a picture that fills the canvas
    keys_values_per_picture: int  # bytes
    weights: dict[str, float]  # bytes by dtype, without LoRA and what is ours
    inspection: Memory
    training: dict[str, Memory]  # "plain", "checkpointing"; on one GPU, or under "ddp"
    sharded: dict[str, Memory]  # "fsdp", "zero3": with checkpointing; empty where quantised weights cannot be divided

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; memory in GiB of each GPU."""
        parameters = self.parameters
        return {
            "workload": asdict(self.workload) | {"canvas": self.canvas},
            "parameters": asdict(parameters)
            | {name: getattr(parameters, name) for name in ("base", "total", "trainable")}
            | {"trainable_share": round(parameters.trainable_share, 4)},
            "visual_tokens": self.visual_tokens,
            "keys_values_per_picture_mib": round(self.keys_values_per_picture / 2**20, 2),
            "weights_gib": {name: round(size / GIB, 2) for name, size in self.weights.items()},
            "inspection": self.inspection.to_dict(),
            "training": {name: memory.to_dict() for name, memory in (self.training | self.sharded).items()},
        }


def estimate(config: PreTrainedConfig, workload: Workload) -> Estimate:
    """Estimate memory of a base by its configuration; no weights are read.

    Raises:
        CheckpointError: no family of ours reads it.
    """
    parameters = count_parameters(config, workload.rank)
    seen = _Seen.of(config, workload.canvas)
    decoder = DecoderSizes.of(config.get_text_config())
    weights = {dtype: _weights(parameters, dtype) for dtype in WEIGHT_BYTES}
    added = FP32 * (parameters.own + parameters.lora)
    rows, asked = workload.batch_size, workload.batch_size * workload.questions
    before = INSTRUCTION_WORDS + seen.tokens
    passes = (Reading(rows, seen.tokens, before), Reading(asked, workload.words, before + workload.words))
    packed = before + workload.questions * workload.words  # training reads a picture and all its questions in one pass
    lessons = (Reading(rows, packed, packed), Reading(asked, QUESTION_WORDS, INSTRUCTION_WORDS + QUESTION_WORDS))
    held = memory_bytes(decoder, rows, before, workload.product)
    held += memory_bytes(decoder, asked, before + workload.words, workload.product)
    looking = rows * seen.passing_bytes(workload.product)
    passing = max(looking, *(passing_bytes(decoder, reading, workload.product) for reading in passes))
    head = rows * seen.head_bytes
    logits = LOGITS_COPIES * FP32 * asked * workload.words * decoder.vocabulary
    training = {}
    for name, checkpointing in (("plain", False), ("checkpointing", True)):
        kept = [
            kept_bytes(decoder, one, workload.product, workload.rank, checkpointing=checkpointing) for one in lessons
        ]
        training[name] = Memory(
            weights=weights[workload.dtype] + added,
            activations=max(looking, sum(kept) + head + logits),
            keys_values=0,  # the packed pass keeps no memory beside its activations
            gradients=FP32 * parameters.trainable,
            optimizer=OPTIMIZER_BYTES * parameters.trainable,
        )
    sharded = {} if workload.dtype in QUANTISED else _sharded(training["checkpointing"], parameters, workload)
    if workload.gpus > 1:  # DDP holds the gradients a second time, in the buckets that it sends
        training = {name: replace(one, gathered=one.gradients) for name, one in training.items()}
    return Estimate(
        workload=workload,
        parameters=parameters,
        canvas=seen.canvas,
        visual_tokens=seen.tokens,
        keys_values_per_picture=memory_bytes(decoder, 1, before, workload.product),
        weights=weights,
        inspection=Memory(weights[workload.dtype] + FP32 * parameters.own, passing + head / 2, held),
        training=training,
        sharded=sharded,
    )


def _weights(parameters: Parameters, dtype: str) -> float:
    if dtype not in QUANTISED:
        return WEIGHT_BYTES[dtype] * parameters.base
    rest = parameters.base - parameters.linear
    return WEIGHT_BYTES[dtype] * parameters.linear + WEIGHT_BYTES["bfloat16"] * rest


def _sharded(alone: Memory, parameters: Parameters, workload: Workload) -> dict[str, Memory]:
    divided = replace(
        alone,
        weights=alone.weights / workload.gpus,
        gradients=alone.gradients / workload.gpus,
        optimizer=alone.optimizer / workload.gpus,
    )
    width = WEIGHT_BYTES[workload.dtype]
    live = {"fsdp": 2 * parameters.layer, "zero3": min(MAX_LIVE, parameters.base)}  # FSDP: this layer and the next
    return {name: replace(divided, gathered=width * count) for name, count in live.items()}


@dataclass(frozen=True)
class _Seen:
    """What the vision side of a family makes of a picture that fills the canvas."""

    canvas: int
    tokens: int  # visual tokens that the decoder reads
    patches: int  # that the tower sees, over all crops
    width: int
    inner: int
    cells: int  # of a pyramid level

    @classmethod
    def of(cls, config: PreTrainedConfig, canvas: int | None) -> "_Seen":
        """Follow the family's own habits."""
        vision: Any = config.vision_config
        habits = family(family_of(config.model_type, "The base")).habits(config.to_dict(), canvas)
        side = habits.image_size
        pieces = layout_of(habits.layout).pieces((side, side))
        grid = side // vision.patch_size
        crop = vision.image_size // vision.patch_size if hasattr(vision, "image_size") else 0
        patches = grid**2 + crop**2  # towers of one picture size see the whole beside its crops
        tokens = sum(piece for piece in pieces if isinstance(piece, int))
        return cls(side, tokens, patches, vision.hidden_size, vision.intermediate_size, grid**2)

    def passing_bytes(self, dtype: str) -> int:
        """Return the most that one frozen block holds at once for a picture, and the levels that are kept."""
        b = 4 if dtype == "float32" else 2
        block = self.patches * (b * (4 * self.width + 2 * self.inner) + FP32 * self.width)
        return block + LEVELS * FP32 * self.cells * self.width

    @property
    def head_bytes(self) -> int:
        """Return what the map head keeps for a picture."""
        return head_bytes(self.cells, self.width, UPSAMPLE)
