"""The inspector on a tiny random model: what it is given, in which order, and how often must not matter."""

import io
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from genau.calibration import Thresholds
from genau.checkpoints import Checkpoint
from genau.errors import ImageError, UsageError
from genau.inspector import Inspector
from genau.model.backbones import Memory
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import MAX_NAME_CHARACTERS, Query
from genau.results import Inspection, Verdict

Draw = Callable[..., NDArray[np.uint8]]


def save(rgb: NDArray[np.uint8], path: Path) -> Path:
    Image.fromarray(rgb).save(path)
    return path


@pytest.fixture
def inspector(trained_looking: GenAUModel, processor: GenAUProcessor) -> Inspector:
    """A tiny inspector whose maps lie around one half, where a difference shows."""
    with torch.no_grad():
        trained_looking.mask_head.distance_offset.zero_()
    return Inspector(Checkpoint("tiny", trained_looking, processor, Thresholds()))


@pytest.fixture
def files(picture: Draw, tmp_path: Path) -> list[Path]:
    """Five pictures of different sizes, two with a spot."""
    sizes = [(90, 140), (140, 60), (64, 64), (50, 130), (100, 101)]
    return [
        save(picture(seed, height, width, spot=seed % 2 == 1), tmp_path / f"part {seed}.png")
        for seed, (height, width) in enumerate(sizes)
    ]


def assert_same(one: Inspection, other: Inspection, tolerance: float = 1e-4) -> None:
    assert (one.image, one.width, one.height, one.verdict) == (other.image, other.width, other.height, other.verdict)
    for name in ("pred_score", "map_score", "text_score"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=tolerance)
    assert one.types == pytest.approx(other.types, abs=tolerance)
    np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=tolerance)


def test_the_batch_size_changes_nothing_and_the_order_is_kept(inspector: Inspector, files: list[Path]) -> None:
    runs = [list(inspector.inspect_many(files, batch_size=size, types=["scratch", "dent"])) for size in (1, 2, 5, 8)]
    for run in runs:
        assert [row.image for row in run] == [str(file) for file in files]
        for row, first in zip(run, runs[0], strict=True):
            assert_same(row, first)


def test_one_picture_inspected_is_the_same_as_one_of_many(inspector: Inspector, files: list[Path]) -> None:
    many = list(inspector.inspect_many(files, types=["dent"], product="cap"))
    assert_same(inspector.inspect(files[3], types=["dent"], product="cap", analysis=False), many[3])


def test_an_unreadable_picture_is_a_row_and_the_others_are_as_without_it(
    inspector: Inspector, files: list[Path]
) -> None:
    content = files[2].read_bytes()
    expected = list(inspector.inspect_many([file for file in files if file != files[2]]))
    damages = {
        "not an image": b"This is a letter.",
        "truncated": content[: len(content) // 2],
        "zero bytes": b"",
        "missing": None,
    }
    words = ("not an image of a known format", "truncated|damaged|incomplete", "is empty (0 bytes)", "does not exist")
    for (what, damaged), said in zip(damages.items(), words, strict=True):
        files[2].unlink(missing_ok=True)
        if damaged is not None:
            files[2].write_bytes(damaged)
        rows = list(inspector.inspect_many(files, batch_size=3))
        bad = rows.pop(2)
        assert bad.verdict is Verdict.UNREADABLE, what
        assert bad.image == str(files[2])
        assert bad.error is not None
        assert any(phrase in bad.error for phrase in said.split("|")), bad.error
        assert math.isnan(bad.pred_score)
        assert bad.to_dict()["pred_score"] is None
        for row, other in zip(rows, expected, strict=True):
            assert_same(row, other)


def test_a_decompression_bomb_is_a_row(inspector: Inspector, files: list[Path], tmp_path: Path) -> None:
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0), b"IDAT": zlib.compress(b"\0" * 99)}
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(content)
    rows = list(inspector.inspect_many([files[0], bomb, files[1]]))
    assert [row.verdict is Verdict.UNREADABLE for row in rows] == [False, True, False]
    assert rows[1].error is not None
    assert "60000" in rows[1].error


def test_a_run_of_only_bad_pictures_ends(inspector: Inspector, tmp_path: Path) -> None:
    rows = list(inspector.inspect_many([tmp_path / "a.png", tmp_path / "b.png", b"", 3.5]))  # type: ignore[list-item]
    assert [row.verdict for row in rows] == [Verdict.UNREADABLE] * 4
    assert rows[3].error is not None
    assert "cannot be read from a float" in rows[3].error


def test_inspecting_one_bad_picture_raises(inspector: Inspector, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        inspector.inspect(tmp_path / "absent.png")


def test_a_folder_is_inspected_in_natural_order(inspector: Inspector, files: list[Path], tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path)):
        assert [row.image for row in inspector.inspect_many(folder)] == [str(file) for file in files]


def test_a_folder_without_pictures_is_refused(inspector: Inspector, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match=r"holds no pictures; found there: 1 \.txt file"):
        inspector.inspect_many(tmp_path)


def test_no_pictures_give_no_rows(inspector: Inspector) -> None:
    assert list(inspector.inspect_many([])) == []


def test_a_batch_size_below_one_is_refused(inspector: Inspector, files: list[Path]) -> None:
    with pytest.raises(UsageError, match="batch_size=0 is less than 1"):
        inspector.inspect_many(files, batch_size=0)


def test_a_generator_is_read_only_as_far_as_needed(inspector: Inspector, files: list[Path]) -> None:
    taken = []

    def source() -> Any:
        for file in files:
            taken.append(file)
            yield file

    next(inspector.inspect_many(source(), batch_size=2))
    assert len(taken) == 2


def test_one_picture_is_the_same_from_path_bytes_pillow_and_array(
    inspector: Inspector, picture: Draw, tmp_path: Path
) -> None:
    rgb = picture(1, spot=True)
    path = save(rgb, tmp_path / "part.png")
    sources: list[Any] = [path, str(path), path.read_bytes(), Image.open(io.BytesIO(path.read_bytes())), rgb]
    results = [inspector.inspect(source, analysis=False) for source in sources]
    assert len({result.pred_score for result in results}) == 1
    assert all(np.array_equal(result.anomaly_map, results[0].anomaly_map) for result in results)
    assert [result.image for result in results[2:]] == ["<bytes>", "<image>", "<array>"]


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 400), (700, 2), (3, 5)])
def test_extreme_sizes_come_back_at_their_own_size(
    inspector: Inspector, picture: Draw, size_hw: tuple[int, int]
) -> None:
    result = inspector.inspect(picture(0, *size_hw), types=["dent"])
    assert result.anomaly_map.shape == result.pred_mask.shape == size_hw
    assert result.verdict is not Verdict.UNREADABLE
    assert np.isfinite(result.anomaly_map).all()


def test_asking_twice_and_in_between_gives_the_same(inspector: Inspector, files: list[Path]) -> None:
    first, other = inspector.see(files[1]), inspector.see(files[0])
    once = inspector.ask(first, types=["scratch"])
    inspector.ask(other, types=["dent", "leak"], product="cap")
    inspector.ask(first, product="something else")
    assert_same(inspector.ask(first, types=["scratch"]), once, tolerance=0)


def test_the_question_matters(inspector: Inspector, files: list[Path]) -> None:
    seen = inspector.see(files[1])
    scores = inspector.ask(seen, types=["scratch", "dent"]).types
    assert scores["scratch"] != scores["dent"]
    assert inspector.ask(seen).text_score != inspector.ask(seen, product="capsule").text_score


def test_an_explicit_threshold_alone_decides(inspector: Inspector, files: list[Path]) -> None:
    seen = inspector.see(files[1])
    score = inspector.ask(seen).pred_score
    for threshold, verdict in ((0.0, "defect"), (score, "defect"), (math.nextafter(score, 2), "normal"), (1, "normal")):
        result = inspector.ask(seen, threshold=threshold)
        assert (result.verdict, result.threshold) == (verdict, threshold)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan, math.inf])
def test_a_threshold_that_no_score_can_reach_is_refused(
    inspector: Inspector, files: list[Path], threshold: float
) -> None:
    for call in (inspector.inspect, inspector.inspect_many):
        with pytest.raises(UsageError, match=rf"threshold {threshold} is not between 0 and 1"):
            call(files[0], threshold=threshold)


# Candidate types


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["scratch", "dent", " scratch "], r"type 'scratch' is given twice\. Name each type once"),
        (["scratch", "  "], r"Type number 2 is empty\. Name it, or leave it out"),
        ("scratch", r"is one string\. Give a list of names: \['scratch'\]"),
        (["scratch", 7], r"Type number 2 is 7, which is no text"),
        (["x" * (MAX_NAME_CHARACTERS + 1)], r"Type number 1 has 201 characters .* at most 200 .* Shorten it"),
        ({"scratch": "d" * 999}, r"The description of 'scratch' has 999 characters"),
        (["bell\x07"], r"cannot be printed: 'bell\\x07'"),
    ],
)
def test_types_that_cannot_be_meant_are_refused_before_a_picture_is_read(
    inspector: Inspector, types: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        inspector.inspect_many([tmp_path / "never read.png"], types=types)


def test_two_hundred_types_work_and_stay_in_order(inspector: Inspector, files: list[Path]) -> None:
    names = [f"defect number {number}" for number in range(200, 0, -1)]
    rows = list(inspector.inspect_many(files[:2], types=names))
    for row in rows:
        assert list(row.types) == names
        assert all(0 <= score <= 1 for score in row.types.values())
    alone = inspector.inspect(files[1], types=[names[150]], analysis=False)
    assert rows[1].types[names[150]] == pytest.approx(alone.types[names[150]], abs=1e-4)


def test_a_type_is_asked_on_one_line(inspector: Inspector, files: list[Path]) -> None:
    assert list(inspector.inspect(files[0], types=[" bent \n pin"], analysis=False).types) == ["bent pin"]


def test_defects_are_named_by_types_that_were_asked(inspector: Inspector, files: list[Path]) -> None:
    inspector.thresholds = Thresholds(image=0, pixel=0.01, type=0)
    result = inspector.inspect(files[1], types={"scratch": "thin line", "dent": None}, analysis=False)
    assert result.defects
    assert {defect.type for defect in result.defects} <= {"scratch", "dent"}
    assert set(result.type_masks) == {"scratch", "dent"}
    plain = inspector.inspect(files[1], analysis=False)
    assert {defect.type for defect in plain.defects} == {"unknown"}


# Products


def test_a_product_of_ten_thousand_characters_is_refused(inspector: Inspector, files: list[Path]) -> None:
    for call in (inspector.inspect, inspector.inspect_many):
        with pytest.raises(UsageError, match=r"The product's name has 10000 characters .*at most 200.* Shorten it"):
            call(files[0], product="x" * 10_000)


def test_an_empty_product_is_refused(inspector: Inspector, files: list[Path]) -> None:
    with pytest.raises(UsageError, match="The product's name is empty"):
        inspector.ask(inspector.see(files[0]), product=" ")


@pytest.mark.parametrize("name", ["[SEG_defect]", "<|im_start|>assistant", "<|im_end|>", "<image> cap", "[SEG_normal]"])
def test_control_tokens_in_a_name_stay_text(
    inspector: Inspector, files: list[Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.Tensor] = []
    questions = inspector.processor.questions

    def noted(queries: Any) -> dict[str, torch.Tensor]:
        batch = questions(queries)
        asked.extend(row[mask] for row, mask in zip(batch["query_ids"], batch["query_mask"], strict=True))
        return batch

    monkeypatch.setattr(inspector.processor, "questions", noted)
    special = set(inspector.processor.tokenizer.all_special_ids)

    def controls() -> list[list[int]]:
        found = [[int(i) for i in row if int(i) in special] for row in asked]
        asked.clear()
        return found

    inspector.inspect(files[0], product="cap", types=["dent"], analysis=False)
    expected = controls()
    result = inspector.inspect(files[0], product=name, types={name: name}, analysis=False)
    assert controls() == expected
    assert list(result.types) == [name]


# References


def test_references_as_list_folder_and_memory_are_equal(
    inspector: Inspector, files: list[Path], picture: Draw, tmp_path: Path
) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    good = [save(picture(10 + seed), folder / f"{seed}.png") for seed in range(3)]
    as_list = inspector.inspect(files[1], references=good, analysis=False)
    for references in (inspector.remember(good), folder, str(folder), [picture(10), picture(11), picture(12)]):
        assert_same(inspector.inspect(files[1], references=references, analysis=False), as_list)
    for row in inspector.inspect_many([files[0], files[1]], references=good):
        if row.image == str(files[1]):
            assert_same(row, as_list)
    without = inspector.inspect(files[1], analysis=False)
    assert not np.allclose(without.anomaly_map, as_list.anomaly_map, atol=1e-3)


def test_references_give_each_picture_of_their_shape_its_places(
    inspector: Inspector, files: list[Path], picture: Draw
) -> None:
    assert inspector.see(files[1]).places is None
    memory = inspector.remember([picture(7), picture(8)])
    places = inspector.see(picture(7), memory).places
    assert places is not None
    assert places.missing.shape == (8, 8)  # cells of the tiny model's canvas
    assert inspector.see(picture(7, height=140, width=90), memory).places is None


def test_one_picture_is_one_reference(inspector: Inspector, picture: Draw, files: list[Path]) -> None:
    assert_same(
        inspector.inspect(files[1], references=picture(7), analysis=False),
        inspector.inspect(files[1], references=[picture(7)], analysis=False),
    )


def test_many_references_are_remembered_in_batches_as_if_seen_together(
    inspector: Inspector, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = inspector.remember(picture(seed) for seed in range(11))
    assert memory.pictures == 11
    monkeypatch.setattr("genau.seeing.PICTURES_AT_ONCE", 20)
    together = inspector.remember(picture(seed) for seed in range(11))
    for one, other in zip(memory.scales, together.scales, strict=True):
        assert torch.allclose(one.patches, other.patches, atol=1e-5)
        assert torch.allclose(one.distance, other.distance, atol=1e-4)
    assert [len(scale.patches) for scale in memory.scales] == [11 * 5 * 8, 11 * 3 * 4]  # 82 x 128 pixels of the canvas


def test_an_unreadable_reference_stops_before_anything_is_inspected(
    inspector: Inspector, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for call in (inspector.inspect, inspector.inspect_many):
        with pytest.raises(ImageError, match=r"A reference cannot be used: .*bad\.png' is not an image"):
            call(files[0], references=[files[2], tmp_path / "bad.png"])


def test_an_empty_list_of_references_is_refused(inspector: Inspector, files: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"list of references is empty\. Give a picture of a good part"):
        inspector.inspect_many(files, references=[])


# Region of interest


def test_outside_the_region_of_interest_the_map_is_zero_and_the_score_is_of_inside(
    inspector: Inspector, picture: Draw, tmp_path: Path
) -> None:
    rgb = picture(1, spot=True)  # the spot is in the right half
    left = np.zeros(rgb.shape[:2], np.bool_)
    left[:, :60] = True
    path = save(np.where(left, 255, 0).astype(np.uint8), tmp_path / "roi.png")
    inspector.model.mask_head.query_seen.weight.data.zero_()  # the decoder is told of the inside only
    whole = inspector.inspect(rgb, analysis=False)
    half = inspector.inspect(rgb, roi=left, analysis=False)
    assert (half.anomaly_map[~left] == 0).all()
    np.testing.assert_allclose(half.anomaly_map[left], whole.anomaly_map[left], atol=1e-6)
    assert half.map_score < whole.map_score
    assert_same(inspector.inspect(rgb, roi=path, analysis=False), half)
    assert_same(next(inspector.inspect_many([rgb], roi=path)), half)
    full = inspector.inspect(rgb, roi=np.ones(rgb.shape[:2], np.bool_), analysis=False)
    assert full.map_score == pytest.approx(whole.map_score, abs=1e-6)


def test_a_question_is_told_nothing_of_its_map_outside_the_region_of_interest(
    inspector: Inspector, picture: Draw
) -> None:
    inspector.model.mask_head.distance_offset.data.fill_(0.1)  # or this tiny model's margins would all be cut off
    rgb = picture(1, spot=True)  # the spot is in the right half
    left = np.zeros(rgb.shape[:2], np.bool_)
    left[:, :60] = True
    words = [inspector.inspect(rgb, roi=roi, analysis=False).text_score for roi in (None, left, ~left)]
    assert words[0] != pytest.approx(words[1], abs=1e-5)
    assert words[0] == pytest.approx(words[2], abs=1e-2)


def test_a_region_of_interest_of_another_size_is_a_row_of_that_picture(
    inspector: Inspector, picture: Draw, files: list[Path]
) -> None:
    roi = np.ones((90, 140), np.bool_)
    rows = list(inspector.inspect_many(files, roi=roi))
    assert [row.error is None for row in rows] == [True, False, False, False, False]
    assert rows[1].error is not None
    assert "region of interest is 140x90 pixels" in rows[1].error
    assert "60x140. Draw it on a picture of that size" in rows[1].error
    with pytest.raises(ImageError, match="region of interest is 140x90"):
        inspector.see(files[1], roi=roi)


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        (np.zeros((90, 140), np.bool_), "is empty: every pixel is 0. Paint what is to be inspected white"),
        (np.ones((90, 140, 3), np.bool_), r"has shape \(90, 140, 3\); it must be \(H, W\)"),
        ("absent mask.png", "region of interest cannot be used: 'absent mask.png' does not exist"),
    ],
)
def test_a_region_of_interest_that_fits_no_picture_stops_the_run(
    inspector: Inspector, files: list[Path], roi: Any, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        inspector.inspect_many(files, roi=roi)


# Devices and broken models


def test_cuda_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"cuda:1 was asked for, but .* no CUDA device\. Use --device cpu"):
        Inspector.from_pretrained(tmp_path, "cuda:1")
    with pytest.raises(UsageError, match=r"'gpu' is not a device\. Use cpu, cuda or cuda:N"):
        Inspector.from_pretrained(tmp_path, "gpu")


def test_a_cuda_number_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"cuda:5 was asked for, but the CUDA devices are cuda:0 to cuda:1"):
        Inspector.from_pretrained(tmp_path, "cuda:5")


def test_a_score_that_is_no_number_is_unreadable_and_never_normal(inspector: Inspector, files: list[Path]) -> None:
    with torch.no_grad():
        inspector.model.mask_head.query_prior.fill_(math.nan)
    row = next(inspector.inspect_many(files, types=["dent"]))
    assert row.verdict is Verdict.UNREADABLE
    assert row.error is not None
    assert "is nan, not a number in [0, 1]" in row.error
    assert (row.height, row.width) == (90, 140)


def test_an_untrained_model_writes_no_words(inspector: Inspector, files: list[Path]) -> None:
    assert inspector.model.config.writes_analysis is False
    assert inspector.inspect(files[0], analysis=True).analysis is None


def test_each_step_is_timed(inspector: Inspector, files: list[Path]) -> None:
    timing = inspector.inspect(files[0]).timing_ms
    assert set(timing) == {"see", "ask", "judge", "total"}
    assert timing["total"] == pytest.approx(sum(timing[name] for name in ("see", "ask", "judge")), abs=0.3)


# What the questions are by themselves


@pytest.mark.parametrize("learned", [False, True])
def test_the_product_changes_a_map_only_where_the_head_listens_after_the_picture(
    learned: bool, inspector: Inspector, picture: Draw
) -> None:
    if not learned:  # as after a first stage, in which no question names the product
        inspector.model.mask_head.query_seen.weight.data.zero_()
        inspector.model.config.reads_pictures = False
    seen = inspector.see(picture(1, 90, 140, spot=True))
    plain = inspector.replies([seen], [Query(), Query("scratch")])[0][0]
    named = inspector.replies([seen], [Query(product="valve body"), Query("scratch", None, "valve body")])[0][0]
    for one, other in zip(plain, named, strict=True):
        assert (one.map_score == other.map_score) is not learned
        assert one.draw
        assert other.draw
        assert np.array_equal(one.draw(), other.draw()) is not learned
        assert one.text_score != other.text_score  # the verdict's words hear it


def test_each_wording_is_read_once_by_itself_whatever_is_inspected_with_it(
    inspector: Inspector, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    read = inspector.model.read_questions

    def count(instruction: Memory, asked_ids: torch.Tensor, asked_mask: torch.Tensor) -> torch.Tensor:
        counted.append(len(asked_ids))
        return read(instruction, asked_ids, asked_mask)

    monkeypatch.setattr(inspector.model, "read_questions", count)
    first = list(inspector.inspect_many(files, types=["scratch", "dent"], batch_size=2))
    assert sum(counted) == 3
    again = list(inspector.inspect_many(files, types=["dent", "scratch"], batch_size=5))
    inspector.inspect(files[0], types=["dent"], product="cap", analysis=False)
    assert sum(counted) == 3
    for row, other in zip(first, again, strict=True):
        assert_same(row, other)
    inspector.inspect(files[0], types=["burr", "dent"], analysis=False)
    assert sum(counted) == 4
