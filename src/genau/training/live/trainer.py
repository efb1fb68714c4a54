"""The framework's Trainer for 1 to N processes: terms averaged over all of them, the order fixed, resumed exactly."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import save_fsdp_optimizer
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerState
from transformers.trainer import SCHEDULER_NAME

from genau.checkpoints import is_base, save_adapter
from genau.errors import UsageError
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training.live.batches import TERMS
from genau.training.live.module import LiveModule
from genau.training.live.readings import kept, read_all
from genau.training.live.settings import LiveSettings
from genau.training.live.sharding import gathered
from genau.training.live.wordings import Wordings
from genau.training.losses import LossTerm, weigh
from genau.training.rates import parameter_groups
from genau.training.resuming import STATE_FILE


class LiveTrainer(Trainer):
    """Trains a `LiveModule` on batches of `LiveBatchMaker`.

    A loss term is averaged over its samples of the whole optimizer step in all processes: one process with 8 pictures
    and eight with one give the same gradient.
    """

    def __init__(
        self,
        settings: LiveSettings,
        processor: GenAUProcessor,
        wordings: Wordings,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.settings, self.processor, self.wordings = settings, processor, wordings
        self.loss_is_scaled_for_ga = True
        self._counts = torch.ones(len(TERMS))  # of the current optimizer step
        self._parts = torch.zeros(len(TERMS), device=self.args.device)  # means, summed since the last line of the log
        self.logged_at = 0  # step of the last line of the log

    @property
    def module(self) -> LiveModule:
        """The module without the wrappers of distributed training."""
        module: LiveModule = self.accelerator.unwrap_model(self.model)
        return module

    @property
    def trained(self) -> GenAUModel:
        """The model itself."""
        return self.module.model

    def read_all(self) -> Tensor:
        """Return what the decoder now reads in all wordings (N, 2, D), through whatever wraps the module."""
        return read_all(self.model_wrapped, self.wordings, self.processor.instruction_ids(), self.args.device)

    def load_finished(self, checkpoint: Path) -> None:
        """Take over the state of a run that is through."""
        self.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
        self.module.readings = kept(Path(str(self.args.output_dir)), self.wordings)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:  # noqa: ANN401 - the framework's signature
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type] # shuffled as it is

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], None]:
        """Collect this process's batches of one optimizer step; count the samples of all processes per loss term."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = torch.stack([batch["counts"] for batch in batches]).sum(0).to(device)
        self._counts = self.accelerator.reduce(own, "sum")
        return batches, None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return this batch's share of the step's loss, times the processes: their gradients are averaged.

        Raises:
            UsageError: it is no number; the framework would go on, and the weights would be none a step later.
        """
        totals: Tensor = model(inputs)
        means: Tensor = totals / self._counts.clamp_min(1)
        if not means.isfinite().all():
            raise UsageError(self._lost(means))
        self._parts += means.detach()
        terms = {name: LossTerm(mean, 1) for name, mean in zip(TERMS, means, strict=True)}
        loss: Tensor = weigh(terms, self.settings.lam, self.settings.image_weight) * self.accelerator.num_processes
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log every loss part beside the sum, over all processes."""
        if "loss" in logs:
            steps = max(1, self.state.global_step - self.logged_at)
            parts = self.accelerator.reduce(self._parts, "sum") / steps
            logs |= {f"loss_{name}": round(part, 5) for name, part in zip(TERMS, parts.tolist(), strict=True)}
            self._parts.zero_()
            self.logged_at = self.state.global_step
        super().log(logs, start_time)

    def _lost(self, means: Tensor) -> str:
        names = ", ".join(name for name, mean in zip(TERMS, means.tolist(), strict=True) if not math.isfinite(mean))
        one = self.settings
        return (
            f"The loss is no number in step {self.state.global_step + 1} (in {names}), so the training stops; weights "
            "and checkpoints are sound. Start a new run with -o and smaller rates (now decoder_learning_rate="
            f"{one.decoder_learning_rate:g}, head_learning_rate={one.head_learning_rate:g}, learning_rate="
            f"{one.learning_rate:g}), or with --set bf16=false."
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a rate for each kind of part."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(parameter_groups(self.trained, self.settings))
        return self.optimizer

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what is trained; divided weights are brought together first, without the base's."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        state = self.whole()
        if self.args.should_save:
            self._write(output_dir, state)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        self._write(output_dir, self._trained_of(state_dict or {}) or None)

    def whole(self) -> dict[str, Tensor]:
        """Return all that is trained, whole and on the CPU, by name, in the first process; all must call it together.

        Divided weights are empty where they lie: DeepSpeed's are brought together by its engine alone.
        """
        if self.deepspeed is None:
            return gathered(self.trained)
        return self._trained_of(self.accelerator.get_state_dict(self.deepspeed) or {})  # None in other processes

    def _trained_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the trained ones of the module's tensors, by their names in the model."""
        plain = {name.removeprefix("model."): tensor for name, tensor in state.items()}
        return {name: plain[name] for name in plain if "lora_" in name or not is_base(self.trained, name)}

    def _write(self, output_dir: str | None, state: dict[str, Tensor] | None) -> None:
        save_adapter(output_dir or str(self.args.output_dir), self.trained, self.processor, state=state)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Write the optimizer; of divided weights not the base beside it, as the framework would."""
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_fsdp_optimizer(
            self.accelerator.state.fsdp_plugin, self.accelerator, self.optimizer, self.model, output_dir
        )
        if self.args.should_save and self.lr_scheduler:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Do nothing: a run loads its checkpoint before weights are divided."""
