"""The door from tensors to an `Inspection`: load a model, see a picture once, ask it many things."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from genau import answering, arguments, checkpoints, tiling
from genau.arguments import Types
from genau.calibration import check_threshold
from genau.errors import ImageError, UsageError
from genau.images import Picture
from genau.judgement import Judged, Reply, judge
from genau.model.backbones import Memory
from genau.model.context import ContextMemory
from genau.model.modeling import GenAUModel
from genau.prompts import DEFECT_WORD, NORMAL_WORD, Query
from genau.reading import ImageSource, read_picture
from genau.results import Analysis, Inspection, Verdict
from genau.seeing import PICTURES_AT_ONCE, Eye, SeenImage
from genau.setup import References, Roi, Setup
from genau.tiling import OVERLAP, Tile, larger_than
from genau.views import Tiling, ViewMemories, memory_for
from genau.writer import AnalysisWriter, decided_lines


class Inspector:
    """One loaded model, ready to inspect pictures of any product."""

    def __init__(self, checkpoint: checkpoints.Checkpoint, device: str = "cpu", setup: Setup | None = None) -> None:
        self.name, self.thresholds = checkpoint.name, checkpoint.thresholds
        self.processor = checkpoint.processor
        self.device = arguments.check_device(device)
        self.model: GenAUModel = checkpoint.model
        self.model.to(device).eval()  # type: ignore[arg-type]
        self.setup = setup or Setup()
        self.eye = Eye(self.model, self.processor, self.device)

    @classmethod
    def from_pretrained(cls, name: str | Path = "nano", device: str = "cpu") -> "Inspector":
        """Load a shipped model by name, or a folder that `genau train` wrote.

        Raises:
            UsageError: no such model or device. WeightsError, CheckpointError: it cannot be loaded.
        """
        arguments.check_device(device)
        return cls(checkpoints.load(name, device=device), device)

    @classmethod
    def from_recipe(cls, name: str | Path, device: str = "cpu") -> "Inspector":
        """Load a recipe by its name or folder, and the model that made it; what it says holds where nothing is given.

        Raises:
            UsageError: no such recipe, model or device. RecipeError: the recipe is damaged, or made by another model.
        """
        from genau.recipes import Recipe

        arguments.check_device(device)
        recipe = Recipe.load(name, device=device)
        recipe.check_model(checkpoints.fingerprint(recipe.model))
        checkpoint = replace(checkpoints.load(recipe.model), thresholds=recipe.thresholds_in_force)
        return cls(checkpoint, device, recipe.setup)

    @overload
    def remember(
        self, references: ImageSource | Iterable[ImageSource], tile: None = None, overlap: float = OVERLAP
    ) -> ContextMemory: ...
    @overload
    def remember(
        self, references: ImageSource | Iterable[ImageSource], tile: Tile, overlap: float = OVERLAP
    ) -> ViewMemories: ...
    def remember(
        self, references: ImageSource | Iterable[ImageSource], tile: Tile | None = None, overlap: float = OVERLAP
    ) -> ContextMemory | ViewMemories:
        """Return the memory of good parts (pictures, or one folder of them), to be passed to `see` again and again.

        With `tile`, as in `see`, it holds their tiles too.

        Raises:
            ImageError: a reference cannot be read; nothing is inspected against half of the references.
        """
        tiling.check(tile, overlap)
        pictures = (arguments.read_reference(one) for one in arguments.picture_sources(references))
        return self.eye.remember(pictures) if tile is None else self.eye.remember_views(pictures, tile, overlap)

    def see(
        self,
        image: ImageSource | Picture,
        references: References | None = None,
        roi: Roi | None = None,
        tile: Tile | None = None,
        overlap: float | None = None,
    ) -> SeenImage:
        """Look at one picture, compare it with its context, and let the decoder read it.

        `references` are good parts of the same product, as pictures or as `remember` returned them; `roi` is a mask
        (H, W) of the picture's size, nonzero where to inspect. `tile` is the side in pixels of the tiles in which the
        picture is seen beside the whole, or "auto"; neighbours share `overlap` of it. A tiled picture keeps its pixels
        and looks at its tiles again at each `ask`, a few at a time.

        Raises:
            ImageError: the picture, a reference or the mask cannot be read or does not fit.
            UsageError: the picture is not larger than a tile, or the references were remembered with other tiles.
        """
        picture = image if isinstance(image, Picture) else read_picture(image)
        return self.see_many([picture], references, roi, tile, overlap)[0]

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
        part, asked = self.setup.questions(product, types)
        return self._ask([seen], part, asked, analysis, threshold)[0]

    def answer(
        self,
        seen: SeenImage,
        question: str,
        *,
        product: str | None = None,
        types: Types | None = None,
        threshold: float | None = None,
        earlier: Sequence[tuple[str, str]] = (),
    ) -> answering.Answer:
        """Answer a typed question about a seen picture; arguments and errors as in `answering.answer_question`."""
        part, asked = self.setup.questions(product, types)
        rules = self.setup.severity
        return answering.answer_question(
            self, seen, question, product=part, types=asked, threshold=threshold, rules=rules, earlier=earlier
        )

    def likeliest_type(self, image: SeenImage) -> str | None:
        """Return the trained type whose own map scores highest; None if there are none."""
        return self.eye.likeliest_type(image)

    def inspect(
        self,
        image: ImageSource,
        *,
        product: str | None = None,
        types: Types | None = None,
        references: References | None = None,
        roi: Roi | None = None,
        analysis: bool = True,
        threshold: float | None = None,
        tile: Tile | None = None,
        overlap: float | None = None,
    ) -> Inspection:
        """See a picture and judge it; arguments and errors as in `see` and `ask`."""
        seen = self.see(image, references, roi, tile, overlap)
        return self.ask(seen, product=product, types=types, analysis=analysis, threshold=threshold)

    def inspect_many(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = PICTURES_AT_ONCE,
        product: str | None = None,
        types: Types | None = None,
        references: References | None = None,
        roi: Roi | None = None,
        analysis: bool = False,
        threshold: float | None = None,
        tile: Tile | None = None,
        overlap: float | None = None,
    ) -> Iterator[Inspection]:
        """Inspect pictures, or all of one folder, in batches; yields one `Inspection` per picture, in order.

        A picture that cannot be read is yielded with its `error` set and an unreadable verdict, and the others go on.
        With `tile` pictures are taken one by one, and one that is not larger than a tile is seen whole.

        Raises:
            UsageError, ImageError: as `see` and `ask`, of all but the pictures, and before the first of them is read.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is less than 1. Use 1 or more pictures at once.")
        part, asked = self.setup.questions(product, types)
        references, roi, tile, overlap = self.setup.fill(references, roi, tile, overlap)
        mask = None if roi is None else arguments.load_roi(roi)
        check_threshold(self.thresholds.image if threshold is None else threshold)
        tiling.check(tile, overlap)
        sources, memory = iter(arguments.picture_sources(images)), self._memory(references, tile, overlap)
        at_once = batch_size if tile is None else 1  # a tiled picture is a batch of views by itself

        def batches() -> Iterator[Inspection]:
            while chunk := list(islice(sources, at_once)):
                rows = [self._read_or_fail(source, mask, tile, overlap) for source in chunk]
                pictures = [row for row in rows if isinstance(row, Picture)]
                side = tile if all(larger_than(p.height, p.width, tile) for p in pictures) else None
                seen = self.see_many(pictures, memory, mask, side, overlap) if pictures else []
                done = iter(self._ask(seen, part, asked, analysis, threshold) if seen else [])
                yield from (row if isinstance(row, Inspection) else next(done) for row in rows)

        return batches()

    def _memory(
        self, references: References | None, tile: Tile | None, overlap: float
    ) -> ContextMemory | ViewMemories | None:
        if isinstance(references, ContextMemory | ViewMemories | None):
            return memory_for(references, tile)
        return self.remember(references, tile, overlap)

    @cached_property
    def _writer(self) -> AnalysisWriter:
        return AnalysisWriter(self.model, self.processor)

    def see_many(
        self,
        pictures: Sequence[Picture],
        references: References | None = None,
        roi: Roi | None = None,
        tile: Tile | None = None,
        overlap: float | None = None,
    ) -> list[SeenImage]:
        """Look at pictures in one batch; arguments and errors as in `see`."""
        references, roi, tile, overlap = self.setup.fill(references, roi, tile, overlap, pictures)
        memory = self._memory(references, tile, overlap)
        masks = [None if roi is None else arguments.read_roi(roi, picture) for picture in pictures]
        plans = [self.eye.plan(p, tile, overlap, mask) for p, mask in zip(pictures, masks, strict=True)]
        whole, tiles = (memory.whole, memory.tiles) if isinstance(memory, ViewMemories) else (memory, memory)
        seen = self.eye.see_many(pictures, whole, masks)
        tilings = [Tiling(tuple(boxes), tiles) if boxes else None for boxes in plans]
        return [replace(image, tiling=own) for image, own in zip(seen, tilings, strict=True)]

    def replies(self, images: Sequence[SeenImage], queries: Sequence[Query]) -> tuple[list[list[Reply]], list[Memory]]:
        """Return each picture's replies to all queries, and its memory after the first; all were seen in one batch."""
        return self.eye.replies(images, queries)

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
                likeliest = None if types else self.likeliest_type(image)
                result = replace(result, analysis=self._analyse(judged, memory, likeliest))
                timing["analysis"] = 1000 * (time.perf_counter() - wrote_at)
            timing["total"] = sum(timing.values())
            inspections.append(replace(result, timing_ms={key: round(value, 1) for key, value in timing.items()}))
        return inspections

    def _analyse(self, judged: Judged, memory: Memory, likeliest: str | None) -> Analysis | None:
        """Let the decoder describe what was decided; all that follows from the map is given."""
        word = DEFECT_WORD if judged.inspection.verdict is Verdict.DEFECT else NORMAL_WORD
        return self._writer.write(
            memory, word, *decided_lines(judged, self.model.config, likeliest, self.setup.severity)
        )

    def _read_or_fail(
        self, source: ImageSource, roi: NDArray[np.bool_] | None, tile: Tile | None, overlap: float
    ) -> Picture | Inspection:
        """Return the picture, or a failed row: unreadable, another size than the region of interest, too many tiles."""
        name = str(source) if isinstance(source, str | Path) else "<picture>"
        try:
            picture = read_picture(source)
            name = picture.name
            mask = None if roi is None else arguments.read_roi(roi, picture)
            self.eye.plan(picture, tile if larger_than(picture.height, picture.width, tile) else None, overlap, mask)
        except ImageError as error:
            return Inspection.failed(name, str(error))
        return picture
