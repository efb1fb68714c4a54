"""Tiny real parts: a byte-level tokenizer trained on our own words, and a nano of a few thousand weights."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from genau import checkpoints, cli
from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.inspector import Inspector
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor, LetterboxImageProcessor
from genau.prompts import ANALYSIS_KEYS, ANY_DEFECT_FORMS, INSTRUCTION, QUERY_TOKENS

CANVAS = 128  # pixels; the finest grid is 32 x 32, the context grids are 8 x 8 and 4 x 4
STAGES = [
    {"blocks": 1, "kernel": 3, "stride": stride, "expand": 1, "channels": channels}
    for stride, channels in zip((1, 2, 2, 2, 1, 2, 1), (4, 6, 8, 8, 12, 12, 16), strict=True)
]
DECODER = {
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

torch.set_num_threads(1)  # tiny tensors: a second thread only waits


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    words = [INSTRUCTION, *ANY_DEFECT_FORMS, *ANALYSIS_KEYS, "a normal part", "a defect part"] * 8
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )


@pytest.fixture
def processor(tokenizer: PreTrainedTokenizerFast) -> GenAUProcessor:
    return GenAUProcessor(LetterboxImageProcessor(size=CANVAS), tokenizer)


@pytest.fixture
def config(processor: GenAUProcessor) -> GenAUConfig:
    sizes = {"decoder": DECODER | {"vocab_size": len(processor.tokenizer) - len(QUERY_TOKENS) - 1}, "stages": STAGES}
    return GenAUConfig(
        image_size=CANVAS,
        head_width=16,
        context_scales=(((1, 2), 16, 1), ((1, 2, 3), 32, 1)),
        backbone_config=sizes,
        **processor.token_ids(),  # type: ignore[arg-type]
    )


@pytest.fixture
def model(config: GenAUConfig) -> GenAUModel:
    torch.manual_seed(0)
    model = GenAUModel(config)
    model.eval()
    return model


@pytest.fixture
def trained_looking(model: GenAUModel) -> GenAUModel:
    """A model in which every path matters: nothing that starts at zero is zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        model.mask_head.gain.fill_(0.5)
        torch.nn.init.normal_(model.mask_head.query.weight, std=0.3)
        torch.nn.init.normal_(model.context_token.weight, std=0.3)
        torch.nn.init.normal_(model.found_token.weight, std=0.05)
        torch.nn.init.normal_(model.mask_head.evidence.out.weight, std=0.3)
        torch.nn.init.normal_(model.mask_head.query_seen.weight, std=0.3)
        model.config.text_weight = 0.5
    return model


@pytest.fixture
def inspector(trained_looking: GenAUModel, processor: GenAUProcessor) -> Inspector:
    return Inspector(Checkpoint("tiny", trained_looking, processor, Thresholds()))


@pytest.fixture
def picture() -> Callable[..., NDArray[np.uint8]]:
    """Draw a noisy surface with, optionally, a dark square: never square itself."""

    def draw(seed: int = 0, height: int = 90, width: int = 140, spot: bool = False) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        rgb = rng.normal(150, 8, (height, width, 3)).clip(0, 255).astype(np.uint8)
        if spot:
            rgb[height // 4 : height // 4 + 12, width // 2 : width // 2 + 14] = (20, 10, 200)
        return rgb

    return draw


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


Genau = Callable[..., Run]


@pytest.fixture
def genau(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Genau:
    """Run the command line as a shell would."""

    def run(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["genau", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        return Run(code, *capsys.readouterr())

    return run


@pytest.fixture
def folder(config: GenAUConfig, processor: GenAUProcessor, tmp_path: Path) -> Path:
    """A tiny model in the merged form, which needs no base weights."""
    torch.manual_seed(0)
    model = GenAUModel(config)
    with torch.no_grad():
        model.mask_head.distance_offset.zero_()
    checkpoints.save_merged(tmp_path / "model", model, processor, Thresholds(0.0, 0.3, 0.5, "all defect", "none"))
    return tmp_path / "model"
