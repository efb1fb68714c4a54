"""Figures that others published, and when they may stand beside ours.

They come from `published.yaml`, each with its source. Beside a run belongs only what was measured on the same data set,
over the same categories, with as many references: else the comparison says nothing of the methods.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genau.errors import DataError, suggest
from genau.evaluation.plan import TEST_SPLIT

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
_ALSO_CALLED = {"mvtec": "mvtec-ad", "mvtecanomalydetection": "mvtec-ad", "btech": "btad", "dtd": "dtd-synthetic"}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


OFFICIAL: dict[str, frozenset[str]] = {  # data set -> all its categories, lower case
    "visa": _names("candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"),
    "mvtec-ad": _names(
        "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper",
    ),
    "mpdd": _names("bracket_black bracket_brown bracket_white connector metal_plate tubes"),
    "btad": _names("01 02 03"),
    "real-iad": _names(
        "audiojack bottle_cap button_battery end_cap eraser fire_hood mint mounts pcb phone_battery plastic_nut "
        "plastic_plug porcelain_doll regulator rolled_strip_base sim_card_set switch tape terminalblock toothbrush toy "
        "toy_brick transistor1 u_block usb usb_adaptor vcpill wooden_beads woodstick zipper"
    ),
    "mad-sim": _names(
        "bear bird cat elephant gorilla mallard obesobeso owl parrot pheonix pig puppy sabertooth scorpion sheep swan "
        "turtle unicorn whale zalika"
    ),
    "mad-real": _names("bear bird elephant parrot pig puppy scorpion turtle unicorn whale"),
    "dtd-synthetic": _names(
        "blotchy_099 fibrous_183 marbled_078 matted_069 mesh_114 perforated_037 stratified_154 woven_001 woven_068 "
        "woven_104 woven_125 woven_127"
    ),
}
# Pictures of the official test split, good and defective: folders under the official name are often thinned.
TEST_PICTURES = {"visa": 2162, "mvtec-ad": 1725}


@dataclass(frozen=True)
class Source:
    """Where a figure stands."""

    text: str
    url: str
    how: str  # for example "log file"


@dataclass(frozen=True)
class Published:
    """What one source says of one method on all categories of one data set."""

    dataset: str  # a key of OFFICIAL
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
        if self.dataset not in OFFICIAL:
            raise ValueError(
                f"the data set {self.dataset!r} is not one of {', '.join(OFFICIAL)}.{suggest(self.dataset, OFFICIAL)} "
                "Correct the name, or add its categories to OFFICIAL"
            )
        if self.task != (K_SHOT if self.references else ZERO_SHOT):
            raise ValueError(f"{self.references} references do not fit the task {self.task!r}. Correct one of them")
        if self.trained_on not in TRAINED_ON:
            raise ValueError(f"trained_on={self.trained_on!r} is not one of {', '.join(TRAINED_ON)}. Choose one")
        if not self.metrics:
            raise ValueError("there are no metrics. Add at least one, or remove the entry")
        if foreign := sorted(self.per_category.keys() - OFFICIAL[self.dataset]):
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


def matching(run: Mapping[str, Any]) -> list[Published]:
    """Return the checked figures that may be printed beside a run, an entry of `runs` in metrics.json."""
    if any(_obstacles(run)):
        return []
    wanted = (_official(run), run["protocol"]["references"])
    return [entry for entry in load() if entry.checked and (entry.dataset, entry.references) == wanted]


def why_not(run: Mapping[str, Any]) -> str:
    """Say in one sentence why no figures are printed beside a run; empty if some are."""
    reasons = list(_obstacles(run))
    if not reasons and not matching(run):
        counts = sorted({entry.references for entry in load() if entry.checked and entry.dataset == _official(run)})
        kept = f"for {', '.join(map(str, counts))} only" if counts else "for none, as long as nobody has checked them"
        reasons = [f"this run has {run['protocol']['references']} references per category, figures are kept {kept}"]
    return f"No published figures are shown for {run['dataset']}: {'; '.join(reasons)}." if reasons else ""


def _obstacles(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a run from being comparable to any published figure."""
    protocol, mean, dataset = run["protocol"], run["mean"], _official(run)
    if dataset is None:
        yield f"a data set is known by the name of its folder, and figures are kept for {', '.join(OFFICIAL)}"
        return
    categories, official = {_plain(name) for name in protocol["categories"]}, OFFICIAL[dataset]
    if foreign := sorted(categories - official):
        yield f"{TITLES[dataset]} has no category {foreign[0]!r}"
    elif categories != official:
        yield f"this run has {len(categories)} of {len(official)} categories"
    if protocol["most"] is not None:
        yield f"it takes at most {protocol['most']} good and {protocol['most']} defective pictures per category"
    if protocol["split"] != TEST_SPLIT:
        yield f"it is on the split {protocol['split']!r}, published figures are on {TEST_SPLIT!r}"
    if left_out := mean["left_out"]:
        yield f"its mean leaves out {', '.join(left_out)}"
    count = mean.get("n_normal", 0) + mean.get("n_defect", 0)
    if categories == official and not left_out and count not in (0, TEST_PICTURES.get(dataset, count)):
        yield f"it has {count} pictures, the official split {TEST_PICTURES[dataset]}"


def _official(run: Mapping[str, Any]) -> str | None:
    """Return the key of OFFICIAL for the name of a run's data set, which often is just a folder's name."""
    plain = re.sub(r"[^a-z0-9]", "", run["dataset"].lower())
    known = {key.replace("-", ""): key for key in OFFICIAL} | _ALSO_CALLED
    return known.get(plain)


def _plain(category: str) -> str:
    """Return a category as OFFICIAL spells it; MAD numbers its folders: `01Gorilla` is "gorilla"."""
    return re.sub(r"^\d+(?=[a-z])", "", category.lower().replace(" ", "_").replace("-", "_"))
