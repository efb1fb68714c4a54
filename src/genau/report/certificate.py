"""The certificate of one inspected part: one page to print, sign and keep, with digests that show later changes."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genau.errors import ImageError, UsageError
from genau.report.card import analysis_list, badge, contradiction_note, defect_table, number
from genau.report.files import disk_errors, write_bytes
from genau.report.finished import Entry, FinishedRun
from genau.report.overlay import draw_overlay, type_colours
from genau.report.pictures import data_uri, text
from genau.report.run import RESULTS, result_line
from genau.results import Inspection

_PRINTED_PX = 1100  # long side; half the width of A4 at 300 dots per inch
_DEFECT_ROWS = 100
_NOT_STATED = "not stated"


@dataclass(frozen=True)
class Issue:
    """What the issuer states on a certificate; all of it as plain text. Raises `UsageError` for an empty text."""

    part_id: str | None = None
    inspector: str | None = None  # who signs
    recipe: str | None = None
    model: str | None = None
    fingerprint: str | None = None  # of the model's weights and settings
    inspected: str | None = None  # when the run began, ISO 8601
    issued: datetime | None = None  # now, if not given; without a zone it is local time
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse texts that would print as an empty line."""
        for name in ("part_id", "inspector", "recipe"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise UsageError(f"{name} is empty. Give a text to print on the certificate, or leave it out.")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a certificate is about: a result, its pictures, and the bytes that its digests are of."""

    result: Inspection
    picture: NDArray[np.uint8]  # (H, W, 3), upright
    overlay: Image.Image
    picture_sha256: str
    picture_source: str  # what that digest is of
    record: bytes  # the result's JSON
    record_source: str
    note: str = ""


def evidence_of(result: Inspection) -> Evidence:
    """Return the evidence of a result in memory.

    The picture's digest is that of the file that `image` names, else of the pixels. Raises `UsageError` for a picture
    that was not inspected, or a result without a picture.
    """
    refuse_uninspected(result)
    overlay = draw_overlay(result)
    file = Path(result.image)
    try:
        content, source = file.read_bytes(), "the picture file"
    except (OSError, ValueError):  # an array, bytes, or a file that is gone
        content, source = np.ascontiguousarray(result.picture).tobytes(), "the pixels, RGB, row by row; no file"
    record = result_line(result.to_dict()).encode(errors="backslashreplace")
    sha256 = hashlib.sha256(content).hexdigest()
    return Evidence(result, result.picture, overlay, sha256, source, record, "the result's JSON, as in results.jsonl")


def evidence_in(run: FinishedRun, entry: Entry, file: bytes, picture: NDArray[np.uint8]) -> Evidence:
    """Return the evidence of an image of a run; `file` is its picture file, `picture` (H, W, 3) what it shows.

    Raises `UsageError` for an image that was not inspected, `ImageError` if picture or overlay are no longer those of
    the run.
    """
    result = entry.result
    refuse_uninspected(result)
    if picture.shape[:2] != (result.height, result.width):
        raise ImageError(
            f"{result.image!r} is {picture.shape[0]} x {picture.shape[1]} pixels (H x W) now, but was "
            f"{result.height} x {result.width} when it was inspected. Put that picture back, or inspect again."
        )
    path = run.folder / (entry.overlay or "overlays")
    try:
        with Image.open(path) as image:
            overlay = image.convert("RGB")
    except OSError as error:
        raise ImageError(
            f"The overlay of {result.image!r} cannot be read from {str(path)!r}: it was deleted or changed after the "
            "run. Put it back, or run the inspection again with --overwrite."
        ) from error
    note = ""
    picture_file = Path(result.image)
    if picture_file.is_file() and picture_file.stat().st_mtime > (run.folder / RESULTS).stat().st_mtime:
        note = "The picture file is newer than the run: it was copied or changed since. Compare it with the overlay."
    sha256 = hashlib.sha256(file).hexdigest()
    source = f"line {entry.number} of {RESULTS}, without its end"
    return Evidence(result, picture, overlay, sha256, "the picture file", entry.line, source, note)


def render_certificate(evidence: Evidence, issue: Issue) -> str:
    """Return the page: one HTML file, complete in itself, for A4. All foreign text is escaped."""
    result = evidence.result
    issued = (issue.issued or datetime.now()).astimezone()
    shape = "tall" if result.height > 1.6 * result.width else "wide" if result.width > 2.2 * result.height else ""
    notes = [f'<p class="note">{text(evidence.note)}</p>'] if evidence.note else []
    folder = files("genau.report")
    return Template((folder / "certificate.html").read_text(encoding="utf-8")).substitute(
        style=(folder / "certificate.css").read_text(encoding="utf-8"),
        title=text(f"Inspection certificate: {issue.part_id or Path(result.image).name}"),
        part=text(issue.part_id or _NOT_STATED),
        badge=badge(result.verdict),
        scores=_scores(result),
        facts=_rows(_facts(result, issue, issued)),
        picture=data_uri(Image.fromarray(evidence.picture), _PRINTED_PX),
        overlay=data_uri(evidence.overlay, _PRINTED_PX),
        shape=shape,
        notes="".join([contradiction_note(result), *notes]),
        defects=defect_table(result, type_colours(result), _DEFECT_ROWS),
        analysis=analysis_list(result),
        inspector=text(issue.inspector or ""),
        issued=f"{issued:%d %B %Y, %H:%M %Z}",
        digests=_rows(
            {
                f"Picture: {evidence.picture_source}": evidence.picture_sha256,
                f"Result: {evidence.record_source}": hashlib.sha256(evidence.record).hexdigest(),
            }
        ),
    )


def write_certificate(
    result: Inspection,
    path: str | Path,
    *,
    part_id: str | None = None,
    inspector: str | None = None,
    recipe: str | None = None,
    model: str | None = None,
    fingerprint: str | None = None,
    issued: datetime | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the certificate of a result as one HTML page and return its path.

    `inspector` is who signs; a certificate that exists is kept unless `overwrite`. Raises `UsageError`: an empty text,
    a part that was not inspected, a result without a picture, a path that is taken or cannot be written.
    """
    issue = Issue(part_id, inspector, recipe, model, fingerprint, None, issued)
    return save_certificate(render_certificate(evidence_of(result), issue), path, overwrite=overwrite)


def save_certificate(page: str, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a page, whole or not at all; raises `UsageError` if the path is taken or cannot be written."""
    file = Path(path)
    if file.exists() and not overwrite:
        raise UsageError(
            f"{str(path)!r} exists already, and a certificate is not replaced by accident. Choose another path, or "
            "replace it with --overwrite (in Python: overwrite=True)."
        )
    with disk_errors(file.parent):
        write_bytes(file, page.encode())
    return file


def refuse_uninspected(result: Inspection) -> None:
    """Raise `UsageError` for a result that says nothing about the part."""
    if result.error is not None:
        raise UsageError(
            f"{result.image!r} could not be inspected ({result.error}), so there is nothing to certify. "
            "Inspect a picture that can be read."
        )


def _scores(result: Inspection) -> str:
    sign = "≥" if result.pred_score >= result.threshold else "&lt;"
    if not (math.isfinite(result.pred_score) and math.isfinite(result.threshold)):
        sign = "?"
    return f"Score <b>{number(result.pred_score)}</b> {sign} threshold <b>{number(result.threshold)}</b>"


def _facts(result: Inspection, issue: Issue, issued: datetime) -> dict[str, str]:
    share = 100 * sum(defect.area_fraction for defect in result.defects)
    asked = ", ".join(f"{name} {number(score)}" for name, score in result.types.items())
    settings = {name: value for name, value in issue.settings.items() if name != "types" or not asked}
    return {
        "Picture": f"{result.image} ({result.width} × {result.height} px)",
        "Model": issue.model or _NOT_STATED,
        "Model fingerprint": issue.fingerprint or _NOT_STATED,
        "Recipe": issue.recipe or "none",
        **{name.capitalize(): value for name, value in settings.items()},
        "Inspected": _local(issue.inspected) if issue.inspected else _NOT_STATED,
        "Issued": f"{issued:%d %B %Y, %H:%M:%S %Z}",
        "Calibrated score": f"{number(result.calibrated_score)} (defect from 0.5 on)",
        "Raw scores": f"map {number(result.map_score)}, text {number(result.text_score)}",
        "Defect area": f"{sum(defect.area_px for defect in result.defects):,} px, {share:.2f} % of the picture",
        **({"Types asked for": asked} if asked else {}),
    }


def _local(moment: str) -> str:
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%d %B %Y, %H:%M:%S %Z}"
    except ValueError:
        return moment


def _rows(facts: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items())
