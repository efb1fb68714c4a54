"""Measure answers to typed questions: `python benchmarks/questions.py [--model nano] [--scenes 40]`.

Synthetic scenes that no training or development set has (seeds from FIRST_SEED), with exact masks. Each scene is asked
five questions, and every second one's presence on its defect-free twin. A kind, place or count must be equal; a size
within a factor of two. "constant" is the best answer that looks at no picture: the commonest one, for sizes the median.
Prints a table; rows under "any" ask about any defect, rows under "named" about the type that covers most.
"""

import argparse
import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from genau.datasets.synthetic import DEFECT_TYPES, SyntheticScene, make_scene
from genau.inspector import Inspector
from genau.regions import find_regions

FIRST_SEED = 8_000_000
SIZE_HW = (448, 640)
CANDIDATES = 4
WITHIN = 2.0  # the factor by which a size may be wrong
Row = tuple[Any, Any]  # said, truth


def main() -> None:
    """Ask everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=int, default=40)
    options = parser.parse_args()
    inspector = Inspector.from_pretrained(options.model)
    rows: dict[str, list[Row]] = defaultdict(list)
    started, asked = time.perf_counter(), 0
    for number in range(options.scenes):
        scene = make_scene(FIRST_SEED + number, SIZE_HW, defective=True)
        for name, row in ask_scene(inspector, scene, twin=number % 2 == 1):
            rows[name].append(row)
            asked += 1
    seconds = time.perf_counter() - started
    print("| question | asked | right | constant |\n| --- | --- | --- | --- |")
    for name, answers in rows.items():
        print(f"| {name} | {len(answers)} | {accuracy(answers):.0%} | {constant(answers):.0%} |")
    print(f"\n{asked} questions, {options.scenes} scenes, {seconds:.0f} s")


def ask_scene(inspector: Inspector, scene: SyntheticScene, twin: bool) -> list[tuple[str, Row]]:
    """Return what was said to each question about a scene, and the truth."""
    seen, good = inspector.see(scene.image), inspector.see(scene.good) if twin else None
    name = max(scene.masks, key=lambda key: scene.masks[key].sum())
    rng = np.random.default_rng(scene.seed)
    absent = sorted(set(DEFECT_TYPES) - set(scene.types))
    others = [str(other) for other in rng.choice(absent, CANDIDATES - 1, replace=False)]
    candidates = [str(one) for one in rng.permutation([name, *others])]
    whole = np.logical_or.reduce(list(scene.masks.values()))
    rows: list[tuple[str, Row]] = []

    def put(label: str, question: str, truth: object, types: list[str] | None = None) -> None:
        picture = good if good is not None and "presence" in label else seen
        answer = inspector.answer(picture, question, types=types)
        assert answer.reason is None, question
        said = answer.value
        if isinstance(said, list):
            said = said[0] if said else None
        rows.append((label, (said, truth)))
        if types:  # whether a candidate reaches the threshold is one thing, which one comes first another
            rows.append(("kind, nearest of 4", (max(answer.types, key=lambda key: answer.types[key]), truth)))

    put("presence, any", "Is there any defect?", good is None)
    put("presence, named", f"Is there a {name}?", good is None)
    put("kind, found of 4", "What kind of defect is it?", name, candidates)
    put("kind, a guess of all trained", "What kind of defect is it?", name)
    for label, asked, mask in (("any", "defect", whole), ("named", name, scene.masks[name])):
        regions = find_regions(mask)
        put(f"place, {label}", f"Where is the {asked}?", regions[0].location if regions else None)
        put(f"count, {label}", f"How many {asked}s are there?", len(regions))
        put(f"size, {label}", f"How large is the {asked}?", float(mask.mean()))
    return rows


def right(said: object, truth: object) -> bool:
    """Whether an answer counts: sizes within the factor, all else equal."""
    if isinstance(truth, float):
        return isinstance(said, float) and said > 0 and max(said / truth, truth / said) <= WITHIN
    return said is not None and said == truth


def accuracy(rows: list[Row]) -> float:
    """Return the share of right answers."""
    return float(np.mean([right(said, truth) for said, truth in rows]))


def constant(rows: list[Row]) -> float:
    """Return the share of right answers of the best constant one, chosen on these very truths."""
    truths = [truth for _, truth in rows]
    same = float(np.median(truths)) if isinstance(truths[0], float) else Counter(truths).most_common(1)[0][0]
    return accuracy([(same, truth) for truth in truths])


if __name__ == "__main__":
    main()
