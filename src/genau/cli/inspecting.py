"""`genau inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import EXIT_GATE, EXIT_SOME_FAILED, Device, Model, Output, closing, progress, say

if TYPE_CHECKING:
    from genau.results import Defect, Inspection


def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Pictures or folders of pictures.")],
    model: Model = "nano",
    product: Annotated[str | None, typer.Option(help="What the part is, in words.")] = None,
    types: Annotated[str | None, typer.Option(help="Candidate defects: 'scratch, dent=round hollow'.")] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A good part, or a folder of them; repeatable.")] = None,
    roi: Annotated[Path | None, typer.Option(help="Mask of the pictures' size, nonzero where to inspect.")] = None,
    analysis: Annotated[bool, typer.Option(help="Describe each defect in words.")] = True,
    threshold: Annotated[float | None, typer.Option(help="Defect from this score on, in [0, 1].")] = None,
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

    asked = check_types(parse_types(types)) if types is not None else None
    if threshold is not None:
        check_threshold(threshold)
    check_product(product)
    pictures = find_pictures(paths)
    references = [path for path, _ in find_pictures(reference)] if reference else None

    from genau.inspector import Inspector
    from genau.report import RunWriter

    results = Inspector.from_pretrained(model, device).inspect_many(
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
    shown = {name: str(value) for name, value in settings.items() if value}
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


def _line(result: "Inspection") -> str:
    """Return one line of the table on a terminal."""
    if result.error is not None:
        return f"unreadable   -     {'' if result.image in result.error else f'{result.image}: '}{result.error}"
    found = "; ".join(_found(defect) for defect in result.defects[:3])
    more = f"; and {len(result.defects) - 3} more" if len(result.defects) > 3 else ""
    return f"{result.verdict:<10} {result.pred_score:.3f}  {result.image}{'  ' if found else ''}{found}{more}"


def _found(defect: "Defect") -> str:
    """Return one defect: its relation to good parts where it is known, its type where it has one, place and share."""
    from genau.results import RELATION_WORDS, UNKNOWN_TYPE

    named = defect.type if defect.relation is None or defect.type != UNKNOWN_TYPE else ""
    words = f"{defect.relation}: " if defect.relation else ""
    meaning = f", {RELATION_WORDS[defect.relation]}" if defect.relation else ""
    return f"{words}{named}{' ' if named else ''}{defect.location} ({defect.area_fraction:.2%}{meaning})"
