"""Write docs/published.md from the published figures: `python tools/make_published.py`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from genau.datasets.categories import CATEGORIES
from genau.evaluation.literature import METRICS, TITLES, Published, Source, load, trained_on_words

PAGE = Path(__file__).parent.parent / "docs" / "published.md"
MISSING = "–"
PRODUCT_METRIC = "image_auroc"  # of the tables by category

INTRODUCTION = """# Published figures

Made by `python tools/make_published.py` from `src/genau/evaluation/published.yaml`; change that file, not this one.

`genau eval --with-published` prints these figures beside a run if the run is comparable: the same data set with all of
its official categories and pictures, the official test split, as many references, every picture inspected, and each
figure a mean over all categories. Else it says why not. Figures are fractions, plain means over the categories. AUPRO
is taken up to a false positive rate of 0.3. "Input" is the side in pixels of the square that a method looks at.

## What "zero-shot" means here

The methods below that are "trained on MVTec AD" have learned from the **test split** of MVTec AD, with its defective
pictures and their masks, and are then evaluated on another data set. To be evaluated on MVTec AD, they are trained
on the test split of VisA. The field calls this zero-shot, because no picture of the evaluated data set was seen. It
does not mean that no defect was ever seen; "nothing" in that column means it: no training on defects at all. "Other"
is explained below the table. A row with references is a k-shot figure: the method may look at that many good pictures
of the same product. Zero-shot and k-shot figures are never put side by side.

Nor does it mean that no product is shared. VisA and Real-IAD have products of MVTec AD under the same or nearly the
same name: `capsules` and `capsule` (VisA); `toothbrush`, `transistor1` and `zipper` (Real-IAD). GenAU's own mean leaves
out every product that a model was trained on; published means do not. So if a run leaves products out, and the model's
training data is known and is another data set, published figures stand beside our mean over all categories, and their
rows say so. If it is not known, they are not printed. They never are if the model was trained on the evaluated set.

## What must not be mixed

- **Preparations.** Papers do not evaluate the same pictures. Preparations of Real-IAD differ most: compare its figures
  within one source, and with ours only if the pictures are the same, which `genau eval` cannot see.
- **Sources.** One method has several figures: from its paper, from its released weights, from others who ran it again.
  They can be far apart; see the notes on AdaCLIP and AA-CLIP. Each row names its source.
- **Sizes.** Scores of pixels depend on the size at which maps and masks are compared. Most methods below compare them
  at the size of the network's input, GenAU at the size of the original picture.
- **Seeds.** Most rows are one training run. Another seed moves the image AUROC by hundredths.

"Checked" means that somebody read the figure in the named source, not that somebody measured it again. Figures that are
not checked stand apart below and are never printed beside a run.
"""


def page(entries: Sequence[Published]) -> str:
    """Return the whole page as Markdown."""
    sources = list(dict.fromkeys(entry.source for entry in entries))
    parts = [INTRODUCTION]
    for dataset, title in TITLES.items():
        rows = [entry for entry in entries if entry.dataset == dataset]
        if rows:
            parts.append("\n".join(_dataset(title, len(CATEGORIES[dataset]), rows, sources)))
    listed = [f"{k}. {source.text}. {_as_link(source)}" for k, source in enumerate(sources, start=1)]
    parts.append("\n".join(["## Sources", "", *listed, ""]))
    return "\n".join(parts)


def _dataset(title: str, size: int, rows: Sequence[Published], sources: Sequence[Source]) -> Iterator[str]:
    yield f"## {title}: all {size} categories\n"
    checked = [entry for entry in rows if entry.checked]
    for heading, group in (
        ("Zero-shot", [entry for entry in checked if not entry.references]),
        ("With references", [entry for entry in checked if entry.references]),
        ("Not checked", [entry for entry in rows if not entry.checked]),
    ):
        if group:
            yield f"### {title}, {heading.lower()}\n"
            yield from _table(group, sources)
            yield ""
            yield from _notes(group)
    products = [entry for entry in checked if entry.per_category]
    if products:
        yield f"### {title}, {METRICS[PRODUCT_METRIC]} by category\n"
        yield from _by_category(products)
        yield ""


def _table(rows: Sequence[Published], sources: Sequence[Source]) -> Iterator[str]:
    shown = [name for name in METRICS if any(name in entry.metrics for entry in rows)]
    with_references = any(entry.references for entry in rows)
    references = ["references"] if with_references else []
    yield _line(["method", "trained on", "input", *references, *map(METRICS.get, shown), "source"])
    yield _line(["---"] * (4 + with_references + len(shown)))
    for entry in sorted(rows, key=lambda entry: (entry.references, -entry.metrics.get(PRODUCT_METRIC, 0.0))):
        cells = [f"{entry.metrics[name]:.3f}" if name in entry.metrics else MISSING for name in shown]
        size = MISSING if entry.image_size is None else str(entry.image_size)
        number = str(sources.index(entry.source) + 1)
        middle = [str(entry.references)] if with_references else []
        yield _line([entry.name, trained_on_words(entry.trained_on), size, *middle, *cells, number])


def _notes(rows: Iterable[Published]) -> Iterator[str]:
    by_note: dict[str, list[str]] = {}
    for entry in rows:
        if entry.note:
            by_note.setdefault(entry.note, []).append(entry.method)
    for note, methods in by_note.items():
        yield f"- {', '.join(dict.fromkeys(methods))}: {note}"
    if by_note:
        yield ""


def _by_category(rows: Sequence[Published]) -> Iterator[str]:
    yield _line(["category", *(entry.name for entry in rows)])
    yield _line(["---"] * (1 + len(rows)))
    for category in sorted(CATEGORIES[rows[0].dataset]):
        figures = [entry.per_category.get(category, {}).get(PRODUCT_METRIC) for entry in rows]
        yield _line([category, *(MISSING if value is None else f"{value:.3f}" for value in figures)])


def _line(cells: Iterable[str | None]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _as_link(source: Source) -> str:
    return f"[{source.how}]({source.url})"


if __name__ == "__main__":
    PAGE.write_text(page(load()), encoding="utf-8")
