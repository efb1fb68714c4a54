"""The model on one screen: look, compare with the context, read the question, draw the map, decide.

Shapes: B pictures, S canvas side, N visual tokens, T0 instruction words, Q questions, T their words, D the decoder's
width, V the vocabulary, C_l and (h_l, w_l) a pyramid level, (h, w) the finest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from genau.model.backbones import Backbone, Memory, Shown, Sight
from genau.model.backbones.families import build_backbone
from genau.model.configuration import GenAUConfig
from genau.model.context import (
    SCALARS_PER_SCALE,
    Context,
    ContextMemory,
    PicturePatches,
    Scale,
    compare,
    context_patches,
    gather,
    remember,
)
from genau.model.fusion import fuse, map_score, text_score, valid_cells
from genau.model.mask_head import MaskHead
from genau.model.seg_tokens import SegTokens, place_visual_tokens
from genau.model.telling import FOUND_FRACTIONS, found, told


@dataclass(frozen=True)
class Seen:
    """A batch of pictures, seen once; any number of questions can be asked of it."""

    memory: Memory  # of B rows: the decoder has read the instruction and the picture
    features: tuple[Tensor, ...]  # f_l (B, W, h_l, w_l), unit length
    context: Context
    unprompted: Tensor  # (B, h, w), the part of the margin that no question changes
    prior: Tensor  # (B, h, w), the margin before anything is asked
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

    config: GenAUConfig
    config_class = GenAUConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    # What trains, in every family: a base may be in bf16.
    _keep_in_fp32_modules_strict = [  # noqa: RUF012 - the framework's own attribute
        *("mask_head", "seg_tokens", "context_token", "found_token", "projector", "newline", "merger")
    ]
    accepts_loss_kwargs = False  # or the Trainer would not divide by accumulation steps, and lambda would scale

    def __init__(self, config: GenAUConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config)
        self.backbone: Any = backbone or build_backbone(config)  # a Backbone; nn.Module hides its type
        width = self.backbone.hidden_size
        self.seg_tokens = SegTokens(width, config.seg_defect_token_id, config.seg_normal_token_id)
        self.mask_head = MaskHead(config, self.backbone.level_channels, width)
        told = 2 + SCALARS_PER_SCALE * len(config.context_scales) + 1 + config.head_width  # see `telling.told`
        self.context_token = nn.Linear(told, width, bias=False)  # tells the decoder what stands out, and how it looks
        nn.init.zeros_(self.context_token.weight)
        # Tells it what the map of a question shows, and that of no question.
        self.found_token = nn.Linear(2 * len(FOUND_FRACTIONS), width, bias=False)
        nn.init.zeros_(self.found_token.weight)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as their constructors drew them or as they were handed in; compute rotary buffers only."""
        if "RotaryEmbedding" in type(module).__name__:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's word embeddings."""
        embeddings: nn.Module = self.backbone.decoder.get_input_embeddings()
        return embeddings

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The sizes of patches that are compared."""
        return tuple(Scale(*scale) for scale in self.config.context_scales)

    def patches(self, pyramid: Sequence[Tensor], content_hw: Tensor) -> list[PicturePatches]:
        """Return each picture's patches, from levels (B, C_l, h_l, w_l) and content (B, 2) in canvas pixels."""
        sides = [self.config.image_size // scale.stride for scale in self.scales]
        features = [
            context_patches([pyramid[level] for level in scale.levels], (side, side))
            for scale, side in zip(self.scales, sides, strict=True)
        ]
        valid = [self.valid_cells(content_hw, patches) for patches in features]
        return [
            PicturePatches(tuple(part[row] for part in features), tuple(part[row] for part in valid))
            for row in range(len(content_hw))
        ]

    def remember(self, pictures: Sequence[PicturePatches]) -> ContextMemory:
        """Return the memory of pictures of good parts; many at once take much memory, see `gather`."""
        return remember(
            pictures,
            self.scales,
            neighbours=self.config.context_neighbours,
            temperature=self.config.context_temperature,
            most=self.config.context_most,
        )

    def gather(self, memories: Sequence[ContextMemory]) -> ContextMemory:
        """Return one memory of several, no larger than one of many pictures."""
        return gather(memories, self.scales, self.config.context_most)

    def read_instruction(self, instruction_ids: Tensor) -> Memory:
        """Return the memory of the fixed instruction (1, T0), which all pictures share."""
        mask = torch.ones_like(instruction_ids, dtype=torch.bool)
        memory: Memory = self.backbone.read(self.backbone.embed(instruction_ids), mask, None)[1]
        return memory

    def compare(
        self, pyramid: Sequence[Tensor], content_hw: Tensor, references: Sequence[ContextMemory | None]
    ) -> Context:
        """Compare B pictures with their context: one memory of good parts, or None, for each."""
        return compare(
            self.patches(pyramid, content_hw),
            references,
            self.scales,
            neighbours=self.config.context_neighbours,
            temperature=self.config.context_temperature,
        )

    def see(
        self,
        sight: Sight,
        context: Context,
        content_hw: Tensor,
        picture_ids: Tensor,
        picture_mask: Tensor,
        instruction: Memory,
        inside: Tensor | None = None,
    ) -> Seen:
        """See B pictures once: project their features and let the decoder read them.

        `content_hw` (B, 2) canvas pixels; `picture_ids`, `picture_mask` (B, T1) the pictures' places in the prompt,
        right-padded, one image token for each visual token; `instruction` a memory of one row, which is shared;
        `inside` (B, h, w) bool where to inspect: of other places the decoder is told nothing that the map shows.
        """
        features, unprompted = self.project(sight.pyramid, context)
        valid = self.valid_cells(content_hw, features[0])
        valid = valid if inside is None else valid & inside
        shared = instruction.take(torch.zeros(len(content_hw), dtype=torch.long, device=content_hw.device))
        index = torch.arange(len(content_hw), device=content_hw.device)
        queries = self.mask_head.query_prior.expand(len(index), -1, -1)
        prior = self.mask_head.draw(features, unprompted, queries, index)  # (B, h, w)
        if not self.config.reads_pictures:
            return Seen(shared, features, context, unprompted, prior, valid)
        shown = Shown(picture_ids == self.config.image_token_id, sight)
        telling = self.context_token(told(self.mask_head, features, context, prior, valid, sight))
        embeddings = place_visual_tokens(
            self.backbone.embed(picture_ids), shown.at, sight.visual_tokens + telling, sight.token_counts
        )
        _, memory = self.backbone.read(embeddings, picture_mask, shared, shown)
        return Seen(memory, features, context, unprompted, prior, valid)

    def valid_cells(self, content_hw: Tensor, level: Tensor) -> Tensor:
        """Return (B, h, w) bool: which cells of a level (B, C, h, w) lie on the picture."""
        return valid_cells(content_hw, self.config.image_size, (level.shape[-2], level.shape[-1]))

    def ask(
        self,
        seen: Seen,
        asked: Tensor,
        query_ids: Tensor,
        query_mask: Tensor,
        verdict_at: Tensor,
        image_index: Tensor,
    ) -> Answer:
        """Ask Q questions, each on a copy of its picture's memory; a question does not notice the others.

        `asked` (Q, 2, D) what `read_questions` makes of them; `query_ids`, `query_mask` (Q, T) right-padded;
        `verdict_at` (Q,) the word after which the verdict stands; `image_index` (Q,) which picture is asked.
        """
        reads = self.config.reads_pictures
        telling = self.found_token(self.found(seen, asked, image_index)) if reads else None
        words = self.seg_tokens.place(self.backbone.embed(query_ids), query_ids, telling)
        hidden, memory = self.backbone.read(words, query_mask, seen.memory.take(image_index))
        query_states = self.seg_tokens.take(hidden, query_ids)  # (Q, 2, D)
        queries = self.mask_head.queries(asked, query_states if reads else None)
        margin = self.mask_head.draw(seen.features, seen.unprompted, queries, image_index)
        config = self.config
        verdict_words = torch.tensor([config.normal_word_id, config.defect_word_id], device=hidden.device)
        rows = torch.arange(len(hidden), device=hidden.device)
        verdict_logits = self.backbone.logits(hidden[rows, verdict_at], verdict_words)
        s_map = map_score(margin, seen.valid[image_index], config.readout_fractions, config.readout_offset)
        p_text = text_score(verdict_logits)
        return Answer(margin, s_map, p_text, fuse(s_map, p_text, config.text_weight), verdict_logits, hidden, memory)

    @torch.no_grad()
    def found(self, seen: Seen, asked: Tensor, image_index: Tensor) -> Tensor:
        """Return what the map of the question by itself shows, and the map of no question: largest margins (Q, 6)."""
        margin = self.mask_head.draw(seen.features, seen.unprompted, self.mask_head.queries(asked), image_index)
        return found((margin, seen.prior[image_index]), seen.valid[image_index])

    def read_questions(self, instruction: Memory, asked_ids: Tensor, asked_mask: Tensor) -> Tensor:
        """Return the query tokens' hidden states (Q, 2, D) of questions (Q, T) that are read without a picture."""
        words = self.seg_tokens.place(self.backbone.embed(asked_ids), asked_ids)
        shared = instruction.take(torch.zeros(len(asked_ids), dtype=torch.long, device=asked_ids.device))
        return self.seg_tokens.take(self.backbone.read(words, asked_mask, shared)[0], asked_ids)

    def project(self, pyramid: tuple[Tensor, ...], context: Context) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the features (B, W, h_l, w_l) and the unprompted margin (B, h, w) of pictures."""
        features = self.mask_head.project(pyramid, context)
        return features, self.mask_head.unprompted(context, (features[0].shape[-2], features[0].shape[-1]))

    def draw_unread(
        self, features: tuple[Tensor, ...], unprompted: Tensor, valid: Tensor, queries: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return margin (Q, h, w) and s_map (Q,) of queries (Q, 2, W) that know nothing of the pictures.

        They are the learned prior, alone or with the states of words that the decoder read without a picture.
        """
        margin = self.mask_head.draw(features, unprompted, queries, image_index)
        fractions, offset = self.config.readout_fractions, self.config.readout_offset
        return margin, map_score(margin, valid[image_index], fractions, offset)

    def forward(
        self,
        pixel_values: Tensor,
        content_hw: Tensor,
        instruction_ids: Tensor,
        picture_ids: Tensor,
        picture_mask: Tensor,
        query_ids: Tensor,
        query_mask: Tensor,
        verdict_at: Tensor,
        asked_ids: Tensor,
        asked_mask: Tensor,
        image_index: Tensor,
        references: Sequence[ContextMemory | None] | None = None,
    ) -> Answer:
        """See the pictures and ask the questions in one call; shapes as in `see`, `ask` and `read_questions`."""
        instruction = self.read_instruction(instruction_ids)
        sight = self.backbone.look(pixel_values, content_hw)
        context = self.compare(sight.pyramid, content_hw, references or [None] * len(content_hw))
        seen = self.see(sight, context, content_hw, picture_ids, picture_mask, instruction)
        asked = self.read_questions(instruction, asked_ids, asked_mask)
        return self.ask(seen, asked, query_ids, query_mask, verdict_at, image_index)
