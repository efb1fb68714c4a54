"""CLIP's two encoders as the baselines need them: patches of any depth, chosen tokens, learnable words.

B: pictures; S: side of the square input in pixels; (h, w): grid of patches, N = h * w; D: width of the shared space;
V: width of the vision tower; W: width of the text tower; T: words of a prompt. Blocks are counted from 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from genau.arguments import check_device
from genau.baselines.hub import weights_of
from genau.errors import CheckpointError, UsageError
from genau.images import Picture

# AnomalyCLIP (Zhou et al. 2024) replaces the attention of the last 19 of 24 blocks, which are those from block 6 on.
VV_DEPTH = 1 / 4  # of all blocks


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What CLIP sees in a batch of pictures, in the space that it shares with texts."""

    image: Tensor  # (B, D) unit length, projected class token
    patches: tuple[Tensor, ...]  # one (B, h, w, D) per asked depth, unit length, rows from the top
    grid_hw: tuple[int, int]  # in patches


class ClipTower:
    """A frozen CLIP; whatever is learned about it is handed in."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, image_size: int | None = None) -> None:
        """Freeze `model` and choose the side of its square input in pixels (default: the one that it was trained at).

        Raises:
            UsageError: the side is not a multiple of the patch size.
        """
        config: Any = model.config
        vision = config.vision_config
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.image_size: int = vision.image_size if image_size is None else image_size
        self.patch_size: int = vision.patch_size  # pixels
        self.depth: int = vision.num_hidden_layers
        self.embed_dim: int = config.projection_dim  # D
        below = self.image_size // self.patch_size * self.patch_size
        if below != self.image_size or below < self.patch_size:
            raise UsageError(
                f"image_size={self.image_size} is not a positive multiple of this CLIP's patch size "
                f"{self.patch_size}. Use {f'{below} or ' if below > 0 else ''}{max(below, 0) + self.patch_size}."
            )

    @classmethod
    def from_pretrained(cls, base: str | Path, device: str = "cpu", image_size: int | None = None) -> "ClipTower":
        """Load a CLIP in the format of transformers from a folder or by its hub id, in fp32.

        Raises:
            WeightsError: files are missing and not to be had from the hub. UsageError: not a CLIP, or an image size
                that does not fit. CheckpointError: weights or the tokenizer are missing in the files.
        """
        check_device(device)
        folder = Path(base).expanduser()
        base = str(folder) if folder.is_dir() else str(base)
        with weights_of(base, "a CLIP"):
            config = AutoConfig.from_pretrained(base)
            if not isinstance(config, CLIPConfig):
                raise UsageError(
                    f"{base} holds a model of type {config.model_type!r}; it must be 'clip'. "
                    "Name a CLIP such as openai/clip-vit-large-patch14-336."
                )
            # Not only safetensors: OpenAI's older uploads are *.bin, which transformers reads with weights_only=True.
            loaded: Any = CLIPModel.from_pretrained(base, dtype=torch.float32, output_loading_info=True)
            tokenizer = CLIPTokenizer.from_pretrained(base)
        model, loading = loaded
        if lost := sorted(loading["missing_keys"]):
            raise CheckpointError(
                f"{base} lacks {len(lost)} weights, the first is {lost[0]}; they would be random. Copy it again."
            )
        if len(tokenizer) != (known := model.config.text_config.vocab_size):  # transformers makes up what is missing
            raise CheckpointError(
                f"{base} has a tokenizer of {len(tokenizer)} words; its text tower knows {known}. "
                "Copy tokenizer.json, or vocab.json and merges.txt, of the same CLIP."
            )
        return cls(model.to(device), tokenizer, image_size)

    @property
    def logit_scale(self) -> float:
        """The factor that turns cosines into logits; 100 for the published CLIPs."""
        return float(self.model.logit_scale.exp())

    @property
    def grid_hw(self) -> tuple[int, int]:
        """The grid (h, w) of patches."""
        return self.image_size // self.patch_size, self.image_size // self.patch_size

    @property
    def vv_from(self) -> int:
        """The first block whose value-value attention counts."""
        return max(1, round(self.depth * VV_DEPTH))

    def pixels(self, pictures: Sequence[Picture]) -> Tensor:
        """Return (B, 3, S, S), normalised as CLIP was trained: bicubic, stretched to the square."""
        size = (self.image_size, self.image_size)
        stretched = [np.asarray(Image.fromarray(p.rgb).resize(size, Image.Resampling.BICUBIC)) for p in pictures]
        rgb = torch.from_numpy(np.stack(stretched)).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        return (rgb - mean) / std

    def encode_pixels(self, pixels: Tensor, depths: Sequence[int] = (), vv: bool = False) -> ImageFeatures:
        """Return the features of pictures (B, 3, S, S) of any S, with the patches of the asked depths.

        With `vv` the patches from block `vv_from` on come from a second path: it starts at that block's input and adds
        each block's attention of values to values, without its MLP; the ordinary path, and so the class token, are
        untouched (AnomalyCLIP's DPAM, after CLIP Surgery). Raises UsageError for a depth that there is not.
        """
        if unknown := [depth for depth in depths if not 1 <= depth <= self.depth]:
            raise UsageError(f"depth={unknown[0]} is not a block of this CLIP. Use 1 to {self.depth}.")
        grid_hw = pixels.shape[2] // self.patch_size, pixels.shape[3] // self.patch_size
        states = self.embed_pixels(pixels)  # (B, 1 + N, V)
        second, kept = states, {}
        for number, block in enumerate(self.model.vision_model.encoder.layers, start=1):
            if not vv or number < self.vv_from:
                second = states = block(states, None)
            else:
                second = second + _attend_values(block, states)
                states = block(states, None)
            if number in depths:
                kept[number] = self.project(second[:, 1:]).unflatten(1, grid_hw)  # (B, h, w, D)
        return ImageFeatures(self.project(states[:, 0]), tuple(kept[depth] for depth in depths), grid_hw)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return the tokens (B, 1 + N, V) that enter the first block, the class token first.

        The position embeddings are interpolated (bicubic) where the grid is not the trained one.
        """
        vision, device = self.model.vision_model, self.model.logit_scale.device
        tokens: Tensor = vision.pre_layrnorm(vision.embeddings(pixels.to(device), interpolate_pos_encoding=True))
        return tokens

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return the last block's output (B, n, V) for any choice of the tokens from `embed_pixels`."""
        for block in self.model.vision_model.encoder.layers:
            tokens = block(tokens, None)
        return tokens

    def project(self, states: Tensor) -> Tensor:
        """Return (..., D) unit length of a block's output (..., V): final layer norm and projection."""
        projected = self.model.visual_projection(self.model.vision_model.post_layernorm(states))
        return functional.normalize(projected, dim=-1)

    def tokenize(self, texts: Iterable[str]) -> Tensor:
        """Return ids (N, T) with start and end token, padded on the right.

        Raises:
            UsageError: a text is longer than CLIP reads.
        """
        texts = list(texts)
        ids: Tensor = self.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
        longest = self.model.config.text_config.max_position_embeddings
        if ids.shape[1] > longest:
            lengths = (ids != self.tokenizer.eos_token_id).sum(1) + 1
            raise UsageError(
                f"The prompt {texts[int(lengths.argmax())]!r} has {int(lengths.max())} tokens; "
                f"CLIP reads at most {longest}. Use a shorter name or description."
            )
        return ids

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return (N, D) unit length; raises UsageError for a text that is longer than CLIP reads."""
        ids = self.tokenize(texts)
        return self.encode_prompt_embeddings(self.word_embeddings(ids), ids)

    def word_embeddings(self, ids: Tensor) -> Tensor:
        """Return (N, T, W) for ids (N, T), before the positions are added."""
        table = self.model.text_model.embeddings.token_embedding
        embeddings: Tensor = table(ids.to(table.weight.device))
        return embeddings

    def encode_prompt_embeddings(self, embeddings: Tensor, ids: Tensor) -> Tensor:
        """Return (N, D) unit length of word embeddings (N, T, W) that stand for the ids (N, T); differentiable.

        The ids only tell where each prompt ends: at its first end token.
        """
        text = self.model.text_model
        ends = ids == self.tokenizer.eos_token_id
        if not ends.any(1).all():
            raise ValueError("A prompt has no end token, from which CLIP reads it. Make the ids with `tokenize`.")
        length = ids.shape[1]
        states = embeddings + text.embeddings.position_embedding.weight[:length]
        causal = torch.full((length, length), -torch.inf, device=states.device).triu(1)[None, None]
        for block in text.encoder.layers:
            states = block(states, causal)
        rows = torch.arange(len(states), device=states.device)
        last = text.final_layer_norm(states[rows, ends.int().argmax(1).to(states.device)])
        return functional.normalize(self.model.text_projection(last), dim=-1)


def to_original(cells: Tensor, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map (H, W) in [0, 1] of a grid (h, w) in [0, 1] that covers the stretched picture; bilinear.

    The way back from `ClipTower.pixels`. A grid finer than the picture is averaged.
    """
    drawn = functional.interpolate(cells[None, None].float(), size_hw, mode="bilinear", antialias=True)[0, 0]
    return drawn.clamp(0, 1).cpu().numpy()  # the weights sum to 1 up to rounding


def _attend_values(block: CLIPEncoderLayer, states: Tensor) -> Tensor:
    """Return what a block's attention adds (B, n, V) if queries and keys are its values."""
    attention = block.self_attn
    values = attention.v_proj(block.layer_norm1(states))
    heads = values.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)  # (B, heads, n, V / heads)
    mixed = functional.scaled_dot_product_attention(heads, heads, heads, scale=attention.scale)
    added: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return added
