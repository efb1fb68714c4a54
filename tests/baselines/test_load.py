"""Baselines by name; what each of them does has a file of its own."""

from typing import Any

import pytest

from genau import baselines
from genau.errors import UsageError


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(UsageError, match=r"no baseline 'patchmemory'. Did you mean 'patch-memory'\? Known are pat"):
        baselines.load("patchmemory")


@pytest.mark.parametrize(("name", "words"), [("ask-vlm", "vision-language model"), ("anomalyclip", "AnomalyCLIP")])
def test_a_baseline_without_a_base_of_its_own_asks_for_one(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} has no base of its own. Name a.* {words}.*--base"):
        baselines.load(name)


@pytest.mark.parametrize(
    ("name", "where", "base", "options"),
    [
        ("patch-memory", "patch_memory.PatchMemory", "nano", {}),
        ("self-similarity", "self_similarity.SelfSimilarity", "nano", {}),
        ("ask-vlm", "ask_vlm.AskVlm", None, {}),
        ("clip", "clip.Clip", "openai/clip-vit-large-patch14-336", {"prompts": "single"}),
        ("clip-ac", "clip.Clip", "openai/clip-vit-large-patch14-336", {"prompts": "ensemble"}),
        ("winclip", "winclip.WinClip", "openai/clip-vit-base-patch16", {}),
        ("anomalyclip", "anomalyclip.AnomalyClip", None, {}),
    ],
)
def test_every_name_builds_its_class_on_the_named_base_or_its_own(
    name: str, where: str, base: str | None, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def build(*arguments: object, **options: object) -> str:
        calls.append((arguments, options))
        return "built"

    assert name in baselines.NAMES
    monkeypatch.setattr(f"genau.baselines.{where}.from_pretrained", build)
    assert baselines.load(name, "folder", "cuda:1") == "built"  # type: ignore[comparison-overlap]
    assert calls.pop() == (("folder", "cuda:1"), options)
    if base is not None:
        baselines.load(name)
        assert calls.pop() == ((base, "cpu"), options)
