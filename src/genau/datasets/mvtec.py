"""Reader of the MVTec AD layout, `category/{train/good, test/<type>, ground_truth/<type>}`, and of its dialects.

Source: Bergmann et al. 2019, "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection".
"""

from collections.abc import Sequence
from pathlib import Path

from genau.datasets.dialects import DIALECTS, Dialect, plain
from genau.datasets.layout import (
    LABEL_FOLDERS,
    MASK_FOLDERS,
    Tell,
    is_mvtec_category,
    list_folders,
    list_images,
    masks_by_stem,
    product_words,
    refuse,
    require_layout,
    select,
    subfolder,
    words,
)
from genau.datasets.sample import Sample


def read(
    root: Path,
    *,
    categories: Sequence[str] | None = None,
    split: str | None = None,
    tell: Tell = refuse,
    format: str = "mvtec",
) -> list[Sample]:
    """Return the samples of all categories; the folder below `test/` names the type of its pictures.

    `format` is a key of `DIALECTS`. A category without `ground_truth/` has no masks at all, which is allowed; with it,
    every defective picture needs one. Raises `DataError`, or calls `tell`.
    """
    dialect = DIALECTS[format]
    require_layout(root, format, dialect.needs)
    dataset = root.resolve().name if format == "mvtec" else format
    samples = [
        sample
        for category in list_folders(root)
        if is_mvtec_category(category)
        for sample in _read_category(dataset, category, dialect, tell)
    ]
    chosen = select(root, samples, categories, split)
    for sample in chosen:
        if not sample.has_mask:
            _tell_unmasked(sample.image, root / sample.category, tell)
    return chosen


def _read_category(dataset: str, category: Path, dialect: Dialect, tell: Tell) -> list[Sample]:
    truth = _truth_folder(category)
    masks = {} if truth is None else _masks(truth, dialect, tell)
    name = category.name
    own_words = product_words(plain(name)).rstrip(" 0123456789") if dialect.categories else product_words(name)
    product = dialect.product.format(own_words)
    samples = []
    for part in list_folders(category):
        split = dialect.splits.get(part.name.lower())
        for folder in list_folders(part) if split is not None else ():
            kind = folder.name.lower()
            if kind in MASK_FOLDERS:
                continue
            label = LABEL_FOLDERS.get(kind, True)
            if label and split != "test":
                tell(
                    f"{folder} would be defective pictures for training; the mvtec layout has only {part.name}/good. "
                    "Move them below test/, or rename the folder to good."
                )
                continue
            typed = label and kind not in dialect.untyped
            for image in list_images(folder):
                own = masks.get(f"{kind}/{image.stem}".lower(), ()) if label else ()
                samples.append(
                    Sample(
                        image=image,
                        label=label,
                        product=product,
                        category=name,
                        dataset=dataset,
                        split=str(split),
                        types=(words(folder.name),) if typed else (),
                        mask=own[0] if own else None,
                        more_masks=own[1:],
                    )
                )
    return samples


def _truth_folder(category: Path) -> Path | None:
    """Return `ground_truth/`, which MVTec AD 2 has inside `test_public/`."""
    public = subfolder(category, "test_public")
    inner = None if public is None else subfolder(public, "ground_truth")
    return inner or subfolder(category, "ground_truth")


def _masks(truth: Path, dialect: Dialect, tell: Tell) -> dict[str, tuple[Path, ...]]:
    """Return the masks of each picture by `<type>/<stem>` in lower case."""
    if not dialect.several_masks:
        return {key: (path,) for key, path in masks_by_stem(truth, tell).items()}
    found: dict[str, tuple[Path, ...]] = {}
    for kind in list_folders(truth):
        for picture in list_folders(kind):
            found[f"{kind.name}/{picture.name}".lower()] = tuple(list_images(picture))
        for path in list_images(kind):
            found.setdefault(f"{kind.name}/{path.stem}".lower().removesuffix("_mask"), (path,))
    return found


def _tell_unmasked(image: Path, category: Path, tell: Tell) -> None:
    truth = _truth_folder(category)
    if truth is not None:
        expected = truth / image.parent.name / f"{image.stem}_mask.png"
        tell(
            f"{image} has no mask: neither {expected.name} nor {image.stem}.png is in {expected.parent}. "
            f"Add the mask, or remove {truth} if nothing is annotated by pixel."
        )
