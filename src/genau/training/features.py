"""Examples as the frozen encoder sees them, kept on disk: each picture is encoded once, however long the training.

Shapes: C_l and (h_l, w_l) a pyramid level, (h, w) the finest, (c, c) the context grid, S scales.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from genau.images import Letterbox
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training.examples import Example, ExampleSource
from genau.training.instructions import Facts, facts_of

log = logging.getLogger(__name__)
ENCODED_PER_LINE = 100  # of the log


@dataclass(frozen=True, eq=False)
class Encoded:
    """One example, ready for the mask head and the decoder."""

    pyramid: tuple[Tensor, ...]  # (C_l, h_l, w_l), half precision
    scalars: Tensor  # (4 S, c, c), see `Context`
    residual: Tensor  # (C, c, c), half precision
    from_references: bool
    content_hw: tuple[int, int]  # canvas pixels
    targets: Mapping[str, Tensor]  # (h, w) bool by type
    facts: Facts
    visit: tuple[int, int] = (0, 0)  # epoch and index: what is asked of it this time follows from these alone


class EncodedExamples(Dataset[Encoded]):
    """Encodes an example at its first use and reads it from `folder` afterwards."""

    def __init__(
        self, source: Sequence[Example] | ExampleSource, model: GenAUModel, processor: GenAUProcessor, folder: Path
    ) -> None:
        self.source, self.model, self.processor, self.folder = source, model, processor, folder
        self.epoch = 0  # set by the trainer
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def path(self, index: int) -> Path:
        """Return where an encoded example lies."""
        return self.folder / f"{index:06d}.safetensors"

    def __getitem__(self, index: int) -> Encoded:
        """Return one encoded example."""
        if not self.path(index).is_file():
            save(encode(self.source[index], self.model, self.processor), self.path(index))
        return replace(read(self.path(index)), visit=(self.epoch, index))

    def fill(self, workers: int = 0) -> None:
        """Encode what is not encoded yet; `workers` processes make the pictures meanwhile."""
        missing = [index for index in range(len(self)) if not self.path(index).is_file()]
        for done, (index, example) in enumerate(zip(missing, _made(self.source, missing, workers), strict=True), 1):
            save(encode(example, self.model, self.processor), self.path(index))
            if done % ENCODED_PER_LINE == 0 or done == len(missing):
                log.info("encoded %d of %d examples", done, len(missing))


def _made(source: Sequence[Example] | ExampleSource, indices: Sequence[int], workers: int) -> Iterator[Example]:
    """Make examples in order, a few ahead in other processes."""
    if not workers:
        yield from (source[index] for index in indices)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting = deque(pool.submit(source.__getitem__, index) for index in indices[: 2 * workers])
        for following in [*indices[2 * workers :], *[None] * len(waiting)]:
            yield waiting.popleft().result()
            if following is not None:
                waiting.append(pool.submit(source.__getitem__, following))


@torch.no_grad()
def encode(example: Example, model: GenAUModel, processor: GenAUProcessor) -> Encoded:
    """Return what the frozen parts of the model see of an example."""
    device = model.mask_head.gain.device
    batch = {key: value.to(device) for key, value in processor.pictures([example.rgb, *example.references]).items()}
    levels = model.backbone.encode(batch["pixel_values"])  # references in the same pass: one picture alone is slow
    pyramid, content_hw = tuple(level[:1] for level in levels), batch["content_hw"][:1]
    memory = None
    if example.references:
        memory = model.remember(model.patches([level[1:] for level in levels], batch["content_hw"][1:]))
    context = model.compare(pyramid, content_hw, [memory])
    finest = model.mask_head.finest_hw(pyramid)
    return Encoded(
        tuple(level[0].half().cpu() for level in pyramid),
        context.scalars[0].cpu(),
        context.residual[0].half().cpu(),
        memory is not None,
        (int(content_hw[0, 0]), int(content_hw[0, 1])),
        {name: target_cells(mask, processor.image_processor.size, finest) for name, mask in example.masks.items()},
        facts_of(example),
    )


def target_cells(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]], size: int, grid_hw: tuple[int, int]) -> Tensor:
    """Return (h, w) bool: cells of the finest grid with any defective pixel of (H, W), so that nothing is too small."""
    canvas = Letterbox.of(mask, size).apply_mask(mask)
    return F.adaptive_max_pool2d(torch.from_numpy(canvas).float()[None], grid_hw)[0] > 0


def save(encoded: Encoded, path: Path) -> None:
    """Write one encoded example; it appears whole or not at all."""
    tensors = {f"level{number}": level for number, level in enumerate(encoded.pyramid)}
    tensors |= {"scalars": encoded.scalars, "residual": encoded.residual}
    tensors |= {f"target:{name}": target for name, target in encoded.targets.items()}
    rest = {"facts": asdict(encoded.facts), "content_hw": encoded.content_hw, "references": encoded.from_references}
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    save_file({key: value.contiguous() for key, value in tensors.items()}, scratch, {"rest": json.dumps(rest)})
    scratch.replace(path)


def read(path: Path) -> Encoded:
    """Read what `save` wrote."""
    with safe_open(path, "pt") as stream:
        rest = json.loads(stream.metadata()["rest"])
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a dict
    levels = sorted(key for key in tensors if key.startswith("level"))
    facts = Facts(**{**rest["facts"], "types": tuple(rest["facts"]["types"])})
    return Encoded(
        tuple(tensors[key] for key in levels),
        tensors["scalars"],
        tensors["residual"],
        rest["references"],
        (rest["content_hw"][0], rest["content_hw"][1]),
        {key.removeprefix("target:"): value for key, value in tensors.items() if key.startswith("target:")},
        facts,
    )
