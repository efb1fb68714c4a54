"""Reader of the simplest layout: `good/` and `bad/` with pictures, `masks/` if there are any.

Pictures in `bad/<type>/` have that type. A mask has the name of its picture, with or without `_mask` at the end, in
`masks/` or `masks/<type>/`. The spellings of `good` and `bad` that are understood are in `layout.LABEL_FOLDERS`.
"""

from collections.abc import Sequence
from pathlib import Path

from genau.datasets.layout import (
    LABEL_FOLDERS,
    MASK_FOLDERS,
    Tell,
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
from genau.errors import suggest

_SPLIT = "test"  # the layout knows no other


def read(
    root: Path, *, categories: Sequence[str] | None = None, split: str | None = None, tell: Tell = refuse
) -> list[Sample]:
    """Return the samples of the folder, which is one category; a defective picture may lack a mask.

    Masks of good pictures are ignored. Raises `DataError`, or calls `tell`, also for a mask without picture and for
    pictures in places that have no label, which would otherwise be left out in silence.
    """
    require_layout(root, "folder", "the folders good/ and bad/")
    tell_unlabelled(root, tell)
    mask_folder = subfolder(root, *MASK_FOLDERS)
    masks = {} if mask_folder is None else masks_by_stem(mask_folder, tell)
    unused = set(masks)
    name = root.resolve().name
    samples = []
    for key, image, label, types in _list_pictures(root, tell):
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
        tell(
            f"{masks[key]} is a mask without an image ({len(unused)} such masks).{close} "
            "A mask has the name of its image, with or without _mask at the end. Rename or remove it."
        )
    _tell_shared(samples, tell)
    return select(root, samples, categories, split)


def _list_pictures(root: Path, tell: Tell) -> list[tuple[str, Path, bool, tuple[str, ...]]]:
    """Return (key among the masks, picture, label, types) of every picture."""
    found: list[tuple[str, Path, bool, tuple[str, ...]]] = []
    for folder in list_folders(root):
        label = LABEL_FOLDERS.get(folder.name.lower())
        if label is None:
            continue
        found += [(f"{folder.name}/{p.stem}".lower(), p, label, ()) for p in list_images(folder)]
        for inner in list_folders(folder):
            if not label and list_images(inner):
                tell(f"{inner} is a folder in {folder}; good pictures have no types. Move them up.")
            types = (words(inner.name),) if label else ()
            found += [(f"{inner.name}/{p.stem}".lower(), p, label, types) for p in list_images(inner)]
    return found


def tell_unlabelled(root: Path, tell: Tell) -> None:
    """Tell of pictures beside `good/` and `bad/`, and of folders of pictures whose name is no label."""
    if loose := list_images(root):
        tell(f"{loose[0]} has no label ({len(loose)} such images). Move it to {root}/good or {root}/bad.")
    for folder in list_folders(root):
        name = folder.name.lower()
        if name not in LABEL_FOLDERS and name not in MASK_FOLDERS and list_images(folder):
            tell(
                f"{folder} says neither good nor bad.{suggest(name, LABEL_FOLDERS)} Rename it to one of "
                f"{', '.join(LABEL_FOLDERS)}, or move it into bad/ if its name is a type of defect."
            )


def _tell_shared(samples: list[Sample], tell: Tell) -> None:
    """Tell if two defective pictures of the same name would take the same mask."""
    owner: dict[Path, Path] = {}
    for sample in samples:
        if sample.mask is not None and owner.setdefault(sample.mask, sample.image) != sample.image:
            tell(
                f"{owner[sample.mask]} and {sample.image} share the mask {sample.mask}. "
                f"Put it into a folder named like the type, {sample.mask.parent}/<type>/{sample.mask.name}."
            )
