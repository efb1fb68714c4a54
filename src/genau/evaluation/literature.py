"""Figures that others published: the entries of `published.yaml`, each with its protocol and its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genau.datasets.categories import CATEGORIES
from genau.errors import DataError, suggest

FILE = Path(__file__).with_name("published.yaml")
METRICS = {  # key -> heading
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "AUPRO",
}
ZERO_SHOT, K_SHOT = "zero-shot cross-dataset", "k-shot"
TRAINED_ON = ("mvtec-ad test", "visa test", "none", "other")
TITLES = {  # the data sets, in the order of the tables
    "visa": "VisA",
    "mvtec-ad": "MVTec AD",
    "mpdd": "MPDD",
    "btad": "BTAD",
    "real-iad": "Real-IAD",
    "mad-sim": "MAD-Sim",
    "mad-real": "MAD-Real",
    "dtd-synthetic": "DTD-Synthetic",
}


@dataclass(frozen=True)
class Source:
    """Where a figure stands."""

    text: str
    url: str
    how: str  # for example "log file"


@dataclass(frozen=True)
class Published:
    """What one source says of one method on all categories of one data set."""

    dataset: str  # a key of CATEGORIES
    method: str
    task: str  # ZERO_SHOT or K_SHOT
    trained_on: str  # one of TRAINED_ON
    references: int  # good pictures of the same product that the method may see
    metrics: Mapping[str, float] = field(hash=False)  # keys of METRICS -> plain mean over the categories, in [0, 1]
    source: Source
    checked: bool  # somebody read the figures in the source
    variant: str = ""  # tells apart several figures of one method
    backbone: str | None = None
    image_size: int | None = None  # pixels, the side of the square that the method looks at
    per_category: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be a figure of this data set and protocol."""
        if self.dataset not in CATEGORIES:
            raise ValueError(
                f"the data set {self.dataset!r} is not one of {', '.join(CATEGORIES)}."
                f"{suggest(self.dataset, CATEGORIES)} Correct the name, or add its categories to CATEGORIES"
            )
        if self.task != (K_SHOT if self.references else ZERO_SHOT):
            raise ValueError(f"{self.references} references do not fit the task {self.task!r}. Correct one of them")
        if self.trained_on not in TRAINED_ON:
            raise ValueError(f"trained_on={self.trained_on!r} is not one of {', '.join(TRAINED_ON)}. Choose one")
        if not self.metrics:
            raise ValueError("there are no metrics. Add at least one, or remove the entry")
        if foreign := sorted(self.per_category.keys() - CATEGORIES[self.dataset]):
            raise ValueError(f"{self.dataset} has no category {foreign[0]!r}. Correct it in per_category")
        for metrics in (self.metrics, *self.per_category.values()):
            for name, value in metrics.items():
                if name not in METRICS:
                    raise ValueError(f"the metric {name!r} is not known.{suggest(name, METRICS)} Rename or remove it")
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise ValueError(f"{name}={value!r} must be a fraction from 0 to 1. Divide per cents by 100")

    @property
    def name(self) -> str:
        """The method, and in brackets which of its figures."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


def trained_on_words(trained_on: str) -> str:
    """Return one of TRAINED_ON as tables show it."""
    name = trained_on.removesuffix(" test")
    return "nothing" if name == "none" else TITLES.get(name, name)


def load(path: Path = FILE) -> list[Published]:
    """Return all entries of the file, unchecked ones too.

    Raises `DataError`, with the entry's number and method, for keys that are not known or missing, values that cannot
    be and sources that are not listed.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with it
    try:
        content = yaml.load(path.read_text("utf-8"), loader)
    except yaml.YAMLError as error:
        raise DataError(f"{path.name} is not YAML ({error}). Correct that line.") from error
    _fit(content, required=("sources", "entries"), where=path.name)
    sources = {}
    for key, about in content["sources"].items():
        _fit(about, required=("text", "url", "how"), where=f"{path.name}, source {key!r}")
        sources[key] = Source(**about)
    entries = [_entry(raw, sources, f"{path.name}, entry {k}") for k, raw in enumerate(content["entries"], start=1)]
    seen: dict[tuple[str, str, int], int] = {}
    for number, entry in enumerate(entries, start=1):
        twin = seen.setdefault((entry.dataset, entry.name, entry.references), number)
        if twin != number:
            raise DataError(
                f"{path.name}: entries {twin} and {number} are both {entry.name} on {entry.dataset} with "
                f"{entry.references} references. Remove one, or tell them apart by `variant`."
            )
    return entries


def _entry(raw: Any, sources: Mapping[str, Source], where: str) -> Published:  # noqa: ANN401 - as the file has it
    if isinstance(raw, Mapping):
        where += f" ({raw.get('dataset')}, {raw.get('method')})"
    required = ("dataset", "categories", "method", "protocol", "metrics", "source", "checked")
    _fit(raw, required, ("variant", "backbone", "per_category", "note"), where)
    protocol = raw["protocol"]
    _fit(protocol, ("task", "trained_on", "references"), ("image_size",), f"{where}, protocol")
    if raw["categories"] != "all":
        raise DataError(f"{where}: categories={raw['categories']!r} must be 'all'. Other means are not comparable.")
    if raw["source"] not in sources:
        close = suggest(str(raw["source"]), sources)
        raise DataError(f"{where}: its source {raw['source']!r} is not in the list of sources.{close} Add it there.")
    if not isinstance(raw["checked"], bool):
        raise DataError(f"{where}: checked={raw['checked']!r} must be true or false. Say whether somebody looked.")
    rest = {key: raw[key] for key in raw if key not in ("categories", "protocol", "source")}
    try:
        return Published(**rest, **protocol, source=sources[raw["source"]])
    except ValueError as error:
        raise DataError(f"{where}: {error}.") from error


def _fit(raw: object, required: tuple[str, ...], optional: tuple[str, ...] = (), where: str = "") -> None:
    """Raise `DataError` unless this is a mapping with these keys and no others, none of them empty."""
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: {raw!r} must be a mapping with {', '.join(required)}. Write it so.")
    for key in raw:
        if key not in (*required, *optional):
            close = suggest(str(key), (*required, *optional))
            raise DataError(f"{where}: the key {key!r} is not known.{close} Rename or remove it.")
    missing = [key for key in required if raw.get(key) in (None, "")]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}. Add it.")
