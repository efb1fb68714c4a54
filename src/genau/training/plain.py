"""Train a rival on annotated pictures of any data set, with the framework's Trainer and the same losses as GenAU.

This module knows rivals as `Trainable` only: they return margins, `losses` judges them, so no loss is written twice and
no rival is imported. The cross-data-set protocol trains on the annotated test split of one data set, and evaluates on
others.
Shapes: B pictures, L maps of each, (h, w) their grid, (S, S) the frame in which maps and masks are compared.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, set_seed

from genau import datasets
from genau.datasets.sample import Sample
from genau.errors import DataError
from genau.images import Picture
from genau.reading import read_picture
from genau.training.losses import LossTerm, dice, focal, image, weigh
from genau.training.processes import refuse_several
from genau.training.resuming import checkpoint_to_resume
from genau.training.settings import DataSource

log = logging.getLogger(__name__)

Row = tuple[Picture, NDArray[np.bool_]]  # a picture and the mask (H, W) of all its defects


class Trainable(Protocol):
    """A torch module on the device where it shall be trained; parameters that require a gradient are trained.

    It must not have an attribute `config`, into which the framework's Trainer would write.
    """

    def collate(self, pictures: Sequence[Picture], masks: Sequence[NDArray[np.bool_]]) -> dict[str, Tensor]:
        """Return a batch: whatever `forward` needs, and `targets` (B, S, S), 0/1 in the frame that the maps cover."""

    def forward(self, batch: dict[str, Tensor], /) -> dict[str, Tensor]:
        """Return margins, whose sigmoid is the probability of a defect: `image` (B,) and `maps` (B, L, h, w)."""

    def note_training(self, products: Sequence[str], data: Sequence[str]) -> None:
        """Keep in words what it is trained on: products are not zero-shot any more."""

    def save_pretrained(self, folder: Path) -> None:
        """Write all that is needed to load it again, what it was trained on included."""


class PlainSettings(BaseModel):
    """Settings of the training of a rival."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trains: str  # which rival
    base: str  # hub id or folder of the frozen tower that it stands on
    image_size: int | None = Field(None, ge=1)  # side of its square input in pixels; None: the tower's own
    seed: int = 0
    data: tuple[DataSource, ...] = Field(min_length=1)

    # Optimisation
    epochs: float = Field(gt=0)
    batch_size: int = Field(8, ge=1)
    accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)  # of Adam, constant
    momentum: float = Field(0.9, ge=0, lt=1)  # Adam's beta1
    lam: float = Field(1.0, ge=0)  # lambda: weight of the maps' loss beside the picture's

    # Running
    log_every: int = Field(10, ge=1)
    save_every: int = Field(100, ge=1)


class AnnotatedPictures(Dataset[Row]):
    """Reads a picture and its mask when asked for them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Return one picture and its mask."""
        sample = self.samples[index]
        picture = read_picture(sample.image)
        return picture, sample.read_mask((picture.height, picture.width))


class PlainTrainer(Trainer):
    """Trains a `Trainable`; a loss term is averaged over the pictures of the whole optimizer step."""

    def __init__(self, settings: PlainSettings, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.settings = settings
        self.loss_is_scaled_for_ga = True
        self._pictures = 0  # of the current optimizer step
        self._parts: dict[str, float] = defaultdict(float)  # summed since the last line of the log

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], None]:
        """Collect the batches of one optimizer step and count its pictures."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._pictures = sum(len(batch["targets"]) for batch in batches)
        return batches, None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return this batch's share of the step's loss: L_image + lambda * L_maps."""
        terms = loss_terms(self.accelerator.unwrap_model(model)(inputs), inputs["targets"])
        shares = {name: LossTerm(term.total, self._pictures) for name, term in terms.items()}  # of the whole step
        for name, share in shares.items():
            self._parts[name] += share.mean.item()
        return weigh(shares, self.settings.lam, 1.0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log every loss part beside the sum."""
        if "loss" in logs:
            logs |= {f"loss_{name}": round(part / self.args.logging_steps, 5) for name, part in self._parts.items()}
            self._parts.clear()
        super().log(logs, start_time)


def loss_terms(margins: dict[str, Tensor], targets: Tensor) -> dict[str, LossTerm]:
    """Return the terms of AnomalyCLIP's loss (Zhou et al. 2024), summed over maps, counted per picture.

    Focal and both Dice terms on every picture, as published; GenAU's own loss leaves out the Dice of empty masks. The
    maps' margins, not their probabilities, are up-sampled to the masks: focal and cross entropy stay exact there.
    """
    maps = F.interpolate(margins["maps"].float(), targets.shape[-2:], mode="bilinear", align_corners=False)
    pictures, levels = maps.shape[:2]
    margin = maps.flatten(0, 1)  # (B * L, S, S)
    wanted = targets.repeat_interleave(levels, 0)
    valid = torch.ones_like(wanted, dtype=torch.bool)
    return {
        "focal": LossTerm(focal(margin, wanted, valid).total, pictures),
        "dice_defect": LossTerm(dice(torch.sigmoid(margin), wanted, valid).sum(), pictures),
        "dice_normal": LossTerm(dice(torch.sigmoid(-margin), 1 - wanted, valid).sum(), pictures),
        "image": image(torch.sigmoid(margins["image"]), targets.flatten(1).any(1)),
    }


def read_samples(sources: Sequence[DataSource]) -> list[Sample]:
    """Return the samples of all data sources.

    Raises:
        UsageError: an unknown format. DataError: a folder does not have the layout of its format.
    """
    return [
        sample
        for source in sources
        for sample in datasets.read(source.root, source.format, categories=source.categories, split=source.split)
    ]


def device() -> str:
    """Return where training runs: on the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(
    trainable: Trainable, samples: Sequence[Sample], settings: PlainSettings, output: Path, *, resume: bool = False
) -> Path:
    """Train on all samples whose pixels are annotated, and return the folder that the trained rival was saved in.

    Checkpoints lie beside it in `output`, as do `log.json` and `settings.json`.

    Raises:
        UsageError: as `checkpoint_to_resume`. DataError: no sample is annotated. ImageError: a picture is unreadable.
    """
    refuse_several(f"a baseline ({settings.trains})")
    last = checkpoint_to_resume(output, resume=resume)
    annotated = [sample for sample in samples if sample.has_mask]
    if not annotated:
        raise DataError(f"None of {len(samples)} samples has a mask, so maps cannot be trained. Add masks to the data.")
    if len(annotated) < len(samples):
        log.info("%d defective samples without a mask are left out.", len(samples) - len(annotated))
    trainable.note_training(
        sorted({sample.product for sample in annotated}),
        sorted({f"{sample.dataset}, split {sample.split}" for sample in annotated}),
    )
    set_seed(settings.seed)

    def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
        return trainable.collate([picture for picture, _ in rows], [mask for _, mask in rows])

    module = cast(nn.Module, trainable)
    trainer = PlainTrainer(
        settings,
        model=module,
        args=training_arguments(settings, output, next(module.parameters()).device),
        train_dataset=AnnotatedPictures(annotated),
        data_collator=collate,
    )
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trained = output / "trained"
    trainable.save_pretrained(trained)
    (output / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1))
    (output / "settings.json").write_text(settings.model_dump_json(indent=1))
    return trained


def training_arguments(settings: PlainSettings, output: Path, device: torch.device) -> TrainingArguments:
    """Translate our settings into the framework's: plain Adam, constant rate, no clipping, as the paper trains."""
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        adam_beta1=settings.momentum,
        weight_decay=0.0,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=settings.log_every,
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
    )
