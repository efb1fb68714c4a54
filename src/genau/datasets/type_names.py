"""The defect types that the multi-type protocol of MultiADS counts as one, by data set.

Source: Sadikaj et al. 2025, "MultiADS", and the labels in its public code (boschresearch/MultiADS, dataset.py). Two of
its slips are settled here: `manipulated_front` is bent, as the labels say (its prompts put it under fabric); MAD-Sim's
Burrs and Missing go by their names, so that their swapped numbers do not matter.
"""

from collections.abc import Mapping

from genau.errors import UsageError, suggest

_MVTEC: dict[str, tuple[str, ...]] = {
    "bent": ("bent lead", "bent wire", "manipulated front"),
    "broken": ("broken large", "broken small", "broken teeth"),
    "color": (),
    "combined": (),
    "contamination": ("metal contamination",),
    "crack": (),
    "cut": ("cut inner insulation", "cut lead", "cut outer insulation"),
    "damaged": ("damaged case", "defective", "gray stroke", "pill type"),
    "fabric": ("fabric border", "fabric interior"),
    "faulty imprint": ("print",),
    "glue": ("glue strip",),
    "hole": (),
    "liquid": ("oil",),
    "misplaced": ("cable swap", "flip", "fold", "split teeth"),
    "missing": ("missing wire", "missing cable"),
    "poke": ("poke insulation",),
    "rough": (),
    "scratch": ("scratch head", "scratch neck"),
    "squeeze": ("squeezed teeth",),
    "thread": ("thread side", "thread top"),
}
# data set -> unified type -> the annotated types that it stands for, beside those of its own name
UNIFIED_TYPES: dict[str, Mapping[str, tuple[str, ...]]] = {
    "mvtec": _MVTEC,
    "mpdd": {
        "bent": ("bend and parts mismatch",),
        "defective painting": (),
        "flattening": ("anomalous",),  # the only folder of defective tubes
        "hole": (),
        "mismatch": ("parts mismatch",),
        "rust": ("major rust", "total rust"),
        "scratch": ("scratches",),
    },
    "mad-sim": {"burr": ("burrs",), "missing": (), "stain": ("stains",)},
    "mad-real": {"missing": (), "stain": ("stains",)},
    "real-iad": {
        "abrasion": (),
        "contamination": (),
        "damage": (),
        "deformation": (),
        "foreign": ("foreign objects",),
        "missing": ("missing parts",),
        "pit": (),
        "scratch": (),
    },
}


def unify(dataset: str, category: str, raw: str) -> str:
    """Return the unified name of an annotated type; sets without a published grouping keep their own names.

    `dataset` is a key of `datasets.FORMATS`. Raises `UsageError` for a type that the set's grouping does not hold.
    """
    if dataset not in UNIFIED_TYPES:
        return raw
    name = " ".join(raw.lower().replace("_", " ").split())
    for unified, others in UNIFIED_TYPES[dataset].items():
        if name == unified or name in others:
            return unified
    known = sorted({word for unified, others in UNIFIED_TYPES[dataset].items() for word in (unified, *others)})
    raise UsageError(
        f"{raw!r} of {category} is no type of {dataset}.{suggest(name, known)} Its types are {', '.join(known)}: "
        "use one of them, or leave the names as annotated."
    )
