"""`genau calibrate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli import scoring
from genau.cli.inspectors import (
    Asked,
    Choice,
    ModelOrNone,
    Overlap,
    Product,
    RecipeName,
    References,
    RoiFile,
    TileText,
)
from genau.cli.terminal import EXIT_SOME_FAILED, Device, progress, say
from genau.errors import UsageError

if TYPE_CHECKING:
    from genau.calibration import Method, PixelThreshold, Thresholds

Named = list[Path] | None


def calibrate(
    good: Annotated[list[Path], typer.Option(help="Good parts: a folder, picture or results.jsonl; repeatable.")],
    bad: Annotated[Named, typer.Option(help="Bad parts, in the same forms; repeatable.")] = None,
    model: ModelOrNone = None,
    recipe: RecipeName = None,
    product: Product = None,
    types: Annotated[str | None, typer.Option(help="Candidate defects; bad pictures lie in folders so named.")] = None,
    reference: References = None,
    roi: RoiFile = None,
    tile: TileText = None,
    overlap: Overlap = None,
    method: Annotated[str, typer.Option(help="false-alarms, f1, cost, recall or balanced.")] = "false-alarms",
    target_false_alarms: Annotated[float, typer.Option(help="Share of good parts that may alarm.")] = 0.01,
    confidence: Annotated[float, typer.Option(help="How sure bounds and intervals are.")] = 0.95,
    miss_cost: Annotated[float, typer.Option(help="A missed defect costs so many false alarms.")] = 10.0,
    recall: Annotated[float, typer.Option(help="Share of bad parts to be found.")] = 0.99,
    masks: Annotated[Path | None, typer.Option(help="Masks of bad pictures, to set the mask's threshold.")] = None,
    pixel_from_good: Annotated[bool, typer.Option("--pixel-from-good", help="Set it above good parts' maps.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the thresholds.  [default: thresholds.json]")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="File for a page with scores and what-if table.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files.")] = False,
    allow_test_data: Annotated[
        bool, typer.Option("--allow-test-data", help="Use test data; the file says so.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
) -> None:
    """Set thresholds from pictures of good parts, and of bad ones if there are any; say what to expect of them."""
    from genau.calibration import Method

    how = Method(method, target_false_alarms, confidence, miss_cost, recall)
    choice = Choice(model, recipe)
    output = output or (Path("thresholds.json") if recipe is None else None)
    asked = choice.asked(product, types, reference, roi, tile, overlap)
    _refuse_used([path for path in (output, report) if path], overwrite=overwrite)
    found, wrong = scoring.sources(good, bad or [], [*(reference or []), *choice.reference_files()], say)
    everything = [*found.places().values(), *wrong.places().values()]
    tested = scoring.tell_test_data(everything, allowed=allow_test_data)
    _refuse_maps_of_results(found, wrong, masks, pixel_from_good=pixel_from_good)
    start, pixel = _score(found, wrong, (choice, device), (asked, batch_size), masks, how if pixel_from_good else None)
    names = list(asked.types or choice.setup().types or {}) or list(
        dict.fromkeys(name for row in [*found.rows, *wrong.rows] for name in row.types)
    )
    thresholds = _decide(found, wrong, how, names, pixel, start, _data(found, wrong, choice, product, reference))
    if tested:
        words = f"{thresholds.method}; on {tested} pictures of test data (--allow-test-data)"
        thresholds = replace(thresholds, method=words)
    _tell(thresholds, names)
    _keep(thresholds, recipe, output)
    if report is not None:
        from genau.report.calibration import write_page

        report.parent.mkdir(parents=True, exist_ok=True)
        scores = [[row.score for row in source.rows] for source in (found, wrong)]
        write_page(report, scores[0], scores[1], thresholds, how)
        say(f"Report: {report}")
    if thresholds.expected["unused"]:
        raise typer.Exit(EXIT_SOME_FAILED)


def _keep(thresholds: "Thresholds", recipe: str | None, output: Path | None) -> None:
    """Write the thresholds into the recipe, or into a file, or both."""
    if recipe is not None:
        from genau.recipes import Recipe, find

        replace(Recipe.load(recipe), thresholds=thresholds).save(find(recipe), overwrite=True)
        say(f"Thresholds: now in the recipe. To use them: genau inspect PATH --recipe {recipe}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        thresholds.save(output)
        say(f"Thresholds: {output}. To use them: genau inspect PATH --thresholds {output}")


def _refuse_used(paths: Sequence[Path], *, overwrite: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise UsageError(
                f"{path} is a folder; a file is written. Name one, for example {path / 'thresholds.json'}."
            )
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already. Choose another name, or replace it with --overwrite.")


def _refuse_maps_of_results(
    good: scoring.Source, bad: scoring.Source, masks: Path | None, *, pixel_from_good: bool
) -> None:
    """Refuse options on the mask's threshold that need maps where there are none."""
    if masks is not None and pixel_from_good:
        raise UsageError("--masks and --pixel-from-good both set the mask's threshold. Choose one.")
    if masks is not None and not masks.is_dir():
        raise UsageError(f"--masks {masks} is no folder. Give the folder that holds the masks of the bad pictures.")
    if (masks is not None and not bad.pictures) or (pixel_from_good and not good.pictures):
        option, kind = ("--masks", "bad") if masks is not None else ("--pixel-from-good", "good")
        raise UsageError(f"{option} needs {kind} pictures to inspect; results hold no maps. Give --{kind} a folder.")


def _score(
    good: scoring.Source,
    bad: scoring.Source,
    chosen: tuple[Choice, str],
    asked: tuple[Asked, int],
    masks: Path | None,
    pixel: "Method | None",
) -> "tuple[Thresholds, PixelThreshold | None]":
    """Inspect what is not yet inspected; return the model's own thresholds and a new mask threshold if asked for."""
    from genau.calibration import MaskTally, pixel_from_good

    choice, device = chosen
    if not good.pictures and not bad.pictures:
        return replace(choice.thresholds(), model=""), None  # results of earlier runs do not say whose they are
    inspector = choice.open(device)
    wanted, batch_size = asked
    memory = inspector.remember(wanted.references, wanted.tile, wanted.overlap) if wanted.references else None
    tally = MaskTally()
    with progress(len(good.pictures) + len(bad.pictures), "Inspecting") as step:
        for source in (good, bad):
            results = inspector.inspect_many(
                source.pictures,
                batch_size=batch_size,
                product=wanted.product,
                types=wanted.types,
                references=memory,
                roi=wanted.roi,
                tile=wanted.tile,
                overlap=wanted.overlap,
            )
            if source is bad and masks is not None:
                results = scoring.compared_with_masks(results, masks, tally)
            scoring.score(source, results, step, say)
    own = replace(choice.thresholds(), model=choice.fingerprint())
    if masks is not None:
        return own, tally.threshold()
    return own, None if pixel is None else pixel_from_good(good.maxima, pixel)


def _decide(
    good: scoring.Source,
    bad: scoring.Source,
    how: "Method",
    names: Sequence[str],
    pixel: "PixelThreshold | None",
    start: "Thresholds",
    data: str,
) -> "Thresholds":
    from datetime import datetime

    from genau.calibration import calibrate

    return calibrate(
        [row.score for row in good.rows],
        [row.score for row in bad.rows],
        how,
        types=scoring.type_scores(good.rows, bad.rows, names),
        pixel=pixel,
        start=start,
        data=data,
        date=datetime.now().astimezone().date().isoformat(),
    )


def _data(good: scoring.Source, bad: scoring.Source, choice: Choice, product: str | None, references: Named) -> str:
    """Return in words what the thresholds hold for."""
    parts = [
        f"{len(source.rows)} {kind} ({', '.join(map(str, source.named))})"
        for source, kind in ((good, "good"), (bad, "bad"))
        if source.named
    ]
    parts.append(f"recipe {choice.recipe}" if choice.recipe else f"model {choice.name}")
    if product:
        parts.append(f"product {product!r}")
    if references:
        parts.append(f"references {', '.join(map(str, references))}")
    return "; ".join(parts)


def _tell(thresholds: "Thresholds", names: Sequence[str]) -> None:
    from genau.calibration import summary

    for line in summary(thresholds):
        typer.echo(line)
    for name in names:
        own = f"{thresholds.of_type(name):.3f}"
        typer.echo(f"Type {name}: {own}" if name in thresholds.types else f"Type {name}: {own}, as for all types")
