"""`genau inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import EXIT_GATE, EXIT_SOME_FAILED, Device, Model, Output, closing, progress, say
from genau.cli.tiles import Costs, Overlap, TileSide, read_tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import PurePosixPath

    from genau.report import RunWriter
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
    tile: TileSide = None,
    overlap: Overlap = 0.25,
    output: Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per pass.")] = 8,
    device: Device = "cpu",
    fail_on_defect: Annotated[bool, typer.Option("--fail-on-defect", help="Exit with 4 if any part is bad.")] = False,
) -> None:
    """Inspect pictures: score, verdict, map, typed defects and words for each."""
    from genau.arguments import check_product, check_types, parse_types
    from genau.calibration import check_threshold
    from genau.paths import find_pictures

    side = read_tile(tile, overlap)
    asked = check_types(parse_types(types)) if types is not None else None
    if threshold is not None:
        check_threshold(threshold)
    check_product(product)
    pictures = find_pictures(paths)
    references = [path for path, _ in find_pictures(reference)] if reference else None

    from genau.inspector import Inspector
    from genau.report import RunWriter

    costs = Costs([path for path, _ in pictures], side, overlap, roi)
    inspector = Inspector.from_pretrained(model, device)
    memory = inspector.remember(references, side, overlap) if references else None
    costs.tell(inspector, memory, product, asked)
    results = inspector.inspect_many(
        [path for path, _ in pictures],
        batch_size=batch_size,
        product=product,
        types=asked,
        references=memory,
        roi=roi,
        analysis=analysis,
        threshold=threshold,
        tile=side,
        overlap=overlap,
    )
    # Opened last: an argument that is refused leaves no half run in the folder.
    settings = {"product": product, "types": types, "references": references and len(references), "roi": roi}
    settings["tile"] = side and f"{side}, overlap {overlap:g}"
    shown = {name: str(value) for name, value in settings.items() if value}
    writer = RunWriter(output, model=model, settings=shown, overwrite=overwrite) if output else None
    with closing(writer):
        counts = _write(results, [relative for _, relative in pictures], writer, jsonl)
    _close(counts, output, fail_on_defect)


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


def _close(counts: dict[str, int], output: Path | None, fail_on_defect: bool) -> None:
    """Say what came of the run, and end with its exit code."""
    say(", ".join(f"{number} {name}" for name, number in counts.items() if number))
    if output:
        say(f"Report: {output / 'report.html'}")
    if counts["unreadable"] or (fail_on_defect and counts["defect"]):
        raise typer.Exit(EXIT_SOME_FAILED if counts["unreadable"] else EXIT_GATE)


def _line(result: "Inspection") -> str:
    """Return one line of the table on a terminal."""
    if result.error is not None:
        return f"unreadable   -     {'' if result.image in result.error else f'{result.image}: '}{result.error}"
    found = "; ".join(f"{d.type} {d.location} ({d.area_fraction:.2%})" for d in result.defects[:3])
    more = f"; and {len(result.defects) - 3} more" if len(result.defects) > 3 else ""
    return f"{result.verdict:<10} {result.pred_score:.3f}  {result.image}{'  ' if found else ''}{found}{more}"
