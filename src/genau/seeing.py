"""One model's eye: pictures seen in batches, and what it replies to questions about them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice, zip_longest
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from genau.errors import UsageError
from genau.images import Letterbox, Picture
from genau.judgement import Reply
from genau.maps import roi_cells, to_original
from genau.model.backbones import Memory
from genau.model.context import ContextMemory, PicturePatches
from genau.model.modeling import GenAUModel
from genau.model.outputs import Seen
from genau.places import compare_places
from genau.processor import GenAUProcessor
from genau.prompts import Query
from genau.relations import Places
from genau.speaking import Speaker, Spoken
from genau.tiling import Box, Tile, choose, larger_than
from genau.views import Tiling, ViewMemories, cut, merge
from genau.words import WordReader

QUESTIONS_AT_ONCE = 16  # bounds the copies of a picture's memory: 16 x 100 words x 46 kB = 74 MB
PICTURES_AT_ONCE = 8
REMEMBERED_AT_ONCE, TILED_AT_ONCE = 32, 4  # good parts; up to twice as many keep all of their patches (1.4 MB a view)
Element = TypeVar("Element")


@dataclass(frozen=True, eq=False)
class SeenImage:
    """One picture, seen once; ask it as often as wanted. It owns all of its state, the model remembers nothing."""

    picture: Picture
    letterbox: Letterbox
    seen: Seen  # of the batch it was seen in
    row: int  # its place in that batch
    see_ms: float  # wall time of seeing it, its share of the batch
    roi: NDArray[np.bool_] | None = None  # (H, W), True where to inspect
    places: Places | None = None  # how its places compare with good parts, if there are any
    tiling: Tiling | None = None  # of what is seen of it beside the whole, tile by tile, whenever it is asked


class Eye:
    """Looks with one model; between its two doors, `Inspector` and `GenAUProcessor`, everything is a tensor."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor, device: torch.device) -> None:
        self.model, self.processor, self.device = model, processor, device
        self._reader = WordReader(model, processor)

    @cached_property
    def instruction(self) -> Memory:
        """The memory of the fixed instruction, which all pictures share."""
        with torch.inference_mode():
            return self.model.read_instruction(self.processor.instruction_ids().to(self.device))

    @cached_property
    def _speaker(self) -> Speaker:
        return Speaker(self.model, self.processor)

    @torch.inference_mode()
    def remember(self, pictures: Iterable[Picture]) -> ContextMemory:
        """Return the memory of pictures of good parts, looked at `PICTURES_AT_ONCE` at a time.

        Raises:
            UsageError: there are none.
        """
        groups = _groups(pictures, REMEMBERED_AT_ONCE)
        return self.model.gather(_not_empty([self.model.remember(self._patches(group)) for group in groups]))

    @torch.inference_mode()
    def remember_views(self, pictures: Iterable[Picture], tile: Tile, overlap: float) -> ViewMemories:
        """Return two memories of good parts, one of whole pictures and one of their tiles; errors as `remember`.

        A picture not larger than a tile is one tile.
        """
        groups = _groups(pictures, TILED_AT_ONCE)
        both = _not_empty([self._remember_tiles(group, tile, overlap) for group in groups])
        whole, tiles = (self.model.gather(memories) for memories in zip(*both, strict=True))
        return ViewMemories(whole, tiles, tile)

    def _remember_tiles(
        self, pictures: Sequence[Picture], tile: Tile, overlap: float
    ) -> tuple[ContextMemory, ContextMemory]:
        whole, tiles = self._patches(pictures), list[list[PicturePatches]]()
        for picture, seen in zip(pictures, whole, strict=True):
            boxes = self.plan(picture, tile if larger_than(picture.height, picture.width, tile) else None, overlap)
            tiles.append(self._patches(cut(picture, box) for box in boxes) if boxes else [seen])
        # By place, then by picture: a tile's peers are the other pictures' tiles of that place, not its neighbours.
        by_place = [tile for place in zip_longest(*tiles) for tile in place if tile is not None]
        return self.model.remember(whole), replace(self.model.remember(by_place), pictures=len(whole), grids=None)

    def plan(
        self, picture: Picture, tile: Tile | None, overlap: float, roi: NDArray[np.bool_] | None = None
    ) -> list[Box]:
        """Return the picture's tiles as this model would see them; errors as `tiling.choose`."""
        return choose((picture.height, picture.width), self.processor.image_processor.size, tile, overlap, roi)

    def _patches(self, pictures: Iterable[Picture]) -> list[PicturePatches]:
        """Look at pictures, `PICTURES_AT_ONCE` at a time."""
        patches: list[PicturePatches] = []
        rest = iter(pictures)
        while chunk := list(islice(rest, PICTURES_AT_ONCE)):
            batch = self.processor.pictures([picture.rgb for picture in chunk])
            content_hw = batch["content_hw"].to(self.device)
            pyramid = self.model.backbone.look(batch["pixel_values"].to(self.device), content_hw).pyramid
            patches += self.model.patches(pyramid, content_hw)
        return patches

    @torch.inference_mode()
    def see_many(
        self,
        pictures: Sequence[Picture],
        memory: ContextMemory | None,
        masks: Sequence[NDArray[np.bool_] | None],
    ) -> list[SeenImage]:
        """Look at pictures in one batch; `masks` holds the region of interest (H, W) of each, or None for all."""
        started = time.perf_counter()
        boxes = [self.processor.image_processor.letterbox(p.height, p.width) for p in pictures]
        batch = {
            key: value.to(self.device) for key, value in self.processor.pictures([p.rgb for p in pictures]).items()
        }
        sight = self.model.backbone.look(batch["pixel_values"], batch["content_hw"])
        context = self.model.compare(sight.pyramid, batch["content_hw"], [memory] * len(pictures))
        places = compare_places(self.model, sight.pyramid, batch["content_hw"], boxes, memory)
        inside = None
        if any(mask is not None for mask in masks):
            grid_hw = self.model.mask_head.finest_hw(sight.pyramid)
            cells = [
                box.valid_cells(grid_hw) if mask is None else roi_cells(mask, box, grid_hw)
                for mask, box in zip(masks, boxes, strict=True)
            ]
            inside = torch.from_numpy(np.stack(cells)).to(self.device)
        words = batch["picture_ids"], batch["picture_mask"]
        seen = self.model.see(sight, context, batch["content_hw"], *words, self.instruction, inside)
        each_ms = 1000 * (time.perf_counter() - started) / len(pictures)
        return [
            SeenImage(picture, box, seen, row, each_ms, mask, places=places[row])
            for row, (picture, box, mask) in enumerate(zip(pictures, boxes, masks, strict=True))
        ]

    def replies(self, images: Sequence[SeenImage], queries: Sequence[Query]) -> tuple[list[list[Reply]], list[Memory]]:
        """Return each picture's replies to all queries, and its memory after the first; all were seen in one batch.

        A tiled picture's tiles are looked at now, `PICTURES_AT_ONCE` at a time; of each only its maps' margins stay.
        The memory is that of the whole picture.
        """
        replies, memories = self._whole_replies(images, queries)
        merged = [
            self._with_tiles(image, image.tiling, queries, whole) if image.tiling else whole
            for image, whole in zip(images, replies, strict=True)
        ]
        return merged, memories

    def _with_tiles(
        self, image: SeenImage, tiling: Tiling, queries: Sequence[Query], whole: Sequence[Reply]
    ) -> list[Reply]:
        tiles: list[list[Reply]] = []
        for start in range(0, len(tiling.boxes), PICTURES_AT_ONCE):
            chunk = tiling.boxes[start : start + PICTURES_AT_ONCE]
            masks = [None if image.roi is None else image.roi[box.slices] for box in chunk]
            views = [cut(image.picture, box) for box in chunk]
            # No name for what was seen: it would live on while the next tiles are looked at.
            tiles += self._whole_replies(self.see_many(views, tiling.memory, masks), queries)[0]
        size_hw = (image.picture.height, image.picture.width)
        return [
            merge(reply, [tile[number] for tile in tiles], tiling.boxes, size_hw) for number, reply in enumerate(whole)
        ]

    @torch.inference_mode()
    def _whole_replies(
        self, images: Sequence[SeenImage], queries: Sequence[Query]
    ) -> tuple[list[list[Reply]], list[Memory]]:
        pairs = [(image, query) for image in images for query in queries]
        replies, memories = list[Reply](), list[Memory]()
        for start in range(0, len(pairs), QUESTIONS_AT_ONCE):
            chunk = pairs[start : start + QUESTIONS_AT_ONCE]
            batch = {k: v.to(self.device) for k, v in self.processor.questions([query for _, query in chunk]).items()}
            index = torch.tensor([image.row for image, _ in chunk], device=self.device)
            asked = self._reader.states(batch.pop("asked_ids"), batch.pop("asked_mask"))
            answer = self.model.ask(images[0].seen, asked, **batch, image_index=index)
            margins = answer.margin.float().cpu().numpy()
            scores = torch.stack([answer.map_score, answer.text_score, answer.pred_score], 1).tolist()
            for row, ((image, query), margin) in enumerate(zip(chunk, margins, strict=True)):
                map_score, text_score, pred_score = scores[row]
                draw = partial(to_original, margin, image.letterbox, image.roi)
                replies.append(Reply(pred_score, map_score, text_score, draw))
                if query is queries[0]:
                    memories.append(answer.memory.take(index.new_tensor([row])))
        count = len(queries)
        return [replies[start : start + count] for start in range(0, len(replies), count)], memories

    def speak(self, image: SeenImage, question: str, earlier: Sequence[tuple[str, str]] = ()) -> Spoken:
        """Answer a free question in words; the decoder has read the whole picture, and no tiles are looked at.

        `earlier` are questions and answers about it, oldest first; errors as `Speaker.say`.
        """
        memory = image.seen.memory.take(torch.tensor([image.row], device=self.device))
        return self._speaker.say(memory, question, earlier=earlier)

    @torch.inference_mode()
    def likeliest_type(self, image: SeenImage) -> str | None:
        """Return the trained type whose own map scores highest; None if there are none."""
        if not (types := self.model.config.trained_types):
            return None
        questions = self.processor.questions([Query(name) for name in types])
        asked = self._reader.states(questions["asked_ids"].to(self.device), questions["asked_mask"].to(self.device))
        seen, index = image.seen, torch.full((len(types),), image.row, device=self.device)
        queries = self.model.mask_head.queries(asked)
        scores = self.model.draw_unread(seen.features, seen.unprompted, seen.valid, queries, index)[1]
        return types[int(scores.argmax())]


def _groups(elements: Iterable[Element], size: int) -> Iterator[list[Element]]:
    """Yield groups of `size`, the last with up to twice as many: none of them is left alone."""
    group: list[Element] = []
    for element in elements:
        group.append(element)
        if len(group) == 2 * size:
            yield group[:size]
            group = group[size:]
    if group:
        yield group


def _not_empty(memories: list[Element]) -> list[Element]:
    if not memories:
        raise UsageError("The list of references is empty. Give a picture of a good part, or no references at all.")
    return memories
