"""What can be wrong with the files of a data set, found without a model: one generator per kind of fault.

Nothing of a picture is kept but its size; a fault is a sentence that ends with what to do.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from genau.datasets.layout import LABEL_FOLDERS, MASK_FOLDERS
from genau.datasets.sample import Sample
from genau.errors import DataError, ImageError
from genau.paths import EXTENSIONS

_ORIENTATION = 274  # EXIF tag; 5 and above lie on their side


def size_of(picture: Path, *, decode: bool) -> tuple[int, int]:
    """Return the picture's upright (H, W), from its header unless `decode`; raises `ImageError` if it is unreadable."""
    from genau.reading import SIGNATURES, read_picture

    if not decode:
        try:
            with picture.open("rb") as file:
                start = file.read(16)
                file.seek(0)
                image = next(opener for signature, opener in SIGNATURES if start.startswith(signature))(file)
                # Pillow decodes a PNG to look for EXIF data behind its pixels. The size of a TIFF is upright already.
                turned = image.format != "TIFF" and "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
                size: tuple[int, int] = image.size if turned else image.size[::-1]
                return size
        except Exception:  # noqa: BLE001 - Pillow's plug-ins raise anything; the reader says what it is in words
            pass
    height, width = read_picture(picture).rgb.shape[:2]
    return int(height), int(width)


def faulty_masks(samples: Iterable[Sample], *, typed: bool) -> Iterator[str]:
    """Yield what is wrong with the masks: unreadable, of another size, empty; with `typed` also values without type."""
    for sample in samples:
        if sample.mask is None:
            continue
        try:
            if typed:
                sample.read_masks()
            else:
                sample.read_mask()
        except (DataError, ImageError) as error:
            yield str(error)


def shared_masks(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the masks that two pictures claim, as those of one name and two extensions do."""
    owner: dict[Path, Path] = {}
    for sample in samples:
        for mask in sample.masks:
            first = owner.setdefault(mask, sample.image)
            if first != sample.image:
                yield f"{first} and {sample.image} share the mask {mask}. Rename one of the pictures and its mask."


def uneven_case(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield names that differ in upper and lower case only: pictures, categories, types."""
    spellings: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        names = [("picture", str(sample.image)), ("category", sample.category)]
        for kind, name in [*names, *(("type", name) for name in sample.types)]:
            known = spellings.setdefault((kind, name.lower()), [name])
            if name not in known:
                known.append(name)
                yield (
                    f"The {kind} {known[0]!r} is also written {name!r}; only upper and lower case tell them apart, "
                    "which are the same on some systems. Use one spelling, or another name."
                )


def same_bytes(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield pictures of a category that are the same file in two splits, or both good and defective."""
    by_size: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_size[sample.category, sample.image.stat().st_size].append(sample)
    for alike in by_size.values():
        first: dict[bytes, Sample] = {}
        for sample in alike if len(alike) > 1 else ():
            with sample.image.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").digest()
            other = first.setdefault(digest, sample)
            if (other.split, other.label) != (sample.split, sample.label):
                yield (
                    f"{sample.image} ({_role(sample)}) is the same file, byte for byte, as {other.image} "
                    f"({_role(other)}). Keep one of them: what was seen in training is no test."
                )


def _role(sample: Sample) -> str:
    return f"{sample.split}, {'defective' if sample.label else 'good'}"


def unread(root: Path, samples: Iterable[Sample]) -> dict[Path, list[Path]]:
    """Return the pictures below the folder that are neither image nor mask of a sample, by their folder."""
    known = {str(path) for sample in samples for path in (sample.image, *sample.masks)}
    found: dict[Path, list[Path]] = {}
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Path(here)
        left = [folder / name for name in sorted(files) if name[0] != "." and Path(name).suffix.lower() in EXTENSIONS]
        if left := [path for path in left if str(path) not in known]:
            found[folder] = left
    return found


def is_mask_folder(folder: Path, root: Path) -> bool:
    """Whether the folder is one of masks, those of good pictures excepted, which nothing needs."""
    parts = [part.lower() for part in folder.relative_to(root).parts]
    return any(part in MASK_FOLDERS for part in parts) and LABEL_FOLDERS.get(parts[-1], True)
