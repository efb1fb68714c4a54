"""What recipe.yaml holds: what a person may read and change, checked before it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genau import arguments
from genau.errors import RecipeError, UsageError
from genau.memories import MEMORY_VERSION
from genau.recipes.folder import RECIPE

HEADER = "# A recipe of GenAU. After a change of references, tile or model: genau recipe rebuild NAME\n"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReferenceSettings(_Strict):
    """One reference in recipe.yaml."""

    file: str
    sha256: str
    width: int
    height: int
    oddness: float
    odd: bool = False


class SeveritySettings(_Strict):
    """The rules of severity in recipe.yaml."""

    moderate: float = Field(gt=0, lt=1)
    severe: float = Field(gt=0, lt=1)
    types: dict[str, Literal["minor", "moderate", "severe"]] = {}


class Settings(_Strict):
    """What recipe.yaml holds."""

    name: str
    model: str
    fingerprint: str
    memory_version: int = MEMORY_VERSION
    product: str | None = None
    types: dict[str, str | None] = {}
    tile: int | Literal["auto"] | None = None
    overlap: float = Field(0.25, ge=0, lt=1)
    roi: bool = False  # whether there is a roi.png
    severity: SeveritySettings
    sensitivity: float = Field(50, ge=0, le=100)
    references: list[ReferenceSettings] = []


def write_settings(settings: Settings, folder: Path) -> None:
    """Write recipe.yaml into a recipe's folder."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    (folder / RECIPE).write_text(HEADER + text, encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    """Read recipe.yaml of a recipe's folder.

    Raises:
        RecipeError: it cannot be read, or holds what no recipe has.
    """
    file = folder / RECIPE
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings = Settings.model_validate(values)
        arguments.check_types(settings.types)
        arguments.check_product(settings.product)
    except (OSError, ValueError, yaml.YAMLError, UsageError) as error:
        said = "; ".join(_in_words(error)) if isinstance(error, ValidationError) else str(error)
        raise RecipeError(f"{file} cannot be used: {said.rstrip('.')}. Correct it, or remove the recipe.") from error
    return settings


def _in_words(error: ValidationError) -> Sequence[str]:
    return [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].lower()}" for one in error.errors()]
