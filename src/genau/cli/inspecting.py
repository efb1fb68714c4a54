"""`genau inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import EXIT_GATE, EXIT_SOME_FAILED, Device, Model, Output, closing, progress, say
from genau.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genau.inspector import Inspector
    from genau.results import Inspection


def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Pictures or folders of pictures.")],
    model: Model = "nano",
    product: Annotated[str | None, typer.Option(help="What the part is, in words.")] = None,
    types: Annotated[str | None, typer.Option(help="Candidate defects: 'scratch, dent=round hollow'.")] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A good part, or a folder of them; repeatable.")] = None,
    roi: Annotated[Path | None, typer.Option(help="Mask of the pictures' size, nonzero where to inspect.")] = None,
    analysis: Annotated[bool, typer.Option(help="Describe each defect in words.")] = True,
    threshold: Annotated[float | None, typer.Option(help="Defect from this score on, in [0, 1].")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="File of `genau calibrate`, for the model's own.")] = None,
    sensitivity: Annotated[float, typer.Option(help="0 never alarms, 50 as calibrated, 100 always.")] = 50,
    output: Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
    fail_on_defect: Annotated[bool, typer.Option("--fail-on-defect", help="Exit with 4 if any part is bad.")] = False,
) -> None:
    """Inspect pictures: score, verdict, map, typed defects and words for each."""
    from genau.arguments import check_product, check_types, parse_types
    from genau.paths import find_pictures

    asked = check_types(parse_types(types)) if types is not None else None
    chosen = _chosen(threshold, thresholds, sensitivity)
    check_product(product)
    pictures = find_pictures(paths)
    references = [path for path, _ in find_pictures(reference)] if reference else None

    from genau.inspector import Inspector
    from genau.report import RunWriter

    results = chosen(Inspector.from_pretrained(model, device)).inspect_many(
        [path for path, _ in pictures],
        batch_size=batch_size,
        product=product,
        types=asked,
        references=references,
        roi=roi,
        analysis=analysis,
        threshold=threshold,
    )
    # Opened last: an argument that is refused leaves no half run in the folder.
    settings = {"product": product, "types": types, "references": references and len(references), "roi": roi}
    shown = _shown(settings, thresholds, sensitivity)
    writer = RunWriter(output, model=model, settings=shown, overwrite=overwrite) if output else None
    with closing(writer):
        counts = {"normal": 0, "defect": 0, "unreadable": 0}
        with progress(len(pictures), "Inspecting") as step:
            for (_, relative), result in zip(pictures, results, strict=True):
                counts[result.verdict] += 1
                if writer:
                    writer.add(result, relative)
                typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if jsonl else _line(result))
                step()
    say(", ".join(f"{number} {name}" for name, number in counts.items() if number))
    if output:
        say(f"Report: {output / 'report.html'}")
    if counts["unreadable"] or (fail_on_defect and counts["defect"]):
        raise typer.Exit(EXIT_SOME_FAILED if counts["unreadable"] else EXIT_GATE)


def _chosen(threshold: float | None, file: Path | None, sensitivity: float) -> "Callable[[Inspector], Inspector]":
    """Return what gives an inspector the thresholds that were asked for; they are checked before a model is loaded."""
    from genau.calibration import AS_CALIBRATED, Thresholds, check_threshold, with_sensitivity

    if threshold is not None:
        check_threshold(threshold)
        if sensitivity != AS_CALIBRATED:
            raise UsageError("--threshold and --sensitivity both move the threshold. Choose one.")
    calibrated = None if file is None else Thresholds.load(file)
    with_sensitivity(calibrated or Thresholds(), sensitivity)

    def set_thresholds(inspector: "Inspector") -> "Inspector":
        inspector.thresholds = with_sensitivity(calibrated or inspector.thresholds, sensitivity)
        return inspector

    return set_thresholds


def _shown(settings: "Mapping[str, object]", file: Path | None, sensitivity: float) -> dict[str, str]:
    """Return the settings that the report names."""
    from genau.calibration import AS_CALIBRATED

    shown = {name: str(value) for name, value in settings.items() if value}
    if file is not None:
        shown["thresholds"] = str(file)
    return shown if sensitivity == AS_CALIBRATED else shown | {"sensitivity": f"{sensitivity:g}"}


def _line(result: "Inspection") -> str:
    """Return one line of the table on a terminal."""
    if result.error is not None:
        return f"unreadable   -     {'' if result.image in result.error else f'{result.image}: '}{result.error}"
    found = "; ".join(f"{d.type} {d.location} ({d.area_fraction:.2%})" for d in result.defects[:3])
    more = f"; and {len(result.defects) - 3} more" if len(result.defects) > 3 else ""
    return f"{result.verdict:<10} {result.pred_score:.3f}  {result.image}{'  ' if found else ''}{found}{more}"
