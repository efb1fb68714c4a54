"""WinCLIP and WinCLIP+ (Jeong et al. 2023): CLIP looks through small windows, and compares them with good parts.

B: pictures; (h, w): grid of patches, N = h * w; L: windows of one scale; D: width that pictures and texts share;
V: width of the vision tower; K: references; Q: questions, "any defect" first, then one per type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from genau.baselines.clip import reply_of, settings_of
from genau.baselines.clip_prompts import Directions
from genau.baselines.clip_tower import ClipTower
from genau.calibration import Thresholds
from genau.detection import Detection, Task, conclude
from genau.errors import UsageError
from genau.images import Picture
from genau.reading import read_picture

SCALES = (2, 3)  # sides of the windows in patches; they move by one patch
TEMPERATURE = 0.07  # of the softmax; the paper names no value, this is that of its public re-implementations
TOKENS_AT_ONCE = 8192  # through the tower; 8192 tokens of ViT-L/14 need about 0.4 GB


@dataclass(frozen=True, eq=False)
class Looks:
    """What CLIP sees in pictures, whole and through windows; all vectors have unit length."""

    image: Tensor  # (B, D)
    windows: tuple[Tensor, ...]  # one (B, L, D) per scale, L = (h - k + 1) * (w - k + 1), rows from the top
    patches: Tensor  # (B, N, V), not projected: the paper's penultimate features


@dataclass(frozen=True, eq=False)
class PreparedWinClip:
    """A task's encoded prompts and references."""

    types: tuple[str, ...]
    directions: Directions
    references: Looks | None  # B = K; None: zero-shot


@dataclass(frozen=True, eq=False)
class WinClip:
    """WinCLIP, and with references WinCLIP+.

    Zero-shot the score is the class token's. Each window's embedding is the class token of a pass over the window's
    patches alone; a cell's score is the harmonic mean over the windows that cover it, the map the harmonic mean over
    the scales and the whole picture. With references, both are averaged with the distance to the most similar
    reference window or patch (the score with the map's largest distance). Type maps and scores, which are ours, stay
    those of the words: a reference shows that a part differs, not in what.

    Cost: all windows are 13 times the tokens of one plain pass for ViT-L/14 at 336 px (24 x 24 patches), 12 times for
    ViT-B/16 at 224 px. The published numbers use LAION-400M's ViT-B/16+ at 240 px, which transformers does not have:
    runs on OpenAI's CLIPs differ from them.
    """

    tower: ClipTower
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        """Refuse grids that are smaller than a window."""
        if min(self.tower.grid_hw) < max(SCALES):
            raise UsageError(
                f"A picture of {self.tower.image_size} px has {self.tower.grid_hw[0]} x {self.tower.grid_hw[1]} "
                f"patches; the largest window needs {max(SCALES)} x {max(SCALES)}. "
                f"Use image_size={max(SCALES) * self.tower.patch_size} or more."
            )

    @classmethod
    def from_pretrained(cls, base: str | Path, device: str = "cpu", image_size: int | None = None) -> "WinClip":
        """Load a CLIP by its folder or hub id; `image_size` and errors as for `ClipTower`."""
        return cls(ClipTower.from_pretrained(base, device, image_size))

    @property
    def name(self) -> str:
        """The row's name in the tables; with references it is WinCLIP+."""
        return "winclip"

    @property
    def trained_products(self) -> Sequence[str]:
        """None: CLIP was taught no product."""
        return ()

    @property
    def trained_data(self) -> Sequence[str]:
        """None that is known by name."""
        return ()

    @property
    def settings(self) -> Mapping[str, str]:
        """What decides the scores."""
        windows = ", ".join(f"{side} x {side}" for side in SCALES)
        return settings_of(self.tower, self.thresholds) | {"windows": windows, "temperature": f"{TEMPERATURE:g}"}

    @torch.no_grad()
    def prepare(self, task: Task) -> PreparedWinClip:
        """Encode prompts and references, one picture at a time.

        Raises:
            UsageError: words are longer than CLIP reads. ImageError: a reference cannot be read.
        """
        directions = Directions.of(self.tower, task, "ensemble")
        looks = [self.look([read_picture(path)]) for path in task.references]
        references = None
        if looks:
            by_scale = zip(*(look.windows for look in looks), strict=True)
            references = Looks(
                torch.cat([look.image for look in looks]),
                tuple(torch.cat(windows) for windows in by_scale),
                torch.cat([look.patches for look in looks]),
            )
        return PreparedWinClip(tuple(task.types), directions, references)

    @torch.no_grad()
    def detect(self, pictures: Sequence[Picture], prepared: PreparedWinClip) -> list[Detection]:
        """Inspect a batch."""
        looks = self.look(pictures)
        scores, maps = self._ask(looks, prepared.directions)
        map_scores = [float("nan")] * len(pictures)  # zero-shot the map has no part in the score
        if prepared.references:
            distance = self._compare(looks, prepared.references)  # (B, h, w)
            largest = distance.flatten(1).amax(1)
            scores[:, 0] = (scores[:, 0] + largest) / 2
            maps[:, 0] = (maps[:, 0] + distance) / 2
            map_scores = largest.tolist()
        detections = []
        for picture, row, drawings, map_score in zip(pictures, scores, maps, map_scores, strict=True):
            general = reply_of(row[0], drawings[0], picture, map_score)
            types = {
                name: reply_of(score, cells, picture)
                for name, score, cells in zip(prepared.types, row[1:], drawings[1:], strict=True)
            }
            detections.append(conclude(picture, general, types, self.thresholds))
        return detections

    def look(self, pictures: Sequence[Picture]) -> Looks:
        """See a batch whole and through all windows."""
        tower = self.tower
        tokens = tower.embed_pixels(tower.pixels(pictures))  # (B, 1 + N, V)
        states = tower.encode_tokens(tokens)
        patches = tower.model.vision_model.post_layernorm(states[:, 1:])
        windows = tuple(see_windows(tower, tokens, window_cells(tower.grid_hw, side)) for side in SCALES)
        return Looks(tower.project(states[:, 0]), windows, functional.normalize(patches, dim=-1))

    def _ask(self, looks: Looks, directions: Directions) -> tuple[Tensor, Tensor]:
        """Return scores (B, Q) and maps (B, Q, h, w) of the words."""
        scores = directions.scores(looks.image, 1 / TEMPERATURE)
        grid_hw = self.tower.grid_hw
        layers = [scores[..., None, None].expand(*scores.shape, *grid_hw)]
        for side, windows in zip(SCALES, looks.windows, strict=True):
            by_window = directions.scores(windows, 1 / TEMPERATURE).movedim(-1, 1)  # (B, Q, L)
            layers.append(harmonic_cells(by_window, grid_hw, side))
        stacked = torch.stack(layers)
        return scores, len(layers) / stacked.reciprocal().sum(0)

    def _compare(self, looks: Looks, references: Looks) -> Tensor:
        """Return (B, h, w) in [0, 1]: the distance to the references, averaged over the scales and the patches."""
        grid_hw = self.tower.grid_hw
        layers = [distance_to(looks.patches, references.patches).unflatten(1, grid_hw)]
        for side, windows, remembered in zip(SCALES, looks.windows, references.windows, strict=True):
            by_window = distance_to(windows, remembered)[:, None]  # (B, 1, L)
            layers.append(harmonic_cells(by_window, grid_hw, side)[:, 0])
        return torch.stack(layers).mean(0)


def window_cells(grid_hw: tuple[int, int], side: int) -> Tensor:
    """Return (L, side * side): the cells, counted row by row, of each window of a grid."""
    cells = torch.arange(grid_hw[0] * grid_hw[1]).view(*grid_hw)
    return cells.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def see_windows(tower: ClipTower, tokens: Tensor, cells: Tensor) -> Tensor:
    """Return (B, L, D) unit length: the class token of a pass over each window's patches alone.

    `tokens` (B, 1 + N, V) are those that enter the first block, `cells` (L, n) those of each window. At most
    `TOKENS_AT_ONCE` tokens pass at a time, or one window of each picture.
    """
    index = functional.pad(cells + 1, (1, 0)).to(tokens.device)  # (L, 1 + n), the class token first
    chunk = max(1, TOKENS_AT_ONCE // (len(tokens) * index.shape[1]))
    seen = []
    for some in index.split(chunk):
        states = tower.encode_tokens(tokens[:, some].flatten(0, 1))  # (B * some, 1 + n, V)
        seen.append(tower.project(states[:, 0]).unflatten(0, (len(tokens), len(some))))
    return torch.cat(seen, 1)


def harmonic_cells(scores: Tensor, grid_hw: tuple[int, int], side: int) -> Tensor:
    """Return (B, Q, h, w): for each cell the harmonic mean of the scores (B, Q, L) of the windows that cover it.

    One window of score 0 makes it 0.
    """
    spread = scores.reciprocal()[:, :, None].expand(-1, -1, side * side, -1)  # each window speaks for all its cells
    sums = functional.fold(spread.flatten(1, 2), grid_hw, side)  # (B, Q, h, w)
    counts = functional.fold(torch.ones_like(spread[:1, 0]), grid_hw, side)  # (1, 1, h, w)
    return counts / sums


def distance_to(vectors: Tensor, references: Tensor) -> Tensor:
    """Return (B, n) in [0, 1]: half the cosine distance of vectors (B, n, D) to the nearest of references (K, n, D).

    One reference at a time, so that many of them need no memory.
    """
    nearest = torch.full(vectors.shape[:2], -1.0, device=vectors.device)
    for reference in references:
        nearest = torch.maximum(nearest, (vectors @ reference.T).amax(-1))
    return ((1 - nearest) / 2).clamp(0, 1)
