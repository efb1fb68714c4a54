"""Cosine of sentence embeddings: how near two texts are in meaning to a sentence model of the reader's choice.

Reimers and Gurevych 2019, "Sentence-BERT": the mean of the last hidden states over the words, T of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genau.errors import UsageError, WeightsError

POOLING = "1_Pooling/config.json"  # how sentence-transformers writes down what its models do with hidden states
BATCH = 32


class SentenceModel:
    """A sentence model of transformers that takes means, from a folder or the hub."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:  # noqa: ANN401
        self._model, self._tokenizer, self.name = model.eval(), tokenizer, name

    @classmethod
    def from_pretrained(cls, name: str) -> "SentenceModel":
        """Load, in fp32.

        Raises:
            UsageError: the model does not take means. WeightsError: it cannot be had.
        """
        from transformers import AutoModel, AutoTokenizer

        pooling = Path(name).expanduser() / POOLING
        if pooling.is_file() and not json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"):
            raise UsageError(
                f"{name} does not take the mean of its words ({POOLING}), which is all that is done here. Use a model "
                "that does, for example sentence-transformers/all-MiniLM-L6-v2."
            )
        try:
            model: Any = AutoModel.from_pretrained(name, dtype=torch.float32, use_safetensors=True)
            return cls(model, AutoTokenizer.from_pretrained(name), name)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"The sentence model {name} cannot be loaded ({reason}). Give a folder that holds its config.json, "
                "tokenizer and *.safetensors, or leave --similarity out."
            ) from error

    def cosines(self, texts: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return the cosine of each text with its reference; below 0 counts as 0, as all measures lie in [0, 1]."""
        here, there = self._embed(texts), self._embed(references)
        return [max(0.0, min(1.0, float(one))) for one in (here * there).sum(-1)]

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> Tensor:
        """Return (number of texts, D), each of length 1."""
        rows = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            inputs = self._tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            states = self._model(**inputs).last_hidden_state  # (B, T, D)
            inside = inputs["attention_mask"][..., None].to(states.dtype)  # (B, T, 1)
            rows.append((states * inside).sum(1) / inside.sum(1).clamp(min=1))
        return torch.nn.functional.normalize(torch.cat(rows), dim=-1) if rows else torch.zeros(0, 1)
