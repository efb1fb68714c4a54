"""The model on one screen: look, compare with the context, read the question, draw the map, decide.

Shapes: B pictures, S canvas side, N visual tokens, T0 instruction words, Q questions, T their words, D the decoder's
width, V the vocabulary, C_l and (h_l, w_l) a pyramid level, (h, w) the finest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from genau.model.backbones import Backbone, Memory, Sight
from genau.model.backbones.nano import NanoBackbone
from genau.model.configuration import GenAUConfig
from genau.model.context import Context, ContextMemory, compare, context_patches, remember
from genau.model.fusion import fuse, map_score, text_score, valid_cells
from genau.model.mask_head import CONTEXT_SCALARS, MaskHead, context_scalars
from genau.model.seg_tokens import SegTokens, place_visual_tokens


@dataclass(frozen=True)
class Seen:
    """A batch of pictures, seen once; any number of questions can be asked of it."""

    memory: Memory  # of B rows: the decoder has read the instruction and the picture
    features: tuple[Tensor, ...]  # f_l (B, W, h_l, w_l), unit length
    context: Context
    valid: Tensor  # (B, h, w) bool, False on padding


@dataclass(frozen=True)
class Answer:
    """What Q questions give."""

    margin: Tensor  # z (Q, h, w); sigmoid(z) is the anomaly map
    map_score: Tensor  # (Q,) in [0, 1]
    text_score: Tensor  # (Q,) in [0, 1]
    pred_score: Tensor  # (Q,) in [0, 1]
    verdict_logits: Tensor  # (Q, 2): normal, defect
    hidden: Tensor  # (Q, T, D)
    memory: Memory  # of Q rows, the question included: generation goes on from here


class GenAUModel(PreTrainedModel):
    """One instruction-following vision-language model for inspection (GenAU, arXiv 2607.01049).

    Parts are handed in: `GenAUModel(config, backbone)`; without a backbone it is built with random weights.
    """

    config_class = GenAUConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False  # or the Trainer would not divide by accumulation steps, and lambda would scale

    def __init__(self, config: GenAUConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config)
        self.backbone: Any = backbone or build_backbone(config)  # a Backbone; nn.Module hides its type
        width = self.backbone.hidden_size
        self.seg_tokens = SegTokens(width, config.seg_defect_token_id, config.seg_normal_token_id)
        self.mask_head = MaskHead(config, self.backbone.level_channels, width)
        self.context_token = nn.Linear(CONTEXT_SCALARS, width, bias=False)  # tells the decoder what stands out
        nn.init.zeros_(self.context_token.weight)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as their constructors drew them or as they were handed in; compute rotary buffers only."""
        if "RotaryEmbedding" in type(module).__name__:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's word embeddings."""
        embeddings: nn.Module = self.backbone.decoder.get_input_embeddings()
        return embeddings

    def _patches(self, pyramid: Sequence[Tensor]) -> Tensor:
        side = self.config.image_size // self.config.context_stride
        return context_patches([pyramid[level] for level in self.config.context_levels], (side, side))

    def remember(self, pixel_values: Tensor, content_hw: Tensor) -> ContextMemory:
        """Return the memory of reference pictures of good parts: (R, 3, S, S), content (R, 2) in canvas pixels."""
        return self.remember_levels(self.backbone.look(pixel_values).pyramid, content_hw)

    def remember_levels(self, pyramid: tuple[Tensor, ...], content_hw: Tensor) -> ContextMemory:
        """Return the same memory from levels (R, C_l, h_l, w_l) that were made before."""
        patches = self._patches(pyramid)
        return remember(patches, self.valid_cells(content_hw, patches))

    def read_instruction(self, instruction_ids: Tensor) -> Memory:
        """Return the memory of the fixed instruction (1, T0), which all pictures share."""
        mask = torch.ones_like(instruction_ids, dtype=torch.bool)
        memory: Memory = self.backbone.read(self.backbone.embed(instruction_ids), mask, None)[1]
        return memory

    def compare(
        self, pyramid: Sequence[Tensor], content_hw: Tensor, references: Sequence[ContextMemory | None]
    ) -> Context:
        """Compare B pictures with their context: one memory of good parts, or None, for each."""
        config, patches = self.config, self._patches(pyramid)
        return compare(
            patches,
            self.valid_cells(content_hw, patches),
            references,
            exclusion=config.context_exclusion,
            neighbours=config.context_neighbours,
            temperature=config.context_temperature,
        )

    def see(self, sight: Sight, context: Context, content_hw: Tensor, picture_ids: Tensor, instruction: Memory) -> Seen:
        """See B pictures once: project their features and let the decoder read them.

        `content_hw` (B, 2) canvas pixels; `picture_ids` (T1,) the picture's place in the prompt, N image tokens
        among it; `instruction` a memory of one row, which is shared.
        """
        features = self.mask_head.project(sight.pyramid, context)
        told = F.adaptive_max_pool2d(context_scalars(context), sight.token_grid).flatten(2).transpose(1, 2)  # (B, N, 3)
        visual_tokens = sight.visual_tokens + self.context_token(told)
        ids = picture_ids.expand(len(content_hw), -1)
        embeddings = place_visual_tokens(self.backbone.embed(ids), ids, visual_tokens, self.config.image_token_id)
        shared = instruction.take(torch.zeros(len(ids), dtype=torch.long, device=ids.device))
        _, memory = self.backbone.read(embeddings, torch.ones_like(ids, dtype=torch.bool), shared)
        return Seen(memory, features, context, self.valid_cells(content_hw, features[0]))

    def valid_cells(self, content_hw: Tensor, level: Tensor) -> Tensor:
        """Return (B, h, w) bool: which cells of a level (B, C, h, w) lie on the picture."""
        return valid_cells(content_hw, self.config.image_size, (level.shape[-2], level.shape[-1]))

    def ask(self, seen: Seen, query_ids: Tensor, query_mask: Tensor, verdict_at: Tensor, image_index: Tensor) -> Answer:
        """Ask Q questions, each on a copy of its picture's memory; a question does not notice the others.

        `query_ids`, `query_mask` (Q, T) right-padded; `verdict_at` (Q,) the word after which the verdict stands;
        `image_index` (Q,) which picture is asked.
        """
        words = self.seg_tokens.place(self.backbone.embed(query_ids), query_ids)
        hidden, memory = self.backbone.read(words, query_mask, seen.memory.take(image_index))
        query_states = self.seg_tokens.take(hidden, query_ids)  # (Q, 2, D)
        margin = self.mask_head(seen.features, seen.context, query_states, image_index)
        config = self.config
        verdict_words = torch.tensor([config.normal_word_id, config.defect_word_id], device=hidden.device)
        rows = torch.arange(len(hidden), device=hidden.device)
        verdict_logits = self.backbone.logits(hidden[rows, verdict_at], verdict_words)
        s_map = map_score(margin, seen.valid[image_index], config.readout_fractions, config.readout_offset)
        p_text = text_score(verdict_logits)
        return Answer(margin, s_map, p_text, fuse(s_map, p_text, config.text_weight), verdict_logits, hidden, memory)

    def draw_static(
        self, pyramid: tuple[Tensor, ...], context: Context, valid: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return margin (Q, h, w) and s_map (Q,) without the decoder: the queries are the learned prior alone."""
        features = self.mask_head.project(pyramid, context)
        margin = self.mask_head.draw(
            features, context, self.mask_head.query_prior.expand(len(image_index), -1, -1), image_index
        )
        fractions, offset = self.config.readout_fractions, self.config.readout_offset
        return margin, map_score(margin, valid[image_index], fractions, offset)

    def forward(
        self,
        pixel_values: Tensor,
        content_hw: Tensor,
        instruction_ids: Tensor,
        picture_ids: Tensor,
        query_ids: Tensor,
        query_mask: Tensor,
        verdict_at: Tensor,
        image_index: Tensor,
        references: Sequence[ContextMemory | None] | None = None,
    ) -> Answer:
        """See the pictures and ask the questions in one call; shapes as in `see` and `ask`."""
        instruction = self.read_instruction(instruction_ids)
        sight = self.backbone.look(pixel_values)
        context = self.compare(sight.pyramid, content_hw, references or [None] * len(content_hw))
        seen = self.see(sight, context, content_hw, picture_ids, instruction)
        return self.ask(seen, query_ids, query_mask, verdict_at, image_index)


def build_backbone(config: GenAUConfig) -> Backbone:
    """Build the named backbone with random weights; a new family is one line here and one file beside nano's."""
    builders = {"nano": NanoBackbone.from_config}
    return builders[config.backbone](config.backbone_config or {})
