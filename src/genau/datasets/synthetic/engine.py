"""One call, one scene: a photograph-like picture, its defect-free twin, exact masks, and good parts to compare with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genau.appearance import appearance_of
from genau.datasets.synthetic import boards, bulk, meshes, objects, patterns, prints, slabs, surfaces
from genau.datasets.synthetic.canvas import Canvas
from genau.datasets.synthetic.defects import add_defect, check_type, mean_change
from genau.datasets.synthetic.framing import framed, handled
from genau.datasets.synthetic.logical import FAULTS
from genau.datasets.synthetic.noise import Rng
from genau.datasets.synthetic.nuisance import View, draw_view, photograph, photograph_again
from genau.errors import UsageError, suggest

Picture = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)

FAMILIES: dict[str, Callable[[Rng, Rng, tuple[int, int]], Canvas]] = {
    "stone": surfaces.stone,
    "brushed": surfaces.brushed,
    "paper": surfaces.paper,
    "plastic": surfaces.plastic,
    "turned": surfaces.turned_metal,
    "grained": surfaces.grained,
    "embossed": surfaces.embossed,
    "woven": patterns.woven,
    "knitted": patterns.knitted,
    "perforated": patterns.perforated,
    "bricks": patterns.bricks,
    "wound": patterns.wound,
    "tray": objects.tray,
    "loose": objects.loose,
    "single": objects.single,
    "pins": objects.pin_array,
    "bolt": objects.bolt,
    "label": prints.label,
    "tracks": prints.tracks,
    "wire": meshes.wire_screen,
    "foam": meshes.foam,
    "slab": slabs.slab,
    "timber": slabs.timber,
    "ground": slabs.ground_plate,
    "moulded": bulk.moulded,
    "heap": bulk.heap,
    "board": boards.dense_board,
    "cable": boards.cable_end,
}

_ON_ALL = ("scratch", "stain", "discoloration", "contamination", "smear", "thread")
_HARD = (*_ON_ALL, "crack", "dent", "hole", "chip", "wear", "pit")
_METAL = (*_HARD, "corrosion", "burr")
_SOFT = (*_ON_ALL, "cut", "hole", "wear", "deformation")
APPLICABLE_TYPES: dict[str, tuple[str, ...]] = {
    "stone": (*_HARD, "bubble"),
    "brushed": (*_METAL, "bubble"),
    "paper": (*_ON_ALL, "cut", "hole", "wear", "bubble", "dent", "pit"),
    "plastic": (*_HARD, "bubble", "burr"),
    "turned": _METAL,
    "grained": (*_HARD, "bubble", "deformation"),
    "embossed": (*_SOFT, "bubble", "dent"),
    "woven": _SOFT,
    "knitted": _SOFT,
    "perforated": (*_METAL, "deformation"),
    "bricks": _HARD,
    "wound": (*_ON_ALL, "deformation", "dent", "wear", "cut", "corrosion", "burr"),
    "tray": (*_HARD, "burr", "bubble", "missing part", "misplaced part", "extra part", "wrong part"),
    "loose": (*_HARD, "burr", "bubble", "wrong part"),
    "single": (*_HARD, "burr", "bubble", "deformation", "extra part"),
    "pins": (*_ON_ALL, "deformation", "missing part", "misplaced part", "extra part", "wrong part"),
    "bolt": (*_METAL, "deformation"),
    "label": (*_ON_ALL, "cut", "bubble", "wear", "deformation", "print fault"),
    "tracks": (*_ON_ALL, "hole", "pit", "bubble", "corrosion", "print fault"),
    "wire": ("stain", "discoloration", "contamination", "smear", "thread", "deformation", "cut", "corrosion", "hole"),
    "foam": (*_SOFT, "bubble", "pit"),
    "slab": _HARD,
    "timber": (*_HARD, "bubble", "deformation"),
    "ground": (*_METAL, "bubble"),
    "moulded": (*_HARD, "burr", "bubble", "deformation", "extra part"),
    "heap": (*_HARD, "burr", "bubble", "deformation", "wrong part"),
    "board": (*_ON_ALL, "hole", "pit", "bubble", "corrosion", "print fault"),
    "cable": (*_HARD, "burr", "deformation", "cut", "corrosion"),
}
FRAMED = (
    "stone",
    "brushed",
    "paper",
    "plastic",
    "grained",
    "embossed",
    "woven",
    "knitted",
    "wound",
    "foam",
    "slab",
    "timber",
    "ground",
)  # sheets with a border
SMALLEST_SIDE = 64  # pixels; below this nothing has structure
VISIBLE_LEVELS = 4.0  # mean change in a mask, grey levels of the finished picture
RETRIES = 12
FAULT_WEIGHT = 5  # few families have parts or print: their own faults are drawn more often


@dataclass(frozen=True, eq=False)
class PaintedDefect:
    """One defect that was painted."""

    type: str
    mask: Mask  # (H, W), frame of the picture
    appearance: str  # 'thin dark curved line': measured from what was painted


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """A picture with or without defects, and all that is known of it."""

    image: Picture  # (H, W, 3)
    good: Picture  # (H, W, 3): the same part, light and noise without the defects; equal to image where there is none
    masks: Mapping[str, Mask]  # one (H, W) for each type present, none empty; they may overlap
    product: str  # 'brushed metal plate'
    family: str
    seed: int
    defects: tuple[PaintedDefect, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The defect types present."""
        return tuple(self.masks)

    def reference(self, k: int) -> Picture:
        """Return the k-th (0, 1, …) other good part of the same product, (H, W, 3), in another pose and light."""
        if k < 0:
            raise UsageError(f"reference k={k} is negative. Use 0, 1, 2, …")
        height, width = self.image.shape[:2]
        canvas, view = _good_part(self.seed, self.family, (height, width), k + 1)
        return photograph(canvas.rgb, view)


def make_scene(
    seed: int,
    size_hw: tuple[int, int] = (320, 448),
    family: str | None = None,
    types: Sequence[str] | None = None,
    defective: bool | None = None,
) -> SyntheticScene:
    """Return the scene of a seed: the same seed and arguments give the same bytes everywhere.

    `family` (a key of FAMILIES), `types` (which may be painted) and `defective` are drawn where they are None. Each
    seed is a product of its own. Raises UsageError for unknown names, types that no such product can have, and
    pictures below SMALLEST_SIDE pixels.
    """
    if seed < 0 or min(size_hw) < SMALLEST_SIDE:
        raise UsageError(
            f"seed={seed}, size_hw={size_hw}: the seed must be 0 or more and both sides at least "
            f"{SMALLEST_SIDE} pixels. Choose a larger size, or scale the picture down afterwards."
        )
    rng = np.random.default_rng([seed, 0])
    name = _family_for(rng, family, types)
    allowed = tuple(t for t in APPLICABLE_TYPES[name] if types is None or t in types)
    wants_defect = bool(rng.random() < 0.5)  # drawn in any case, so that asking for it changes nothing else
    canvas, view = _good_part(seed, name, size_hw, 0)
    good = photograph(canvas.rgb, view)
    if not (wants_defect if defective is None else defective):
        return SyntheticScene(good, good, {}, canvas.product, name, seed, ())
    image, defects = _spoil(canvas, view, good, rng, allowed)
    masks: dict[str, Mask] = {}
    for defect in defects:
        masks[defect.type] = masks[defect.type] | defect.mask if defect.type in masks else defect.mask
    return SyntheticScene(image, good, masks, canvas.product, name, seed, defects)


def _family_for(rng: Rng, family: str | None, types: Sequence[str] | None) -> str:
    for name in types or ():
        check_type(name)
    if types is not None and not types:
        raise UsageError("types is empty. Name at least one defect type, or pass None for all.")
    if family is not None and family not in FAMILIES:
        raise UsageError(
            f"Family {family!r} is not one of {', '.join(FAMILIES)}.{suggest(family, FAMILIES)} Use one of these names."
        )
    candidates = [family] if family is not None else list(FAMILIES)
    fitting = [name for name in candidates if types is None or set(types) & set(APPLICABLE_TYPES[name])]
    if not fitting:
        raise UsageError(
            f"A product of family {family!r} cannot have {', '.join(types or ())}. "
            f"Its types are {', '.join(APPLICABLE_TYPES[candidates[0]])}: choose from these, or another family."
        )
    return str(fitting[int(rng.integers(len(fitting)))])


def _good_part(seed: int, family: str, size_hw: tuple[int, int], instance: int) -> tuple[Canvas, View]:
    """Draw the product from the seed alone and this part of it from the instance number as well."""
    part = np.random.default_rng([seed, 2, instance])
    canvas = FAMILIES[family](np.random.default_rng([seed, 1]), part, size_hw)
    if family in FRAMED:
        canvas = framed(canvas, np.random.default_rng([seed, 4]), part)
    canvas = handled(canvas, np.random.default_rng([seed, 5]), part)
    return canvas, draw_view(np.random.default_rng([seed, 3]), part, size_hw)


def _spoil(
    canvas: Canvas, view: View, good: Picture, rng: Rng, allowed: tuple[str, ...]
) -> tuple[Picture, tuple[PaintedDefect, ...]]:
    """Paint one to three defects until something shows in the finished picture; keep those that show."""
    for attempt in range(RETRIES):
        count = int(rng.choice([1, 1, 1, 2, 3]))
        weights = np.array([FAULT_WEIGHT if name in FAULTS else 1 for name in allowed], float)
        chosen = [allowed[int(k)] for k in rng.choice(len(allowed), size=count, p=weights / weights.sum())]
        arranged = [name for name in chosen if name in FAULTS][:1]  # first, and one: a second would move the same part
        chosen = arranged + [name for name in chosen if name not in FAULTS]
        spoiled, painted = canvas, []
        for name in chosen:
            changed, mask, form = add_defect(spoiled, name, rng, 1 + 0.35 * attempt, view.focus_sigma)
            if mask.sum() >= 3:
                spoiled = changed
                painted.append((name, mask, form))
        if not painted:
            continue
        image = photograph_again(spoiled.rgb, canvas.rgb, view, good)
        if all(mean_change(image, good, mask) >= VISIBLE_LEVELS for _, mask, _ in painted):
            facts = (PaintedDefect(n, mask, appearance_of(image, good, mask, form)) for n, mask, form in painted)
            return image, tuple(facts)
    raise RuntimeError(f"No visible defect among {allowed} after {RETRIES} tries on a {canvas.product}.")
