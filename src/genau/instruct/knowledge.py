"""What is known in words of a defect type: from the taxonomy, and from a file about the products at hand.

Where nothing is known, that is what is said. Our own files are YAML: product -> type -> `appearance`, `cause`,
`recommendation`, each a text or a list of texts, "any" for all products. MMAD's `domain_knowledge.json` is read too:
set -> product -> type -> text, of which the first sentence is taken as the appearance: what comes after it tells of
other pictures ("commonly found at the center").
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genau.datasets.layout import read_text, words
from genau.datasets.synthetic import DEFECT_TYPES
from genau.datasets.synthetic.taxonomy import TypeInfo
from genau.errors import DataError, suggest

Rng = np.random.Generator
LOOK_ALIKE = 0.5  # share of absent types that resemble a present one: the hard negatives
# Annotated types that the engine does not paint -> the painted type whose causes and look-alikes they share.
RELATED_TYPE = {"impurity": "contamination", "pitting": "pit"}
# Of annotated types of which nothing is known in words.
UNKNOWN = "unknown"
UNKNOWN_CAUSE, UNKNOWN_ADVICE = UNKNOWN, "sort the part out and inspect it by hand"
NORMAL_APPEARANCE = "even surface without visible defects"
GOOD = "good"  # in a file the "type" that tells how good parts look
ANY_PRODUCT = "any"
FIELDS = ("appearance", "cause", "recommendation")
FILE, TAXONOMY = "file", "taxonomy"  # where words come from
_NEEDED = "Needed is product -> type -> appearance, cause, recommendation; or set -> product -> type -> text."
_SHORTENED = {"discolor": "discoloration", "color": "discoloration", "colour": "discoloration"}
# Names for much that looks different: a fibre, a stain and a grain are all contamination.
BROAD_TYPES = frozenset({"contamination"})
_BY_SYNONYM = {synonym: name for name, info in reversed(DEFECT_TYPES.items()) for synonym in info.synonyms}


def info_of(name: str) -> TypeInfo | None:
    """Return what is known in words of an annotated type, if anything."""
    return DEFECT_TYPES.get(RELATED_TYPE.get(name, name))


def recognise(name: str) -> str | None:
    """Return the type of the taxonomy that a name means, by itself or as a synonym, or None."""
    plain = words(name).lower()
    for known in (plain, RELATED_TYPE.get(plain), _SHORTENED.get(plain), _BY_SYNONYM.get(plain)):
        if known in DEFECT_TYPES:
            return known
    return None


def means_exactly(name: str) -> bool:
    """Whether a name means one type of the taxonomy and no other, so that the other types are surely something else."""
    plain = words(name).lower()
    known = plain if plain in DEFECT_TYPES else _BY_SYNONYM.get(plain)
    return known is not None and known not in BROAD_TYPES


def absent_type(present: tuple[str, ...], rng: Rng) -> str:
    """Draw a type that is not there, half of the time one that resembles a present one."""
    taken = {RELATED_TYPE.get(name, name) for name in present} | set(present)
    alike = [other for name in taken if name in DEFECT_TYPES for other in DEFECT_TYPES[name].look_alikes]
    hard = sorted(set(alike) - taken)
    if hard and rng.random() < LOOK_ALIKE:
        return str(rng.choice(hard))
    return str(rng.choice(sorted(set(DEFECT_TYPES) - taken)))


@dataclass(frozen=True)
class Entry:
    """What is known of a type of one product; what is empty is not known."""

    appearance: tuple[str, ...] = ()  # of the type in general
    cause: tuple[str, ...] = ()
    recommendation: tuple[str, ...] = ()
    origin: str = UNKNOWN  # FILE, TAXONOMY or UNKNOWN: where the first of them comes from


class Knowledge:
    """The words of a file, where there is one, before those of the taxonomy."""

    def __init__(self, entries: Mapping[tuple[str, str], Entry] | None = None) -> None:
        self.entries = dict(entries or {})  # by product and type, both as plain words

    def of(self, products: Iterable[str], name: str) -> Entry:
        """Return what is known of a type; `products` are the names that the product goes by."""
        found = Entry()
        for product in (*products, ANY_PRODUCT):
            entry = self.entries.get((_plain(product), _plain(name)))
            if entry is not None:
                found = replace(entry, origin=FILE)
                break
        known = recognise(name)
        if known is None:
            return found
        info = DEFECT_TYPES[known]
        return Entry(
            found.appearance or (info.description,),
            found.cause or info.causes,
            found.recommendation or info.recommendations,
            FILE if found.origin == FILE else TAXONOMY,
        )


def load(path: Path) -> Knowledge:
    """Return the knowledge of a YAML file of ours or of MMAD's JSON file.

    Raises `DataError` for a file that is neither.
    """
    import yaml

    if not path.is_file():
        raise DataError(f"The knowledge file {path} does not exist. Check the path, or leave --knowledge out.")
    text = read_text(path)
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} is neither YAML nor JSON ({one_line(str(error))}). Correct it.") from error
    leaves = list(_leaves(content, path))
    entries: dict[tuple[str, str], Entry] = {}
    ours = any(key in FIELDS or suggest(str(key), FIELDS) for _, _, leaf in leaves for key in leaf)
    for first, second, leaf in leaves:
        if ours:
            entries.setdefault((_plain(first), _plain(second)), _entry(leaf, f"{path}: {first}, {second}"))
            continue
        for name, said in leaf.items():  # set -> product -> type -> text
            if not isinstance(said, str):
                raise DataError(f"{path}: {first}, {second}, {name} is {said!r}, no text. {_NEEDED}")
            entries.setdefault((_plain(second), _plain(str(name))), Entry(_first_sentence(said)))
    return Knowledge(entries)


def _leaves(content: object, path: Path) -> Iterable[tuple[str, str, Mapping[object, object]]]:
    """Yield the mappings two levels down with the names above them."""
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path} holds no mapping but {type(content).__name__}. {_NEEDED}")
    for first, inner in content.items():
        for second, leaf in inner.items() if isinstance(inner, Mapping) else [("", inner)]:
            if not isinstance(leaf, Mapping) or not second:
                where = f"{first}, {second}" if second else f"{first}"
                raise DataError(f"{path}: {where} is {leaf!r}, no mapping. {_NEEDED}")
            yield str(first), str(second), leaf


def _entry(leaf: Mapping[object, object], where: str) -> Entry:
    """Return our own entry: each field a text or a list of texts."""
    fields = {key: _texts(leaf[key], f"{where}, {key}") for key in FIELDS if key in leaf}
    if wrong := next((str(key) for key in leaf if key not in FIELDS), None):
        raise DataError(f"{where} has the key {wrong!r}.{suggest(wrong, FIELDS)} It may have {', '.join(FIELDS)}.")
    return Entry(fields.get("appearance", ()), fields.get("cause", ()), fields.get("recommendation", ()))


def _texts(value: object, where: str) -> tuple[str, ...]:
    texts = [one_line(text) for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    if not texts or not all(texts) or len(texts) != len(value if isinstance(value, list) else [value]):
        raise DataError(f"{where} is {value!r}; it must be a text or a list of texts. Correct it, or leave it out.")
    return tuple(texts)


def one_line(text: str) -> str:
    """Return a text on one line, without the full stop at its end."""
    return " ".join(text.split()).removesuffix(".")


def _first_sentence(text: str) -> tuple[str, ...]:
    """Return the first sentence of MMAD's text, behind its `<title>` and "Description:"."""
    plain = one_line(re.sub(r"<[^>]*>|Description:", " ", text).replace("**", ""))
    sentence = re.split(r"(?<=[a-z)]{2})[.:;] ", plain)[0]
    return (one_line(sentence),) if sentence else ()


def _plain(name: str) -> str:
    return words(name).lower()
