"""Makes a recipe from pictures of good parts, and makes it anew."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genau import arguments, checkpoints
from genau.arguments import Types
from genau.errors import ImageError
from genau.inspector import Inspector
from genau.paths import find_pictures
from genau.recipes.recipe import Recipe, Reference
from genau.regions import SeverityRules
from genau.views import ViewMemories

FEWEST_TO_JUDGE = 5  # references; of fewer none can be called odd
ODD_SPREADS = 6.0  # median absolute deviations above the median
ODD_RATIO = 1.15  # and at least so many times the median: equal references have no spread


def make(
    inspector: Inspector,
    name: str,
    *,
    references: Sequence[str | Path] = (),
    product: str | None = None,
    types: Types | None = None,
    roi: str | Path | NDArray[np.bool_] | None = None,
    tile: int | Literal["auto"] | None = None,
    overlap: float = 0.25,
    severity: SeverityRules | None = None,
) -> Recipe:
    """Return the recipe of a product; `references` are pictures of good parts, or folders of them.

    The remaining arguments are those of `Inspector.inspect`; `severity` are the plant's own rules.

    Raises:
        UsageError: an argument cannot be meant. ImageError: a reference or the region of interest cannot be used.
    """
    recipe = Recipe(
        name,
        inspector.name,
        checkpoints.fingerprint(inspector.name),
        arguments.check_product(product),
        arguments.check_types(types),
        tile,
        overlap,
        severity or SeverityRules(),
        thresholds=inspector.thresholds,
        roi=None if roi is None else arguments.load_roi(roi),
    )
    return with_references(recipe, inspector, references) if references else recipe


def remake(recipe: Recipe, inspector: Inspector, references: Sequence[str | Path] = ()) -> Recipe:
    """Return the recipe made anew by the present model, from its own references or from others.

    Its thresholds are those of the model again where the model has changed: they do not hold for another.

    Raises:
        ImageError: a reference is no longer there.
    """
    now = checkpoints.fingerprint(inspector.name)
    if now != recipe.fingerprint:
        recipe = replace(recipe, fingerprint=now, thresholds=inspector.thresholds)
    files = list(references) or [one.file for one in recipe.references]
    return with_references(recipe, inspector, files) if files else recipe


def with_references(recipe: Recipe, inspector: Inspector, references: Sequence[str | Path]) -> Recipe:
    """Return the recipe with the memory of these good parts."""
    found: list[Reference] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for path, _ in find_pictures(references):
            picture = arguments.read_reference(path)
            if recipe.roi is not None and recipe.roi.shape != (picture.height, picture.width):
                height, width = recipe.roi.shape
                raise ImageError(
                    f"The region of interest is {width}x{height} pixels, but the reference {path} is {picture.width}x"
                    f"{picture.height}. Draw it on a picture of that size, or take that reference out."
                )
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(Reference(str(path.resolve()), digest, picture.width, picture.height, 0.0))
            yield picture.rgb

    memory = inspector.remember(pictures(), tile=recipe.tile, overlap=recipe.overlap)
    oddness = memory.whole.oddness if isinstance(memory, ViewMemories) else memory.oddness
    odd = odd_ones(oddness)
    judged = [
        replace(one, oddness=round(value, 4), odd=out) for one, value, out in zip(found, oddness, odd, strict=True)
    ]
    return replace(recipe, memory=memory, references=tuple(judged))


def odd_ones(oddness: Sequence[float]) -> list[bool]:
    """Return which of the references stand out, by the median and its absolute deviation; none of very few."""
    if len(oddness) < FEWEST_TO_JUDGE:
        return [False] * len(oddness)
    middle = median(oddness)
    spread = median(abs(value - middle) for value in oddness)
    return [value > max(middle + ODD_SPREADS * spread, ODD_RATIO * middle) for value in oddness]
