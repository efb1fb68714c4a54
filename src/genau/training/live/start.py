"""The model that a large training starts from: a base or a checkpoint, LoRA on its decoder, the rest frozen."""

from peft import LoraConfig, get_peft_model

from genau import checkpoints
from genau.assembly import Loading, untrained_on
from genau.checkpoints import resolve
from genau.errors import UsageError
from genau.model.configuration import GenAUConfig
from genau.model.lora import lora_targets
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training.live.settings import LiveSettings
from genau.training.processes import local_rank
from genau.training.run import starting_point as nano
from genau.training.settings import TrainSettings

OWN = ("mask_head.", "seg_tokens.", "context_token.", "found_token.")  # what is trained beside the backbone's own parts


def starting_point(settings: LiveSettings) -> tuple[GenAUModel, GenAUProcessor]:
    """Return model and processor with LoRA on the decoder; what is trained requires a gradient, all else does not.

    Raises:
        UsageError: settings that do not fit what is started from. WeightsError, CheckpointError: as their loaders.
    """
    loading = Loading(settings.dtype, device_map=own_device(settings), quantize=settings.quantize)
    if settings.base:
        model, processor = untrained_on(
            settings.base, image_size=settings.image_size, seed=settings.seed, loading=loading
        )
        return with_lora(model, settings), processor
    if settings.image_size:
        raise UsageError(
            f"image_size={settings.image_size} is for a large base, which `base` names; a checkpoint and nano have "
            "their own canvas. Leave it out."
        )
    if settings.start and GenAUConfig.from_pretrained(resolve(settings.start)).backbone != "nano":
        checkpoint = checkpoints.load(settings.start, merge=False, loading=loading)
        return with_lora(checkpoint.model, settings), checkpoint.processor
    if settings.quantize:
        raise UsageError(f"quantize={settings.quantize} is for a large base, and this starts from nano. Leave it out.")
    started = {"stage": "head", "steps": 1, "start": settings.start, "seed": settings.seed}
    model, processor = nano(TrainSettings.model_validate(started))
    return with_lora(model, settings), processor


def own_device(settings: LiveSettings) -> dict[str, int] | None:
    """Return where a quantised base is loaded: whole on this process's GPU; any other is moved there later.

    Left to itself, transformers would spread it over all GPUs of the machine, in every process.
    """
    return {"": local_rank()} if settings.quantize else None


def with_lora(model: GenAUModel, settings: LiveSettings) -> GenAUModel:
    """Add LoRA to a decoder that has none, freeze what is not trained, and set how products are made."""
    backbone = model.backbone
    if not hasattr(backbone.decoder, "peft_config"):
        lora = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(lora_targets(backbone.decoder)),
        )
        backbone.decoder = get_peft_model(backbone.decoder, lora)
    wanted: tuple[str, ...] = (*OWN, *(f"backbone.{part}" for part in backbone.own_parts))
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(wanted) or "lora_" in name
    if settings.gradient_checkpointing:
        backbone.decoder.gradient_checkpointing_enable({"use_reentrant": False})
    model.mask_head.bf16 = settings.bf16
    model.config.reads_pictures = True
    return model
