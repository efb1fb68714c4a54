"""One training run: settings in, a checkpoint folder in both forms out."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import AutoTokenizer, TrainingArguments, set_seed

from genau import checkpoints, datasets, weights
from genau.datasets.synthetic import DEFECT_TYPES
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.training.batches import BatchMaker
from genau.training.examples import ExampleSource
from genau.training.features import EncodedExamples
from genau.training.instructions import texts_of
from genau.training.plain import device
from genau.training.processes import refuse_several
from genau.training.resuming import checkpoint_to_resume, is_finished
from genau.training.settings import TrainSettings
from genau.training.trainer import JointTrainer

log = logging.getLogger(__name__)

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ENCODING = 2  # raise it when examples or features change, so that old caches are not read


def run(settings: TrainSettings, output: Path, *, resume: bool = False) -> Path:
    """Train, and return the folder with `adapter/` and, after a joint stage, `merged/`.

    Raises:
        UsageError: the folder holds a run and `resume` is not asked for, or there is nothing to resume.
    """
    refuse_several(f"stage {settings.stage}")
    last = checkpoint_to_resume(output, resume=resume)
    set_seed(settings.seed)
    model, processor = starting_point(settings)
    samples = [sample for folder in settings.real for sample in datasets.read(folder, "manifest")]
    source = ExampleSource(
        settings.examples,
        samples,
        synthetic=settings.synthetic,
        references=settings.references,
        seed=settings.examples_seed,
    )
    examples = EncodedExamples(source, model, processor, settings.cache / _cache_name(settings, model))
    model.config.reads_pictures = settings.stage == "joint"
    model.to(device())  # type: ignore[arg-type]
    examples.fill(settings.workers)
    freeze(model, settings)
    joint = settings.stage == "joint"
    reads: Literal["nothing", "questions", "pictures"] = (
        "pictures" if joint else "questions" if settings.words else "nothing"
    )
    types = tuple(sorted({*DEFECT_TYPES, *(name for sample in samples for name in sample.types)}))
    if joint and settings.bf16:
        model.backbone.bf16_decoder = True
        keep_frozen_in_bf16(model)
    model.mask_head.bf16 = settings.bf16
    trainer = JointTrainer(
        settings,
        processor,
        examples,
        types,
        model=model,
        args=training_arguments(settings, output),
        data_collator=BatchMaker(processor, reads, settings.analysis, types, settings.seed),
    )
    if last and is_finished(last, settings.steps):
        trainer.load_finished(last)
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    return finish(trainer, samples, output)


def starting_point(settings: TrainSettings) -> tuple[GenAUModel, GenAUProcessor]:
    """Return the model and processor that a run starts from, with LoRA for a joint stage."""
    if settings.start:
        checkpoint = checkpoints.load(settings.start, merge=False)
        model, processor = checkpoint.model, checkpoint.processor
    else:
        tokenizer = AutoTokenizer.from_pretrained(weights.ensure_base() / "tokenizer", local_files_only=True)
        processor = GenAUProcessor(LetterboxImageProcessor(), tokenizer)
        model = checkpoints.untrained(
            processor, settings.seed, normal_query=settings.normal_query, context=settings.context
        )
    if settings.stage == "joint" and not hasattr(model.backbone.decoder, "peft_config"):
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=2 * settings.lora_rank,
            lora_dropout=settings.lora_dropout,
            target_modules=LORA_TARGETS,
        )
        model.backbone.decoder = get_peft_model(model.backbone.decoder, lora)
    return model, processor


def freeze(model: GenAUModel, settings: TrainSettings) -> None:
    """Leave trainable: the head; in a joint stage also projector, query tokens, context token and LoRA."""
    wanted: tuple[str, ...] = ("mask_head.",)
    if settings.stage == "joint":
        wanted += ("seg_tokens.", "context_token.", "found_token.", "backbone.projector.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(wanted) or (settings.stage == "joint" and "lora_" in name)


def keep_frozen_in_bf16(model: GenAUModel) -> None:
    """Keep the decoder's frozen matrices in bf16, which autocast would otherwise make anew in every product."""
    for module in model.backbone.decoder.modules():
        if isinstance(module, nn.Linear) and not module.weight.requires_grad:
            module.to(torch.bfloat16)
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # peft would go through fp32


def training_arguments(settings: TrainSettings, output: Path) -> TrainingArguments:
    """Translate our settings into the framework's."""
    return TrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * settings.steps),
        max_grad_norm=1.0,
        logging_steps=settings.log_every,
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def finish(trainer: JointTrainer, samples: list[datasets.Sample], output: Path) -> Path:
    """Write the trained model in both forms, with what it now knows in its config, and the log beside it."""
    settings, model = trainer.settings, trainer.trained
    model.config.trained_products = tuple(sorted({*model.config.trained_products, *(s.product for s in samples)}))
    model.config.trained_data = tuple(sorted({*model.config.trained_data, "synthetic", *(s.dataset for s in samples)}))
    if settings.stage == "joint" or settings.words:
        real_types = {name for sample in samples for name in sample.types}
        model.config.trained_types = tuple(sorted(real_types | set(DEFECT_TYPES)))
    if settings.stage == "joint":
        model.config.trained_advice, model.config.trained_causes = texts_of(model.config.trained_types)
        model.config.measures_appearance = settings.measures_appearance
        model.config.writes_analysis = settings.analysis > 0
    checkpoints.save_adapter(output / "adapter", model, trainer.processor)
    lines = list(trainer.state.log_history)
    if trainer.first:
        merged = checkpoints.load(output / "adapter")
        lines.append({"step": trainer.state.global_step, "realigned": trainer.first.realign(merged.model)})
        model.mask_head.query.load_state_dict(merged.model.mask_head.query.state_dict())
        checkpoints.save_adapter(output / "adapter", model, trainer.processor)
        checkpoints.save_merged(output / "merged", merged.model, merged.processor)
    (output / "log.json").write_text(json.dumps(lines, indent=1))
    (output / "settings.json").write_text(settings.model_dump_json(indent=1))
    return output


def _cache_name(settings: TrainSettings, model: GenAUModel) -> str:
    """Name the cache by all that decides which examples there are and how they are encoded."""
    facts = [
        settings.examples_seed,
        settings.synthetic,
        settings.references,
        [path.name for path in settings.real],
        ENCODING,
    ]
    facts += [weights.fingerprint(), model.config.image_size, model.config.context_scales]
    text = json.dumps(facts, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
