"""The door from tensors to an `Inspection`: load a model, see a picture once, ask it many things."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genau import arguments, checkpoints
from genau.arguments import Types
from genau.calibration import check_threshold
from genau.errors import ImageError, UsageError
from genau.images import Letterbox, Picture
from genau.judgement import Judged, Reply, judge
from genau.maps import roi_cells, to_original
from genau.model.backbones import Memory
from genau.model.context import ContextMemory, PicturePatches
from genau.model.modeling import GenAUModel, Seen
from genau.places import Places, compare_places
from genau.prompts import DEFECT_WORD, NORMAL_WORD, Query
from genau.reading import ImageSource, read_picture
from genau.results import Analysis, Inspection, Verdict
from genau.words import WordReader
from genau.writer import AnalysisWriter, decided_lines

QUESTIONS_AT_ONCE = 16  # bounds the copies of a picture's memory: 16 x 100 words x 46 kB = 74 MB
PICTURES_AT_ONCE = 8
References = ContextMemory | ImageSource | Sequence[ImageSource]


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


class Inspector:
    """One loaded model, ready to inspect pictures of any product."""

    def __init__(self, checkpoint: checkpoints.Checkpoint, device: str = "cpu") -> None:
        self.name, self.thresholds = checkpoint.name, checkpoint.thresholds
        self.processor = checkpoint.processor
        self.device = arguments.check_device(device)
        self.model: GenAUModel = checkpoint.model
        self.model.to(device).eval()  # type: ignore[arg-type]
        self._reader = WordReader(self.model, self.processor)

    @classmethod
    def from_pretrained(cls, name: str | Path = "nano", device: str = "cpu") -> "Inspector":
        """Load a shipped model by name, or a folder that `genau train` wrote.

        Raises:
            UsageError: no such model or device. WeightsError, CheckpointError: it cannot be loaded.
        """
        arguments.check_device(device)
        return cls(checkpoints.load(name), device)

    @torch.inference_mode()
    def remember(self, references: ImageSource | Iterable[ImageSource]) -> ContextMemory:
        """Return the memory of good parts (pictures, or one folder of them), to be passed to `see` again and again.

        Raises:
            ImageError: a reference cannot be read; nothing is inspected against half of the references.
        """
        patches: list[PicturePatches] = []
        sources = iter(arguments.picture_sources(references))
        while chunk := list(islice(sources, PICTURES_AT_ONCE)):
            batch = self.processor.pictures([arguments.read_reference(source).rgb for source in chunk])
            pyramid = self.model.backbone.look(batch["pixel_values"].to(self.device)).pyramid
            patches += self.model.patches(pyramid, batch["content_hw"].to(self.device))
        if not patches:
            raise UsageError("The list of references is empty. Give a picture of a good part, or no references at all.")
        return self.model.remember(patches)

    def see(
        self,
        image: ImageSource | Picture,
        references: References | None = None,
        roi: str | Path | NDArray[np.bool_] | None = None,
    ) -> SeenImage:
        """Look at one picture, compare it with its context, and let the decoder read it.

        `references` are good parts of the same product, as pictures or as `remember` returned them; `roi` is a mask
        (H, W) of the picture's size, nonzero where to inspect.

        Raises:
            ImageError: the picture, a reference or the mask cannot be read or does not fit.
        """
        picture = image if isinstance(image, Picture) else read_picture(image)
        return self.see_many([picture], references, roi)[0]

    def ask(
        self,
        seen: SeenImage,
        *,
        product: str | None = None,
        types: Types | None = None,
        analysis: bool = False,
        threshold: float | None = None,
    ) -> Inspection:
        """Judge a seen picture; every call starts from the same state.

        `product` names the part; `types` are candidate defects, as names or as {name: short visual description};
        `analysis` lets the decoder describe what was found; `threshold` replaces the model's own.

        Raises:
            UsageError: an empty, repeated or overlong name, a threshold outside [0, 1].
        """
        return self._ask([seen], arguments.check_product(product), arguments.check_types(types), analysis, threshold)[0]

    def inspect(
        self,
        image: ImageSource,
        *,
        product: str | None = None,
        types: Types | None = None,
        references: References | None = None,
        roi: str | Path | NDArray[np.bool_] | None = None,
        analysis: bool = True,
        threshold: float | None = None,
    ) -> Inspection:
        """See a picture and judge it; arguments and errors as in `see` and `ask`."""
        seen = self.see(image, references, roi)
        return self.ask(seen, product=product, types=types, analysis=analysis, threshold=threshold)

    def inspect_many(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = PICTURES_AT_ONCE,
        product: str | None = None,
        types: Types | None = None,
        references: References | None = None,
        roi: str | Path | NDArray[np.bool_] | None = None,
        analysis: bool = False,
        threshold: float | None = None,
    ) -> Iterator[Inspection]:
        """Inspect pictures, or all of one folder, in batches; yields one `Inspection` per picture, in order.

        A picture that cannot be read is yielded with its `error` set and an unreadable verdict, and the others go on.

        Raises:
            UsageError, ImageError: as `see` and `ask`, of all but the pictures, and before the first of them is read.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is less than 1. Use 1 or more pictures at once.")
        asked, part, mask = (
            arguments.check_types(types),
            arguments.check_product(product),
            None if roi is None else arguments.load_roi(roi),
        )
        check_threshold(self.thresholds.image if threshold is None else threshold)
        sources, memory = iter(arguments.picture_sources(images)), self._memory(references)

        def batches() -> Iterator[Inspection]:
            while chunk := list(islice(sources, batch_size)):
                rows = [_read_or_fail(source, mask) for source in chunk]
                pictures = [row for row in rows if isinstance(row, Picture)]
                seen = self.see_many(pictures, memory, mask) if pictures else []
                done = iter(self._ask(seen, part, asked, analysis, threshold) if seen else [])
                yield from (row if isinstance(row, Inspection) else next(done) for row in rows)

        return batches()

    def _memory(self, references: References | None) -> ContextMemory | None:
        return references if isinstance(references, ContextMemory | None) else self.remember(references)

    @cached_property
    def _instruction(self) -> Memory:
        with torch.inference_mode():
            return self.model.read_instruction(self.processor.instruction_ids().to(self.device))

    @cached_property
    def _writer(self) -> AnalysisWriter:
        return AnalysisWriter(self.model, self.processor)

    @torch.inference_mode()
    def see_many(
        self,
        pictures: Sequence[Picture],
        references: References | None = None,
        roi: str | Path | NDArray[np.bool_] | None = None,
    ) -> list[SeenImage]:
        """Look at pictures in one batch; arguments and errors as in `see`."""
        memory = self._memory(references)
        started = time.perf_counter()
        boxes = [self.processor.image_processor.letterbox(p.height, p.width) for p in pictures]
        batch = {
            key: value.to(self.device) for key, value in self.processor.pictures([p.rgb for p in pictures]).items()
        }
        sight = self.model.backbone.look(batch["pixel_values"])
        picture_ids = self.processor.picture_ids().to(self.device)
        context = self.model.compare(sight.pyramid, batch["content_hw"], [memory] * len(pictures))
        places = compare_places(self.model, sight.pyramid, batch["content_hw"], boxes, memory)
        seen = self.model.see(sight, context, batch["content_hw"], picture_ids, self._instruction)
        masks = [None if roi is None else arguments.read_roi(roi, picture) for picture in pictures]
        if roi is not None:
            grid_hw = (seen.valid.shape[1], seen.valid.shape[2])
            cells = [roi_cells(mask, box, grid_hw) for mask, box in zip(masks, boxes, strict=True) if mask is not None]
            seen = replace(seen, valid=torch.from_numpy(np.stack(cells)).to(self.device))
        each_ms = 1000 * (time.perf_counter() - started) / len(pictures)
        return [
            SeenImage(picture, box, seen, row, each_ms, mask, places[row])
            for row, (picture, box, mask) in enumerate(zip(pictures, boxes, masks, strict=True))
        ]

    @torch.inference_mode()
    def _ask(
        self,
        images: Sequence[SeenImage],
        product: str | None,
        types: Mapping[str, str | None],
        analysis: bool,
        threshold: float | None,
    ) -> list[Inspection]:
        """Ask all questions of pictures that were seen in one batch."""
        thresholds = self.thresholds
        if threshold is not None:
            thresholds = replace(thresholds, image=check_threshold(threshold), method="set by the caller", data="")
        started = time.perf_counter()
        queries = [Query(product=product), *(Query(name, text, product) for name, text in types.items())]
        replies, memories = self.replies(images, queries)
        ask_ms = 1000 * (time.perf_counter() - started) / len(images)
        inspections = []
        for image, answers, memory in zip(images, replies, memories, strict=True):
            judged_at = time.perf_counter()
            by_type = dict(zip(types, answers[1:], strict=True))
            judged = judge(image.picture, answers[0], by_type, thresholds, image.roi, image.places)
            result, wrote_at = judged.inspection, time.perf_counter()
            timing = {"see": image.see_ms, "ask": ask_ms, "judge": 1000 * (wrote_at - judged_at)}
            if analysis and self.model.config.writes_analysis and result.verdict is not Verdict.UNREADABLE:
                likeliest = None if types else self._likeliest_type(image)
                result = replace(result, analysis=self._analyse(judged, memory, likeliest))
                timing["analysis"] = 1000 * (time.perf_counter() - wrote_at)
            timing["total"] = sum(timing.values())
            inspections.append(replace(result, timing_ms={key: round(value, 1) for key, value in timing.items()}))
        return inspections

    @torch.inference_mode()
    def replies(self, images: Sequence[SeenImage], queries: Sequence[Query]) -> tuple[list[list[Reply]], list[Memory]]:
        """Return each picture's replies to all queries, and its memory after the first; all were seen in one batch."""
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

    def _likeliest_type(self, image: SeenImage) -> str | None:
        """Return the trained type whose own map scores highest; None if there are none."""
        if not (types := self.model.config.trained_types):
            return None
        questions = self.processor.questions([Query(name) for name in types])
        asked = self._reader.states(questions["asked_ids"].to(self.device), questions["asked_mask"].to(self.device))
        seen, index = image.seen, torch.full((len(types),), image.row, device=self.device)
        queries = self.model.mask_head.queries(asked)
        scores = self.model.draw_unread(seen.features, seen.unprompted, seen.valid, queries, index)[1]
        return types[int(scores.argmax())]

    def _analyse(self, judged: Judged, memory: Memory, likeliest: str | None) -> Analysis | None:
        """Let the decoder describe what was decided; all that follows from the map is given."""
        word = DEFECT_WORD if judged.inspection.verdict is Verdict.DEFECT else NORMAL_WORD
        return self._writer.write(memory, word, *decided_lines(judged, self.model.config, likeliest))


def _read_or_fail(source: ImageSource, roi: NDArray[np.bool_] | None) -> Picture | Inspection:
    """Return the picture, or a failed row if it cannot be read or the region of interest does not fit it."""
    name = str(source) if isinstance(source, str | Path) else "<picture>"
    try:
        picture = read_picture(source)
        name = picture.name
        if roi is not None:
            arguments.read_roi(roi, picture)
    except ImageError as error:
        return Inspection.failed(name, str(error))
    return picture
