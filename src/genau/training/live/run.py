"""One run of a large training: settings in, a checkpoint folder out."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from genau import checkpoints
from genau.errors import UsageError
from genau.model.mask_head import MaskHead
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training.instructions import texts_of
from genau.training.live import readings
from genau.training.live.batches import LiveBatchMaker
from genau.training.live.material import Material, gather
from genau.training.live.module import LiveModule
from genau.training.live.resources import check_processes, out_of_memory
from genau.training.live.settings import LiveSettings
from genau.training.live.sharding import make_divisible
from genau.training.live.start import starting_point
from genau.training.live.trainer import LiveTrainer
from genau.training.live.wordings import Wordings
from genau.training.processes import is_first
from genau.training.resuming import checkpoint_to_resume, is_finished
from genau.training.trainer import load_trained
from genau.training.words import fit_queries, words_to_fit

log = logging.getLogger(__name__)
SETTINGS_FILE = "settings.json"
HEAD = "mask_head."
# What may differ where a run goes on: the samples and their order stay the same.
FREE = {"gpus", "batch_size", "accumulation", "sharding", "deepspeed", "workers", "prefetch", "log_every", "save_every"}


def run(settings: LiveSettings, output: Path, *, resume: bool = False) -> Path:
    """Train, and return the folder with `adapter/`, or only train where this is not the first process.

    Raises:
        UsageError: another number of processes than expected, a folder that holds a run, nothing to resume, other
        settings than it began with, or too little memory of a GPU (with what to change). DataError: as the readers.
    """
    check_processes(settings)
    last = checkpoint_to_resume(output, resume=resume)
    if last:
        check_settings(settings, output)
    args = TrainingArguments(output_dir=str(output), use_cpu=not torch.cuda.is_available())  # joins the processes
    set_seed(settings.seed)
    model, processor = starting_point(settings)
    material = gather(settings, processor)
    args = training_arguments(settings, output, material.steps)
    if is_first():
        output.mkdir(parents=True, exist_ok=True)
        write(output / SETTINGS_FILE, settings.model_dump_json(indent=1))
    if last:
        load_trained(last, model)
    if settings.sharding == "fsdp":
        make_divisible(model)
    trainer = build_trainer(settings, model, processor, material, args, resumed=last is not None)
    try:
        if last and is_finished(last, material.steps):
            trainer.load_finished(last)
        else:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(settings, str(error)) from error
    finish(trainer, material, output)
    return output


def build_trainer(
    settings: LiveSettings,
    model: GenAUModel,
    processor: GenAUProcessor,
    material: Material,
    args: TrainingArguments,
    *,
    resumed: bool,
) -> LiveTrainer:
    """Return the trainer of a run, ready to start or to go on."""
    wordings = Wordings(processor, material.types, words_to_fit(model.backbone.hidden_size))
    trainer = LiveTrainer(
        settings,
        processor,
        wordings,
        model=LiveModule(model, bf16=settings.bf16),
        args=args,
        train_dataset=material.rows,
        data_collator=LiveBatchMaker(processor, wordings, settings.analysis, settings.seed),
    )
    trainer.add_callback(_Readings(trainer, resumed=resumed))
    return trainer


class _Readings(TrainerCallback):  # type: ignore[misc]
    """Reads all wordings before the first step, through whatever wraps the module; a resumed run has read them."""

    def __init__(self, trainer: LiveTrainer, *, resumed: bool) -> None:
        self.trainer, self.resumed = trainer, resumed

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        trainer, folder = self.trainer, Path(str(args.output_dir))
        trainer.logged_at = state.global_step
        if self.resumed:
            trainer.module.readings = readings.kept(folder, trainer.wordings)
            return
        trainer.module.readings = trainer.read_all()
        if is_first():
            readings.keep(trainer.module.readings, folder)


def training_arguments(settings: LiveSettings, output: Path, steps: int) -> TrainingArguments:
    """Translate our settings into the framework's."""
    on_gpu, divided = torch.cuda.is_available(), settings.sharding == "fsdp"
    args = TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * steps),
        max_grad_norm=1.0,
        logging_steps=settings.log_every,
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,  # every parameter takes part in every batch: see LiveBatchMaker
        ddp_broadcast_buffers=False,
        dataloader_num_workers=settings.workers,
        dataloader_prefetch_factor=settings.prefetch if settings.workers else None,
        dataloader_persistent_workers=settings.workers > 0,
        dataloader_pin_memory=on_gpu,
        fsdp=divided,  # type: ignore[arg-type] # transformers declares text, and wants a flag
        fsdp_config={"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"} if divided else None,
        deepspeed=str(settings.deepspeed) if settings.deepspeed else None,
    )
    args._n_gpu = min(1, args.n_gpu)  # one process trains on one GPU, also where it sees several
    return args


def check_settings(settings: LiveSettings, output: Path) -> None:
    """Refuse to go on with a run under settings that would change its samples or their order.

    Raises:
        UsageError: which key, what it was, and what it is.
    """
    path = output / SETTINGS_FILE
    if not path.is_file():
        return
    before = LiveSettings(**json.loads(path.read_text()))
    old, new = ({**one.model_dump(exclude=FREE), "effective batch": one.per_step} for one in (before, settings))
    for key, value in old.items():
        if new[key] != value:
            raise UsageError(
                f"{output} was begun with {key} = {value}, but the settings now say {new[key]}: it would go on in "
                "another order. Set it back, or start a new run with -o."
            )


def finish(trainer: LiveTrainer, material: Material, output: Path) -> None:
    """Fit the head to what the trained decoder reads, and write the model, what it knows, and the log."""
    model, settings = trainer.trained, trainer.settings
    config, samples = model.config, material.samples
    config.trained_products = tuple(sorted({*config.trained_products, *(sample.product for sample in samples)}))
    synthetic = {"synthetic"} if settings.scenes else set()
    talks = {path.name for path in settings.conversations}
    data = {f"{sample.dataset}, split {sample.split}" for sample in samples}
    config.trained_data = tuple(sorted({*config.trained_data, *data, *synthetic, *talks}))
    config.trained_types = tuple(sorted({*config.trained_types, *material.types}))
    config.trained_advice, config.trained_causes = texts_of(config.trained_types)
    config.writes_analysis = settings.analysis > 0
    config.answers_freely = config.answers_freely or bool(settings.conversations)
    state, present = trainer.whole(), trainer.read_all()  # by all processes together
    if is_first():
        head = MaskHead(config, model.backbone.level_channels, model.backbone.hidden_size)
        head.load_state_dict({name.removeprefix(HEAD): state[name] for name in state if name.startswith(HEAD)})
        assert trainer.module.readings is not None
        cosine = fit_queries(head, trainer.module.readings, present, trainer.wordings.important)
        state[f"{HEAD}query.weight"] = head.query.weight.detach()
        checkpoints.save_adapter(output / "adapter", model, trainer.processor, state=state)
        lines = [*trainer.state.log_history, {"step": trainer.state.global_step, "realigned": cosine}]
        write(output / "log.json", json.dumps(lines, indent=1))


def write(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    scratch.write_text(text)
    scratch.replace(path)
