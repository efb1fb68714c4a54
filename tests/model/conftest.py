"""What several families are asked in the same way."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genau.model.backbones import Shown
from genau.model.backbones.packing import Asked, read_packed
from genau.model.modeling import GenAUModel
from genau.model.outputs import Decision
from genau.processor import GenAUProcessor
from genau.prompts import Query

AskAtOnce = Callable[[GenAUModel, GenAUProcessor, list[NDArray[np.uint8]], list[Query], list[int]], Decision]


@pytest.fixture
def ask_at_once() -> AskAtOnce:
    """Return a function that asks questions about pictures in one pass of the decoder, without a memory."""

    def ask(
        model: GenAUModel,
        processor: GenAUProcessor,
        pictures: list[NDArray[np.uint8]],
        queries: list[Query],
        image_index: list[int],
    ) -> Decision:
        batch, questions = processor.pictures(pictures), processor.questions(queries)
        index, instruction_ids = torch.tensor(image_index), processor.instruction_ids()
        decoder = model.backbone.decoder
        training = decoder.training
        decoder.eval()  # checkpointed layers keep no memory
        instruction = model.read_instruction(instruction_ids)
        asked = model.read_questions(instruction, questions["asked_ids"], questions["asked_mask"])
        decoder.train(training)
        sight = model.backbone.look(batch["pixel_values"], batch["content_hw"])
        context = model.compare(sight.pyramid, batch["content_hw"], [None] * len(pictures))
        view, ids = model.view(sight, context, batch["content_hw"]), questions["query_ids"]
        shown = Shown(batch["picture_ids"] == model.config.image_token_id, sight)
        words = Asked(model.word(view, asked, ids, index), questions["query_mask"], index)
        start, picture = model.backbone.embed(instruction_ids), model.show(view, shown, batch["picture_ids"])
        hidden = read_packed(model.backbone, start, picture, batch["picture_mask"], shown, words)
        return model.decide(view, asked, hidden, ids, questions["verdict_at"], index)

    return ask
