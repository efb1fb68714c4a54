"""What a training of a large backbone is: one YAML file, checked before anything is loaded."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from genau.training.settings import DataSource


class LiveSettings(BaseModel):
    """Settings of stage `live`: the decoder reads pictures as the frozen tower sees them, with LoRA."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal["live"]
    base: str | None = None  # hub id or folder of the vision-language model; None: nano's own parts
    start: str | None = None  # checkpoint folder to start from instead
    seed: int = 0  # of the first weights, the order of the pictures and what is asked of them
    image_size: int | None = Field(None, ge=1)  # side of the canvas in pixels; None: what the family usually sees
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # of the base's frozen weights
    quantize: Literal["8bit", "4bit"] | None = None  # the decoder's frozen matrices

    # Data
    data: tuple[DataSource, ...] = ()  # annotated pictures; each comes once per epoch
    scenes: int = Field(0, ge=0)  # synthetic pictures per epoch besides
    references: float = Field(0.25, ge=0, le=1)  # share of pictures that are compared with good parts
    conversations: tuple[Path, ...] = ()  # instruction data; of them the words only are trained
    images: Path | None = None  # folder below which conversations name their pictures
    skip_missing: bool = False  # leave out conversations whose picture is missing, instead of an error
    talk: float = Field(0.25, gt=0, lt=1)  # share of conversations in a batch, where there are any
    analysis: float = Field(0.4, ge=0, le=1)  # share of general questions answered with the whole analysis

    # Optimisation
    epochs: float | None = Field(None, gt=0)  # of the annotated pictures and scenes; one of epochs and steps
    steps: int | None = Field(None, ge=1)
    gpus: int = Field(1, ge=1)  # processes that train together, over all machines
    batch_size: int = Field(1, ge=1)  # pictures or conversations at once, of each process
    accumulation: int = Field(8, ge=1)  # batches of each process in one step
    learning_rate: float = Field(2e-5, gt=0)  # of the pretrained projector, query tokens and what is told of the map
    head_learning_rate: float = Field(1e-4, gt=0)  # of the map head, which begins untrained
    decoder_learning_rate: float = Field(2e-5, gt=0)  # of LoRA
    warmup: float = Field(0.03, ge=0, lt=1)  # share of the steps
    lora_rank: int = Field(64, ge=1)
    lora_alpha: int = Field(128, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    lam: float = Field(1.0, ge=0)  # lambda: weight of L_seg beside L_LM
    image_weight: float = Field(0.5, ge=0)  # of the image BCE on s_map
    bf16: bool = True  # products of the decoder and of the head's features; margins, scores and losses stay fp32
    gradient_checkpointing: bool = True  # keep one state per layer and compute the rest again: slower, much smaller

    # Running
    sharding: Literal["none", "fsdp", "zero3"] = "none"  # divide the weights among the processes; none: DDP
    deepspeed: Path | None = None  # JSON of sharding zero3
    group: int = Field(8, ge=1)  # steps among which samples of similar length are brought together
    workers: int = Field(4, ge=0)  # processes that prepare batches, for each training process
    prefetch: int = Field(4, ge=1)  # batches that each of them prepares ahead
    log_every: int = Field(10, ge=1)
    save_every: int = Field(500, ge=1)

    @property
    def per_step(self) -> int:
        """The effective batch: samples of one step over all processes."""
        return self.gpus * self.batch_size * self.accumulation

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"epochs={self.epochs} and steps={self.steps}: give exactly one of them")
        if not self.data and not self.scenes:
            raise ValueError("there is nothing to look at: name annotated pictures in `data`, or a number of `scenes`")
        if self.base and self.start:
            raise ValueError(f"base={self.base} and start={self.start}: give one; a checkpoint names its own base")
        if (self.sharding == "zero3") != (self.deepspeed is not None):
            raise ValueError(
                f"sharding={self.sharding} and deepspeed={self.deepspeed}: zero3 needs its JSON, see "
                "configs/large/deepspeed-zero3.json, and nothing else takes one"
            )
        if self.quantize and self.sharding != "none":
            raise ValueError(
                f"quantize={self.quantize} and sharding={self.sharding}: quantised weights cannot be divided. "
                "Leave out one of them"
            )
        return self
