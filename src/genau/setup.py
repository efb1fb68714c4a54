"""What an `Inspector` is set up with for one product: the arguments that hold where a caller gives none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from genau.arguments import Types, check_product, check_types
from genau.images import Picture
from genau.model.context import ContextMemory
from genau.reading import ImageSource
from genau.regions import SeverityRules
from genau.tiling import OVERLAP, Tile, larger_than
from genau.views import ViewMemories

References: TypeAlias = ContextMemory | ViewMemories | ImageSource | Sequence[ImageSource]
Roi: TypeAlias = str | Path | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Setup:
    """Arguments of `Inspector.see` and `Inspector.ask`, and how severe defects are."""

    product: str | None = None
    types: Types | None = None
    references: References | None = None
    roi: Roi | None = None
    tile: Tile | None = None  # of pictures that are larger than a tile; the others are seen whole
    overlap: float = OVERLAP
    severity: SeverityRules = field(default_factory=SeverityRules)

    def questions(self, product: str | None, types: Types | None) -> tuple[str | None, dict[str, str | None]]:
        """Return the checked product and types, its own in place of None; errors as `arguments.check_types`."""
        return (
            check_product(self.product if product is None else product),
            check_types(self.types if types is None else types),
        )

    def fill(
        self,
        references: References | None,
        roi: Roi | None,
        tile: Tile | None,
        overlap: float | None,
        pictures: Sequence[Picture] = (),
    ) -> tuple[References | None, Roi | None, Tile | None, float]:
        """Return the arguments, its own in place of None; no tile of its own where one of `pictures` is not larger."""
        fits = all(larger_than(one.height, one.width, self.tile) for one in pictures)
        return (
            self.references if references is None else references,
            self.roi if roi is None else roi,
            (self.tile if fits else None) if tile is None else tile,
            self.overlap if overlap is None else overlap,
        )
