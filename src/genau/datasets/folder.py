"""Reader of the simplest layout: `good/` and `bad/` with pictures, `masks/` if there are any.

Pictures in `bad/<type>/` have that type. A mask has the name of its picture, with or without `_mask` at the end, in
`masks/` or `masks/<type>/`. The spellings of `good` and `bad` that are understood are in `layout.LABEL_FOLDERS`.
"""

from collections.abc import Sequence
from pathlib import Path

from genau.datasets.layout import (
    LABEL_FOLDERS,
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
from genau.errors import DataError, suggest

_MASK_FOLDERS = ("masks", "mask", "ground_truth")
_SPLIT = "test"  # the layout knows no other


def read(root: Path, *, categories: Sequence[str] | None = None, split: str | None = None) -> list[Sample]:
    """Return the samples of the folder, which is one category; a defective picture may lack a mask.

    Masks of good pictures are ignored. Raises `DataError`, also for a mask without picture and for pictures in
    places that have no label, which would otherwise be left out in silence.
    """
    require_layout(root, "folder", "the folders good/ and bad/")
    _refuse_unlabelled(root)
    mask_folder = subfolder(root, *_MASK_FOLDERS)
    masks = {} if mask_folder is None else masks_by_stem(mask_folder)
    unused = set(masks)
    name = root.resolve().name
    samples = []
    for key, image, label, types in _list_pictures(root):
        mask_key = key if key in masks else image.stem.lower()
        unused.discard(mask_key)
        samples.append(
            Sample(
                image=image,
                label=label,
                product=product_words(name),
                category=name,
                dataset=name,
                split=_SPLIT,
                types=types,
                mask=masks.get(mask_key) if label else None,
            )
        )
    if unused:
        key = min(unused)
        close = suggest(key, [sample.image.stem for sample in samples])
        raise DataError(
            f"{masks[key]} is a mask without an image ({len(unused)} such masks).{close} "
            "A mask has the name of its image, with or without _mask at the end. Rename or remove it."
        )
    _refuse_shared(samples)
    return select(root, samples, categories, split)


def _list_pictures(root: Path) -> list[tuple[str, Path, bool, tuple[str, ...]]]:
    """Return (key among the masks, picture, label, types) of every picture."""
    found: list[tuple[str, Path, bool, tuple[str, ...]]] = []
    for folder in list_folders(root):
        label = LABEL_FOLDERS.get(folder.name.lower())
        if label is None:
            continue
        found += [(f"{folder.name}/{p.stem}".lower(), p, label, ()) for p in list_images(folder)]
        for inner in list_folders(folder):
            if not label and list_images(inner):
                raise DataError(f"{inner} is a folder in {folder}; good pictures have no types. Move them up.")
            types = (words(inner.name),)
            found += [(f"{inner.name}/{p.stem}".lower(), p, label, types) for p in list_images(inner)]
    return found


def _refuse_unlabelled(root: Path) -> None:
    if loose := list_images(root):
        raise DataError(f"{loose[0]} has no label ({len(loose)} such images). Move it to {root}/good or {root}/bad.")
    for folder in list_folders(root):
        name = folder.name.lower()
        if name not in LABEL_FOLDERS and name not in _MASK_FOLDERS and list_images(folder):
            raise DataError(
                f"{folder} says neither good nor bad.{suggest(name, LABEL_FOLDERS)} Rename it to one of "
                f"{', '.join(LABEL_FOLDERS)}, or move it into bad/ if its name is a type of defect."
            )


def _refuse_shared(samples: list[Sample]) -> None:
    """Raise if two defective pictures of the same name would take the same mask."""
    owner: dict[Path, Path] = {}
    for sample in samples:
        if sample.mask is not None and owner.setdefault(sample.mask, sample.image) != sample.image:
            raise DataError(
                f"{owner[sample.mask]} and {sample.image} share the mask {sample.mask}. "
                f"Put it into a folder named like the type, {sample.mask.parent}/<type>/{sample.mask.name}."
            )
