"""GenAU: one vision-language model for industrial visual inspection: score, map, typed defects, words."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genau.inspector import Inspector
    from genau.model.configuration import GenAUConfig
    from genau.model.modeling import GenAUModel
    from genau.processor import GenAUProcessor
    from genau.results import Analysis, Defect, Inspection, Verdict

__version__ = "0.1.0"

# Each name is imported at its first use, so that `genau --help` does not load torch.
_HOMES = {
    "Inspector": "genau.inspector",
    "GenAUConfig": "genau.model.configuration",
    "GenAUModel": "genau.model.modeling",
    "GenAUProcessor": "genau.processor",
    "Analysis": "genau.results",
    "Defect": "genau.results",
    "Inspection": "genau.results",
    "Verdict": "genau.results",
}
__all__ = [
    "Analysis",
    "Defect",
    "GenAUConfig",
    "GenAUModel",
    "GenAUProcessor",
    "Inspection",
    "Inspector",
    "Verdict",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'genau' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)
