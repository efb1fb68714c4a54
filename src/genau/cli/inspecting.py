"""`genau inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.inspectors import (
    Choice,
    ModelOrNone,
    Overlap,
    Product,
    RecipeName,
    References,
    RoiFile,
    Sensitivity,
    Threshold,
    ThresholdsFile,
    TileText,
    TypesText,
)
from genau.cli.terminal import EXIT_GATE, EXIT_SOME_FAILED, Device, Output, closing, progress, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import PurePosixPath

    from genau.report import RunWriter
    from genau.results import Defect, Inspection

Formats = Annotated[
    list[str] | None,
    typer.Option("--format", "--formats", help="Write coco, masks or parquet into -o too; repeatable."),
]


def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Pictures or folders of pictures.")],
    model: ModelOrNone = None,
    recipe: RecipeName = None,
    product: Product = None,
    types: TypesText = None,
    reference: References = None,
    roi: RoiFile = None,
    analysis: Annotated[bool, typer.Option(help="Describe each defect in words.")] = True,
    threshold: Threshold = None,
    thresholds: ThresholdsFile = None,
    sensitivity: Sensitivity = None,
    tile: TileText = None,
    overlap: Overlap = None,
    output: Output = None,
    formats: Formats = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
    fail_on_defect: Annotated[bool, typer.Option("--fail-on-defect", help="Exit with 4 if any part is bad.")] = False,
) -> None:
    """Inspect pictures: score, verdict, map, typed defects and words for each."""
    from genau.cli.tiles import Costs
    from genau.paths import find_pictures

    choice = Choice(model, recipe, threshold, thresholds, sensitivity)
    asked = choice.asked(product, types, reference, roi, tile, overlap)
    wanted = _formats(formats, output)
    pictures = find_pictures(paths)
    files = [path for path, _ in pictures]
    costs = Costs(files, asked.tile, asked.overlap, choice.setup().roi if roi is None else roi)
    inspector = choice.open(device)
    memory = inspector.remember(asked.references, asked.tile, asked.overlap) if asked.references else None
    costs.tell(inspector, inspector.setup.references if memory is None else memory, asked.product, asked.types)
    results = inspector.inspect_many(
        files,
        batch_size=batch_size,
        product=asked.product,
        types=asked.types,
        references=memory,
        roi=asked.roi,
        analysis=analysis,
        threshold=threshold,
        tile=asked.tile,
        overlap=asked.overlap,
    )
    # Opened last: an argument that is refused leaves no half run in the folder.
    method = inspector.thresholds.method if threshold is None else "the command line"
    shown = asked.shown() | {"threshold set by": method}
    writer = _open_run(output, choice, shown, overwrite, wanted) if output else None
    with closing(writer):
        counts = _write(results, [relative for _, relative in pictures], writer, jsonl)
    say(", ".join(f"{number} {name}" for name, number in counts.items() if number))
    if output:
        say(f"Report: {output / 'report.html'}")
    if counts["unreadable"] or (fail_on_defect and counts["defect"]):
        raise typer.Exit(EXIT_SOME_FAILED if counts["unreadable"] else EXIT_GATE)


def _write(
    results: "Iterable[Inspection]", names: "Sequence[PurePosixPath]", writer: "RunWriter | None", jsonl: bool
) -> dict[str, int]:
    """Print each result, and write it where there is a writer; return how many there are of each verdict."""
    counts = {"normal": 0, "defect": 0, "unreadable": 0}
    with progress(len(names), "Inspecting") as step:
        for name, result in zip(names, results, strict=True):
            counts[result.verdict] += 1
            if writer:
                writer.add(result, name)
            typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if jsonl else _line(result))
            step()
    return counts


def _formats(names: list[str] | None, output: Path | None) -> list[str]:
    """Return the formats that were asked for; refused before the model is loaded."""
    from genau.errors import UsageError
    from genau.report.formats import check_formats

    wanted = check_formats(names or [])
    if wanted and output is None:
        raise UsageError(f"--format {','.join(wanted)} writes files, but no folder was named. Name one with -o.")
    return wanted


def _open_run(
    folder: Path, choice: Choice, settings: dict[str, str], overwrite: bool, formats: list[str]
) -> "RunWriter":
    from genau.report import RunWriter

    return RunWriter(
        folder,
        model=choice.name,
        settings=choice.shown() | settings,
        overwrite=overwrite,
        formats=formats,
        fingerprint=choice.fingerprint(),
    )


def _line(result: "Inspection") -> str:
    """Return one line of the table on a terminal."""
    from genau.results import MISSED

    if result.error is not None:
        return f"unreadable   -     {'' if result.image in result.error else f'{result.image}: '}{result.error}"
    found = "; ".join(_found(defect) for defect in result.defects[:3])
    more = f"; and {len(result.defects) - 3} more" if len(result.defects) > 3 else ""
    line = f"{result.verdict:<10} {result.pred_score:.3f}  {result.image}{'  ' if found else ''}{found}{more}"
    missed = (result.contradiction or "").partition(MISSED)  # the other contradictions are in the report
    return f"{line}  Look: {missed[1]}{missed[2]}" if missed[1] else line


def _found(defect: "Defect") -> str:
    """Return one defect: its relation to good parts where it is known, its type where it has one, place and share."""
    from genau.results import RELATION_WORDS, UNKNOWN_TYPE

    named = defect.type if defect.relation is None or defect.type != UNKNOWN_TYPE else ""
    words = f"{defect.relation}: " if defect.relation else ""
    meaning = f", {RELATION_WORDS[defect.relation]}" if defect.relation else ""
    return f"{words}{named}{' ' if named else ''}{defect.location} ({defect.area_fraction:.2%}{meaning})"
