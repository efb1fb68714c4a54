"""The framework's Trainer with our joint loss: every part logged, resumed exactly, saved as an adapter."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genau.checkpoints import ADAPTER_FOLDER, OWN_FILE, save_adapter
from genau.errors import CheckpointError
from genau.model.modeling import GenAUModel
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.training.batches import term_counts
from genau.training.features import EncodedExamples
from genau.training.losses import LossTerm, image, language, segmentation, weigh
from genau.training.settings import TrainSettings


class JointTrainer(Trainer):
    """Trains a `GenAUModel` on batches of `BatchMaker`.

    A loss term is averaged over its samples in the whole optimizer step: 1 x 8 and 4 x 2 give the same gradient.
    """

    def __init__(
        self,
        settings: TrainSettings,
        processor: GenAUProcessor,
        examples: EncodedExamples,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(train_dataset=examples, **kwargs)
        self.settings, self.processor, self.examples = settings, processor, examples
        self.loss_is_scaled_for_ga = True
        self.add_callback(_EpochMarker(examples))
        self._counts: dict[str, int] = {}  # of the current optimizer step
        self._parts: dict[str, list[float]] = defaultdict(list)  # since the last line of the log

    @property
    def trained(self) -> GenAUModel:
        """The model, without the wrappers of distributed training."""
        model: GenAUModel = self.accelerator.unwrap_model(self.model)
        return model

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], None]:
        """Collect the batches of one optimizer step and count its samples per loss term."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._counts = defaultdict(int)
        for batch in batches:
            for name, count in term_counts(batch).items():
                self._counts[name] += count
        return batches, None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return this batch's share of the step's loss: L_LM + lambda * L_seg + image_weight * L_image."""
        terms = loss_terms(self.accelerator.unwrap_model(model), inputs, self.processor)
        shares = {name: LossTerm(term.total, self._counts[name]) for name, term in terms.items()}  # of the whole step
        for name, share in shares.items():
            self._parts[name].append(share.mean.item())
        return weigh(shares, self.settings.lam, self.settings.image_weight)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log every loss part beside the sum."""
        if "loss" in logs:
            steps = self.args.logging_steps
            logs |= {f"loss_{name}": round(sum(values) / steps, 5) for name, values in self._parts.items()}
            self._parts.clear()
            logs["gain"] = round(self.trained.mask_head.gain.item(), 5)
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a smaller rate for LoRA; no decay for what is not a matrix."""
        if self.optimizer is None:
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
            for name, parameter in self.trained.named_parameters():
                if parameter.requires_grad:
                    groups["lora_" in name, parameter.ndim > 1].append(parameter)
            rates = {True: self.settings.decoder_learning_rate, False: self.settings.learning_rate}
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": found, "lr": rates[lora], "weight_decay": 0.01 if matrix else 0.0}
                    for (lora, matrix), found in groups.items()
                ]
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        save_adapter(output_dir or str(self.args.output_dir), self.trained, self.processor)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(Path(resume_from_checkpoint), self.trained)


class _EpochMarker(TrainerCallback):  # type: ignore[misc]
    """Tells the data set its epoch, also where a run is resumed in the middle of one (the data loader does not)."""

    def __init__(self, examples: EncodedExamples) -> None:
        self.examples = examples

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        self.examples.epoch = int(state.epoch or 0)


def loss_terms(model: GenAUModel, batch: dict[str, Any], processor: GenAUProcessor) -> dict[str, LossTerm]:
    """Return the loss terms of one batch; without `query_ids` the decoder is left out and static queries draw."""
    valid = model.valid_cells(batch["content_hw"], batch["pyramid"][0])
    index, hidden = batch["image_index"], None
    if "query_ids" in batch:
        device = index.device
        instruction = model.read_instruction(processor.instruction_ids().to(device))
        sight = model.backbone.look_again(batch["pyramid"])
        picture_ids = processor.picture_ids().to(device)
        seen = model.see(sight, batch["context"], batch["content_hw"], picture_ids, instruction)
        answer = model.ask(seen, batch["query_ids"], batch["query_mask"], batch["verdict_at"], index)
        margin, score, hidden = answer.margin, answer.map_score, answer.hidden
    else:
        margin, score = model.draw_static(batch["pyramid"], batch["context"], valid, index)
    terms = segmentation(margin, batch["targets"], valid[index])
    general = batch["general"]
    terms["image"] = image(score[general], batch["defective"][general])
    if hidden is not None:
        labelled = batch["labels"] != IGNORED_LABEL
        terms["language"] = language(model.backbone.logits(hidden[labelled]), batch["labels"][labelled])
    return terms


def load_trained(folder: Path, model: GenAUModel) -> None:
    """Load our tensors and LoRA of a checkpoint into a model that has the same parts.

    Raises:
        CheckpointError: a tensor is missing or too many.
    """
    from peft import set_peft_model_state_dict

    _, unexpected = model.load_state_dict(load_file(folder / OWN_FILE), strict=False)
    if unexpected:
        raise CheckpointError(f"{folder} holds {unexpected[:3]}, which this model lacks. Resume with the same config.")
    lora = folder / ADAPTER_FOLDER / "adapter_model.safetensors"
    if lora.is_file():
        set_peft_model_state_dict(model.backbone.decoder, load_file(lora))
