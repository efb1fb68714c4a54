"""What a person looks at after a run, and what other tools read: pictures, lines, tables, pages, annotations."""

from genau.report.certificate import write_certificate
from genau.report.coco import to_coco
from genau.report.detections import to_supervision
from genau.report.overlay import MASK_LEVEL, colour_bar, draw_overlay, type_colours
from genau.report.run import RunWriter, write_run

__all__ = [
    "MASK_LEVEL",
    "RunWriter",
    "colour_bar",
    "draw_overlay",
    "to_coco",
    "to_supervision",
    "type_colours",
    "write_certificate",
    "write_run",
]
