"""Which model or recipe a verb asks, and where its decisions fall; checked before a model is loaded."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import say
from genau.errors import UsageError

if TYPE_CHECKING:
    from genau.calibration import Thresholds
    from genau.inspector import Inspector
    from genau.recipes import Recipe
    from genau.setup import Setup
    from genau.tiling import Tile

DEFAULT_MODEL = "nano"

ModelOrNone = Annotated[
    str | None, typer.Option(help="A shipped model, or a folder that `genau train` wrote.  [default: nano]")
]
RecipeName = Annotated[
    str | None, typer.Option(help="A product's set-up, see `genau recipe`; what is given replaces it.")
]
Threshold = Annotated[float | None, typer.Option(help="Defect from this score on, in [0, 1].")]
ThresholdsFile = Annotated[Path | None, typer.Option(help="File of `genau calibrate`, for the model's own.")]
Sensitivity = Annotated[float | None, typer.Option(help="0 never alarms, 50 as calibrated, 100 always.")]
Product = Annotated[str | None, typer.Option(help="What the part is, in words.")]
TypesText = Annotated[str | None, typer.Option(help="Candidate defects: 'scratch, dent=round hollow'.")]
References = Annotated[
    list[Path] | None, typer.Option("--reference", help="A good part, or a folder of them; repeatable.")
]
RoiFile = Annotated[Path | None, typer.Option(help="Mask of the pictures' size, nonzero where to inspect.")]
TileText = Annotated[str | None, typer.Option(help="See large pictures in tiles too: their side in pixels, or auto.")]
Overlap = Annotated[
    float | None, typer.Option(help="Share of a tile's side that its neighbour sees too.  [default: 0.25]")
]


@dataclass(frozen=True)
class Asked:
    """What is asked about every picture of a run."""

    product: str | None
    types: dict[str, str | None] | None
    references: list[Path] | None
    roi: Path | None
    tile: "Tile | None"
    overlap: float

    def shown(self) -> dict[str, str]:
        """Return what a report names of it."""
        types = ", ".join(f"{name}={text}" if text else name for name, text in (self.types or {}).items())
        settings: dict[str, object] = {
            "product": self.product,
            "types": types,
            "references": self.references and len(self.references),
            "roi": self.roi,
            "tile": self.tile and f"{self.tile}, overlap {self.overlap:g}",
        }
        return {name: str(value) for name, value in settings.items() if value}


@dataclass(frozen=True)
class Choice:
    """What was asked for on the command line."""

    model: str | None = None
    recipe: str | None = None
    threshold: float | None = None
    file: Path | None = None
    sensitivity: float | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: a model beside a recipe, two thresholds, a value out of range.
        """
        from genau.calibration import Thresholds, check_threshold, with_sensitivity

        if self.model is not None and self.recipe is not None:
            raise UsageError(
                "--recipe already says which model; leave --model out. For another one make a recipe with it."
            )
        if self.threshold is not None:
            check_threshold(self.threshold)
            if self.sensitivity is not None:
                raise UsageError("--threshold and --sensitivity both move the threshold. Choose one.")
        if self.sensitivity is not None:
            with_sensitivity(Thresholds(), self.sensitivity)
        if self.file is not None:
            self._in_file()

    @property
    def name(self) -> str:
        """The model's name; the recipe says which, if there is one."""
        return self.model or (self._recipe.model if self._recipe else DEFAULT_MODEL)

    @cached_property
    def _recipe(self) -> "Recipe | None":
        """The recipe without its memory; errors as `Recipe.load`."""
        from genau.recipes import Recipe

        return None if self.recipe is None else Recipe.load(self.recipe, with_memory=False)

    def setup(self) -> "Setup":
        """Return what the recipe says, without its memory; nothing without a recipe. Errors as `Recipe.load`."""
        from genau.setup import Setup

        return self._recipe.setup if self._recipe else Setup()

    def open(self, device: str) -> "Inspector":
        """Load what was chosen; errors as `Inspector.from_pretrained` and `Inspector.from_recipe`."""
        from genau.calibration import with_sensitivity
        from genau.inspector import Inspector

        inspector = (
            Inspector.from_pretrained(self.model or DEFAULT_MODEL, device)
            if self.recipe is None
            else Inspector.from_recipe(self.recipe, device)
        )
        if self.file is not None:
            inspector.thresholds = self._in_file()
            self._tell_of_another_model(inspector.thresholds)
        if self.sensitivity is not None:
            inspector.thresholds = with_sensitivity(
                self._in_file() if self.file else self.thresholds(), self.sensitivity
            )
        return inspector

    def asked(
        self,
        product: str | None = None,
        types: str | None = None,
        reference: list[Path] | None = None,
        roi: Path | None = None,
        tile: str | None = None,
        overlap: float | None = None,
    ) -> Asked:
        """Check what was asked for on the command line; tiles are the recipe's where none are named.

        Raises:
            UsageError: something cannot be meant.
        """
        from genau.arguments import check_product, check_types, parse_types
        from genau.paths import find_pictures
        from genau.tiling import check, parse

        setup = self.setup()
        side = parse(tile) if tile is not None else setup.tile
        share = setup.overlap if overlap is None else overlap
        check(side, share)
        named = check_types(parse_types(types)) if types is not None else None
        references = [path for path, _ in find_pictures(reference)] if reference else None
        return Asked(check_product(product), named, references, roi, side, share)

    def thresholds(self) -> "Thresholds":
        """Return the recipe's or the model's own thresholds, read without loading the model."""
        from genau import checkpoints
        from genau.calibration import THRESHOLDS_FILE, Thresholds

        if self._recipe:
            return self._recipe.thresholds
        file = checkpoints.resolve(self.model or DEFAULT_MODEL) / THRESHOLDS_FILE
        return Thresholds.load(file) if file.is_file() else Thresholds()

    def fingerprint(self) -> str:
        """Return the fingerprint of the model."""
        from genau import checkpoints

        return self._recipe.fingerprint if self._recipe else checkpoints.fingerprint(self.name)

    def reference_files(self) -> list[Path]:
        """Return the pictures that the recipe was made from, as far as they are still there."""
        files = (Path(one.file) for one in (self._recipe.references if self._recipe else ()))
        return [file for file in files if file.is_file()]

    def shown(self) -> dict[str, str]:
        """Return what a report names of it."""
        from genau.calibration import AS_CALIBRATED

        shown = {"recipe": self.recipe, "thresholds": self.file and str(self.file)}
        if self.sensitivity not in (None, AS_CALIBRATED):
            shown["sensitivity"] = f"{self.sensitivity:g}"
        return {key: value for key, value in shown.items() if value}

    def _tell_of_another_model(self, thresholds: "Thresholds") -> None:
        """Say where thresholds were set on the scores of another model: they mean nothing for this one's."""
        if thresholds.model and thresholds.model != self.fingerprint():
            say(
                f"Warning: the thresholds in {self.file} were set on scores of another model ({thresholds.model}), not "
                f"of {self.name} ({self.fingerprint()}). Run `genau calibrate` again with --model {self.name}."
            )

    def _in_file(self) -> "Thresholds":
        from genau.calibration import Thresholds

        if self.file is None or not self.file.is_file():
            raise UsageError(f"There is no file {str(self.file)!r}. Make one with `genau calibrate -o`.")
        return Thresholds.load(self.file)
