"""Published figures: the file is sound, and they stand beside a run only where the protocol agrees."""

import importlib.util
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from genau.datasets.categories import CATEGORIES, SPELLINGS
from genau.datasets.dialects import DIALECTS, plain
from genau.errors import DataError
from genau.evaluation import page_tables
from genau.evaluation.literature import K_SHOT, METRICS, TITLES, ZERO_SHOT, load, trained_on_words
from genau.evaluation.published import ALL_CATEGORIES, TEST_PICTURES, matching, mean_of, rows, why_not

ROOT = Path(__file__).parent.parent.parent
Write = Callable[..., Path]


def run_of(dataset: str = "visa", categories: object = None, **protocol: object) -> dict[str, Any]:
    """Return a run over the whole official test split of a data set, as metrics.json keeps it."""
    key = dataset if dataset in CATEGORIES else "visa"
    names = sorted(CATEGORIES[key]) if categories is None else categories
    settings = {"references": 0, "seed": 0, "types": "none", "most": None, "categories": names, "split": "test"}
    mean = mean_over(len(CATEGORIES[key]), TEST_PICTURES.get(key, 1000)) | {"left_out": []}
    return {"dataset": dataset, "protocol": settings | {"all_categories": True} | protocol, "mean": mean}


def mean_over(categories: int, pictures: int, value: float = 0.75) -> dict[str, Any]:
    """Return the mean of so many categories as metrics.json keeps it."""
    counts = {"n_normal": pictures // 2, "n_defect": pictures - pictures // 2, "n_failed": 0}
    over = {"n_categories": categories, "over": dict.fromkeys(METRICS, categories), "intervals": {}, "undefined": {}}
    return dict.fromkeys(METRICS, value) | counts | over


def run_without(*left_out: str, dataset: str = "visa", **protocol: object) -> dict[str, Any]:
    """Return a run with products that the model was trained on: left out of `mean` (0.7), not of `mean_all` (0.8)."""
    run = run_of(dataset, **protocol)
    size, pictures = len(CATEGORIES[dataset]), TEST_PICTURES[dataset]
    run["mean"] = mean_over(size - len(left_out), pictures - 160, 0.7) | {"left_out": list(left_out)}
    return run | {"mean_all": mean_over(size, pictures, 0.8)}


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
    assert {entry.dataset for entry in entries} == set(CATEGORIES) == set(TITLES)
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
        assert entry.per_category.keys() == CATEGORIES[entry.dataset], entry.name
        for metric, mean in entry.metrics.items():
            values = [figures[metric] for figures in entry.per_category.values()]
            assert np.mean(values) == pytest.approx(mean, abs=0.00105), (entry.dataset, entry.name, metric)


def test_the_official_lists_have_the_sizes_that_the_data_sets_state() -> None:
    sizes = {name: len(categories) for name, categories in CATEGORIES.items()}
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


@pytest.mark.parametrize("dataset", CATEGORIES)
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
        ({"categories": [*sorted(CATEGORIES["visa"]), "pcb5"]}, "VisA has no category 'pcb5'"),
    ],
)
def test_another_protocol_gets_none_and_the_sentence_says_why(changes: dict[str, Any], words: str) -> None:
    run = run_of(**changes)
    assert matching(run) == []
    assert why_not(run) == f"No published figures are shown for visa: {words}."


@pytest.mark.parametrize("model", [None, {}, {"name": "mine"}, {"trained_data": []}])
def test_a_mean_that_leaves_products_out_gets_none_where_the_training_data_is_not_known(model: Any) -> None:
    run = run_without("pcb1", "pcb2")
    assert matching(run, model) == []
    assert mean_of(run, model) == run["mean"]
    assert why_not(run, model) == (
        "No published figures are shown for visa: its mean leaves out pcb1, pcb2, and the data sets that the model was "
        "trained on are not known."
    )


def test_a_product_shared_with_another_training_set_is_counted_as_in_the_field_and_the_row_says_so() -> None:
    run, model = run_without("capsules"), {"trained_data": ["mvtec"]}
    assert mean_of(run, model) == run["mean_all"]
    assert why_not(run, model) == ""
    assert [entry.name for entry in matching(run, model)] == [entry.name for entry in matching(run_of())] != []
    printed = rows([run], model)
    assert {row["compared_with"] for row in printed} == {"mean_all"}
    assert all("Beside our mean over all categories, as published." in row["note"] for row in printed)
    rebuilt = next(row["note"] for row in printed if row["method"] == "WinCLIP (rebuilt)")
    assert rebuilt.startswith("A rebuilt WinCLIP; its zero-shot figures are lower than the paper's. Beside our mean")
    assert ALL_CATEGORIES in rebuilt


@pytest.mark.parametrize("name", ["visa", "VisA", "visa_first_half", "VisA 2022"])
@pytest.mark.parametrize("left_out", [[], ["pcb1", "pcb2"]])
def test_a_model_that_was_trained_on_the_evaluated_set_gets_none(name: str, left_out: list[str]) -> None:
    run = run_without(*left_out) if left_out else run_of()
    model = {"trained_data": ["mvtec-ad", name]}
    assert matching(run, model) == []
    assert rows([run], model) == []
    assert mean_of(run, model) == run["mean"]
    assert f"the model was trained on {name}, the same data set" in why_not(run, model)


@pytest.mark.parametrize("name", ["mvtec_loco", "MVTec AD 2", "my tiles"])
def test_a_set_with_a_name_like_the_evaluated_one_is_another_one(name: str) -> None:
    assert matching(run_of("mvtec-ad"), {"trained_data": [name]})
    assert matching(run_of("mvtec-ad"), {"trained_data": ["mvtec_bottles"]}) == []


def test_a_model_that_knows_every_product_gets_none_whatever_its_data_is_called() -> None:
    run = run_without(*sorted(CATEGORIES["visa"]))
    assert mean_of(run, {"trained_data": ["copy"]}) == run["mean"]
    assert matching(run, {"trained_data": ["copy"]}) == []
    assert why_not(run, {"trained_data": ["copy"]}).endswith(
        "its mean leaves out " + ", ".join(run["mean"]["left_out"]) + "."
    )


def test_without_products_left_out_the_plain_mean_is_compared_and_nothing_more_is_said() -> None:
    run, model = run_of(), {"trained_data": ["mvtec"]}
    assert mean_of(run, model) == run["mean"]
    printed = rows([run], model)
    assert {row["compared_with"] for row in printed} == {"mean"}
    assert not [row for row in printed if ALL_CATEGORIES in row["note"]]


@pytest.mark.parametrize(("failed", "words"), [(1, "1 picture could"), (3, "3 pictures could")])
@pytest.mark.parametrize("mean", ["mean", "mean_all"])
def test_a_run_with_pictures_that_failed_gets_none(failed: int, words: str, mean: str) -> None:
    run, model = (run_of() if mean == "mean" else run_without("capsules")), {"trained_data": ["mvtec"]}
    run[mean]["n_failed"] = failed
    assert matching(run, model) == []
    assert why_not(run, model) == f"No published figures are shown for visa: {words} not be inspected."


def test_a_run_without_pictures_gets_none() -> None:
    run = run_of("mpdd")
    run["mean"] |= {"n_normal": 0, "n_defect": 0}
    assert matching(run) == []
    assert why_not(run) == "No published figures are shown for mpdd: it has no pictures."


def test_a_metric_that_is_not_the_mean_of_all_categories_is_not_compared() -> None:
    run = run_of()
    run["mean"]["over"]["pixel_ap"] = 11
    run["mean"]["pixel_aupro"] = None
    names = {name for entry in matching(run) for name in entry.metrics}
    assert names == METRICS.keys() - {"pixel_ap", "pixel_aupro"}
    assert why_not(run) == ""
    assert {row["metric"] for row in rows([run])} == names


def test_a_run_whose_means_all_lack_a_category_gets_none_and_the_sentence_counts() -> None:
    run = run_of("dtd-synthetic")
    run["mean"]["over"] = dict.fromkeys(METRICS, 11) | {"image_ap": 0}
    run["mean"]["image_ap"] = None
    assert matching(run) == []
    assert "dtd-synthetic: image AUROC is defined for 11 of 12 categories; image AP is defined for 0" in why_not(run)
    del run["mean"]["over"]  # an older run does not say
    assert matching(run) == []


def test_rows_hold_all_that_tells_figures_apart_each_once() -> None:
    zero, one = run_of(), run_of(references=1)
    printed = rows([zero, one, run_of(references=1, seed=1)])
    assert printed == rows([zero]) + rows([one])
    places = [(row["dataset"], row["references"], row["method"], row["metric"]) for row in printed]
    assert len(places) == len(set(places))
    assert {row["references"] for row in printed} == {0, 1}
    keys = ["dataset", "references", "method", "trained_on", "image_size", "metric", "value", "source", "note"]
    assert all(list(row) == [*keys, "compared_with"] for row in printed)
    filo = next(row for row in printed if row["method"].startswith("FiLo"))
    assert (filo["trained_on"], filo["image_size"], filo["metric"], filo["value"]) == (
        "mvtec-ad test",
        518,
        "image_auroc",
        0.839,
    )


def test_few_shot_figures_of_one_method_are_kept_apart_by_references() -> None:
    printed = [row for row in rows([run_of(references=k) for k in (1, 2, 4)]) if row["method"] == "WinCLIP+ (rebuilt)"]
    aurocs = {row["references"]: row["value"] for row in printed if row["metric"] == "image_auroc"}
    assert aurocs == {1: 0.838, 2: 0.834, 4: 0.841}


def shown(html: str) -> str:
    """Return what a reader sees, tags replaced by bars."""
    return unescape(re.sub(r"\s*(<[^>]*>\s*)+", "|", html))


def test_the_page_shows_training_data_input_size_and_notes_of_each_method() -> None:
    run, model = run_of(), {"trained_data": ["my tiles"]}
    said = shown(page_tables.published(rows([run], model), [run], "nano", model["trained_data"]))
    assert "|Method|Trained on|Input|Image AUROC|" in said
    assert "|nano|this run, zero-shot, seed 0|my tiles|–|0.750|" in said
    assert re.search(r"\|FiLo \(released weights\)\|Gu et al[^|]*\|MVTec AD\|518\|0\.839\|", said)
    assert re.search(r"\|WinCLIP \(rebuilt\)\|a\|zqhang[^|]*\|nothing\|–\|0\.755\|", said)
    assert "|a|A rebuilt WinCLIP; its zero-shot figures are lower than the paper's.|" in said
    assert re.search(r"\|AdaCLIP [^|]*\|b\|.*\|b\|Tables disagree on AdaCLIP", said)
    assert "as published" not in said


def test_the_page_takes_ours_from_the_mean_that_is_compared_and_says_so() -> None:
    run, model = run_without("capsules"), {"trained_data": ["mvtec"]}
    printed = rows([run], model)
    said = shown(page_tables.published(printed, [run], "nano", model["trained_data"]))
    assert "|nano|this run, zero-shot, seed 0; mean over all categories, as published|mvtec|–|0.800|" in said
    assert "0.700" not in said
    assert "Beside our mean" not in said  # once, in our row
    assert "|nano|this run, zero-shot, seed 0|–|–|0.750|" in shown(
        page_tables.published(rows([run_of()]), [run_of()], "nano")
    )


def test_a_run_with_failed_pictures_is_not_put_beside_figures_that_another_seed_may_have() -> None:
    fine, failed = run_of(references=1, seed=0), run_of(references=1, seed=1)
    failed["mean"]["n_failed"] = 2
    said = shown(page_tables.published(rows([fine, failed]), [fine, failed], "nano"))
    assert "seed 0" in said
    assert "seed 1" not in said


def test_many_notes_have_a_letter_each_and_foreign_text_is_escaped() -> None:
    entry = {"dataset": "visa", "references": 0, "metric": "image_auroc", "value": 0.5, "trained_on": "<b>"}
    printed = [entry | {"method": f"M{k}", "note": f"Note {k} <i>"} for k in range(28)]
    html = page_tables.published(printed, [], "nano")
    assert "M25<sup>z</sup>" in html
    assert "M27<sup>bb</sup>" in html
    assert '<p class="mark"><sup>bb</sup> Note 27 &lt;i&gt;</p>' in html
    assert "<b>" not in html


def test_what_a_method_was_trained_on_is_said_in_words() -> None:
    assert [trained_on_words(name) for name in ("mvtec-ad test", "visa test", "none", "other")] == [
        "MVTec AD",
        "VisA",
        "nothing",
        "other",
    ]


def test_readers_and_published_figures_know_the_same_categories() -> None:
    for name in ("mpdd", "dtd-synthetic", "mad-real", "mad-sim"):
        assert DIALECTS[name].categories == CATEGORIES[name]
        assert all(plain(category) == category for category in CATEGORIES[name])
    assert set(SPELLINGS.values()) <= CATEGORIES["mad-sim"]
    assert CATEGORIES["mad-real"] < CATEGORIES["mad-sim"]


@pytest.mark.parametrize("folder", ["13Pheonix", "13Phoenix", "pheonix", "Phoenix"])
def test_the_phoenix_of_mad_is_known_by_both_spellings(folder: str) -> None:
    names = [name for name in sorted(CATEGORIES["mad-sim"]) if name != "phoenix"]
    assert DIALECTS["mad-sim"].knows(folder)
    assert why_not(run_of("mad-sim", [*names, folder])) == ""


@pytest.mark.parametrize(("dataset", "pictures"), [("visa", 2162), ("mvtec-ad", 1725), ("mpdd", 458)])
def test_a_thinned_copy_under_the_official_name_gets_none(dataset: str, pictures: int) -> None:
    run = run_of(dataset)
    run["mean"]["n_defect"] -= 100
    assert matching(run) == []
    assert why_not(run).endswith(f"it has {pictures - 100} pictures, the official split {pictures}.")


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
    numbered = [f"{k:02d}{name.title()}" for k, name in enumerate(sorted(CATEGORIES["mad-sim"]), start=1)]
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
