"""What a training run is: one YAML file, checked before anything is loaded."""

import os
import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genau.errors import UsageError, suggest

Settings = TypeVar("Settings", bound=BaseModel)
WORDS = {"extra_forbidden": "there is no such setting", "tuple_type": "this must be a list, as in [one, two]"}


class DataSource(BaseModel):
    """Annotated pictures to train on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    format: str
    categories: tuple[str, ...] | None = None
    split: str | None = "test"  # where the annotated defects are; None: all splits


class TrainSettings(BaseModel):
    """Settings of one stage. `head` trains map and score, the decoder asleep; `joint` adds the decoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal["head", "joint"]
    start: str | None = None  # checkpoint folder or shipped name to start from; None: the untrained base
    seed: int = 0  # of the first weights, the order of the examples and what is asked of them

    # Data
    examples_seed: int = 0  # which examples there are: runs that differ in `seed` share them and their cache
    examples: int = Field(2400, ge=1)  # pictures in the training set; each is encoded once
    synthetic: float = Field(0.7, ge=0, le=1)  # share of synthetic pictures
    real: tuple[Path, ...] = ()  # `manifest` data sets
    references: float = Field(0.5, ge=0, le=1)  # share of pictures that are compared with good parts
    cache: Path = Path("runs/features")  # where encoded pictures are kept between runs

    words: bool = True  # stage head: queries from the decoder's frozen reading of the question; else static, no types

    normal_query: bool = True  # of a model that starts here: whether [SEG_normal] counters [SEG_defect]
    context: bool = True  # of a model that starts here: whether it compares with its context

    # Optimisation
    steps: int = Field(ge=1)
    batch_size: int = Field(8, ge=1)
    accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)  # of projector, query tokens and what is told of the map
    head_learning_rate: float = Field(1e-3, gt=0)  # of the map head
    decoder_learning_rate: float = Field(2e-4, gt=0)  # of LoRA
    warmup: float = Field(0.03, ge=0, lt=1)  # share of the steps
    lora_rank: int = Field(8, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    lam: float = Field(1.0, ge=0)  # lambda: weight of L_seg beside L_LM
    image_weight: float = Field(0.5, ge=0)  # of the image BCE on s_map
    analysis: float = Field(0.4, ge=0, le=1)  # share of general questions answered with the whole analysis
    measures_appearance: bool = False  # whether the trained model measures the appearance instead of writing it
    bf16: bool = True  # the decoder's and the features' products in bf16; margins, scores and losses stay fp32

    # Running
    workers: int = Field(0, ge=0)  # processes that make pictures while others are encoded
    log_every: int = Field(10, ge=1)
    save_every: int = Field(100, ge=1)


def read_values(path: Path, changes: list[str]) -> dict[str, Any]:
    """Read a YAML file, put environment variables in for `${NAME}`, and apply `key=value` changes.

    Raises:
        UsageError: no such file, not YAML, a change without '=', an unset variable.
    """
    try:
        values = yaml.safe_load(_expand(path.read_text()))
    except OSError as error:
        raise UsageError(f"The config {path} cannot be read ({error.strerror}). See configs/ for examples.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"The config {path} is not valid YAML: {error}. Compare with configs/nano.yaml.") from error
    if not isinstance(values, dict):
        raise UsageError(f"The config {path} must hold `key: value` lines. Compare with configs/nano.yaml.")
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set {change!r} has no '='. Write --set key=value.")
        values[key.strip()] = yaml.safe_load(value)
    return values


def parse_settings(values: dict[str, Any], source: str, form: type[Settings]) -> Settings:
    """Check settings of one form.

    Raises:
        UsageError: what is wrong with which key, and what it may be.
    """
    try:
        return form(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = suggest(key, form.model_fields) if first["type"] == "extra_forbidden" else ""
        said = WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise UsageError(f"{': '.join(filter(None, (source, key, said)))}.{hint}") from error


def _expand(text: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UsageError(f"The config uses ${{{name}}}, but {name} is not set. Set it to your data folder.")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value_of, text)
