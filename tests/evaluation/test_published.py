"""Published figures: the file is sound, and they stand beside a run only where the protocol agrees."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from genau.errors import DataError
from genau.evaluation.published import (
    K_SHOT,
    METRICS,
    OFFICIAL,
    TEST_PICTURES,
    TITLES,
    ZERO_SHOT,
    load,
    matching,
    why_not,
)

ROOT = Path(__file__).parent.parent.parent
Write = Callable[..., Path]


def run_of(dataset: str = "visa", categories: object = None, **protocol: object) -> dict[str, Any]:
    """Return a run over the whole official test split of a data set, as metrics.json keeps it."""
    key = dataset if dataset in OFFICIAL else "visa"
    names = sorted(OFFICIAL[key]) if categories is None else categories
    settings = {"references": 0, "seed": 0, "types": "none", "most": None, "categories": names, "split": "test"}
    count = TEST_PICTURES.get(key, 1000)
    mean = {"left_out": [], "n_normal": count // 2, "n_defect": count - count // 2}
    return {"dataset": dataset, "protocol": settings | {"all_categories": True} | protocol, "mean": mean}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file with one sound entry, changed as the test wants; None removes a key."""

    def make(twice: bool = False, **changes: object) -> Path:
        entry: dict[str, object] = {
            "dataset": "visa",
            "categories": "all",
            "method": "Eye",
            "protocol": {"task": ZERO_SHOT, "trained_on": "none", "references": 0},
            "metrics": {"image_auroc": 0.8},
            "source": "paper",
            "checked": True,
        }
        entry = {key: value for key, value in (entry | changes).items() if value is not None}
        source = {"text": "A paper", "url": "https://example.org", "how": "table 1"}
        content = {"sources": {"paper": source}, "entries": [entry] * (2 if twice else 1)}
        path = tmp_path / "published.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return make


def test_the_shipped_file_is_sound_and_every_entry_names_its_source() -> None:
    entries = load()
    assert {entry.dataset for entry in entries} == set(OFFICIAL) == set(TITLES)
    for entry in entries:
        assert entry.source.text, entry.name
        assert entry.source.how, entry.name
        assert entry.source.url.startswith("https://"), entry.name


def test_what_is_only_known_second_hand_is_not_checked() -> None:
    second_hand = [entry for entry in load() if entry.source.how == "second-hand note"]
    assert {"Bayes-PFL", "AF-CLIP", "FB-CLIP", "Anomaly-OV"} <= {entry.method for entry in second_hand}
    assert not any(entry.checked for entry in second_hand)


def test_means_agree_with_the_categories_they_are_means_of() -> None:
    detailed = [entry for entry in load() if entry.per_category]
    assert {entry.method for entry in detailed} >= {"AnomalyCLIP", "FiLo", "AnomalyVFM"}
    for entry in detailed:
        assert entry.per_category.keys() == OFFICIAL[entry.dataset], entry.name
        for metric, mean in entry.metrics.items():
            values = [figures[metric] for figures in entry.per_category.values()]
            assert np.mean(values) == pytest.approx(mean, abs=0.00105), (entry.dataset, entry.name, metric)


def test_the_official_lists_have_the_sizes_that_the_data_sets_state() -> None:
    sizes = {name: len(categories) for name, categories in OFFICIAL.items()}
    assert sizes == {
        "visa": 12,
        "mvtec-ad": 15,
        "mpdd": 6,
        "btad": 3,
        "real-iad": 30,
        "mad-sim": 20,
        "mad-real": 10,
        "dtd-synthetic": 12,
    }


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_a_full_zero_shot_run_gets_checked_zero_shot_figures_of_its_data_set_only(dataset: str) -> None:
    found = matching(run_of(dataset))
    assert found
    assert why_not(run_of(dataset)) == ""
    for entry in found:
        assert (entry.dataset, entry.checked, entry.references, entry.task) == (dataset, True, 0, ZERO_SHOT)


def test_unchecked_figures_are_kept_but_never_printed() -> None:
    unchecked = [entry for entry in load() if not entry.checked]
    assert unchecked
    for dataset, references in {(entry.dataset, entry.references) for entry in unchecked}:
        printed = matching(run_of(dataset, references=references))
        assert printed
        assert not [entry for entry in unchecked if entry in printed]


def test_k_shot_never_stands_beside_zero_shot() -> None:
    one = matching(run_of(references=1))
    assert one
    assert {(entry.references, entry.task) for entry in one} == {(1, K_SHOT)}
    assert not [entry for entry in matching(run_of()) if entry in one]


def test_a_number_of_references_that_nobody_published_is_said() -> None:
    run = run_of(references=3)
    assert matching(run) == []
    assert why_not(run) == (
        "No published figures are shown for visa: this run has 3 references per category, figures are kept for "
        "0, 1, 2, 4, 8 only."
    )


def test_a_run_with_one_category_gets_none_and_the_sentence_says_why() -> None:
    run = run_of(categories=["capsules"])
    assert matching(run) == []
    assert why_not(run) == "No published figures are shown for visa: this run has 1 of 12 categories."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"most": 40}, "it takes at most 40 good and 40 defective pictures per category"),
        ({"split": "all"}, "it is on the split 'all', published figures are on 'test'"),
        ({"categories": [*sorted(OFFICIAL["visa"]), "pcb5"]}, "VisA has no category 'pcb5'"),
    ],
)
def test_another_protocol_gets_none_and_the_sentence_says_why(changes: dict[str, Any], words: str) -> None:
    run = run_of(**changes)
    assert matching(run) == []
    assert why_not(run) == f"No published figures are shown for visa: {words}."


def test_a_mean_that_leaves_categories_out_gets_none() -> None:
    run = run_of()
    run["mean"] = {"left_out": ["pcb1", "pcb2"], "n_normal": 761, "n_defect": 1000}
    assert matching(run) == []
    assert why_not(run).endswith("its mean leaves out pcb1, pcb2.")


def test_a_thinned_copy_under_the_official_name_gets_none() -> None:
    run = run_of("mvtec-ad")
    run["mean"]["n_defect"] -= 100
    assert matching(run) == []
    assert why_not(run).endswith("it has 1625 pictures, the official split 1725.")


def test_all_obstacles_are_named_at_once() -> None:
    sentence = why_not(run_of(categories=["candle", "cashew"], most=5))
    assert "2 of 12 categories; it takes at most 5 good" in sentence


def test_a_data_set_without_figures_gets_none_and_the_known_ones_are_named() -> None:
    run = run_of("steel_strip")
    assert matching(run) == []
    assert why_not(run).startswith("No published figures are shown for steel_strip: a data set is known by the name")
    assert "visa, mvtec-ad" in why_not(run)


@pytest.mark.parametrize("folder", ["mvtec", "MVTec_AD", "mvtec_anomaly_detection", "mvtec-ad"])
def test_a_data_set_is_recognised_by_the_usual_names_of_its_folder(folder: str) -> None:
    run = run_of("mvtec-ad")
    assert [e.name for e in matching(run | {"dataset": folder})] == [e.name for e in matching(run)] != []


def test_numbered_folders_of_mad_are_its_categories() -> None:
    numbered = [f"{k:02d}{name.title()}" for k, name in enumerate(sorted(OFFICIAL["mad-sim"]), start=1)]
    assert matching(run_of("mad-sim", numbered))
    assert matching(run_of("btad", ["01", "02", "03"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metods": "Eye"}, "the key 'metods' is not known. Did you mean 'method'? Rename or remove it."),
        ({"source": None}, "lacks source. Add it."),
        ({"source": "papers"}, "'papers' is not in the list of sources. Did you mean 'paper'? Add it there."),
        (
            {"metrics": {"image_auroc": 82.1}},
            "image_auroc=82.1 must be a fraction from 0 to 1. Divide per cents by 100",
        ),
        ({"metrics": {"image_auroc": True}}, "must be a fraction"),
        ({"metrics": {"image_auc": 0.8}}, "'image_auc' is not known. Did you mean 'image_auroc'?"),
        ({"metrics": {}}, "there are no metrics"),
        ({"per_category": {"candle": {"image_auroc": -0.1}}}, "image_auroc=-0.1 must be a fraction"),
        ({"per_category": {"bottle": {"image_auroc": 0.9}}}, "visa has no category 'bottle'"),
        ({"dataset": "vsia"}, "'vsia' is not one of visa"),
        ({"categories": ["candle"]}, "must be 'all'"),
        ({"checked": "yes"}, "checked='yes' must be true or false"),
        ({"protocol": {"task": K_SHOT, "trained_on": "none", "references": 0}}, "do not fit the task 'k-shot'"),
        ({"protocol": {"task": ZERO_SHOT, "trained_on": "none", "references": 4}}, "4 references do not fit"),
        ({"protocol": {"task": ZERO_SHOT, "trained_on": "all", "references": 0}}, "trained_on='all' is not one of"),
        ({"protocol": {"task": ZERO_SHOT, "references": 0}}, "protocol lacks trained_on"),
    ],
)
def test_an_unsound_entry_is_named_and_the_words_say_what_to_do(
    write: Write, changes: dict[str, Any], words: str
) -> None:
    assert load(write())[0].name == "Eye"
    with pytest.raises(DataError) as caught:
        load(write(**changes))
    assert words in str(caught.value)
    assert str(caught.value).startswith("published.yaml, entry 1 (")


def test_the_same_figure_twice_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="entries 1 and 2 are both Eye on visa with 0 references"):
        load(write(twice=True))


def test_a_file_that_is_not_yaml_or_not_a_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("entries: [", encoding="utf-8")
    with pytest.raises(DataError, match="is not YAML"):
        load(path)
    path.write_text("- a list", encoding="utf-8")
    with pytest.raises(DataError, match="must be a mapping with sources, entries"):
        load(path)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_published", ROOT / "tools" / "make_published.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(tool: ModuleType) -> None:
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(load()), "run `python tools/make_published.py`"


def test_the_page_shows_every_figure_in_a_row_that_leads_to_its_source(tool: ModuleType) -> None:
    entries = load()
    page = tool.page(entries)
    for entry in entries:
        section = page.split(f"## {TITLES[entry.dataset]}: ")[1].split("\n## ")[0]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
        cells = {f"{entry.metrics[name]:.3f}" for name in METRICS if name in entry.metrics}
        fitting = [row for row in rows if row[0] == entry.name and cells <= set(row)]
        assert fitting, (entry.dataset, entry.name)
        assert any(f"\n{row[-1]}. {entry.source.text}" in page for row in fitting), entry.name


def test_the_page_sets_unchecked_figures_apart(tool: ModuleType) -> None:
    visa = tool.page(load()).split("## VisA: ")[1].split("\n## ")[0]
    checked, unchecked = visa.split("### VisA, not checked")
    assert "Bayes-PFL" in unchecked
    assert "Bayes-PFL" not in checked
