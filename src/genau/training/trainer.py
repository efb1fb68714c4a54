"""The framework's Trainer with our joint loss: every part logged, resumed exactly, saved as an adapter."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genau.checkpoints import ADAPTER_FOLDER, OWN_FILE, save_adapter
from genau.errors import CheckpointError
from genau.model.context import Context
from genau.model.mask_head import pooled
from genau.model.modeling import GenAUModel
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.training.batches import term_counts
from genau.training.features import EncodedExamples
from genau.training.losses import LossTerm, image, language, region_types, segmentation, weigh
from genau.training.rates import parameter_groups
from genau.training.resuming import STATE_FILE
from genau.training.settings import TrainSettings
from genau.training.words import FirstReading
from genau.words import WordReader

LENGTHS = (0, 32, 64, 10_000)  # words, the answer included: questions of similar length are padded and read together


class JointTrainer(Trainer):
    """Trains a `GenAUModel` on batches of `BatchMaker`.

    A loss term is averaged over its samples in the whole optimizer step: 1 x 8 and 4 x 2 give the same gradient.
    `types` are those that are asked; a joint stage reads all their wordings before it begins.
    """

    def __init__(
        self,
        settings: TrainSettings,
        processor: GenAUProcessor,
        examples: EncodedExamples,
        types: Sequence[str] = (),
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(train_dataset=examples, **kwargs)
        self.settings, self.processor, self.examples = settings, processor, examples
        self.first = FirstReading(self.trained, processor, types) if settings.stage == "joint" else None
        self.reader = self.first.reader if self.first else WordReader(self.trained, processor)
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
        terms = loss_terms(self.accelerator.unwrap_model(model), inputs, self.processor, self.reader)
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
        """AdamW with a rate for each kind of part."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(parameter_groups(self.trained, self.settings))
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        save_adapter(output_dir or str(self.args.output_dir), self.trained, self.processor)

    def load_finished(self, checkpoint: Path) -> None:
        """Take over the last checkpoint of a run that is through."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(Path(resume_from_checkpoint), self.trained)


class _EpochMarker(TrainerCallback):  # type: ignore[misc]
    """Tells the data set its epoch, also where a run is resumed in the middle of one (the data loader does not)."""

    def __init__(self, examples: EncodedExamples) -> None:
        self.examples = examples

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        self.examples.epoch = int(state.epoch or 0)


def loss_terms(
    model: GenAUModel, batch: dict[str, Any], processor: GenAUProcessor, reader: WordReader
) -> dict[str, LossTerm]:
    """Return the loss terms of one batch: the decoder reads pictures, questions only, or nothing."""
    valid = model.valid_cells(batch["content_hw"], batch["pyramid"][0])
    context = Context(
        batch["scalars"],
        batch["residual"],
        batch["from_references"],
        model.valid_cells(batch["content_hw"], batch["scalars"]),
    )
    index, general = batch["image_index"], batch["general"]
    if "labels" in batch:
        margin, score, rest = _read_pictures(model, batch, context, processor, reader)
    else:
        margin, score, rest = _read_questions(model, batch, context, valid, reader)
    terms = segmentation(margin, batch["targets"], valid[index]) | rest
    terms["image"] = image(score[general], batch["defective"][general])
    terms["typed_image"] = image(score[~general], batch["defective"][~general])
    return terms


def _read_pictures(
    model: GenAUModel, batch: dict[str, Any], context: Context, processor: GenAUProcessor, reader: WordReader
) -> tuple[Tensor, Tensor, dict[str, LossTerm]]:
    """Return margin (Q, h, w), s_map (Q,) and the terms of words and types, the decoder reading pictures too."""
    index = batch["image_index"]
    asked = reader.states(batch["asked_ids"], batch["asked_mask"])
    instruction = model.read_instruction(processor.instruction_ids().to(index.device))
    sight = model.backbone.look_again(batch["pyramid"])
    places = {name: ids.to(index.device) for name, ids in processor.picture_ids(batch["content_hw"]).items()}
    seen = model.see(sight, context, batch["content_hw"], **places, instruction=instruction)
    lengths = batch["query_mask"].sum(1)
    order, margins, scores, logits, labels, verdicts, decided = [], [], [], [], [], [], []
    for shorter, longest in pairwise(LENGTHS):  # or one whole analysis would pad them all
        rows = torch.nonzero((lengths > shorter) & (lengths <= longest))[:, 0]
        if not len(rows):
            continue
        words = slice(0, int(lengths[rows].max()))
        answer = model.ask(
            seen,
            asked[rows],
            batch["query_ids"][rows, words],
            batch["query_mask"][rows, words],
            batch["verdict_at"][rows],
            index[rows],
        )
        labelled = batch["labels"][rows, words] != IGNORED_LABEL
        order.append(rows)
        margins.append(answer.margin)
        scores.append(answer.map_score)
        logits.append(model.backbone.logits(answer.hidden[labelled]))
        labels.append(batch["labels"][rows, words][labelled])
        verdicts.append(answer.verdict_logits)
        decided.append(batch["defective"][rows].long())
    back = torch.cat(order).argsort()
    return (
        torch.cat(margins)[back],
        torch.cat(scores)[back],
        {
            "language": language(torch.cat(logits), torch.cat(labels)),
            "verdict": language(torch.cat(verdicts), torch.cat(decided)),
            "type": type_term(model, batch, seen.features, reader.states(batch["type_ids"], batch["type_mask"])),
        },
    )


def _read_questions(
    model: GenAUModel, batch: dict[str, Any], context: Context, valid: Tensor, reader: WordReader
) -> tuple[Tensor, Tensor, dict[str, LossTerm]]:
    """Return margin (Q, h, w), s_map (Q,) and the term of types, the decoder reading questions only, or nothing."""
    index, head = batch["image_index"], model.mask_head
    features, unprompted = model.project(batch["pyramid"], context)
    queries = head.query_prior.expand(len(index), -1, -1)
    if "asked_ids" not in batch:
        return *model.draw_unread(features, unprompted, valid, queries, index), {}
    worded = head.queries(reader.states(batch["asked_ids"], batch["asked_mask"]))
    queries = torch.where(batch["unworded"][:, None, None], queries, worded)
    margin, score = model.draw_unread(features, unprompted, valid, queries, index)
    types = reader.states(batch["type_ids"], batch["type_mask"])
    return margin, score, {"type": type_term(model, batch, features, types)}


def type_term(model: GenAUModel, batch: dict[str, Any], features: tuple[Tensor, ...], asked: Tensor) -> LossTerm:
    """Return the term of types: each region told apart between all of them, by the bare questions alone (K, 2, D)."""
    head = model.mask_head
    types = head.directions(head.queries(asked))
    regions = pooled(features, batch["regions"].float(), batch["region_image"])
    return region_types(head.scale * regions @ types.T, batch["region_type"], batch["region_rivals"])


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
