"""The page: every image is on it, the worst first; nothing foreign runs, nothing is fetched."""

import base64
import hashlib
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.report import RunWriter
from genau.results import Analysis, Defect, Inspection, Verdict

EVIL = "<script>alert('1')</script>\"&"


def inspection(
    image: str = "part.png", score: float = 0.8, *, size_hw: tuple[int, int] = (300, 480), **changes: Any
) -> Inspection:
    """Return a result with one small defect that is a scratch."""
    height, width = size_hw
    mask = np.zeros(size_hw, np.bool_)
    mask[10:30, 40:80] = True
    values: dict[str, Any] = {
        "picture": np.full((height, width, 3), 120, np.uint8),
        "anomaly_map": np.where(mask, 0.9, 0.1).astype(np.float32),
        "pred_mask": mask,
        "defects": (Defect("scratch", 0.912, (40, 10, 80, 30), 1234, 0.00001, "top left"),),
        "types": {"scratch": 0.9},
    }
    verdict = Verdict.DEFECT if score >= 0.5 else Verdict.NORMAL
    return Inspection(image, width, height, verdict, score, score, 0.75, 0.5, **(values | changes))


def page(folder: Path, results: list[Inspection], **options: Any) -> str:
    with RunWriter(folder, **options) as writer:
        for result in results:
            writer.add(result)
    return (folder / "report.html").read_text(encoding="utf-8")


class Structure(HTMLParser):
    """Collects tags and checks that they are nested as they must be."""

    VOID = frozenset({"meta", "img", "input", "wbr", "br", "link", "rect", "line"})

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

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_foreign_text_is_shown_and_never_run(tmp_path: Path) -> None:
    words = Analysis(*[EVIL] * 7)
    defect = Defect(EVIL, 0.9, (40, 10, 80, 30), 800, 0.1, EVIL)
    result = inspection(
        EVIL,
        defects=(defect,),
        types={EVIL: 0.5},
        type_masks={EVIL: np.ones((300, 480), np.bool_)},
        analysis=words,
        contradiction=EVIL,
        timing_ms={EVIL: 1.0},
    )
    rest = inspection(EVIL, 0.6, defects=(defect,))
    options: dict[str, Any] = {"title": EVIL, "model": EVIL, "settings": {EVIL: EVIL}, "max_cards": 1}
    html = page(tmp_path, [result, rest, Inspection.failed(EVIL, EVIL)], **options)
    structure = Structure(html)
    assert len(structure.all("script")) == 1, "only the page's own"
    assert html.count("alert(") > 20, "shown everywhere"
    assert "<script>alert" not in html and "alert('" not in html
    assert not any(name.startswith("on") for _, attrs in structure.tags for name in attrs)


def test_the_page_fetches_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    html = page(tmp_path, [inspection("sub/a b#1.png")])
    structure = Structure(html)
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert all((image["src"] or "").startswith("data:image/") for image in structure.all("img"))
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data: 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        in html
    )
    links = [link["href"] for link in structure.all("a")]
    assert "overlays/sub/a%20b%231.png.jpg" in links and "masks/sub/a%20b%231.png.png" in links


def test_every_picture_has_words_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    images = Structure(page(tmp_path, [inspection()])).all("img")
    assert all(image["alt"] for image in images)
    assert "Anomaly map and outlines on part.png: scratch, top left" in [image["alt"] for image in images]


def test_every_inner_link_has_its_target(tmp_path: Path) -> None:
    structure = Structure(page(tmp_path, [inspection("a.png"), inspection("b.png", 0.1)]))
    ids = [attrs["id"] for _, attrs in structure.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in structure.all("a") if (a["href"] or "").startswith("#")} <= set(ids)


def test_failed_images_come_first_with_their_error(tmp_path: Path) -> None:
    html = page(tmp_path, [inspection("good.png", 0.1), Inspection.failed("sub/cut.png", "ends after 12 bytes")])
    assert "1 image was not inspected" in re.sub(r"<[^>]+>", "", html)
    assert html.index("ends after 12 bytes") < html.index('<article class="card"')


def test_the_worst_come_first_and_unreadable_before_all(tmp_path: Path) -> None:
    unreadable = Inspection("odd.png", 480, 300, Verdict.UNREADABLE, math.nan, 0.1, math.nan, 0.5)
    low, high, mid = inspection("low.png", 0.1), inspection("high.png", 0.9), inspection("mid.png", 0.6)
    html = page(tmp_path, [low, high, unreadable, mid])
    assert re.findall(r'<article.*?data-name="(.*?)"', html) == ["odd.png", "high.png", "mid.png", "low.png"]


def test_only_the_worst_have_cards_and_the_page_says_where_the_others_are(tmp_path: Path) -> None:
    results = [inspection(f"{score}.png", score / 100) for score in (20, 90, 10, 80, 30)]
    html = page(tmp_path, [*results, Inspection.failed("cut.png", "cut off")], max_cards=2)
    assert re.findall(r'<article.*?data-name="(.*?)"', html) == ["90.png", "80.png"]
    assert re.findall(r'<tr data-verdict="normal" data-name="(.*?)"', html) == ["30.png", "20.png", "10.png"]
    assert "The 2 images with the highest scores are shown above with pictures. The other 3 are listed here" in html
    assert html.count("cut off") == 1


def test_a_page_without_cards_lists_all_images(tmp_path: Path) -> None:
    html = page(tmp_path, [inspection("a.png"), inspection("b.png", 0.1)], max_cards=0)
    assert "<article" not in html
    assert html.count("<tr data-verdict") == 2


def test_the_head_says_what_ran(tmp_path: Path) -> None:
    results = [inspection(), inspection("b.png", 0.1), inspection("c.png", 0.2), Inspection.failed("d.png", "cut off")]
    html = page(tmp_path, results, title="Line 3", model="tiny", settings={"references": "4 images"})
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("<main>")[1]))
    assert "Images 4 Defect 1 Unreadable 1 Normal 2" in plain
    assert "33.3 % defects among the 3 with a verdict" in plain
    assert "references 4 images" in plain
    assert "<title>Line 3</title>" in html and "Model <b>tiny</b>" in html and "<time datetime=" in html


def test_a_card_says_all_of_an_image(tmp_path: Path) -> None:
    words = Analysis("defect", "scratch", "top left", "thin and bright", "minor", "a tool", "rework")
    result = inspection(
        analysis=words, contradiction="They differ.", text_verdict=Verdict.NORMAL, timing_ms={"see": 12.0}
    )
    html = page(tmp_path, [result])
    card = html.split("<article")[1].split("</article>")[0]
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card))
    for part in (
        "▲ Defect",
        "480 × 300 px",
        "0.800 score",
        "threshold 0.500",
        "map 0.800",
        "text 0.750 “normal”",
        "Words and decision disagree. They differ.",
        "scratch 0.912 top left 1,234 &lt; 0.01 40, 10 – 80, 30",
        "Appearance thin and bright",
        "Likely cause a tool",
        "see 12 ms",
        "total 12 ms",
    ):
        assert part in plain


def test_a_card_shows_the_calibrated_score_beside_the_raw_one(tmp_path: Path) -> None:
    html = page(tmp_path, [replace(inspection(score=0.9), threshold=0.6)])
    assert "<b>0.900</b>" in html
    assert "<dt>calibrated</dt><dd>0.875</dd>" in html


def test_the_score_bar_shows_score_and_threshold_at_their_places(tmp_path: Path) -> None:
    card = page(tmp_path, [inspection()]).split("<article")[1]
    assert re.search(r'class="fill" y="5" width="80.00%"', card)
    assert re.search(r'class="tick" x1="50.00%" x2="50.00%"', card)
    assert 'aria-label="Score 0.800 on a scale from 0 to 1, threshold 0.500"' in card


def test_thumbnails_are_small_whatever_the_original_is(tmp_path: Path) -> None:
    html = page(tmp_path, [inspection(size_hw=(900, 1400))])
    uris = re.findall(r'<img src="data:image/jpeg;base64,(.*?)".*?alt="(?:Original|Anomaly)', html)
    sizes = [Image.open(io.BytesIO(base64.b64decode(uri))).size for uri in uris]
    assert sizes == [(560, 360), (560, 360)]


def test_the_close_up_is_the_untouched_original_around_the_defect(tmp_path: Path) -> None:
    picture = np.zeros((300, 480, 3), np.uint8)
    picture[10:30, 40:80] = (0, 200, 0)
    html = page(tmp_path, [inspection(picture=picture)])
    match = re.search(r'<img src="data:image/png;base64,([^"]*)" alt="Close-up of part.png: scratch, top left"', html)
    assert match is not None
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(match[1]))))
    assert crop.shape == (80, 80, 3)
    assert (crop[10:30, 20:60] == (0, 200, 0)).all()
    assert (crop == (0, 200, 0)).all(axis=2).sum() == 20 * 40


def test_a_noisy_mask_does_not_flood_the_page(tmp_path: Path) -> None:
    html = page(tmp_path, [inspection(defects=inspection().defects * 500)])
    assert "Defects (500)" in html and "492 more with smaller scores, see results.jsonl." in html


def test_memory_holds_thumbnails_and_not_pictures(tmp_path: Path) -> None:
    with RunWriter(tmp_path, max_cards=3) as writer:
        for number in range(6):
            writer.add(inspection(f"{number}.png", number / 10, size_hw=(900, 1400)))
        kept = [html for _, _, html in writer._page._cards]
    assert len(kept) == 3
    assert sum(map(len, kept)) < 900 * 1400


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_scores_have_no_histogram(tmp_path: Path, count: int) -> None:
    assert 'class="histogram"' not in page(tmp_path, [inspection()] * count)


def test_the_column_of_types_is_never_narrower_than_a_word(tmp_path: Path) -> None:
    style = page(tmp_path, [inspection()]).split("<style>")[1].split("</style>")[0]
    rules = re.findall(r"^tbody th \{.*$", style, re.MULTILINE)
    assert rules and "anywhere" not in rules[0].split("}")[0] and "overflow-wrap: break-word" in rules[0]
