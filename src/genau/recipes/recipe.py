"""A recipe: the set-up of one product, in a folder of its own, with what it was made from and by which model.

recipe.yaml             what a person may read and change: product, types, tiles, severity, where the references lie
thresholds.json         where decisions fall, with their provenance
references.safetensors  the memory of the good parts
roi.png                 the region of interest, if there is one
A recipe is written beside its place and moved there whole: a full disk or a killed process leaves the old one.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.calibration import THRESHOLDS_FILE, Thresholds, with_sensitivity
from genau.errors import RecipeError
from genau.memories import MEMORY_VERSION, Memories, load_memories, save_memories
from genau.reading import read_mask
from genau.recipes.folder import MEMORY, ROI, check_free, find, replacing
from genau.recipes.settings import Settings, read_settings, write_settings
from genau.regions import SeverityRules
from genau.setup import Setup


@dataclass(frozen=True)
class Reference:
    """One picture of a good part that a recipe was made from."""

    file: str  # as it was found, absolute
    sha256: str
    width: int  # pixels
    height: int
    oddness: float  # mean distance of its most unusual patches to the other references
    odd: bool = False  # whether it stands out among them: perhaps it shows a defect, or another product


@dataclass(frozen=True, eq=False)
class Recipe:
    """The set-up of one product."""

    name: str
    model: str = "nano"
    fingerprint: str = ""  # of the model that made the memory
    product: str | None = None
    types: Mapping[str, str | None] = field(default_factory=dict)
    tile: int | Literal["auto"] | None = None  # pixels of the original picture
    overlap: float = 0.25
    severity: SeverityRules = field(default_factory=SeverityRules)
    sensitivity: float = 50.0
    references: tuple[Reference, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    roi: NDArray[np.bool_] | None = None  # (H, W), of the pictures' size
    memory: Memories | None = None

    @property
    def setup(self) -> Setup:
        """What it says to an inspector."""
        return Setup(self.product, self.types, self.memory, self.roi, self.tile, self.overlap, self.severity)

    @property
    def thresholds_in_force(self) -> Thresholds:
        """The calibrated thresholds, moved by the operator's sensitivity."""
        return with_sensitivity(self.thresholds, self.sensitivity)

    @property
    def notes(self) -> list[str]:
        """What a person should look at before the recipe is used."""
        notes = []
        sizes = Counter((one.width, one.height) for one in self.references)
        if len(sizes) > 1:
            found = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common())
            notes.append(f"The references differ in size ({found} pixels): the same part then looks larger or smaller.")
        for one in sorted((one for one in self.references if one.odd), key=lambda one: -one.oddness):
            notes.append(
                f"{one.file} is unlike the other references ({one.oddness:.3f}, usual {self._usual:.3f}): does it show "
                "a defect or another product? Take it out and rebuild the recipe, if so."
            )
        if not self.thresholds.expected:  # those of the model, made on other parts
            notes.append(
                f"The threshold is not calibrated. Use `genau calibrate --recipe {self.name} --good GOOD_PARTS`."
            )
        return notes

    @property
    def _usual(self) -> float:
        return median(one.oddness for one in self.references)

    def save(self, folder: Path, *, overwrite: bool = False) -> Path:
        """Write the recipe as `folder`, whole or not at all, and return it.

        Raises:
            UsageError: there is one and `overwrite` is False, or another process is writing it. RecipeError: the disk
            refuses; what was there before is untouched.
        """
        if not overwrite:
            check_free(folder)
        with replacing(folder) as scratch:
            values = {key: getattr(self, key) for key in Settings.model_fields if key != "memory_version"}
            values["roi"] = self.roi is not None
            values |= {"references": [asdict(one) for one in self.references], "severity": asdict(self.severity)}
            write_settings(Settings.model_validate(values), scratch)
            self.thresholds.save(scratch / THRESHOLDS_FILE)
            if self.roi is not None:
                Image.fromarray(self.roi.astype(np.uint8) * 255).save(scratch / ROI)
            if self.memory is not None:
                save_memories(self.memory, scratch / MEMORY)
        return folder

    @classmethod
    def load(cls, name: str | Path, *, with_memory: bool = True, device: str = "cpu") -> "Recipe":
        """Read a recipe by its name or folder; one of another version only without its memory, to rebuild it.

        Raises:
            UsageError: there is none. RecipeError: a file of it is missing or damaged.
        """
        folder = find(name)
        settings = read_settings(folder)
        memory = None
        if settings.references and with_memory:
            if settings.memory_version != MEMORY_VERSION:
                raise RecipeError(
                    f"The recipe {folder.name!r} was written by another version of GenAU (memory "
                    f"{settings.memory_version}, here {MEMORY_VERSION}). {_rebuild(folder)}"
                )
            if not (folder / MEMORY).is_file():
                raise RecipeError(f"{folder / MEMORY} is missing. {_rebuild(folder)}")
            memory = load_memories(folder / MEMORY, device)
        for file in (THRESHOLDS_FILE, *([ROI] if settings.roi else [])):  # without it other decisions would be made
            if not (folder / file).is_file():
                raise RecipeError(f"{folder / file} is missing. Put it back, or make the recipe again.")
        values = {key: getattr(settings, key) for key in Settings.model_fields if key not in {"memory_version", "roi"}}
        values["references"] = tuple(Reference(**one.model_dump()) for one in settings.references)
        values["severity"] = SeverityRules(**settings.severity.model_dump())
        return cls(
            **values,
            thresholds=Thresholds.load(folder / THRESHOLDS_FILE),
            roi=read_mask(folder / ROI) != 0 if settings.roi else None,
            memory=memory,
        )

    def check_model(self, fingerprint: str) -> None:
        """Refuse a model that did not make this recipe.

        Raises:
            RecipeError: it is another one, or another version of it.
        """
        if fingerprint != self.fingerprint:
            raise RecipeError(
                f"The recipe {self.name!r} was made with another version of {self.model} (fingerprint "
                f"{self.fingerprint}, here {fingerprint}): its references and thresholds do not hold. Make it anew "
                f"with `genau recipe rebuild {self.name}` and calibrate it again."
            )


def _rebuild(folder: Path) -> str:
    return f"Make it anew with `genau recipe rebuild {folder.name}`."
