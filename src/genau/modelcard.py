"""The model card that a saved model carries: what it is, of what, for what, and how to load it; filled from its config.

The front matter is the hub's (`base_model`, licence, tags), so that a folder can be uploaded as it is. What is not
known is left out; nothing is left empty.
"""

import os
from pathlib import Path

from huggingface_hub import ModelCardData

from genau.calibration import Thresholds
from genau.model.backbones.catalog import KnownCheckpoint, known_checkpoints
from genau.model.configuration import GenAUConfig

CARD_FILE = "README.md"
TAGS = ("anomaly-detection", "anomaly-segmentation", "visual-inspection", "vision-language-model", "industrial")
MOST_NAMED = 40  # types or products; a longer list is counted
ADAPTER = "adapter: LoRA of the decoder and all of ours; the base is fetched on its own"
MERGED = "merged: everything in one folder, the base included"


def write_card(folder: Path, config: GenAUConfig, thresholds: Thresholds, *, adapter: bool, lora: bool) -> None:
    """Write `README.md`, the whole file or nothing."""
    text = card_text(config, thresholds, adapter=adapter, lora=lora)
    temporary = folder / f".{CARD_FILE}.{os.getpid()}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / CARD_FILE)
    finally:
        temporary.unlink(missing_ok=True)


def card_text(config: GenAUConfig, thresholds: Thresholds, *, adapter: bool, lora: bool = False) -> str:
    """Return a model's card."""
    base = None if config.base is None else config.base.partition("@")[0]
    checkpoint = known_checkpoints().get(base or "")
    data = _front_matter(base, checkpoint, adapter=adapter, lora=lora)
    sections = [
        f"# GenAU on {config.base or 'nano'}",
        "One instruction-following vision-language model for visual inspection: a score, a map, typed defects and "
        "words from a picture of a part. An independent implementation of GenAU (arXiv 2607.01049).",
        _facts(config, checkpoint, adapter=adapter),
        "## Loading\n\n" + _loading(config),
        "## Training\n\n" + _training(config),
        "## Thresholds\n\n" + _thresholds(config, thresholds),
        "## Intended use\n\nPre-sorting parts and pointing at candidates, with a person or a test behind it; research. "
        "**Not a safety device**; not for decisions without validation on your own parts.",
        "## Limits\n\n" + _limits(config),
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(base: str | None, checkpoint: KnownCheckpoint | None, *, adapter: bool, lora: bool) -> ModelCardData:
    known_licence = "apache-2.0" if base is None else checkpoint.licence if checkpoint else None
    own_name = known_licence not in (None, "apache-2.0")
    hub_base = base if base is not None and (checkpoint or _is_hub_name(base)) else None
    return ModelCardData(
        base_model=hub_base,
        base_model_relation=None if hub_base is None else "adapter" if adapter else "merge",
        library_name="genau",
        license="other" if own_name else known_licence,
        license_name=known_licence if own_name else None,
        language="en",
        pipeline_tag="image-segmentation",
        tags=[*TAGS, *(["lora"] if lora else [])],
    )


def _is_hub_name(base: str) -> bool:
    """Return whether a base's name can be one of the hub's: owner/name, and no folder here."""
    owner, separator, name = base.partition("/")
    return bool(owner and separator and name) and "/" not in name and owner[0] not in "./~" and not Path(base).exists()


def _facts(config: GenAUConfig, checkpoint: KnownCheckpoint | None, *, adapter: bool) -> str:
    facts = {
        "form": ADAPTER if adapter else MERGED,
        "backbone": config.backbone,
        "base": config.base,
        "base's fingerprint": config.base_fingerprint,
        "base's licence": checkpoint and ", ".join(filter(None, (checkpoint.licence, checkpoint.licence_note))),
        "canvas": f"{config.image_size} px",
        "answers": ", ".join(config.questions),
        "free questions": "answered in words, which decide nothing" if config.speaks else None,
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)


def _loading(config: GenAUConfig) -> str:
    fetched = (
        "nano's base is fetched once by `genau weights pull`."
        if config.base is None
        else f"The base `{config.base}` is fetched from where it comes; its fingerprint is checked."
    )
    return (
        "From the hub, `hf download OWNER/NAME --local-dir FOLDER`; then\n\n"
        '```python\nfrom genau import Inspector\n\ninspector = Inspector.from_pretrained("FOLDER")\n'
        'print(inspector.inspect("part.png").verdict)\n```\n\nor `genau inspect part.png --model FOLDER`. ' + fetched
    )


def _training(config: GenAUConfig) -> str:
    told = {
        "data": config.trained_data,
        "products": config.trained_products,
        "types": config.trained_types,
    }
    lines = [f"- {name}: {_listed(values)}" for name, values in told.items() if values]
    if not lines:
        return "Nothing of ours is trained: the map is the plain distance of a patch to its context."
    return "\n".join([*lines, "", "Results on these products are not zero-shot."])


def _listed(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(values[:MOST_NAMED]) + more


def _thresholds(config: GenAUConfig, thresholds: Thresholds) -> str:
    lines = [
        f"- a part is defective from a score of {thresholds.image:g} on; the map counts from {thresholds.pixel:g}, a "
        f"type from {thresholds.type:g}",
        f"- method: {thresholds.method}",
        *([f"- data: {thresholds.data}"] if thresholds.data else []),
        f"- weight of the decoder's own verdict in the score: {config.text_weight:g}",
    ]
    return "\n".join([*lines, "", "Choose one on your own parts: `genau calibrate`."])


def _limits(config: GenAUConfig) -> str:
    limits = [
        "A score is comparable between pictures of one product, less so between products.",
        "What is missing or extra by design cannot be told from a defect without pictures of good parts.",
    ]
    if not config.trained_types:
        limits.append("No type was trained: every type gets about the general score.")
    if not config.writes_analysis:
        limits.append("It was not trained to write: the analysis is null.")
    limits.append("English only.")
    return "\n".join(f"- {limit}" for limit in limits)
