"""The page: every number of a run is on it or says why not; nothing foreign runs, nothing is fetched."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import DataError, UsageError
from genau.evaluation.page import render

EVIL = "<script>alert('1')</script>\"&"


def record(auroc: float | None = 0.76, **changes: Any) -> dict[str, Any]:
    """Return the measures of one category."""
    values = {"image_auroc": auroc, "image_ap": 0.8125, "pixel_aupro": 0.5, "ece": 0.11, "brier": 0.22}
    counts = {"n_normal": 60, "n_defect": 100, "n_failed": 0, "trained_on": False, "notes": []}
    return values | counts | {"intervals": {"image_ap": [0.701, 0.902]}, "undefined": {}} | changes


def run(
    per_category: dict[str, Any] | None = None, mean: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return one entry of "runs"."""
    records = {"nut": record()} if per_category is None else per_category
    protocol = {"references": 0, "seed": 0, "types": "none", "most": None, "split": "test"}
    protocol |= {"categories": list(records), "all_categories": True} | changes.pop("protocol", {})
    means = {"image_auroc": 0.654, "n_categories": len(records), "left_out": [], "intervals": {}, "undefined": {}}
    seconds = {"reading": 1.0, "model": 30.0, "measuring": 0.5, "writing": 0.1}
    plain = {"dataset": "parts", "format": "manifest", "folder": "parts", "protocol": protocol, "seconds": seconds}
    return plain | {"per_category": records, "per_type": {}, "mean": mean or means} | changes


def write(folder: Path, *runs: dict[str, Any], curves: object = None, failures: object = None, **changes: Any) -> Path:
    """Write a finished run folder."""
    model = {"name": "nano", "trained_products": ["paper"], "settings": {"threshold": "0.19"}}
    metrics = {"schema_version": "1.0", "genau_version": "9.8", "created": "2026-07-01T10:20:30+00:00", "model": model}
    metrics |= {"command": "genau eval --model nano", "runs": list(runs), "over_seeds": [], "published": []} | changes
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    for name, content in (("curves", curves), ("failures", failures)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def words(html: str) -> str:
    """Return what a reader sees, tags replaced by bars."""
    return re.sub(r"\s*(<[^>]*>\s*)+", "|", html.rpartition("</style>")[2].partition("<script>")[0])


class Structure(HTMLParser):
    """Collects tags and checks that they are nested as they must be."""

    VOID = frozenset({"meta", "img", "br", "link", "rect", "path", "polyline", "circle"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def full(folder: Path) -> Path:
    """Write a run with everything that a run can have, all its names hostile."""
    folder.mkdir(exist_ok=True)
    (folder / "failures").mkdir(exist_ok=True)
    Image.fromarray(np.full((300, 1300, 3), 90, np.uint8)).save(folder / "failures" / "001.jpg")
    row = record(
        **{EVIL: 0.5, "type_accuracy": None},
        notes=[EVIL],
        undefined={"type_accuracy": EVIL},
    )
    entry = run(
        {EVIL: row},
        dataset=EVIL,
        protocol={"types": EVIL, "split": EVIL, "seed": EVIL, "most": EVIL},
        per_type={EVIL: {EVIL: {"n": 3, "recall": None, EVIL: 0.5}}},
        mean=row | {"n_categories": 1, "left_out": [EVIL]},
        seconds={EVIL: 3.0},
        image_auroc_by_text_weight={EVIL: {EVIL: 0.5}},
    )
    failure = {"run": 0, "category": EVIL, "image": EVIL, "kind": EVIL, "score": 0.9, "threshold": 0.5, "text": EVIL}
    failure |= {"verdict": EVIL, "true_types": [EVIL], "overlay": "failures/001.jpg"}
    return write(
        folder,
        entry,
        curves={"runs": [{EVIL: {EVIL: [[0, 0], [1, 1]], "image_roc": [[0, 0], [1, 1]]}}]},
        failures=[failure, failure | {"overlay": EVIL}],
        command=EVIL,
        created=EVIL,
        genau_version=EVIL,
        model={"name": EVIL, "trained_products": [EVIL], "settings": {EVIL: EVIL}},
        over_seeds=[{"dataset": EVIL, "references": 2, "seeds": [EVIL], "mean": {EVIL: {"mean": 0.5, "std": 0.1}}}],
        published=[{"dataset": EVIL, "method": EVIL, "metric": EVIL, "value": 0.5, "source": EVIL}],
    )


def test_foreign_text_is_shown_and_never_run(tmp_path: Path) -> None:
    html = render(full(tmp_path))
    structure = Structure(html)
    assert sum(tag == "script" for tag, _ in structure.tags) == 1
    assert not [name for _, attrs in structure.tags for name in attrs if name.startswith("on")]
    assert html.count("&lt;script&gt;") > 20


def test_nothing_is_fetched_and_only_our_own_script_may_run(tmp_path: Path) -> None:
    html = render(full(tmp_path))
    tags = Structure(html).tags
    targets = [value or "" for _, attrs in tags for name, value in attrs.items() if name in {"src", "href", "srcset"}]
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    (policy,) = [attrs["content"] or "" for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_link_inside_the_page_leads_somewhere(tmp_path: Path) -> None:
    tags = Structure(render(write(tmp_path, run(), run()))).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {(attrs["href"] or "")[1:] for tag, attrs in tags if tag == "a"} <= set(ids)


def test_the_head_names_model_data_date_and_protocol(tmp_path: Path) -> None:
    entry = run({"nut": record(), "bolt": record()}, protocol={"most": 20, "types": "filtered"})
    said = words(render(write(tmp_path, entry)))
    for expected in (
        "nano on parts",
        "01 July 2026, 10:20",
        "GenAU 9.8",
        "all 2 categories, split test, at most 20 good and as many defective pictures of each",
        "zero-shot, without reference pictures; asked for the defect types of each product. Seed 0.",
        "genau eval --model nano",
        "paper",
    ):
        assert expected in said


def test_seeds_of_one_protocol_make_one_sentence(tmp_path: Path) -> None:
    entries = [run(protocol={"references": 4, "seed": seed}) for seed in (0, 1, 2)]
    said = words(render(write(tmp_path, *entries)))
    assert said.count("with 4 reference pictures of good parts; defect types were not asked. Seeds 0, 1, 2.") == 1


def test_an_undefined_measure_is_not_available_with_its_reason_as_title_and_footnote(tmp_path: Path) -> None:
    reason = "AUROC needs both classes; got 0 anomalous and 3 normal."
    html = render(write(tmp_path, run({"nut": record(None, undefined={"image_auroc": reason}), "bolt": record()})))
    assert f'<abbr title="{reason}">n/a</abbr><sup>1</sup>' in html
    assert f"<li>{reason}</li>" in html


def test_a_measure_that_only_some_categories_have_is_a_dash_elsewhere(tmp_path: Path) -> None:
    said = words(render(write(tmp_path, run({"nut": record(rejection=0.123), "bolt": record()}))))
    assert "|nut|0.500|0.123|" in said
    assert "|bolt|0.500|–|" in said


def test_a_trained_product_is_marked_and_said_to_be_left_out_of_the_mean(tmp_path: Path) -> None:
    records = {"nut": record(trained_on=True), "bolt": record()}
    mean = {"image_auroc": 0.7, "n_categories": 1, "left_out": ["nut"], "intervals": {}, "undefined": {}}
    said = words(render(write(tmp_path, run(records, mean))))
    assert "|nut|†|" in said
    assert "|bolt|†" not in said
    assert "|parts|†|" in said
    assert "the model was trained on nut: not zero-shot, left out of the mean." in said
    assert "of 1 category" in said


def test_intervals_stand_below_their_value(tmp_path: Path) -> None:
    assert "|0.812|0.701 – 0.902|" in words(render(write(tmp_path, run())))


def test_lower_is_better_is_said_for_calibration_errors_only(tmp_path: Path) -> None:
    said = words(render(write(tmp_path, run())))
    assert "|Expected calibration error|lower is better|" in said
    assert "|Brier score|lower is better|" in said
    assert "|Image AUROC|lower" not in said
    assert "|Pixel AUPRO @ 0.3|" in said


def test_unknown_measures_are_shown_under_their_key(tmp_path: Path) -> None:
    said = words(render(write(tmp_path, run({"nut": record(novel=0.321, text_rhyme=0.4, odd="word", list=[1])}))))
    assert "|Other|" in said
    assert "|novel|" in said
    assert "0.321" in said
    assert "|Words|Category|text_rhyme|" in said
    assert "|word|" in said


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_never_printed(tmp_path: Path, number: str) -> None:
    write(
        tmp_path,
        run(),
        curves={"runs": [{"nut": {"image_roc": [[0, 0], [0.77777, 1]]}}]},
        failures=[{"run": 0, "kind": "miss", "image": "a.png", "score": 0.77777, "threshold": 0.5}],
        over_seeds=[{"dataset": "parts", "references": 0, "seeds": [0, 1], "mean": {"image_auroc": {"mean": 0.77777}}}],
    )
    for path in tmp_path.glob("*.json"):
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole.replace("0.77777", number).replace("0.76", number).replace("0.701", number), "utf-8")
    assert not re.search(r"\b(nan|inf|infinity)\b", words(render(tmp_path)).lower())


def test_types_seeds_published_and_time_have_their_tables(tmp_path: Path) -> None:
    entry = run(per_type={"nut": {"bubble": {"n": 20, "recall": 0.25, "precision": None, "auroc": 0.9}}})
    seeds = [
        {"dataset": "parts", "references": 0, "seeds": [0, 1], "mean": {"image_auroc": {"mean": 0.8, "std": 0.01}}}
    ]
    paper = {"dataset": "parts", "method": "WinCLIP", "source": "table 1"}
    printed = [paper | {"metric": "image_auroc", "value": 0.781}, paper | {"metric": "pixel_aupro", "value": 0.568}]
    said = words(render(write(tmp_path, entry, over_seeds=seeds, published=printed)))
    assert "|bubble|nut|20|0.250|" in said
    assert "|0.800|± 0.010|" in said
    assert "|nano|this run, zero-shot, seed 0|0.654|" in said
    assert "|WinCLIP|table 1|0.781|0.568|" in said
    assert "|1.0 s|30.0 s|0.5 s|0.1 s|31.6 s|198 ms|" in said


def test_published_numbers_stand_beside_runs_with_as_many_references_only(tmp_path: Path) -> None:
    printed = [{"dataset": "parts", "references": 4, "method": "X", "metric": "image_auroc", "value": 0.9}]
    html = render(write(tmp_path, run(), run(protocol={"references": 4}), published=printed))
    said = words(html.split('id="published"')[1].split("</section>")[0])
    assert "this run, 4 reference pictures" in said
    assert "zero-shot" not in said


def test_a_run_that_was_not_asked_has_none_of_these_sections(tmp_path: Path) -> None:
    html = render(write(tmp_path, run(seconds={})))
    assert not [name for name in ("seeds", "published", "mistakes", "time") if f'id="{name}"' in html]
    assert "Curves" not in html


def test_curves_are_small_multiples_one_for_each_category(tmp_path: Path) -> None:
    line = [[0, 0], [0.5, 0.8], [1, 1]]
    curves = {"runs": [{name: {"image_roc": line, "pro": line} for name in ("nut", "bolt")}]}
    html = render(write(tmp_path, run({"nut": record(), "bolt": record()}), curves=curves))
    assert html.count("<svg") == 4
    assert "Image ROC, bolt" in html


def failure(score: float, kind: str, **changes: Any) -> dict[str, Any]:
    row = {"run": 0, "category": "nut", "image": f"nut/{score}.png", "kind": kind, "score": score, "threshold": 0.5}
    return row | {"verdict": "defect", "true_types": ["dent"], "text": "", "overlay": "failures/001.jpg"} | changes


def test_the_gallery_carries_the_overlays_as_thumbnails_the_worst_first(tmp_path: Path) -> None:
    (tmp_path / "failures").mkdir()
    Image.fromarray(np.full((500, 2000, 3), 90, np.uint8)).save(tmp_path / "failures" / "001.jpg")
    rows = [failure(0.6, "false alarm"), failure(0.9, "false alarm"), failure(0.4, "miss"), failure(0.1, "miss")]
    html = render(write(tmp_path, run(), failures=rows))
    assert re.findall(r"<h4[^>]*>(0\.\d)\.png</h4>", html) == ["0.9", "0.6", "0.1", "0.4"]
    assert html.index("Worst false alarms") < html.index("Worst misses")
    data = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', html)
    with Image.open(io.BytesIO(base64.b64decode(data[0]))) as thumb:
        assert thumb.size == (800, 200)
    assert "score 0.900 · threshold 0.500" in html
    assert "True: dent" in html


def test_a_picture_outside_the_run_folder_is_not_carried(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "secret.png")
    html = render(write(tmp_path / "run", run(), failures=[failure(0.9, "false alarm", overlay="../secret.png")]))
    assert "the picture lies outside the run folder" in html
    assert "<img" not in html


@pytest.mark.parametrize("overlay", ["failures/gone.jpg", "metrics.json", None, ""])
def test_a_picture_that_cannot_be_read_leaves_its_card(tmp_path: Path, overlay: str | None) -> None:
    html = render(write(tmp_path, run(), failures=[failure(0.9, "false alarm", overlay=overlay)]))
    assert "cannot be read" in html or "no picture" in html
    assert "score 0.900" in html


def test_pictures_that_were_not_inspected_are_announced(tmp_path: Path) -> None:
    html = render(
        write(tmp_path, run({"nut": record(n_failed=2), "bolt": record(notes=["3 masks could not be used"])}))
    )
    assert "2 pictures were not inspected." in html
    assert "60 good, 100 defective, 2 failed" in html
    assert "bolt: 3 masks could not be used" in html


def test_an_evaluation_without_runs_is_a_page_that_says_so(tmp_path: Path) -> None:
    html = render(write(tmp_path))
    Structure(html)
    assert "No data set was evaluated." in html


def test_thirty_categories_all_have_their_row(tmp_path: Path) -> None:
    names = [f"product {k}" for k in range(30)]
    html = render(write(tmp_path, run({name: record() for name in names})))
    Structure(html)
    assert all(f'<th scope="row">{name}<' in html for name in names)
    assert "all 30 categories" in html


def test_a_folder_without_a_finished_run_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no metrics\.json.*`genau eval -o` has completed"):
        render(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder"):
        render(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"schema version 2\.0; this GenAU reads version 1"):
        render(write(tmp_path, run(), schema_version="2.0"))


@pytest.mark.parametrize("name", ["metrics.json", "curves.json", "failures.json"])
@pytest.mark.parametrize("content", ['{"runs": [', '"word"', '{"runs": 3}'])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (write(tmp_path, run()) / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name} is damaged.*Run `genau eval` again"):
        render(tmp_path)


def test_a_run_without_its_parts_is_named(tmp_path: Path) -> None:
    entry = run()
    del entry["mean"]
    with pytest.raises(DataError, match=r"runs\[1\] must have a dict 'mean'"):
        render(write(tmp_path, run(), entry))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"per_category": {"nut": "x"}}, "per_category of runs.0. must hold objects"),
        ({"mean": None}, "must have a dict 'mean'"),
    ],
)
def test_a_run_of_the_wrong_shape_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=rf"metrics.json is damaged: .*{words}.*Run `genau eval` again"):
        render(write(tmp_path, run() | change))
