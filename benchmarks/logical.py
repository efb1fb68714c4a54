"""Measure how well references tell what is missing from what is extra, on synthetic scenes with true masks.

    python benchmarks/logical.py --scenes 36 -o logical.json

Each scene is a product of its own with five other good parts of it, in other poses and light. References are chosen
three times. Reported: AUROC of the measure that decides (`plainer`, mean over the true mask), the relations that are
named, and how often a clearly missing place is found in the bad picture and, falsely, in its good twin.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genau import Inspector
from genau.datasets.synthetic import SyntheticScene, make_scene
from genau.images import Letterbox
from genau.metrics import auroc
from genau.model.context import PicturePatches, ReferenceGrids
from genau.model.correspondence import SCALE, correspond
from genau.regions import find_regions, keep_regions
from genau.relations import Places, missing_regions, relate

FIRST_SEED = 770_000
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # types, families (none: all that can have the type)
    "missing": (("missing part",), ()),
    "extra": (("extra part",), ()),
    "surface": (
        ("scratch", "stain", "contamination", "dent", "hole", "crack", "thread", "chip"),
        ("tray", "pins", "single", "label", "board", "moulded"),
    ),
}
CHOICES = {1: ((0,), (1,), (2,)), 2: ((0, 1), (2, 3), (1, 4)), 4: ((0, 1, 2, 3), (1, 2, 3, 4), (0, 2, 3, 4))}
GOOD_PARTS = 5  # of each product
SIDES = (256, 600)  # pixels
Row = dict[str, Any]


def scene_of(group: str, number: int) -> SyntheticScene:
    """Return the scene of a group's number; the same number gives the same scene everywhere."""
    types, families = GROUPS[group]
    seed = FIRST_SEED + 1000 * list(GROUPS).index(group) + number
    height, width = (int(side) for side in np.random.default_rng(seed).integers(*SIDES, 2))
    family = families[number % len(families)] if families else None
    return make_scene(seed, (height, width), family, list(types), defective=True)


def compare(
    bad: PicturePatches, good: PicturePatches, references: Sequence[PicturePatches], mask: NDArray[np.bool_], size: int
) -> Row:
    """Return what is said of the true mask (H, W), and whether something is found missing in it and in the twin."""
    grids = ReferenceGrids(
        tuple(part.features[SCALE].half() for part in references), tuple(part.valid[SCALE] for part in references)
    )
    box, nothing, everywhere = Letterbox.of(mask, size), np.zeros_like(mask), np.ones_like(mask)
    places, twin = (_places(picture, grids, box) for picture in (bad, good))
    regions = find_regions(mask)
    cover = places.cover(keep_regions(regions, box.original_hw))
    empty = missing_regions(places, nothing, everywhere)
    found = any(mask[region.box_yx][region.inside].any() for region in empty)
    alarm = bool(missing_regions(twin, nothing, everywhere))
    plainer = float(np.average(places.plainer, weights=cover)) if cover.any() else float("nan")
    return {"plainer": plainer, "relation": relate(regions[:1], places)[0], "found": bool(found), "alarm": alarm}


def _places(picture: PicturePatches, grids: ReferenceGrids, box: Letterbox) -> Places:
    found = correspond(picture, grids)
    assert found is not None, "scenes of one product have one shape"
    return Places(found.missing.numpy(), found.extra.numpy(), found.plainer.numpy(), box)


def summarise(rows: Sequence[Row]) -> dict[str, object]:
    """Return the figures by number of references: mean and standard deviation over the choices."""
    table: dict[str, object] = {}
    for count, choices in CHOICES.items():
        own = [[r for r in rows if (r["references"], r["choice"]) == (count, k)] for k in range(len(choices))]
        figures: dict[str, object] = {}
        for one, other in (("missing", "extra"), ("missing", "surface"), ("surface", "extra")):
            each = []
            for chosen in own:
                pair = [r for r in chosen if r["group"] in {one, other} and np.isfinite(r["plainer"])]
                if {r["group"] for r in pair} == {one, other}:
                    each.append(auroc([r["plainer"] for r in pair], [r["group"] == one for r in pair]))
            if each:
                figures[f"auroc {one} against {other}"] = [round(float(f(each)), 3) for f in (np.mean, np.std)]
        pooled = [r for chosen in own for r in chosen]
        for group in GROUPS:
            said = [r for r in pooled if r["group"] == group]
            if said:
                counts = Counter(str(r["relation"]) for r in said)
                figures[f"{group} is called"] = {name: round(n / len(said), 2) for name, n in counts.most_common()}
        missing = [r for r in pooled if r["group"] == "missing"]
        figures["missing found by itself"] = round(float(np.mean([bool(r["found"]) for r in missing])), 3)
        figures["false alarms on good twins"] = round(float(np.mean([bool(r["alarm"]) for r in pooled])), 3)
        table[str(count)] = figures
    return table


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=int, default=36, help="of each group")
    parser.add_argument("-o", "--output", type=Path, default=Path("logical.json"))
    arguments = parser.parse_args()
    inspector, rows = Inspector.from_pretrained(arguments.model), list[Row]()
    for group in GROUPS:
        for number in range(arguments.scenes):
            scene = scene_of(group, number)
            good_parts = [scene.reference(k) for k in range(GOOD_PARTS)]
            batch = inspector.processor.pictures([scene.image, scene.good, *good_parts])
            pyramid = inspector.model.backbone.look(batch["pixel_values"], batch["content_hw"]).pyramid
            bad, good, *references = inspector.model.patches(pyramid, batch["content_hw"])
            mask = np.any(list(scene.masks.values()), 0)
            for count, choices in CHOICES.items():
                for choice, chosen in enumerate(choices):
                    row = compare(bad, good, [references[k] for k in chosen], mask, inspector.model.config.image_size)
                    rows.append(row | {"group": group, "references": count, "choice": choice})
    arguments.output.write_text(json.dumps(summarise(rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
