"""Comparison: the same pictures in all runs, differences by hand, and words for what cannot be compared."""

import csv
import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.errors import DataError, UsageError
from genau.evaluation import resampling
from genau.evaluation.compare import Comparison, Row, as_csv, as_dict, as_markdown, as_text, compare
from genau.evaluation.resampling import MEASURES
from genau.evaluation.tally import Tally
from genau.metrics import PixelHistogram, auroc, bootstrap

GOOD, BAD = 3, 4
Table = dict[str, Any]
Make = Callable[..., Path]


def entry(
    per_category: Mapping[str, Mapping[str, Any]], *, dataset: str = "parts", seed: int = 0, **protocol: Any
) -> Table:
    """Return one entry of "runs" with these measures."""
    counts = {"n_normal": GOOD, "n_defect": BAD, "trained_on": False, "intervals": {}, "undefined": {}, "notes": []}
    known = {"references": 0, "seed": seed, "types": "none", "most": None, "split": "test"} | protocol
    return {
        "dataset": dataset,
        "protocol": known,
        "per_category": {name: counts | dict(values) for name, values in per_category.items()},
        "mean": {},
    }


def rows(scores: Mapping[str, Sequence[float | None]], *, dataset: str = "parts", seed: int = 0) -> list[Table]:
    """Return rows of images.jsonl: the first GOOD pictures of a category are good, the others defective."""
    return [
        {
            "dataset": dataset,
            "category": category,
            "references": 0,
            "seed": seed,
            "image": f"{category}/{k}.png",
            "label": k >= GOOD,
            "pred_score": score,
            "error": "unreadable" if score is None else None,
        }
        for category, values in scores.items()
        for k, score in enumerate(values)
    ]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a finished run folder."""

    def write(name: str, runs: list[Table], images: list[Table] | None = None, **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        metrics = {"schema_version": "1.0", "model": {"name": f"model {name}"}, "runs": runs} | changes
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        if images is not None:
            lines = "".join(json.dumps(row) + "\n" for row in images)
            (folder / "images.jsonl").write_text(lines, encoding="utf-8")
        return folder

    return write


def interval_of(row: Row) -> tuple[float, float, float]:
    """Return the difference of the second run and its interval."""
    figure = row.differences[1]
    assert figure is not None
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    return figure.value, figure.low, figure.high


def found(comparison: Comparison, measure: str, dataset: str = "parts") -> Row:
    (row,) = [row for row in comparison.rows if (row.measure, row.dataset) == (measure, dataset)]
    return row


def value(row: Row, run: int) -> float:
    number = row.values[run].value
    assert number is not None
    return number


WORSE = [0.1, 0.6, 0.3, 0.2, 0.7, 0.8, 0.9]  # AUROC 10/12
BETTER = [0.1, 0.2, 0.3, 0.4, 0.7, 0.8, 0.9]  # AUROC 1


def test_values_and_differences_are_those_of_the_pictures(make: Make) -> None:
    runs = (
        [entry({"nut": {"image_auroc": 0.0, "pixel_auroc": 0.5}})],
        [entry({"nut": {"image_auroc": 0.0, "pixel_auroc": 0.75}})],
    )
    comparison = compare([make("a", runs[0], rows({"nut": WORSE})), make("b", runs[1], rows({"nut": BETTER}))])
    row = found(comparison, "image_auroc")
    assert [value(row, 0), value(row, 1)] == [pytest.approx(10 / 12), 1]
    assert row.differences[0] is None
    difference = row.differences[1]
    assert difference is not None
    assert difference.value == pytest.approx(2 / 12)
    assert difference.low is not None
    assert difference.high is not None
    assert 0 <= difference.low <= 2 / 12 <= difference.high
    pixels = found(comparison, "pixel_auroc").differences[1]
    assert pixels is not None
    assert (pixels.value, pixels.low, pixels.high) == (0.25, None, None)
    assert not any("single pictures are kept" in note for note in comparison.notes)


def paired(make: Make, noise: float) -> tuple[list[Path], list[float], list[float]]:
    """Return two runs of 60 pictures that are hard for both alike; the second is a little better on all."""
    rng = np.random.default_rng(0)
    labels = [False] * 30 + [True] * 30
    hard = rng.normal(0, 1, 60) + np.array(labels)
    first, second = hard, hard + 0.5 * np.array(labels) + rng.normal(0, noise, 60)
    folders = []
    for name, values in (("a", first), ("b", second)):
        images = [
            {
                "dataset": "parts",
                "category": "nut",
                "references": 0,
                "seed": 0,
                "image": f"{k:02d}.png",
                "label": labels[k],
            }
            | {"pred_score": float(values[k])}
            for k in range(60)
        ]
        folders.append(make(name, [entry({"nut": {"image_auroc": 0.5}})], images))
    return folders, first.tolist(), second.tolist()


def test_the_interval_is_that_of_a_paired_bootstrap_and_narrower_than_an_unpaired_one(make: Make) -> None:
    folders, first, second = paired(make, 0.1)
    row = found(compare(folders), "image_auroc")
    difference = row.differences[1]
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    labels = np.arange(60) >= 30
    rng = np.random.default_rng(5)
    together, apart = [], []
    for _ in range(1000):
        one, other = (np.r_[rng.integers(0, 30, 30), rng.integers(30, 60, 30)] for _ in range(2))
        together.append(auroc(np.array(second)[one], labels) - auroc(np.array(first)[one], labels))
        apart.append(auroc(np.array(second)[one], labels) - auroc(np.array(first)[other], labels))
    assert [difference.low, difference.high] == pytest.approx(np.quantile(together, [0.025, 0.975]).tolist(), abs=0.01)
    assert difference.high - difference.low < 0.7 * np.subtract(*np.quantile(apart, [0.975, 0.025]))
    assert row.is_clear(1)
    assert not row.is_clear(0)


def test_the_order_of_pictures_runs_and_seeds_in_the_files_does_not_matter(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 50)
    categories = {"nut": {"image_auroc": 0.5}, "bolt": {"image_auroc": 0.5}}
    runs = [entry(categories, seed=seed) for seed in (0, 1)] + [entry(categories, dataset="more")]
    images = [
        [
            *rows({"nut": values, "bolt": BETTER}, seed=0),
            *rows({"nut": BETTER, "bolt": values}, seed=1),
            *rows({"nut": values, "bolt": values}, dataset="more"),
        ]
        for values in (WORSE, [0.3, 0.2, 0.1, 0.25, 0.15, 0.8, 0.9])
    ]
    once = compare([make("a", runs, images[0]), make("b", runs, images[1])])
    turned = [dict(run, per_category=dict(reversed(list(run["per_category"].items())))) for run in reversed(runs)]
    again = compare([make("c", turned, images[0][::-1]), make("d", runs, random.Random(1).sample(images[1], 42))])
    assert once.rows == again.rows
    assert once.notes == again.notes


def test_seeds_are_averaged_and_those_of_one_run_only_left_out(make: Make) -> None:
    first = [entry({"nut": {"pixel_ap": ap}}, seed=seed) for seed, ap in ((0, 0.2), (1, 0.4), (2, 0.9))]
    second = [entry({"nut": {"pixel_ap": ap}}, seed=seed) for seed, ap in ((0, 0.5), (1, 0.7))]
    comparison = compare([make("a", first), make("b", second)])
    row = found(comparison, "pixel_ap")
    assert [value(row, 0), value(row, 1)] == pytest.approx([0.3, 0.6])
    assert row.seeds == (0, 1)
    assert any("seed 2 left out" in note for note in comparison.notes)


def test_without_the_pictures_scores_there_is_no_interval_and_it_is_said(make: Make) -> None:
    runs = [entry({"nut": {"image_auroc": 0.5}})]
    comparison = compare([make("a", runs, rows({"nut": WORSE})), make("b", [entry({"nut": {"image_auroc": 0.7}})])])
    row = found(comparison, "image_auroc")
    difference = row.differences[1]
    assert difference is not None
    assert difference.value == pytest.approx(0.2)
    assert difference.low is None
    assert not row.is_clear(1)
    assert any("images.jsonl" in note and "no interval" in note for note in comparison.notes)


def test_a_category_that_one_model_was_trained_on_counts_for_none(make: Make) -> None:
    first = [entry({"nut": {"pixel_ap": 0.9, "trained_on": True}, "bolt": {"pixel_ap": 0.2}})]
    second = [entry({"nut": {"pixel_ap": 0.1}, "bolt": {"pixel_ap": 0.5}})]
    comparison = compare([make("a", first), make("b", second)])
    row = found(comparison, "pixel_ap")
    assert (value(row, 0), value(row, 1), row.categories) == (0.2, 0.5, ("bolt",))
    assert any("nut left out of all means" in note for note in comparison.notes)


def test_a_measure_is_averaged_over_the_categories_where_all_runs_define_it(make: Make) -> None:
    reason = "AUPRO needs defect regions."
    first = [entry({"nut": {"pixel_aupro": None, "pixel_ap": None}, "bolt": {"pixel_aupro": 0.2, "pixel_ap": None}})]
    second = [entry({"nut": {"pixel_aupro": 0.9, "pixel_ap": 0.5}, "bolt": {"pixel_aupro": 0.5, "pixel_ap": 0.5}})]
    first[0]["per_category"]["nut"]["undefined"] = {"pixel_ap": reason}
    comparison = compare([make("a", first), make("b", second)])
    assert value(found(comparison, "pixel_aupro"), 1) == 0.5
    assert any("1 of 2 categories" in note for note in comparison.notes)
    nothing = found(comparison, "pixel_ap")
    assert nothing.values[1].value is None
    assert nothing.values[1].reason == reason
    assert f"Pixel AP n/a: {reason}" in as_text(comparison)


def test_a_number_that_is_not_finite_is_undefined(make: Make) -> None:
    folders = [make(name, [entry({"nut": {"pixel_ap": 0.25, "pixel_auroc": 0.5}})]) for name in ("a", "b")]
    path = folders[1] / "metrics.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.25", "1e999").replace("0.5", "NaN"), encoding="utf-8")
    assert [row.values[0].value for row in compare(folders).rows] == [None, None]


def test_a_measure_that_one_run_was_not_asked_for_is_not_compared(make: Make) -> None:
    folders = [
        make("a", [entry({"nut": {"pixel_ap": 0.1, "type_accuracy": 0.5}})]),
        make("b", [entry({"nut": {"pixel_ap": 0.2}})]),
    ]
    assert [row.measure for row in compare(folders).rows] == ["pixel_ap"]


def test_a_picture_that_one_run_could_not_inspect_counts_for_none(make: Make) -> None:
    runs = [entry({"nut": {"image_auroc": 0.5}})]
    lost = [None if score == 0.6 else score for score in WORSE]
    comparison = compare([make("a", runs, rows({"nut": WORSE})), make("b", runs, rows({"nut": lost}))])
    row = found(comparison, "image_auroc")
    assert value(row, 0) == value(row, 1) == pytest.approx(7 / 8)
    assert any("1 pictures left out" in note for note in comparison.notes)


def test_a_category_of_one_class_leaves_no_image_measure(make: Make) -> None:
    runs = [entry({"nut": {"image_auroc": None}, "bolt": {"image_auroc": 0.5}})]
    images = [row for row in rows({"nut": WORSE, "bolt": WORSE}) if row["category"] == "bolt" or row["label"]]
    row = found(compare([make("a", runs, images), make("b", runs, images)]), "image_auroc")
    assert row.categories == ("bolt",)


def test_the_baseline_can_be_any_run(make: Make) -> None:
    folders = [make(name, [entry({"nut": {"pixel_ap": ap}})]) for name, ap in (("a", 0.2), ("b", 0.5), ("c", 0.6))]
    row = found(compare(folders, baseline=1), "pixel_ap")
    differences = [None if figure is None else figure.value for figure in row.differences]
    assert differences == [pytest.approx(-0.3), None, pytest.approx(0.1)]


def test_what_only_some_runs_have_is_named(make: Make) -> None:
    runs = [entry({"nut": {"pixel_ap": 0.2}}), entry({"nut": {"pixel_ap": 0.2}}, references=4)]
    comparison = compare([make("a", runs), make("b", runs[:1])])
    assert len(comparison.rows) == 1
    assert any("not compared: parts, 4 references." in note for note in comparison.notes)


@pytest.mark.parametrize(
    "other",
    [
        entry({"nut": {"pixel_ap": 0.2}}, most=5),
        entry({"nut": {"pixel_ap": 0.2}}, split="all"),
        entry({"nut": {"pixel_ap": 0.2}, "bolt": {"pixel_ap": 0.2}}),
        entry({"nut": {"pixel_ap": 0.2, "n_normal": 99}}),
    ],
    ids=["most", "split", "categories", "counts"],
)
def test_runs_over_other_pictures_are_refused(make: Make, other: Table) -> None:
    folders = [make("a", [entry({"nut": {"pixel_ap": 0.2}})]), make("b", [other])]
    with pytest.raises(UsageError, match=r"saw different pictures of parts: their .* differ. Run `genau eval`"):
        compare(folders)


@pytest.mark.parametrize("change", [{"image": "nut/00.png"}, {"label": True}])
def test_other_names_or_labels_of_pictures_are_refused(make: Make, change: Table) -> None:
    runs = [entry({"nut": {"image_auroc": 0.5}})]
    images = rows({"nut": WORSE})
    with pytest.raises(UsageError, match=r"saw different pictures of parts, nut: .*nut/0.png.* `genau eval`"):
        compare([make("a", runs, images), make("b", runs, [images[0] | change, *images[1:]])])


def test_a_picture_that_only_the_other_run_has_is_refused(make: Make) -> None:
    runs = [entry({"nut": {"image_auroc": 0.5}})]
    folders = [make(name, runs, rows({"nut": values})) for name, values in (("a", WORSE), ("b", [*WORSE, 0.5]))]
    with pytest.raises(UsageError, match=r"nut/7.png"):
        compare(folders)


def test_what_cannot_be_compared_is_refused_in_words(make: Make, tmp_path: Path) -> None:
    runs = [entry({"nut": {"pixel_ap": 0.2}})]
    first, second = make("a", runs), make("b", runs)
    for folders, words in (
        ([first], "1 run cannot be compared. Name the folders of two or more"),
        ([first, first], "same folder is named twice"),
        ([first, tmp_path], r"has no metrics\.json.*`genau eval -o` has completed"),
        (
            [first, make("c", runs, schema_version="1.1")],
            r"different schema versions \(model a has 1\.0, model c has 1\.1\)",
        ),
        (
            [first, make("d", [entry({"nut": {}}, dataset="other")])],
            "nothing in common: model a has parts, 0 references",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            compare(folders)
    with pytest.raises(UsageError, match=r"baseline=2 is not one of the 2 runs. Use 0 to 1"):
        compare([first, second], baseline=2)


def test_a_number_of_references_that_is_none_is_named(make: Make) -> None:
    folders = [make("a", [entry({"nut": {}})]), make("b", [entry({"nut": {}}, references="x")])]
    with pytest.raises(DataError, match=r"references 'x' and seed 0, not whole numbers"):
        compare(folders)


@pytest.mark.parametrize(
    ("line", "words"), [('{"dataset"', "line 2, is damaged"), ('{"dataset": "a"}', "it has no 'category'")]
)
def test_a_damaged_line_is_named(make: Make, line: str, words: str) -> None:
    runs = [entry({"nut": {"image_auroc": 0.5}})]
    folders = [make("a", runs, rows({"nut": WORSE})), make("b", runs, rows({"nut": WORSE}))]
    path = folders[1] / "images.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        compare(folders)


def test_runs_of_models_with_one_name_are_called_by_their_folders(make: Make) -> None:
    runs = [entry({"nut": {"pixel_ap": 0.2}})]
    folders = [make(name, runs, model={"name": "nano"}) for name in ("a", "b")]
    assert compare(folders).names == ("a", "b")


def test_text_is_aligned_and_marks_what_is_clear(make: Make) -> None:
    text = as_text(compare(paired(make, 0.1)[0]))
    head, row = text.splitlines()[1:3]
    assert text.splitlines()[0] == "parts, zero-shot, seed 0"
    assert row.startswith("Image AUROC  ")
    assert head.index("model b") == row.index("0.", row.index("0.") + 1)
    assert head.index("− model a") == row.index("+0.")
    assert row.endswith("] *")
    assert "* the 95 % interval of the difference leaves out 0." in text


def test_markdown_csv_and_dict_say_the_same(make: Make) -> None:
    runs = [[entry({"nut": {"ece": value}}, dataset="<b>|x")] for value in (0.25, 0.5)]
    comparison = compare([make("a", runs[0]), make("b", runs[1])])
    markdown = as_markdown(comparison)
    assert "| Measure | model a | model b | − model a |" in markdown
    assert "| Expected calibration error (lower is better) | 0.250 | 0.500 | +0.250 |" in markdown
    assert "**&lt;b>\\|x, zero-shot, seed 0**" in markdown
    lines = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [(line["run"], line["value"], line["difference"]) for line in lines] == [
        ("model a", "0.25", ""),
        ("model b", "0.5", "0.25"),
    ]
    plain = json.loads(json.dumps(as_dict(comparison)))
    assert plain["baseline"] == "model a"
    assert plain["rows"][0]["differences"][1]["value"] == 0.25
    assert plain["rows"][0]["clear"] == [False, False]
    assert plain["notes"] == list(comparison.notes)


def answers(family: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return what a run says of 30 pictures, with ties, and their truth."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [12, 18])
    match family:
        case "score":
            return np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1), labels
        case "verdict":
            return np.array(["normal", "defect", "unreadable"])[rng.integers(0, 3, 30)], labels
        case "types":
            return np.round(rng.random((30, 4)), 1), np.repeat([0, 1, 3], [5, 4, 21])
    return np.round(rng.random(30), 1), np.full(30, int(family == "overlap"))


@pytest.mark.parametrize("key", MEASURES)
def test_all_resamples_at_once_give_what_the_measure_gives_for_each(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 40)
    one = MEASURES[key]
    said, truth = answers(one.family)
    weights = resampling.draw(truth, "parts/nut")
    indices = np.array([np.repeat(np.arange(30), row) for row in weights])
    assert (truth[indices] == truth).all()
    each = bootstrap.replicates(one.value, said, truth, indices)
    assert each.std() > 0
    assert one.again(said, truth, weights) == pytest.approx(each)


def test_a_resample_without_any_alarm_has_no_precision() -> None:
    said, truth = np.array(["normal", "defect", "normal"]), np.array([0, 1, 1])
    weights = np.array([[1, 2, 0], [1, 0, 2]])
    again = MEASURES["verdict_precision"].again(said, truth, weights)
    assert again[0] == 1
    assert np.isnan(again[1])
    assert MEASURES["verdict_f1"].again(said, truth, weights).tolist() == [1, 0]


def test_verdicts_are_compared_over_the_same_pictures(make: Make) -> None:
    keys = ["verdict_recall", "verdict_specificity", "verdict_balanced_accuracy", "verdict_f1", "unreadable"]
    runs = [entry({"nut": dict.fromkeys(keys, 0.0)})]
    verdicts = [["normal"] * 3 + ["normal", "normal", "defect", "unreadable"], ["normal"] * 3 + ["defect"] * 4]
    images = [[row | {"verdict": w} for row, w in zip(rows({"nut": WORSE}), of, strict=True)] for of in verdicts]
    comparison = compare([make("a", runs, images[0]), make("b", runs, images[1])])
    assert [value(found(comparison, key), 0) for key in keys] == pytest.approx([0.25, 1, 0.625, 0.4, 1 / 7])
    assert [value(found(comparison, key), 1) for key in keys] == [1, 1, 1, 1, 0]
    difference, low, high = interval_of(found(comparison, "verdict_recall"))
    assert (difference, high) == (0.75, 1)
    assert low in {0, 0.25, 0.5}
    assert interval_of(found(comparison, "verdict_specificity")) == (0, 0, 0)


def test_scores_are_compared_as_probabilities_too(make: Make) -> None:
    runs = [entry({"nut": {"brier": 0.5, "ece": 0.5}})]
    comparison = compare([make("a", runs, rows({"nut": WORSE})), make("b", runs, rows({"nut": BETTER}))])
    worse, better = (np.array(scores) - (np.arange(7) >= GOOD) for scores in (WORSE, BETTER))
    difference, low, high = interval_of(found(comparison, "brier"))
    assert difference == pytest.approx((better**2).mean() - (worse**2).mean())
    assert low < difference < high
    assert value(found(comparison, "ece"), 1) == pytest.approx(np.abs(better).mean())  # a bin for every picture


def test_masks_are_compared_where_all_runs_have_one(make: Make) -> None:
    runs = [entry({"nut": {"pixel_iou": 0.0, "rejection": 0.0}})]
    first = zip([0, 0, 9, 5, 5, 5, 5], [None, None, None, 0.5, 0.3, 0.1, 0.9], strict=True)
    second = zip([0, 8, 9, 5, 5, 5, None], [None, None, None, 0.7, 0.5, 0.3, None], strict=True)
    images = [
        [row | {"drawn_px": px, "iou": iou} for row, (px, iou) in zip(rows({"nut": WORSE}), drawn, strict=True)]
        for drawn in (first, second)
    ]
    comparison = compare([make("a", runs, images[0]), make("b", runs, images[1])])
    assert interval_of(found(comparison, "pixel_iou")) == pytest.approx((0.2, 0.2, 0.2))  # better by as much on each
    assert value(found(comparison, "pixel_iou"), 0) == pytest.approx(0.3)
    assert [value(found(comparison, "rejection"), run) for run in (0, 1)] == pytest.approx([2 / 3, 1 / 3])
    assert interval_of(found(comparison, "rejection"))[1:] == (-1, 0)
    assert "parts, 0 references: 1 pictures left out of pixel IoU; not every run has a value." in comparison.notes


TYPES = ["type_accuracy", "type_macro_recall", "type_macro_f1", "type_macro_auroc", "type_pixel_auroc"]


def typed(right: Sequence[bool]) -> list[Table]:
    """Return rows of ten bent and ten cracked pictures, and one of both; `right`: whether a type is told."""
    kinds = [["bent"]] * 10 + [["crack"]] * 10 + [["bent", "crack"]]
    found = []
    for k, (true, told) in enumerate(zip(kinds, right, strict=True)):
        bent = 0.9 if (true[0] == "bent") == told else 0.2
        row = rows({"nut": WORSE})[-1] | {"image": f"{k}.png", "true_types": true}
        found.append(row | {"types": {"crack": 1 - bent, "bent": bent}})
    return found


def test_types_are_compared_over_pictures_of_one_type(make: Make) -> None:
    runs = [entry({"nut": dict.fromkeys(TYPES, 0.5)}, types="filtered", candidates={"nut": ["bent", "crack"]})]
    images = [typed([k % 2 == 0 for k in range(21)]), typed([k != 3 for k in range(21)])]
    comparison = compare([make("a", runs, images[0]), make("b", runs, images[1])])
    assert [value(found(comparison, key), 1) for key in TYPES[:2]] == pytest.approx([0.95, 0.95])
    difference, low, high = interval_of(found(comparison, "type_accuracy"))
    assert difference == pytest.approx(0.45)
    assert 0.1 < low < difference < high < 0.8
    for key in TYPES[1:4]:
        assert found(comparison, key).is_clear(1)
    assert comparison.notes == ("No intervals are made for: Type pixel AUROC.",)
    assert found(comparison, "type_accuracy").types == "filtered"


def test_runs_that_were_asked_for_other_types_are_compared_in_all_else(make: Make) -> None:
    measures = dict.fromkeys([*TYPES, "pixel_ap", "text_type_recall"], 0.5)
    folders = [
        make(name, [entry({"nut": measures}, types=types, candidates={"nut": asked})], typed([True] * 21))
        for name, types, asked in (("a", "filtered", ["bent"]), ("b", "all", ["bent", "crack"]))
    ]
    comparison = compare(folders)
    assert [row.measure for row in comparison.rows] == ["pixel_ap", "text_type_recall"]
    assert {row.types for row in comparison.rows} == {"differ"}
    assert any("types left out: the runs were asked for other types" in note for note in comparison.notes)


def test_runs_with_and_without_types_are_compared_without_a_word_on_types_where_none_has_measures(make: Make) -> None:
    runs = [[entry({"nut": {"ece": 0.5}}, types=types)] for types in ("none", "filtered")]
    comparison = compare([make("a", runs[0]), make("b", runs[1])])
    assert as_text(comparison).startswith("parts, zero-shot, types differ, seed 0")
    assert not any("asked for" in note for note in comparison.notes)


Counted = Callable[..., Path]
PIXELS = ["pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro"]


@pytest.fixture
def counted(make: Make) -> Counted:
    """Write a run of 12 pictures, half of them defective, with the counts of its maps; `shift` moves the defect up."""

    def write(name: str, shift: float, skip: int = 0, units: bool = True, **change: Any) -> Path:
        rng = np.random.default_rng(0)  # the same hard pictures for all runs
        tally, images = Tally(), []
        for k in range(12):
            hard, mask = rng.random(), np.zeros((8, 12), np.bool_)
            mask[2:5, 3:9] = k >= 6
            scores = np.clip(0.3 * rng.random((8, 12)) + 0.4 * hard + shift * mask, 0, 1).astype(np.float32)
            picture = PixelHistogram()
            picture.update(scores, mask)
            if k >= skip:
                tally.pixels.merge(picture)
                tally.bootstrap.update(f"{k}.png", picture)
            images.append(rows({"nut": BETTER})[-1] | {"image": f"{k}.png", "label": k >= 6, "mask_error": None})
        images[0] |= change
        exact = [tally.pixels.auroc(), tally.pixels.average_precision(), tally.pixels.f1_max()[0], tally.pixels.aupro()]
        run = entry({"nut": dict(zip(PIXELS, exact, strict=True))}) | ({"units": {"nut": "key"}} if units else {})
        folder = make(name, [run], images)
        (folder / "units").mkdir()
        arrays: dict[str, Any] = tally.arrays() | {"seconds": np.zeros(4), "rows": np.array(12)}
        np.savez(folder / "units" / "key.npz", **arrays)
        return folder

    return write


def test_pixel_measures_get_a_paired_interval(counted: Counted) -> None:
    comparison = compare([counted("a", 0.1), counted("b", 0.15)])
    assert not any("Pixel measures" in note for note in comparison.notes)
    for key in PIXELS:
        row = found(comparison, key)
        difference, low, high = interval_of(row)
        assert difference == pytest.approx(value(row, 1) - value(row, 0))
        assert low <= difference <= high
    row = found(comparison, "pixel_auroc")
    with np.load(Path(counted("c", 0.1)) / "units" / "key.npz") as file:
        parts = {name: file[name] for name in file.files if "." in name}
    alone = Tally.from_arrays([], parts).bootstrap.interval("auroc", value(row, 0))
    assert row.is_clear(1)  # though each run alone is far less certain
    assert interval_of(row)[2] - interval_of(row)[1] < 0.5 * (alone[1] - alone[0])


@pytest.mark.parametrize("change", [{"error": "unreadable"}, {"mask_error": "no such file"}])
def test_runs_that_counted_other_pixels_get_no_interval_and_it_is_said(counted: Counted, change: Table) -> None:
    comparison = compare([counted("a", 0.1), counted("b", 0.15, **change)])
    figure = found(comparison, "pixel_auroc").differences[1]
    assert figure is not None
    assert figure.value is not None
    assert figure.low is None
    assert any("counted different pictures of nut" in note for note in comparison.notes)


def test_counts_that_differ_though_the_rows_do_not_are_noticed(counted: Counted) -> None:
    comparison = compare([counted("a", 0.1), counted("b", 0.15, skip=1)])
    assert any("counted different pictures of nut" in note for note in comparison.notes)


def test_pixel_counts_that_are_not_at_hand_are_said(counted: Counted) -> None:
    first, second = counted("a", 0.1), counted("b", 0.15)
    comparison = compare([first, counted("c", 0.1, units=False)])
    assert any("metrics.json of model c is older and names no counts" in note for note in comparison.notes)
    (second / "units" / "key.npz").unlink()
    comparison = compare([first, second])
    assert any("Copy units/ beside each metrics.json" in note for note in comparison.notes)
    (second / "units" / "key.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"key.npz is damaged: .* Run `genau eval` again"):
        compare([first, second])
