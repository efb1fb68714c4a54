"""A stream gives every record once per epoch, in an order that seed and epoch decide, and goes on where it stopped."""

import json
import tracemalloc
from pathlib import Path

import pytest

from genau.errors import DataError, UsageError
from genau.instruct import StreamedConversations

COUNT = 40


def rows(start: int, stop: int, filler: str = "") -> str:
    told = [{"from": "human", "value": f"What?{filler}"}, {"from": "gpt", "value": "That."}]
    return "".join(json.dumps({"id": f"r{k}", "conversations": told}) + "\n" for k in range(start, stop))


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    (tmp_path / "0.jsonl").write_text(rows(0, 25))
    (tmp_path / "1.jsonl").write_text(rows(25, COUNT))
    return [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]


def ids(stream: StreamedConversations) -> list[str]:
    return [one.id for one in stream]


ALL = [f"r{k}" for k in range(COUNT)]


def test_an_epoch_has_every_record_once_in_another_order_each_time(shards: list[Path]) -> None:
    stream = StreamedConversations(shards, buffer=8)
    first, second = ids(stream), ids(stream)
    assert len(stream) == COUNT
    assert sorted(first) == sorted(second) == sorted(ALL)
    assert first != second
    assert first != ALL
    assert ids(StreamedConversations(shards, buffer=8)) == first
    assert ids(StreamedConversations(shards, buffer=8, seed=1)) != first
    assert ids(StreamedConversations(shards, shuffle=False)) == ALL


def test_shuffling_holds_no_more_than_its_buffer(shards: list[Path]) -> None:
    order = ids(StreamedConversations(shards[0], buffer=4))
    assert all(int(name[1:]) <= place + 4 for place, name in enumerate(order))
    assert ids(StreamedConversations(shards[0], buffer=1)) == ALL[:25]
    with pytest.raises(UsageError, match="buffer=0 must be at least 1"):
        StreamedConversations(shards, buffer=0)


def test_parts_share_an_epoch_without_overlap_and_take_equally_many(shards: list[Path]) -> None:
    stream = StreamedConversations(shards, buffer=8)
    parts = [ids(stream.split(part, 3)) for part in range(3)]
    assert [len(part) for part in parts] == [13, 13, 13]
    assert len({name for part in parts for name in part}) == 39
    workers = [ids(stream.split(1, 2).split(worker, 2)) for worker in range(2)]
    whole = ids(stream.split(1, 2))
    assert whole[0::2] == workers[0]
    assert whole[1::2] == workers[1]
    with pytest.raises(UsageError, match=r"part=2 of parts=2 does not exist. Parts are numbered from 0 to 1"):
        stream.split(2, 2)


def test_a_resumed_stream_goes_on_with_the_next_record_and_the_next_epoch(shards: list[Path]) -> None:
    stream = StreamedConversations(shards, buffer=8)
    ids(stream)
    running = iter(stream)
    seen = [next(running).id for _ in range(17)]
    state = json.loads(json.dumps(stream.state_dict()))
    rest, following = [one.id for one in running], ids(stream)
    assert sorted(seen + rest) == sorted(ALL)
    resumed = StreamedConversations(shards, buffer=8)
    resumed.load_state_dict(state)
    assert ids(resumed) == rest
    assert ids(resumed) == following


def test_each_part_resumes_and_other_numbers_of_parts_lose_nothing(shards: list[Path]) -> None:
    stream = StreamedConversations(shards, buffer=8)
    seen: list[str] = []
    states = []
    for part in range(2):
        share = stream.split(part, 2)
        running = iter(share)
        seen += [next(running).id for _ in range(6)]
        states.append(share.state_dict())
    left: list[str] = []
    for part in range(4):
        share = stream.split(part, 4)
        share.load_state_dict(states[0])
        left += ids(share)
    assert sorted(seen + left) == sorted(ALL)
    resumed = StreamedConversations(shards, buffer=8)
    resumed.load_state_dict(states[0])
    assert sorted(ids(resumed)) == sorted(left)
    assert sorted(ids(stream.split(0, 2)) + ids(stream.split(1, 2))) == sorted(ALL)


@pytest.mark.parametrize(("key", "settings"), [("seed", {"seed": 3}), ("buffer", {"buffer": 9})])
def test_a_state_of_another_order_or_other_records_is_refused(
    shards: list[Path], key: str, settings: dict[str, int]
) -> None:
    state = StreamedConversations(shards, buffer=8).state_dict()
    with pytest.raises(DataError, match=f"was saved with {key}=") as error:
        StreamedConversations(shards, **{"buffer": 8, **settings}).load_state_dict(state)  # type: ignore[arg-type]
    assert "Use the same files and settings" in str(error.value)
    with pytest.raises(DataError, match="was saved with total=40, but this one has total=25"):
        StreamedConversations(shards[0], buffer=8).load_state_dict(state)


def test_records_are_reached_by_position(shards: list[Path]) -> None:
    stream = StreamedConversations(shards)
    assert [stream[k].id for k in (39, 0, 25, 24)] == ["r39", "r0", "r25", "r24"]
    with pytest.raises(IndexError, match="There are 40 records"):
        stream[40]


def test_a_missing_picture_ends_the_stream_or_is_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "That."}]
    gone = json.dumps({"id": "gone", "image": "gone.png", "conversations": told})
    (tmp_path / "a.jsonl").write_text(rows(0, 3) + gone + "\n")
    with pytest.raises(DataError, match=r"'gone'.*gone\.png does not exist"):
        ids(StreamedConversations(tmp_path / "a.jsonl"))
    stream = StreamedConversations(tmp_path / "a.jsonl", skip_missing=True)
    assert sorted(ids(stream)) == ["r0", "r1", "r2"]
    assert stream.skipped is not None
    assert stream.skipped.count == 1
    assert "1 conversations were left out so far" in caplog.text
    with pytest.raises(DataError, match="has no picture that could be read"):
        stream[3]


def test_a_broken_record_is_told_and_counts_as_consumed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows(0, 2) + "{broken\n" + rows(2, 4))
    told: list[str] = []
    stream = StreamedConversations(tmp_path / "a.jsonl", shuffle=False, tell=told.append)
    running = iter(stream)
    assert [next(running).id for _ in range(3)] == ["r0", "r1", "r2"]
    assert (stream.consumed, len(told)) == (4, 1)
    assert "record 3: not valid JSON" in told[0]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text(rows(0, 20_000, " word" * 100))
    size = path.stat().st_size
    tracemalloc.start()
    stream = StreamedConversations(path, buffer=1000)
    places, peak_of_places = tracemalloc.get_traced_memory()
    running = iter(stream)
    for _ in range(2000):
        next(running)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 10_000_000
    assert places < 1_000_000  # 16 bytes for each of 20,000 places, and room to grow
    assert max(peak, peak_of_places) < 4_000_000, f"{peak:,} bytes for a file of {size:,}"
