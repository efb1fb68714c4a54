"""Reader of the MVTec AD layout: `category/{train/good, test/<type>, ground_truth/<type>}`.

Source: Bergmann et al. 2019, "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection".
"""

from collections.abc import Sequence
from pathlib import Path

from genau.datasets.layout import (
    LABEL_FOLDERS,
    is_mvtec_category,
    list_folders,
    list_images,
    masks_by_stem,
    product_words,
    require_layout,
    select,
    subfolder,
    words,
)
from genau.datasets.sample import Sample
from genau.errors import DataError

_SPLITS = ("train", "test")


def read(root: Path, *, categories: Sequence[str] | None = None, split: str | None = None) -> list[Sample]:
    """Return the samples of all categories; the folder below `test/` names the type of its pictures.

    A category without `ground_truth/` has no masks at all, which is allowed; with it, every defective picture needs
    one. Raises `DataError`.
    """
    require_layout(root, "mvtec", "one folder per category with train/good and test/<type>")
    samples = [
        sample
        for category in list_folders(root)
        if is_mvtec_category(category)
        for sample in _read_category(root.resolve().name, category)
    ]
    chosen = select(root, samples, categories, split)
    for sample in chosen:
        truth = subfolder(sample.image.parents[2], "ground_truth")
        if truth is not None and not sample.has_mask:
            expected = truth / sample.image.parent.name / f"{sample.image.stem}_mask.png"
            raise DataError(
                f"{sample.image} has no mask: neither {expected.name} nor {sample.image.stem}.png is in "
                f"{expected.parent}. Add the mask, or remove {truth} if nothing is annotated by pixel."
            )
    return chosen


def _read_category(dataset: str, category: Path) -> list[Sample]:
    truth = subfolder(category, "ground_truth")
    masks = {} if truth is None else masks_by_stem(truth)
    samples = []
    for split in _SPLITS:
        part = subfolder(category, split)
        for folder in list_folders(part) if part is not None else ():
            label = LABEL_FOLDERS.get(folder.name.lower(), True)
            if label and split == "train":
                raise DataError(
                    f"{folder} would be defective pictures for training; the mvtec layout has only train/good. "
                    "Move them below test/, or rename the folder to good."
                )
            samples += [
                Sample(
                    image=image,
                    label=label,
                    product=product_words(category.name),
                    category=category.name,
                    dataset=dataset,
                    split=split,
                    types=(words(folder.name),) if label else (),
                    mask=masks.get(f"{folder.name}/{image.stem}".lower()) if label else None,
                )
                for image in list_images(folder)
            ]
    return samples
