"""Rivals of GenAU behind the same protocol: what each of them is called, and how it is built."""

from typing import TYPE_CHECKING

from genau.errors import UsageError, suggest

if TYPE_CHECKING:
    from genau.detection import Detector

NAMES = ("patch-memory", "self-similarity", "ask-vlm", "clip", "clip-ac", "winclip", "anomalyclip")

# What is taken where no base is named. None: "ask-vlm" and "anomalyclip" have no base that everybody means.
DEFAULT_BASE: dict[str, str | None] = {
    "patch-memory": "nano",
    "self-similarity": "nano",
    "ask-vlm": None,
    "clip": "openai/clip-vit-large-patch14-336",
    "clip-ac": "openai/clip-vit-large-patch14-336",
    "winclip": "openai/clip-vit-base-patch16",
    "anomalyclip": None,
}


def load(name: str, base: str | None = None, device: str = "cpu") -> "Detector":
    """Build a baseline by name, on the weights of a folder or hub id (`base`).

    Raises:
        UsageError: no such baseline or device, or a base is needed. WeightsError: the base's weights cannot be had.
    """
    if name not in NAMES:
        raise UsageError(f"There is no baseline {name!r}.{suggest(name, NAMES)} Known are {', '.join(NAMES)}.")
    base = base or DEFAULT_BASE[name]
    if base is None:
        what = "a folder that was trained as AnomalyCLIP" if name == "anomalyclip" else "a vision-language model"
        raise UsageError(f"{name} has no base of its own. Name {what} (a folder or a hub id) with --base.")
    return _build(name, base, device)


def _build(name: str, base: str, device: str) -> "Detector":
    """Import the module of one baseline only: the others' libraries need not be there."""
    match name:
        case "patch-memory":
            from genau.baselines.patch_memory import PatchMemory

            return PatchMemory.from_pretrained(base, device)
        case "self-similarity":
            from genau.baselines.self_similarity import SelfSimilarity

            return SelfSimilarity.from_pretrained(base, device)
        case "ask-vlm":
            from genau.baselines.ask_vlm import AskVlm

            return AskVlm.from_pretrained(base, device)
        case "clip" | "clip-ac":
            from genau.baselines.clip import Clip

            return Clip.from_pretrained(base, device, prompts="single" if name == "clip" else "ensemble")
        case "winclip":
            from genau.baselines.winclip import WinClip

            return WinClip.from_pretrained(base, device)
        case _:
            from genau.baselines.anomalyclip import AnomalyClip

            return AnomalyClip.from_pretrained(base, device)
