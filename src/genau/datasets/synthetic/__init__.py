"""The synthetic engine: procedural products with nuisance, and defects of named types with exact masks."""

from genau.datasets.synthetic.defects import PAINTABLE_TYPES, paint_defect
from genau.datasets.synthetic.engine import APPLICABLE_TYPES, FAMILIES, PaintedDefect, SyntheticScene, make_scene
from genau.datasets.synthetic.taxonomy import DEFECT_TYPES, TypeInfo

__all__ = [
    "APPLICABLE_TYPES",
    "DEFECT_TYPES",
    "FAMILIES",
    "PAINTABLE_TYPES",
    "PaintedDefect",
    "SyntheticScene",
    "TypeInfo",
    "make_scene",
    "paint_defect",
]
