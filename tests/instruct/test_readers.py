"""Every layout is read into the same conversations; what is wrong is told with record, id, path and what to do."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genau.errors import DataError, UsageError
from genau.instruct import Skipped, StreamedConversations, guess_format, llava, mmad, read, records
from genau.instruct.conversation import Conversation
from genau.instruct.writing import write


def picture(path: Path, grey: int = 9, size_hw: tuple[int, int] = (6, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size_hw, grey, np.uint8)).save(path)
    return path


def row(number: int, image: Any = "p/a.png", **more: Any) -> dict[str, Any]:
    told = [{"from": "human", "value": f"<image>\nQuestion {number}, größer?"}, {"from": "gpt", "value": "No."}]
    return {"id": f"r{number}", "image": image, "conversations": told, **more}


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "p" / "a.png")
    picture(tmp_path / "p" / "b.png")
    return tmp_path


def told_of(path: Path, format: str | None = None) -> tuple[list[Conversation], list[str]]:
    told: list[str] = []
    return list(read(path, format, tell=told.append)), told


# --- LLaVA ---


def test_json_and_jsonl_and_shards_give_the_same_conversations(root: Path) -> None:
    rows = [row(k) for k in range(5)]
    one = lines(root / "all.jsonl", *rows[:2], "", *rows[2:])
    one.write_bytes(b"\xef\xbb\xbf" + one.read_bytes().replace(b"\n", b"\r\n"))  # as Windows writes it
    (root / "all.json").write_text("\ufeff" + json.dumps(rows, indent=2), "utf-8")
    lines(root / "shards" / "00.jsonl", *rows[:3])
    lines(root / "shards" / "01.jsonl", *rows[3:])
    expected = [(c.id, c.turns, c.images) for c in read(one)]
    assert [id for id, _, _ in expected] == ["r0", "r1", "r2", "r3", "r4"]
    assert expected[0][1][0].text == "<image>\nQuestion 0, größer?"
    assert expected[0][2] == (root / "p" / "a.png",)
    for path in (root / "all.json", root / "shards"):
        assert [(c.id, c.turns, c.images) for c in read(path, images=root)] == expected


def test_an_array_is_read_in_pieces_of_any_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(k) for k in range(7)]
    (root / "all.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(records, "_CHUNK", size)
        found = [records.load(root / "all.json", *place, "here") for place in records.places(root / "all.json")]
        assert found == rows


def test_an_array_that_is_cut_off_names_its_element(root: Path) -> None:
    text = json.dumps([row(0), row(1), row(2)])
    (root / "cut.json").write_text(text[:-40])
    found, told = told_of(root / "cut.json")
    assert [c.id for c in found] == ["r0", "r1"]
    assert len(told) == 1
    assert "element 3 of the list is broken" in told[0]


def test_several_pictures_extra_keys_and_openai_messages_are_understood(root: Path) -> None:
    both = row(1, ["p/a.png", "p/b.png"], product="gear", kind="place", defective=True, types=["cut"], mask="p/b.png")
    both["conversations"][0]["value"] = "<image><image>Which?"
    both["mask_types"] = {"9": "cut"}
    messages = [{"role": "user", "content": "What is a burr?"}, {"role": "assistant", "content": "A sliver."}]
    first, second = read(lines(root / "a.jsonl", both, {"messages": messages}))
    assert first.images == (root / "p" / "a.png", root / "p" / "b.png")
    assert (first.product, first.kind, first.defective, first.types) == ("gear", "place", True, ("cut",))
    assert first.read_mask().all()
    assert (second.id, second.images, second.answer) == (f"{root / 'a.jsonl'}, record 2", (), "A sliver.")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{not json", "record 2: not valid JSON"),
        ("[1]", "record 2: an object in braces is needed, got list"),
        ({"id": "x", "image": "p/a.png"}, "the key 'conversations' is missing"),
        ({"id": "x", "conversation": []}, "Did you mean 'conversation'?"),
        (row(2) | {"conversations": [{"from": "bot", "value": "hi"}]}, "turn 1 is from 'bot'; known are human, user"),
        (row(2) | {"conversations": [{"from": "human"}]}, "turn 1 is {'from': 'human'}; it needs 'from' and the text"),
        (row(2, 7), "image is 7; it must be a path or a list of paths"),
        (row(2, defective="yes"), "defective is 'yes'; it must be true or false"),
        (row(2, types="cut"), "types is 'cut'; it must be a list of names"),
        (row(2, mask_types={"a": "cut"}), "it must map pixel values to types"),
        (row(2, id=[1]), "id is [1]; it must be a text or a number"),
        (row(2, ["p/a.png", "p/b.png"]), "1 <image> placeholder but 2 pictures"),
    ],
)
def test_a_broken_record_is_told_and_the_others_are_read(root: Path, broken: Any, words: str) -> None:
    path = lines(root / "a.jsonl", row(1), broken, row(3))
    found, told = told_of(path, "llava")
    assert [c.id for c in found] == ["r1", "r3"]
    assert len(told) == 1
    assert words in told[0]
    assert "record 2" in told[0]
    with pytest.raises(DataError):
        list(read(path, "llava"))


def test_a_missing_picture_names_conversation_path_and_remedy(root: Path) -> None:
    path = lines(root / "a.jsonl", row(1), row(2, "p/gone.png"), row(3, mask="p/lost.png", defective=True))
    with pytest.raises(DataError) as error:
        list(read(path))
    for words in ("Conversation 'r2'", "record 2", str(root / "p" / "gone.png"), "--images DIR", "Skipped()"):
        assert words in str(error.value)
    found, told = told_of(path)
    assert ([c.id for c in found], len(told)) == (["r1"], 2)
    assert f"its mask {root / 'p' / 'lost.png'} does not exist" in told[1]


def test_skipped_pictures_are_counted_and_the_first_is_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = lines(root / "a.jsonl", row(1), row(2, "p/gone.png"), row(3, "p/gone.png"))
    skipped = Skipped()
    assert [c.id for c in read(path, missing=skipped)] == ["r1"]
    assert skipped.count == 2
    assert "'r2'" in (skipped.first or "")
    assert len([r for r in caplog.records if "gone.png" in r.message]) == 1


def test_a_conversation_written_down_is_read_back_as_it_was(root: Path) -> None:
    first = next(read(lines(root / "a.jsonl", row(1, kind="place", product="gear", defective=False, asked="cut"))))
    lines(root / "b.jsonl", llava.row_of(first, root))
    again = next(read(root / "b.jsonl"))
    assert {**vars(again), "source": ""} == {**vars(first), "source": ""}
    with pytest.raises(DataError, match="not below"):
        llava.row_of(first, root / "elsewhere")


def test_formats_are_told_apart_and_unknown_ones_are_answered_with_the_nearest(root: Path) -> None:
    assert guess_format(lines(root / "a.jsonl", row(1))) == "llava"
    assert guess_format(lines(root / "t.jsonl", {"image": "a", "anomaly": True})) == "visa-dr"
    (root / "m").mkdir()
    (root / "m" / "mmad.json").write_text("{}")
    assert guess_format(root / "m") == "mmad"
    with pytest.raises(UsageError, match="Did you mean 'llava'"):
        read(root / "a.jsonl", "lava")
    with pytest.raises(DataError, match=r"does not exist\. Check the path"):
        guess_format(root / "nothing")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.jsonl or"):
        list(read(root / "empty", "llava"))


# --- tar ---


def tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def members(root: Path, key: str, number: int, *pictures: str) -> list[tuple[str, bytes]]:
    told = row(number)
    told["conversations"][0]["value"] = "<image>" * len(pictures) + "What?"
    content = (root / "p" / "a.png").read_bytes()
    del told["image"], told["id"]
    return [(f"{key}.json", json.dumps(told).encode()), *((f"{key}.{name}", content) for name in pictures)]


def test_a_tar_is_read_in_order_without_unpacking(root: Path) -> None:
    long = "a/folder/" + "x" * 120
    path = tar(
        root / "s.tar", *members(root, "0", 0, "png"), *members(root, long, 1, "0.jpg", "1.JPG"), *members(root, "2", 2)
    )
    before = sorted(root.rglob("*"))
    found = list(read(path))
    assert [(c.id, len(c.images)) for c in found] == [("0", 1), (long, 2), ("2", 0)]
    assert found[0].images[0] == (root / "p" / "a.png").read_bytes()
    assert sorted(root.rglob("*")) == before


def test_masks_in_a_tar_belong_to_the_picture(root: Path) -> None:
    both = members(root, "0", 0, "png")
    told = json.loads(both[0][1]) | {"defective": True, "types": ["cut"]}
    path = tar(root / "s.tar", ("0.json", json.dumps(told).encode()), both[1], ("0.mask.png", both[1][1]))
    one = next(read(path))
    assert (len(one.images), len(one.masks)) == (1, 1)
    assert one.read_mask().shape == (6, 10)


def test_a_bad_member_of_a_tar_is_named(root: Path) -> None:
    good = members(root, "9", 9, "png")
    for bad, words in (
        ([("1.png", b"x")], "'1.png' has no 1.json beside it"),
        ([("1.json", b"{")], "member '1.json': not valid JSON"),
        ([("1.json", b"[]")], "an object in braces is needed, got list"),
        ([*members(root, "1", 1, "png"), ("1.txt", b"x")], "the member '1.txt' is neither a .json nor a picture"),
        (members(root, "1", 1, "png", "b.png")[:2], "2 <image> placeholders but 1 picture"),
    ):
        found, told = told_of(tar(root / "s.tar", *bad, *good))
        assert [c.id for c in found] == ["9"]
        assert len(told) == 1
        assert words in told[0]


def test_links_cut_off_and_compressed_tars_are_refused_in_words(root: Path) -> None:
    path = tar(root / "s.tar", *members(root, "0", 0, "png"), *members(root, "1", 1, "png"))
    with tarfile.open(path, "a") as file:
        link = tarfile.TarInfo("2.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    assert "the member '2.json' is no file but a link" in told_of(path)[1][0]
    whole = path.read_bytes()
    stream = StreamedConversations(tar(path, *members(root, "0", 0, "png")), shuffle=False)
    path.write_bytes(whole[:600])
    assert "after the member '0.json' (unexpected end of data)" in told_of(path)[1][0]
    with pytest.raises(DataError, match=r"the member '0\.json' is cut off\. Copy"):
        list(stream)
    with tarfile.open(path, "w:gz") as file:
        file.add(root / "p")
    assert "a compressed one must be unpacked once" in told_of(path)[1][0]


# --- MMAD ---


def question(type: str, answer: str, **options: str) -> dict[str, Any]:
    return {"Question": f"{type}?", "Answer": answer, "Options": options, "type": type, "annotation": True}


def mmad_set(root: Path, **more: Any) -> Path:
    name = "DS-MVTec/metal_nut/image/bent/000.png"
    picture(root / name)
    picture(root / "DS-MVTec" / "metal_nut" / "mask" / "bent" / "000.png", 255)
    picture(root / "MVTec-AD" / "metal_nut" / "train" / "good" / "001.png")
    asked = [
        question("Anomaly Detection", "A", A="Yes.", B="No."),
        question("Defect Classification", "B", A="x", B="y"),
    ]
    rows = {
        name: {
            "conversation": asked,
            "mask_path": "mask/bent/000.png",
            "similar_templates": ["MVTec-AD/metal_nut/train/good/001.png"],
            "random_templates": [],
            **more,
        }
    }
    (root / "mmad.json").write_text(json.dumps(rows))
    return root


def test_each_question_of_mmad_is_a_conversation_answered_by_its_letter(tmp_path: Path) -> None:
    first, second = read(mmad_set(tmp_path))
    assert (first.kind, first.answer, first.defective, first.product) == ("Anomaly Detection", "A", True, "metal nut")
    assert first.question.startswith("Anomaly Detection?\nA. Yes.\nB. No.\nAnswer with the letter")
    assert (second.kind, second.answer, second.defective) == ("Defect Classification", "B", True)
    assert first.id != second.id
    assert second.read_mask().all()


def test_good_parts_of_mmad_are_shown_first(tmp_path: Path) -> None:
    one = next(mmad.read(mmad_set(tmp_path), templates=1))
    assert [path.parent.name for path in one.images if isinstance(path, Path)] == ["good", "bent"]
    assert one.turns[0].text.startswith("<image>\n<image>\nThe first 1 show good parts")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conversation": "none"}, "needs an object with the list 'conversation'"),
        ({"conversation": [{"Question": "?", "Options": {"A": "x"}}]}, "question 1 lacks 'Answer'"),
        ({"conversation": [question("x", "C", A="a")]}, "the answer 'C' is none of its options (A)"),
        ({"mask_path": "mask/gone.png"}, "its mask"),
    ],
)
def test_what_is_wrong_in_mmad_is_told_with_its_picture(tmp_path: Path, change: Any, words: str) -> None:
    told = told_of(mmad_set(tmp_path, **change))[1]
    assert len(told) == 1
    assert words in told[0]
    assert "000.png" in told[0] or "gone.png" in told[0]


def test_a_missing_picture_of_mmad_is_told_once(tmp_path: Path) -> None:
    mmad_set(tmp_path)
    found, told = told_of(tmp_path / "mmad.json")
    assert (len(found), told) == (2, [])
    (tmp_path / "DS-MVTec" / "metal_nut" / "image" / "bent" / "000.png").unlink()
    assert len(told_of(tmp_path)[1]) == 1


def test_other_layouts_are_streamed_once_they_are_written_down(tmp_path: Path) -> None:
    write(read(mmad_set(tmp_path)), tmp_path / "all.jsonl", tmp_path, {"source": "MMAD"})
    streamed = list(StreamedConversations(tmp_path / "all.jsonl", shuffle=False))
    direct = list(read(tmp_path, "mmad"))
    assert [(c.id, c.images, c.turns, c.masks, c.kind) for c in streamed] == [
        (c.id, c.images, c.turns, c.masks, c.kind) for c in direct
    ]


# --- VisA-D&R ---


def test_detection_and_reasoning_of_visa_dr_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "VisA" / "pcb1" / "a.png")
    asked = {"image": "VisA/pcb1/a.png", "questions": ["What is wrong?", "Why?"], "answers": ["A bent pin.", "Force."]}
    detection = [{"image": "VisA/pcb1/a.png", "anomaly": value} for value in (True, False)]
    (tmp_path / "VisA" / "visa_dr.json").write_text(json.dumps([asked]))
    (tmp_path / "VisA" / "test_data.json").write_text(json.dumps(detection))
    (one,) = read(tmp_path, "visa-dr")
    assert [turn.text for turn in one.turns] == ["<image>\nWhat is wrong?", "A bent pin.", "Why?", "Force."]
    assert (one.product, one.kind, one.defective) == ("printed circuit board", "reasoning", None)
    yes, no = read(tmp_path / "VisA" / "test_data.json")
    assert ((yes.answer, yes.defective), (no.answer, no.defective)) == (("Yes", True), ("No", False))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"image": "VisA/pcb1/a.png", "questions": ["a", "b"], "answers": ["c"]}, "2 questions and 1 answers"),
        ({"image": "VisA/pcb1/a.png", "questions": ["a"]}, "1 questions and 0 answers"),
        ({"image": "VisA/pcb1/a.png"}, "neither 'questions' nor 'anomaly'"),
        ({"image": "VisA/pcb1/a.png", "anomaly": "maybe"}, "anomaly is 'maybe'; it must be true or false"),
        ({"anomaly": True}, "image is None; it must be the path of a picture"),
        ({"image": "VisA/pcb1/b.png", "anomaly": True}, "does not exist"),
    ],
)
def test_what_is_wrong_in_visa_dr_is_told_with_its_record(tmp_path: Path, record: Any, words: str) -> None:
    picture(tmp_path / "VisA" / "pcb1" / "a.png")
    (tmp_path / "VisA" / "visa_dr.json").write_text(json.dumps([record]))
    found, told = told_of(tmp_path, "visa-dr")
    assert (found, len(told)) == ([], 1)
    assert words in told[0]
    assert "record 1" in told[0]
