"""What the sets in the layout of MVTec AD state differently; `mvtec.read` does the rest.

Sources: Ježek et al. 2021 (MPDD), Mishra et al. 2021 (BTAD), Aota et al. 2023 (DTD-Synthetic), Zhou et al. 2023 (MAD),
Bergmann et al. 2022 (MVTec LOCO), Heckler-Kram et al. 2025 (MVTec AD 2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from genau.datasets.categories import CATEGORIES, SPELLINGS


@dataclass(frozen=True)
class Dialect:
    """One set in the layout of MVTec AD: what tells it from the others, and where it differs."""

    needs: str  # what a folder must have, for errors
    categories: frozenset[str] = frozenset()  # the set's own, as `plain` writes them; empty: any
    marks: tuple[str, ...] = ()  # folders below a category that only this set has
    lacks: tuple[str, ...] = ()  # folders below a category that this set never has
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})  # folder -> split
    untyped: frozenset[str] = frozenset()  # folders of defective pictures that name no type
    several_masks: bool = False  # ground_truth/<type>/<picture>/ holds one mask per defect
    product: str = "{}"  # what to call the part of a category, given its words

    def knows(self, category: str) -> bool:
        """Whether the folder's name is a category of the set."""
        return plain(category) in self.categories


def plain(category: str) -> str:
    """Return a category as `CATEGORIES` has it: lower case, without the number before MAD's: 01Gorilla is gorilla."""
    name = re.sub(r"^\d+(?=[^\W\d_])", "", category).lower().replace(" ", "_").replace("-", "_")
    return SPELLINGS.get(name, name)


_TREE = "one folder per category with train/good and test/<type>"

# The first whose marks fit is what a folder looks like; "mvtec" has none and is the rest.
DIALECTS: dict[str, Dialect] = {
    "mvtec-ad2": Dialect(
        "one folder per category with train/good and test_public/{good,bad}",
        marks=("test_public",),
        splits={"train": "train", "validation": "validation", "test_public": "test"},
        untyped=frozenset({"bad"}),
    ),
    "mvtec-loco": Dialect(
        "one folder per category with train/good and test/{good,logical_anomalies,structural_anomalies}",
        marks=("test/logical_anomalies", "test/structural_anomalies"),
        splits={"train": "train", "validation": "validation", "test": "test"},
        several_masks=True,
    ),
    "btad": Dialect(
        "the folders 01, 02 and 03 with train/ok and test/{ok,ko}",
        marks=("test/ko", "ground_truth/ko"),
        untyped=frozenset({"ko"}),
        product="industrial part",  # the set does not say what its three products are
    ),
    "mpdd": Dialect(
        f"{_TREE}, called bracket_black, bracket_brown, bracket_white, connector, metal_plate or tubes",
        categories=CATEGORIES["mpdd"],
    ),
    "dtd-synthetic": Dialect(
        f"{_TREE}, called Woven_001, Blotchy_099 and so on",
        categories=CATEGORIES["dtd-synthetic"],
        untyped=frozenset({"bad"}),
        product="{} texture",
    ),
    "mad-real": Dialect(
        f"{_TREE}, called Bear, Bird, Elephant and so on",
        categories=CATEGORIES["mad-real"],
        lacks=("test/burrs",),
        product="{} toy",
    ),
    "mad-sim": Dialect(
        f"{_TREE}, called 01Gorilla, 02Unicorn and so on", categories=CATEGORIES["mad-sim"], product="{} toy"
    ),
    "mvtec": Dialect(_TREE),
}
# One and the same tree: any of these may be read as "mvtec", which leaves names and types as the folders have them.
SAME_TREE = frozenset({"mvtec", "mpdd", "dtd-synthetic", "mad-real", "mad-sim"})
