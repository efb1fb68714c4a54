"""`genau recipe create|list|show|rebuild|remove`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genau.cli.inspectors import Choice, ModelOrNone, Overlap, Product, References, RoiFile, TileText, TypesText
from genau.cli.terminal import Device, say

if TYPE_CHECKING:
    from genau.recipes import Recipe
    from genau.regions import SeverityRules

app = typer.Typer(
    help="The set-up of a product: references, types, tiles, region of interest, thresholds.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="The recipe's name, or its folder.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it; a folder of this name is made.")],
    reference: References = None,
    model: ModelOrNone = None,
    product: Product = None,
    types: TypesText = None,
    roi: RoiFile = None,
    tile: TileText = None,
    overlap: Overlap = None,
    severity: Annotated[
        str | None, typer.Option(help="Shares of the area, and types: 'moderate=0.005, severe=0.05, crack=severe'.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Make a recipe from pictures of good parts."""
    from genau.recipes import make, recipes_folder
    from genau.recipes.folder import check_free, check_name

    folder = check_free(recipes_folder() / check_name(name))
    choice = Choice(model)
    asked = choice.asked(product, types, reference, roi, tile, overlap)
    rules = parse_severity(severity)
    recipe = make(
        choice.open(device),
        name,
        references=asked.references or (),
        product=asked.product,
        types=asked.types,
        roi=asked.roi,
        tile=asked.tile,
        overlap=asked.overlap,
        severity=rules,
    )
    recipe.save(folder)
    _tell(recipe, folder)


@app.command("list")
def list_recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """Name all recipes."""
    from genau.recipes import Recipe, names, recipes_folder

    recipes = [Recipe.load(recipes_folder() / name, with_memory=False) for name in names()]
    if as_json:
        typer.echo(json.dumps([summary(recipe) for recipe in recipes], ensure_ascii=False))
        return
    for recipe in recipes:
        typer.echo(f"{recipe.name}  {recipe.product or '-'}  {len(recipe.references)} references  {recipe.model}")
    if not recipes:
        say(f"There are no recipes in {str(recipes_folder())!r}. Make one with `genau recipe create`.")


@app.command()
def show(name: Name, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what a recipe holds and what to look at."""
    from genau.recipes import Recipe, find

    recipe = Recipe.load(name, with_memory=False)
    if as_json:
        typer.echo(json.dumps(summary(recipe), ensure_ascii=False))
    else:
        _tell(recipe, find(name))


@app.command()
def rebuild(name: Name, reference: References = None, device: Device = "cpu") -> None:
    """Make a recipe anew: with the present model, from its own references or from others."""
    from genau.inspector import Inspector
    from genau.recipes import Recipe, find, remake

    old = Recipe.load(name, with_memory=False)
    recipe = remake(old, Inspector.from_pretrained(old.model, device), reference or ())
    recipe.save(find(name), overwrite=True)
    if recipe.fingerprint != old.fingerprint:
        say("The model has changed: the thresholds are the model's own again. Calibrate the recipe anew.")
    _tell(recipe, find(name))


@app.command()
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a recipe; the pictures that it was made from stay."""
    from genau import recipes

    folder = recipes.find(name)
    if not yes:
        typer.confirm(f"Delete {folder}?", abort=True, err=True)
    say(f"Removed {recipes.remove(folder)}")


def parse_severity(text: str | None) -> "SeverityRules | None":
    """Read the rules of severity of the command line: "moderate=0.005, severe=0.05, crack=severe".

    Raises:
        UsageError: a part is no rule.
    """
    from dataclasses import replace

    from genau.errors import UsageError
    from genau.regions import SEVERITIES, SeverityRules

    if text is None:
        return None
    rules = SeverityRules()
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            if key == "moderate":
                rules = replace(rules, moderate=float(value))
            elif key == "severe":
                rules = replace(rules, severe=float(value))
            elif key and value in SEVERITIES:
                rules = replace(rules, types={**rules.types, key: value})
            else:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{part.strip()!r} is no rule of severity. Write moderate=SHARE, severe=SHARE (of the area) or "
                f"TYPE={'|'.join(SEVERITIES)}."
            ) from None
    if not 0 < rules.moderate < rules.severe < 1:
        raise UsageError(
            f"moderate={rules.moderate:g} and severe={rules.severe:g} must rise and lie between 0 and 1. Change them."
        )
    return rules


def summary(recipe: "Recipe") -> dict[str, Any]:
    """Return what a program wants to know of a recipe, as plain JSON types."""
    from dataclasses import asdict

    return {
        "name": recipe.name,
        "model": recipe.model,
        "fingerprint": recipe.fingerprint,
        "product": recipe.product,
        "types": dict(recipe.types),
        "tile": recipe.tile,
        "overlap": recipe.overlap,
        "severity": asdict(recipe.severity),
        "sensitivity": recipe.sensitivity,
        "roi": None if recipe.roi is None else [recipe.roi.shape[1], recipe.roi.shape[0]],
        "thresholds": asdict(recipe.thresholds),
        "references": [asdict(one) for one in recipe.references],
        "notes": recipe.notes,
    }


def _tell(recipe: "Recipe", folder: Path) -> None:
    facts: Sequence[tuple[str, object]] = (
        ("product", recipe.product or "-"),
        ("model", f"{recipe.model} ({recipe.fingerprint})"),
        ("references", len(recipe.references)),
        ("types", ", ".join(recipe.types) or "-"),
        ("tiles", recipe.tile or "-"),
        ("region of interest", "-" if recipe.roi is None else f"{recipe.roi.mean():.0%} of the picture"),
        ("threshold", f"{recipe.thresholds.image:g} ({recipe.thresholds.method})"),
        ("sensitivity", f"{recipe.sensitivity:g}"),
    )
    typer.echo(f"{recipe.name}: {folder}")
    for name, value in facts:
        typer.echo(f"  {name:<20}{value}")
    for note in recipe.notes:
        say(f"Look: {note}")
