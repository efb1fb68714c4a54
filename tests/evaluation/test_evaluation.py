"""From a data set to its figures: resumable, every picture accounted for, undefined said to be so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.detection import Task
from genau.errors import UsageError
from genau.evaluation.finish import finish, missed_gates
from genau.evaluation.journal import Journal, opened
from genau.evaluation.own import GenAUDetector
from genau.evaluation.plan import Settings, fingerprint, make_plan
from genau.evaluation.run import evaluate, try_tasks
from genau.evaluation.summary import text_table
from genau.results import Inspection


def draw(result: Inspection) -> Image.Image:
    return Image.fromarray(result.picture)


def run(detector: Any, folder: Path, out: Path, *, resume: bool = False, **settings: Any) -> dict[str, Any]:
    chosen = Settings((folder,), batch_size=3, **settings)
    runs = make_plan(chosen)
    try_tasks(detector, runs)
    with opened(out, fingerprint(chosen, runs), resume=resume, overwrite=False) as journal:
        evaluate(detector, runs, journal, batch_size=3, step=lambda: None)
        return finish(detector, chosen, runs, journal, draw=draw)


def images(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    runs = [{key: value for key, value in run.items() if key != "seconds"} for run in metrics["runs"]]
    return {key: value for key, value in metrics.items() if key not in {"created", "runs"}} | {"runs": runs}


def test_figures_of_a_detector_whose_answers_are_known(make_set: Any, detector: Any, tmp_path: Path) -> None:
    metrics = run(detector, make_set(bad=6), tmp_path / "out", types="filtered")
    (table,) = metrics["runs"]
    for figures in [*table["per_category"].values(), table["mean"]]:
        for name in ("image_auroc", "image_ap", "pixel_auroc", "pixel_aupro", "pixel_iou", "rejection"):
            assert figures[name] == pytest.approx(1.0), name
        for name in ("verdict_balanced_accuracy", "type_accuracy", "type_macro_auroc", "type_pixel_f1"):
            assert figures[name] == pytest.approx(1.0), name
        assert figures["type_constant_accuracy"] == 0.5
        assert figures["intervals"]["image_auroc"] == [1.0, 1.0]
        assert "unreadable" in figures
    bolt = table["per_category"]["bolt"]
    assert (bolt["n_normal"], bolt["n_defect"], bolt["n_failed"], bolt["n_typed"]) == (6, 6, 0, 6)
    assert table["per_type"]["bolt"]["dent"]["n"] == 3
    assert table["protocol"]["candidates"] == {"bolt": ["dent", "scratch"], "nut": ["dent", "scratch"]}
    for name in ("metrics.json", "per_category.csv", "per_type.csv", "curves.json", "failures.json", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    rows = images(tmp_path / "out")
    assert len(rows) == 24
    assert {row["verdict"] for row in rows if row["label"]} == {"defect"}


def test_a_killed_evaluation_resumed_gives_what_one_go_gives(
    make_set: Any, make_detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_set()
    monkeypatch.setattr("genau.evaluation.run.SAVE_EVERY_S", 0.0)
    whole = run(make_detector(), folder, tmp_path / "whole", types="all")
    with pytest.raises(KeyboardInterrupt):
        run(make_detector(fails_after=13), folder, tmp_path / "parts", types="all")
    rest = make_detector()
    resumed = run(rest, folder, tmp_path / "parts", resume=True, types="all")
    failures = len(json.loads((tmp_path / "parts" / "failures.json").read_text()))
    assert len(rest.shown) - failures == 20 - 13  # the first category's 10 and one batch of 3 were settled
    assert without_times(resumed) == without_times(whole)
    assert (tmp_path / "parts" / "images.jsonl").read_bytes() == (tmp_path / "whole" / "images.jsonl").read_bytes()
    again = make_detector()
    run(again, folder, tmp_path / "parts", resume=True, types="all")
    assert len(again.shown) == failures


def test_a_picture_that_cannot_be_read_is_a_row_and_no_score(make_set: Any, detector: Any, tmp_path: Path) -> None:
    folder = make_set(categories=("bolt",))
    (folder / "images" / "bolt_test_bad_0.png").write_bytes(b"no picture")
    metrics = run(detector, folder, tmp_path / "out")
    bolt = metrics["runs"][0]["per_category"]["bolt"]
    assert bolt["n_failed"] == 1
    assert bolt["image_auroc"] == 1.0
    assert bolt["verdict_recall"] == pytest.approx(3 / 4)  # what was not inspected was not found
    assert bolt["unreadable"] == pytest.approx(1 / 10)
    (row,) = [row for row in images(tmp_path / "out") if row["error"]]
    assert row["image"] == "images/bolt_test_bad_0.png"
    assert row["pred_score"] is None
    assert row["verdict"] == "unreadable"


def test_a_mask_of_another_size_leaves_the_image_figures_and_is_said(
    make_set: Any, detector: Any, tmp_path: Path
) -> None:
    folder = make_set(categories=("bolt",))
    Image.fromarray(np.ones((9, 9), np.uint8)).save(folder / "masks" / "bolt_test_bad_1.png")
    metrics = run(detector, folder, tmp_path / "out")
    bolt = metrics["runs"][0]["per_category"]["bolt"]
    assert bolt["n_failed"] == 0
    assert bolt["pixel_auroc"] == 1.0
    assert bolt["notes"] == ["1 masks could not be used; see mask_error in images.jsonl"]
    (row,) = [row for row in images(tmp_path / "out") if row["mask_error"]]
    assert "9 x 9 pixels" in row["mask_error"]
    assert "30 x 44" in row["mask_error"]


@pytest.mark.parametrize(("good", "bad", "missing"), [(0, 4, "0 normal"), (6, 0, "0 anomalous")])
def test_one_class_alone_gives_no_figure_and_the_reason(
    make_set: Any, detector: Any, tmp_path: Path, good: int, bad: int, missing: str
) -> None:
    metrics = run(detector, make_set(good=good, bad=bad, train=0, categories=("bolt",)), tmp_path / "out")
    bolt = metrics["runs"][0]["per_category"]["bolt"]
    assert bolt["image_auroc"] is None
    assert missing in bolt["undefined"]["image_auroc"]
    assert metrics["runs"][0]["mean"]["image_auroc"] is None
    assert "n/a" in text_table(metrics["runs"])
    assert missing in text_table(metrics["runs"])
    assert "n/a" in (tmp_path / "out" / "per_category.csv").read_text()


def test_a_product_that_was_trained_on_is_marked_and_left_out_of_the_mean(
    make_set: Any, make_detector: Any, tmp_path: Path
) -> None:
    detector = make_detector()
    detector.trained_products = ("Steel  Nut",)
    folder = make_set()
    spoil = folder / "images" / "nut_test_good_1.png"
    Image.fromarray(np.full((30, 44, 3), 255, np.uint8)).save(spoil)
    metrics = run(detector, folder, tmp_path / "out")
    table = metrics["runs"][0]
    assert table["per_category"]["nut"]["trained_on"]
    assert not table["per_category"]["bolt"]["trained_on"]
    assert table["mean"]["left_out"] == ["nut"]
    assert table["mean"]["n_categories"] == 1
    assert table["mean"]["image_auroc"] == 1.0 != table["per_category"]["nut"]["image_auroc"]
    assert "nut †" in text_table(metrics["runs"])


def test_where_all_was_trained_on_there_is_no_mean(make_set: Any, make_detector: Any, tmp_path: Path) -> None:
    detector = make_detector()
    detector.trained_products = ("bolt",)
    metrics = run(detector, make_set(categories=("bolt",)), tmp_path / "out")
    assert metrics["runs"][0]["mean"]["image_auroc"] is None
    mean, mean_all = metrics["runs"][0]["mean"], metrics["runs"][0]["mean_all"]
    for name in ("image_auroc", "pixel_auroc", "verdict_f1"):
        assert mean[name] is None
        assert "no zero-shot mean" in mean["undefined"][name]
        assert mean_all[name] == 1.0
    assert missed_gates(metrics, {"pixel_auroc": 0.1})  # undefined: missed, not unknown


def test_a_mean_says_of_how_many_categories_it_is(make_set: Any, detector: Any, tmp_path: Path) -> None:
    folder = make_set()
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["mask"] = None if row["category"] == "nut" else row["mask"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = run(detector, folder, tmp_path / "out")
    mean = metrics["runs"][0]["mean"]
    assert (mean["n_categories"], mean["over"]["image_auroc"], mean["over"]["pixel_auroc"]) == (2, 2, 1)
    assert "some means are over 1 of 2 categories" in text_table(metrics["runs"])


def test_every_figure_of_pictures_has_an_interval(make_set: Any, detector: Any, tmp_path: Path) -> None:
    folder = make_set(bad=6, categories=("bolt",))
    Image.fromarray(np.full((30, 44, 3), 255, np.uint8)).save(folder / "images" / "bolt_test_good_1.png")
    bolt = run(detector, folder, tmp_path / "out", types="filtered")["runs"][0]["per_category"]["bolt"]
    for name in ("image_auroc", "ece", "brier", "verdict_f1", "verdict_specificity", "rejection", "pixel_iou"):
        low, high = bolt["intervals"][name]
        assert low <= bolt[name] <= high, name
    low, high = bolt["intervals"]["rejection"]
    assert low < bolt["rejection"] < high


def test_of_few_pictures_no_interval_pretends_certainty(make_set: Any, detector: Any, tmp_path: Path) -> None:
    bolt = run(detector, make_set(categories=("bolt",)), tmp_path / "out", types="filtered")["runs"][0]["per_category"]
    for name in ("image_auroc", "verdict_recall", "type_accuracy", "pixel_iou"):  # of 4 defective pictures
        assert bolt["bolt"][name] == 1.0
        assert name not in bolt["bolt"]["intervals"]
    assert "rejection" in bolt["bolt"]["intervals"]  # of 6 good ones


def test_a_detector_that_knows_no_types_has_no_figures_of_types(
    make_set: Any, make_detector: Any, tmp_path: Path
) -> None:
    class Untyped(make_detector):  # type: ignore[misc]
        def prepare(self, task: Any) -> Any:
            return super().prepare(Task())

    bolt = run(Untyped(), make_set(categories=("bolt",)), tmp_path / "out", types="filtered")
    figures = bolt["runs"][0]["per_category"]["bolt"]
    assert figures["type_accuracy"] is None
    assert figures["undefined"]["type_accuracy"] == "This detector tells no types apart."
    assert figures["image_auroc"] == 1.0


@pytest.mark.parametrize("change", [lambda found: found[:-1], lambda found: [*found, found[0]]])
def test_one_detection_too_few_or_too_many_is_never_given_to_another_picture(
    make_set: Any, make_detector: Any, tmp_path: Path, change: Any
) -> None:
    class Careless(make_detector):  # type: ignore[misc]
        def detect(self, pictures: Any, prepared: Any) -> Any:
            return change(super().detect(pictures, prepared))

    with pytest.raises(ValueError, match="detections of 3 pictures; one each"):
        run(Careless(), make_set(), tmp_path / "out")


def test_a_task_that_the_detector_refuses_is_refused_before_the_first_picture(
    make_set: Any, make_detector: Any, tmp_path: Path
) -> None:
    class WordsOnly(make_detector):  # type: ignore[misc]
        def prepare(self, task: Any) -> Any:
            if task.references:
                raise UsageError("no references")
            return super().prepare(task)

    detector = WordsOnly()
    with pytest.raises(UsageError, match="no references"):
        run(detector, make_set(), tmp_path / "out", references=(0, 2))
    assert detector.shown == []


def test_a_description_without_words_ends_no_evaluation(make_set: Any, inspector: Any, tmp_path: Path) -> None:
    folder = make_set(categories=("bolt",))
    file = folder / "annotations.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["analysis"] = {"appearance": "" if row["types"] else "plain"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows if row["types"] or row["split"] == "train"))
    run(GenAUDetector(inspector, analysis=True), folder, tmp_path / "out")


def test_a_detector_that_draws_nothing_has_image_figures_only(
    make_set: Any, make_detector: Any, tmp_path: Path
) -> None:
    metrics = run(make_detector(draws=False), make_set(categories=("bolt",)), tmp_path / "out", types="filtered")
    bolt = metrics["runs"][0]["per_category"]["bolt"]
    assert bolt["image_auroc"] == 1.0
    assert bolt["pixel_auroc"] is None
    assert bolt["type_accuracy"] == 1.0
    assert bolt["rejection"] is None


def test_the_worst_failures_are_drawn(make_set: Any, make_detector: Any, tmp_path: Path) -> None:
    folder = make_set(categories=("bolt",))
    Image.fromarray(np.full((30, 44, 3), 255, np.uint8)).save(folder / "images" / "bolt_test_good_1.png")
    Image.fromarray(np.full((30, 44, 3), 9, np.uint8)).save(folder / "images" / "bolt_test_bad_1.png")
    run(make_detector(), folder, tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert [(entry["kind"], entry["image"]) for entry in listed] == [
        ("false alarm", "images/bolt_test_good_1.png"),
        ("miss", "images/bolt_test_bad_1.png"),
    ]
    for entry in listed:
        with Image.open(tmp_path / "out" / entry["overlay"]) as picture:
            assert picture.size == (2 * 44 + 4, 30)


def test_references_are_handed_over_and_seeds_are_summed_up(make_set: Any, detector: Any, tmp_path: Path) -> None:
    metrics = run(detector, make_set(train=5), tmp_path / "out", references=(0, 2), seeds=(0, 1))
    tried, asked = detector.prepared[:2], detector.prepared[2:8]  # each kind of task is tried before the loop
    assert [len(task.references) for task in tried] == [0, 1]
    assert [len(task.references) for task in asked] == [0, 0, 2, 2, 2, 2]
    assert len({task.references for task in asked[2:]}) == 4
    (spread,) = metrics["over_seeds"]
    assert (spread["references"], spread["seeds"]) == (2, [0, 1])
    assert spread["mean"]["image_auroc"] == {"mean": 1.0, "std": 0.0}


def test_a_gate_is_missed_by_a_lower_or_undefined_mean(make_set: Any, detector: Any, tmp_path: Path) -> None:
    metrics = run(detector, make_set(good=0, train=0), tmp_path / "out")
    assert missed_gates(metrics, {"pixel_auroc": 1.0}) == []
    (said,) = missed_gates(metrics, {"image_auroc": 0.5})
    assert said == "image_auroc of parts, 0 references, seed 0 is n/a, at least 0.5 was asked for"


def test_the_score_of_every_weight_of_the_word_is_kept(
    make_set: Any, inspector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_set(categories=("bolt",))
    metrics = run(GenAUDetector(inspector), folder, tmp_path / "out", references=(1,), types="filtered")
    weights = metrics["runs"][0]["image_auroc_by_text_weight"]["bolt"]
    assert list(weights) == ["0", "0.25", "0.5", "0.75", "1"]
    assert weights["0.5"] == metrics["runs"][0]["per_category"]["bolt"]["image_auroc"]  # the tiny model's w
    row = images(tmp_path / "out")[0]
    alone = inspector.inspect(
        folder / row["image"],
        product="steel bolt",
        types=["dent", "scratch"],
        analysis=False,
        references=make_plan(Settings((folder,), references=(1,)))[0].units[0].task.references,
    )
    assert row["pred_score"] == pytest.approx(alone.pred_score, abs=1e-4)
    assert row["types"] == pytest.approx(dict(alone.types), abs=1e-4)


def test_memory_of_a_unit_does_not_grow_with_its_pictures(make_set: Any, make_detector: Any, tmp_path: Path) -> None:
    sizes = []
    for number, good in enumerate((5, 40)):
        folder = make_set(name=f"set{number}", good=good, categories=("bolt",))
        run(make_detector(), folder, tmp_path / f"out{number}")
        journal = Journal(tmp_path / f"out{number}")
        (key,) = [path.stem for path in (journal.folder / "units").glob("*.npz")]
        sizes.append(sum(array.nbytes for array in journal.load(key)[1].values()))
    assert sizes[0] == sizes[1]
