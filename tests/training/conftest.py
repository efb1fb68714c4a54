"""A handful of annotated pictures, and a tiny model that may learn from them."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.training.examples import Example
from genau.training.run import LORA_TARGETS


@pytest.fixture
def examples(picture: Callable[..., NDArray[np.uint8]]) -> list[Example]:
    """Two scratches (thin and bright), two stains (dark squares), and the four pictures without them."""
    made = []
    for seed in range(4):
        good = picture(seed, 90, 140)
        bad, mask = good.copy(), np.zeros((90, 140), np.bool_)
        box = (slice(20, 26), slice(30, 110)) if seed % 2 else (slice(50, 75), slice(90 - 10 * seed, 120 - 10 * seed))
        mask[box] = True
        bad[box] = (250, 250, 60) if seed % 2 else (20, 10, 90)
        kind = "scratch" if seed % 2 else "stain"
        made += [Example(bad, {kind: mask}, "plate", {kind: "a mark"}), Example(good, {}, "plate", {})]
    return made


@pytest.fixture
def learner(config: GenAUConfig) -> GenAUModel:
    set_seed(0)
    model = GenAUModel(config)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=LORA_TARGETS)
    model.backbone.decoder = get_peft_model(model.backbone.decoder, lora)
    return model
