"""What a person looks at after a run: overlays, masks, JSON lines, a table and one self-contained page."""

from genau.report.overlay import MASK_LEVEL, colour_bar, draw_overlay, type_colours
from genau.report.run import RunWriter, write_run

__all__ = ["MASK_LEVEL", "RunWriter", "colour_bar", "draw_overlay", "type_colours", "write_run"]
