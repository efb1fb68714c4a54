"""Time a recipe of many references against no references: `python benchmarks/recipe.py GOOD PICTURES --count 200`.

GOOD is a folder of good parts, PICTURES a folder of pictures to inspect. Both ways look at the same pictures in turn,
one by one, score and map only; medians over them. Nothing else should run.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from genau import Inspector
from genau.paths import find_pictures
from genau.reading import read_picture
from genau.recipes import Recipe, make


def main() -> None:
    """Make the recipe, load it, inspect with and without it, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("good", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--count", type=int, default=200, help="references")
    parser.add_argument("--most", type=int, default=12, help="pictures to inspect")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    files = [path for path, _ in find_pictures([options.good])][: options.count]
    pictures = [read_picture(path) for path, _ in find_pictures([options.pictures])[: options.most]]
    nano = Inspector.from_pretrained("nano")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        path = make(nano, "timed", references=files).save(Path(folder) / "timed")
        print(f"making a recipe of {len(files)} references: {time.perf_counter() - started:.0f} s")
        started = time.perf_counter()
        recipe = Recipe.load(path)
        print(f"loading it: {time.perf_counter() - started:.2f} s")
    seconds: dict[str, list[float]] = {"no references": [], "recipe": []}
    for run in range(options.runs + 1):
        for picture in pictures:
            for name, memory in (("no references", None), ("recipe", recipe.memory)):
                started = time.perf_counter()
                nano.ask(nano.see(picture, memory))
                if run:  # the first warms up
                    seconds[name].append(time.perf_counter() - started)
    without, with_it = (statistics.median(values) for values in seconds.values())
    print(f"per picture: {without:.3f} s without references, {with_it:.3f} s with them ({with_it / without:.2f} times)")


if __name__ == "__main__":
    main()
