"""`genau certificate`."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from genau.cli.terminal import EXIT_SOME_FAILED, say
from genau.errors import ImageError, UsageError

if TYPE_CHECKING:
    from genau.report.certificate import Issue
    from genau.report.finished import Entry, FinishedRun


def certificate(
    run: Annotated[Path, typer.Argument(help="Folder that `genau inspect … -o` wrote.")],
    image: Annotated[
        str | None, typer.Argument(help="The picture, as the run names it, or the end of its path.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="One certificate for each picture of the run.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file; with --all a folder.")] = ...,  # type: ignore[assignment]
    part_id: Annotated[str | None, typer.Option(help="The part's number.")] = None,
    part_ids: Annotated[
        Path | None, typer.Option(help="CSV with image,part_id; part_ids.csv in the run's folder is found.")
    ] = None,
    inspector: Annotated[str | None, typer.Option(help="Who signs.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Name of the recipe, printed as it is.")] = None,
    date: Annotated[str | None, typer.Option(help="Date of issue, as 2026-07-31T14:05; now, if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace certificates that exist.")] = False,
) -> None:
    """Write a page per part to print and sign; prints each page's SHA-256 digest and path, as sha256sum does."""
    from genau.report.certificate import save_certificate
    from genau.report.finished import FinishedRun
    from genau.report.part_ids import read_part_ids

    if every == (image is not None):
        raise UsageError("Name one picture of the run, or give --all for each of them; not both.")
    if every and part_id is not None:
        raise UsageError("--part-id is one part's number, but --all writes many. Give a table with --part-ids.")
    if not every and output.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"-o {str(output)!r} is no HTML file. Name one, such as certificate.html.")
    if every and not overwrite and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"-o {str(output)!r} is not an empty folder. Choose another one, or replace with --overwrite.")
    issued = _read_date(date)
    finished = FinishedRun(run)
    ids = read_part_ids(part_ids, finished) if part_id is None else {}
    failed = 0
    for entry, path in _targets(finished, image, output):
        name = entry.result.image
        issue = _issue(finished, part_id or ids.get(name), inspector, recipe, issued)
        try:
            page = _page(finished, entry, issue)
        except (ImageError, UsageError) as error:
            if not every:
                raise
            say(f"no certificate: {error}")
            failed += 1
            continue
        save_certificate(page, path, overwrite=overwrite)
        typer.echo(f"{hashlib.sha256(page.encode()).hexdigest()}  {path}")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _targets(run: "FinishedRun", image: str | None, output: Path) -> "Iterable[tuple[Entry, Path]]":
    if image is not None:
        return [(run.find(image), output)]
    return _pages(run, output)


def _pages(run: "FinishedRun", folder: Path) -> "Iterator[tuple[Entry, Path]]":
    """Yield all images; their pages mirror the folders of the overlays, whose names are never given twice."""
    for entry in run:
        overlay = PurePosixPath(entry.overlay or "overlays/unreadable.jpg")
        yield entry, folder / overlay.relative_to("overlays").with_suffix(".html")


def _issue(
    run: "FinishedRun", part_id: str | None, inspector: str | None, recipe: str | None, issued: datetime
) -> "Issue":
    from genau.report.certificate import Issue

    facts = run.facts
    return Issue(
        part_id,
        inspector,
        recipe,
        facts.get("model"),
        facts.get("fingerprint"),
        facts.get("started"),
        issued,
        facts.get("settings") or {},
    )


def _page(run: "FinishedRun", entry: "Entry", issue: "Issue") -> str:
    """Return the page of one image; the digest is of the very bytes that are shown."""
    from genau.reading import read_picture
    from genau.report.certificate import evidence_in, refuse_uninspected, render_certificate

    refuse_uninspected(entry.result)
    name = entry.result.image
    try:
        file = Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise ImageError(
            f"The picture {name!r} of the run cannot be read, and the certificate holds its digest. Put it back, or "
            "run this from the folder in which the run was made."
        ) from error
    return render_certificate(evidence_in(run, entry, file, read_picture(file, name).rgb), issue)


def _read_date(date: str | None) -> datetime:
    if date is None:
        return datetime.now().astimezone()
    try:
        return datetime.fromisoformat(date).astimezone()
    except ValueError as error:
        raise UsageError(f"--date {date!r} is no date. Write it as 2026-07-31 or 2026-07-31T14:05.") from error
