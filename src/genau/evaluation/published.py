"""When figures that others published may stand beside ours, and which of our means is then compared.

Beside a run belongs only what was measured on the same data set, over the same categories, with as many references:
else the comparison says nothing of the methods.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from genau.datasets.categories import CATEGORIES
from genau.datasets.dialects import plain
from genau.evaluation.literature import METRICS, TITLES, Published, load
from genau.evaluation.plan import TEST_SPLIT

MEAN, MEAN_ALL = "mean", "mean_all"  # of a run: without the products that the model was trained on, and with them
ALL_CATEGORIES = "mean over all categories, as published"
BESIDE_ALL = f"Beside our {ALL_CATEGORIES}."
# Pictures of the official test split, good and defective: folders under the official name are often thinned.
TEST_PICTURES = {"visa": 2162, "mvtec-ad": 1725, "mpdd": 458}
_CALLED = {  # name in plain letters -> data set; those beyond TITLES are told apart from them
    **{key.replace("-", ""): key for key in TITLES},
    "mvtec": "mvtec-ad",
    "mvtecanomalydetection": "mvtec-ad",
    "mvtecad2": "mvtec-ad2",
    "mvtecloco": "mvtec-loco",
    "btech": "btad",
    "dtd": "dtd-synthetic",
}


def mean_of(run: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return the mean of a run that published figures stand beside: `mean`, or `mean_all` by the field's protocol.

    Our mean leaves out every product that the model was trained on. The field counts a data set as unseen if another
    one was trained on, though they may share products (VisA's capsules, MVTec AD's capsule). `model` is that of
    metrics.json; where it does not say on which data sets the weights were trained, ours is kept.
    """
    mean: Mapping[str, Any] = run[_which(run, model)]
    return mean


def matching(run: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> list[Published]:
    """Return the checked figures that may be printed beside a run, an entry of `runs` in metrics.json.

    They have those metrics only that the run's mean has over every category.
    """
    if any(_obstacles(run, model)):
        return []
    found = []
    for entry in _fitting(run):
        metrics = {name: value for name, value in entry.metrics.items() if _is_whole(run, model, name)}
        if metrics:
            found.append(replace(entry, metrics=metrics))
    return found


def why_not(run: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> str:
    """Say in one sentence why no figures are printed beside a run; empty if some are."""
    reasons = list(_obstacles(run, model))
    if not reasons and not matching(run, model):
        dataset = _data_set(run["dataset"])
        if fitting := _fitting(run):
            over, size = mean_of(run, model).get("over", {}), len(CATEGORIES[dataset])
            names = [name for name in METRICS if any(name in entry.metrics for entry in fitting)]
            reasons = [f"{METRICS[name]} is defined for {over.get(name, 0)} of {size} categories" for name in names]
        else:
            counts = sorted({entry.references for entry in _checked() if entry.dataset == dataset})
            kept = f"for {', '.join(map(str, counts))} only" if counts else "for none, as long as nobody checked them"
            reasons = [f"this run has {run['protocol']['references']} references per category, figures are kept {kept}"]
    return f"No published figures are shown for {run['dataset']}: {'; '.join(reasons)}." if reasons else ""


def rows(runs: Iterable[Mapping[str, Any]], model: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the list `published` of metrics.json: one row per figure that may stand beside one of the runs, each once.

    `compared_with` names the mean of the run that a figure stands beside; where it is `mean_all`, the note says so.
    """
    found: dict[tuple[str, int, str, str], dict[str, Any]] = {}
    for run in runs:
        which = _which(run, model)
        for entry in matching(run, model):
            about = {
                "dataset": run["dataset"],
                "references": entry.references,
                "method": entry.name,
                "trained_on": entry.trained_on,
                "image_size": entry.image_size,
            }
            note = f"{entry.note} {BESIDE_ALL}".lstrip() if which == MEAN_ALL else entry.note
            origin = {"source": entry.source.text, "note": note, "compared_with": which}
            for metric, value in entry.metrics.items():
                key = (run["dataset"], entry.references, entry.name, metric)
                found.setdefault(key, about | {"metric": metric, "value": value} | origin)
    return list(found.values())


def _which(run: Mapping[str, Any], model: Mapping[str, Any] | None) -> str:
    left_out, categories = _left_out(run["mean"]), run["protocol"]["categories"]
    another_set = _trained_data(model) and not _trained_here(run, model)
    # A model that knows every product was trained on this very set, whatever its folder was called.
    return MEAN_ALL if 0 < len(left_out) < len(categories) and another_set and MEAN_ALL in run else MEAN


def _left_out(mean: Mapping[str, Any]) -> list[str]:
    return list(mean.get("left_out") or [])


def _fitting(run: Mapping[str, Any]) -> list[Published]:
    wanted = (_data_set(run["dataset"]), run["protocol"]["references"])
    return [entry for entry in _checked() if (entry.dataset, entry.references) == wanted]


@cache
def _checked() -> tuple[Published, ...]:
    return tuple(entry for entry in load() if entry.checked)


def _is_whole(run: Mapping[str, Any], model: Mapping[str, Any] | None, metric: str) -> bool:
    """Return whether the run's mean has a metric, over every category of the data set."""
    mean = mean_of(run, model)
    size = len(CATEGORIES[_data_set(run["dataset"])])
    return mean.get(metric) is not None and mean.get("over", {}).get(metric) == size


def _obstacles(run: Mapping[str, Any], model: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what keeps a run from being comparable to any published figure."""
    protocol, mean, dataset = run["protocol"], mean_of(run, model), _data_set(run["dataset"])
    if dataset not in CATEGORIES:
        yield f"a data set is known by the name of its folder, and figures are kept for {', '.join(CATEGORIES)}"
        return
    categories, official = {plain(name) for name in protocol["categories"]}, CATEGORIES[dataset]
    if foreign := sorted(categories - official):
        yield f"{TITLES[dataset]} has no category {foreign[0]!r}"
    elif categories != official:
        yield f"this run has {len(categories)} of {len(official)} categories"
    if protocol["most"] is not None:
        yield f"it takes at most {protocol['most']} good and {protocol['most']} defective pictures per category"
    if protocol["split"] != TEST_SPLIT:
        yield f"it is on the split {protocol['split']!r}, published figures are on {TEST_SPLIT!r}"
    if failed := mean.get("n_failed", 0):
        yield f"{failed} picture{'' if failed == 1 else 's'} could not be inspected"
    if here := _trained_here(run, model):
        yield f"the model was trained on {', '.join(here)}, the same data set"
    if left_out := _left_out(mean):
        unknown = "" if _trained_data(model) else ", and the data sets that the model was trained on are not known"
        yield f"its mean leaves out {', '.join(left_out)}{unknown}"
    count = mean.get("n_normal", 0) + mean.get("n_defect", 0)
    if not count and not left_out:
        yield "it has no pictures"
    elif categories == official and not left_out and count != TEST_PICTURES.get(dataset, count):
        yield f"it has {count} pictures, the official split {TEST_PICTURES[dataset]}"


def _trained_data(model: Mapping[str, Any] | None) -> list[str]:
    return list((model or {}).get("trained_data") or [])


def _trained_here(run: Mapping[str, Any], model: Mapping[str, Any] | None) -> list[str]:
    """Return the data sets in the model's training that are the evaluated one, or are named after it."""
    return [name for name in _trained_data(model) if _named_after(name) == _data_set(run["dataset"])]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _data_set(name: str) -> str:
    """Return the data set that goes by this name, which often is just a folder's; the plain name if it is not known."""
    return _CALLED.get(_letters(name), _letters(name))


def _named_after(name: str) -> str:
    """Return the data set whose name this one begins with: VisA for `visa_train`."""
    letters = _letters(name)
    return _CALLED.get(max((known for known in _CALLED if letters.startswith(known)), key=len, default=""), letters)
