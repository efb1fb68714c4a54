"""Inspect one picture from Python: `python examples/inspect_picture.py [PICTURE] [--model nano] [--save FOLDER]`.

Prints verdict, score and defects, and what candidate types score on the picture that was seen once.
"""

import argparse
from pathlib import Path

from genau import Inspector

PICTURE = Path(__file__).parent / "pictures" / "capsules_bad_1.jpg"
TYPES = {"leak": "dark fluid around the part", "deformation": None, "scratch": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", default=PICTURE, type=Path)
    parser.add_argument("--model", default="nano", help="a shipped model or a folder that `genau train` wrote")
    parser.add_argument("--save", type=Path, help="a new folder for mask, overlay and report")
    arguments = parser.parse_args()

    inspector = Inspector.from_pretrained(arguments.model)
    seen = inspector.see(arguments.picture)  # the picture goes through the model once, ...
    result = inspector.ask(seen, types=TYPES, analysis=True)  # ... any number of questions follow

    print(f"{result.image}: {result.verdict} ({result.pred_score:.3f}, threshold {result.threshold})")
    for defect in result.defects:
        print(f"  {defect.type} {defect.location}, {defect.area_fraction:.2%} of the picture, score {defect.score:.2f}")
    for name, score in result.types.items():
        print(f"  asked for {name}: {score:.3f}")
    if result.contradiction:
        print(f"  {result.contradiction}")
    if result.analysis:
        print(result.analysis.text)
    if arguments.save:
        print(f"Report: {result.save(arguments.save)}")


if __name__ == "__main__":
    main()
