"""Answers are kept as they come: nothing is asked twice, nothing is lost, nothing old is taken for new."""

import json
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from genau.dialogue import Outcome, Prompt, Said
from genau.errors import GenAUError, UsageError
from genau.evaluation.dialogue.asking import MOST_FAILED_IN_A_ROW, ask_all, unanswered
from genau.evaluation.dialogue.cost import estimate
from genau.evaluation.dialogue.items import Chain
from genau.evaluation.dialogue.mmad import Setting, read
from genau.evaluation.dialogue.record import opened
from genau.evaluation.dialogue.visa_dr import read_reasoning


@pytest.fixture
def chains(mmad_folder: Path) -> list[Chain]:
    return read(mmad_folder, Setting(shots=0))


def run(answerer: Any, chains: list[Chain], folder: Path, **options: bool) -> list[Said]:
    with opened(folder, **options) as record:
        return [asked.said for asked in ask_all(answerer, chains, record)]


def test_a_second_run_asks_nothing_again(scripted: Any, chains: list[Chain], tmp_path: Path) -> None:
    first, second = scripted(lambda prompt: prompt.question[:5]), scripted(lambda prompt: "other")
    said = run(first, chains, tmp_path / "out")
    assert [one.text for one in said] == [item.prompt.question[:5] for (item,) in chains]
    assert run(second, chains, tmp_path / "out") == said
    assert len(first.asked) == len(chains)
    assert second.asked == []


@pytest.mark.parametrize("change", ["settings", "name", "picture", "words"])
def test_what_changes_an_answer_asks_again(
    scripted: Any, chains: list[Chain], tmp_path: Path, mmad_folder: Path, change: str
) -> None:
    run(scripted(lambda prompt: "A"), chains, tmp_path / "out")
    other = scripted(lambda prompt: "B")
    expected = len(chains)
    if change == "settings":
        other.settings = {"version": "2"}
    elif change == "name":
        other.name = "another"
    elif change == "words":
        chains = read(mmad_folder, Setting(shots=1))
    else:
        path = next(chains[0][0].prompt.pictures).path
        path.write_bytes((mmad_folder / "MVTec-AD/bottle/train/good/0.png").read_bytes())
        expected = 2  # the questions about that picture
    run(other, chains, tmp_path / "out")
    assert len(other.asked) == expected


def test_a_killed_run_goes_on_where_it_stopped(scripted: Any, chains: list[Chain], tmp_path: Path) -> None:
    def dies(prompt: Prompt) -> str:
        if len(killed.asked) > 5:
            raise KeyboardInterrupt
        return "A"

    killed = scripted(dies)
    with pytest.raises(KeyboardInterrupt):
        run(killed, chains, tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    path.write_bytes(b"".join([*lines[:3], b"{damaged}\n", lines[4], lines[0][:20]]))  # a half line at the end
    again = scripted(lambda prompt: "B")
    said = run(again, chains, tmp_path / "out")
    assert [one.text for one in said[:5]] == ["A", "A", "A", "B", "A"]
    assert len(again.asked) == len(chains) - 4
    rows = [json.loads(line) for line in path.read_text().splitlines() if line != "{damaged}"]
    assert len({row["key"] for row in rows}) == len(chains)


def test_unreadable_answers_are_kept_until_they_are_asked_for_again(
    scripted: Any, chains: list[Chain], tmp_path: Path
) -> None:
    def first(prompt: Prompt) -> str | Said:
        return Said.nothing(Outcome.UNREADABLE, "cut off") if "Where" in prompt.question else "A"

    assert run(scripted(first), chains, tmp_path / "out").count(Said.nothing(Outcome.UNREADABLE, "cut off")) == 4
    second, third = scripted(lambda prompt: "B"), scripted(lambda prompt: "C")
    run(second, chains, tmp_path / "out")
    assert second.asked == []
    said = run(second, chains, tmp_path / "out", retry_unreadable=True)
    assert len(second.asked) == 4
    assert [one.text for one in said].count("B") == 4
    assert run(third, chains, tmp_path / "out", retry_unreadable=True) == said  # the later answer counts


def test_a_failure_is_not_kept_and_many_in_a_row_stop_the_run(
    scripted: Any, chains: list[Chain], tmp_path: Path
) -> None:
    def every_third(prompt: Prompt) -> str | Said:
        return Said.nothing(Outcome.FAILED, "HTTP 500") if len(weak.asked) % 3 == 0 else "A"

    weak = scripted(every_third)
    said = run(weak, chains, tmp_path / "out")
    assert [one.outcome for one in said].count(Outcome.FAILED) == len(chains) // 3
    mended = scripted(lambda prompt: "B")
    run(mended, chains, tmp_path / "out")
    assert len(mended.asked) == len(chains) // 3
    down = scripted(lambda prompt: Said.nothing(Outcome.FAILED, "HTTP 503."))
    with pytest.raises(GenAUError, match=r"5 questions in a row got no answer; the last one: HTTP 503\. .*repeat"):
        run(down, chains, tmp_path / "down")
    assert MOST_FAILED_IN_A_ROW <= len(down.asked) <= MOST_FAILED_IN_A_ROW + 2


def test_several_questions_are_asked_at_once_and_their_order_is_kept(
    scripted: Any, chains: list[Chain], tmp_path: Path
) -> None:
    lock, together, most, both = Lock(), [0], [0], Event()

    def slow(prompt: Prompt) -> str:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
            if together[0] >= 2:
                both.set()
        assert both.wait(5)
        with lock:
            together[0] -= 1
        return prompt.turns[0].parts[-1]  # type: ignore[return-value]

    said = run(scripted(slow, workers=3), chains, tmp_path / "out")
    assert [one.text for one in said] == [item.prompt.turns[0].parts[-1] for (item,) in chains]
    assert 2 <= most[0] <= 3


def test_a_later_question_knows_what_was_answered_before(scripted: Any, visa_dr_folder: Path, tmp_path: Path) -> None:
    talks = read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json")[:1]
    teller = scripted(lambda prompt: f"answer {len(prompt.turns)}")
    run(teller, talks, tmp_path / "out")
    second = teller.asked[1]
    assert [turn.role for turn in second.turns] == ["user", "assistant", "user"]
    assert second.turns[1].parts == ("answer 1",)
    assert len(list(second.pictures)) == 1
    again = scripted(lambda prompt: "new")
    run(again, talks, tmp_path / "out")
    assert again.asked == []


def test_a_conversation_ends_where_an_answer_is_missing(scripted: Any, visa_dr_folder: Path, tmp_path: Path) -> None:
    talks = read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json")[:2]
    mute = scripted(lambda prompt: Said.nothing(Outcome.UNSUPPORTED, "no free words"))
    said = run(mute, talks, tmp_path / "out")
    assert len(mute.asked) == 2
    assert [one.outcome for one in said] == [Outcome.UNSUPPORTED] * 4
    assert said[1].reason == "an earlier question about the picture was not answered: no free words"


def test_a_picture_that_cannot_be_read_is_a_row_and_not_the_end(
    scripted: Any, chains: list[Chain], tmp_path: Path
) -> None:
    next(chains[0][0].prompt.pictures).path.unlink()
    said = run(scripted(lambda prompt: "A"), chains, tmp_path / "out")
    assert [one.outcome for one in said].count(Outcome.UNREADABLE) == 2
    assert "the picture cannot be read" in said[0].reason
    with opened(tmp_path / "out") as record:
        assert unanswered(scripted(lambda prompt: "A"), chains, record) == []


def test_one_folder_takes_one_run_at_a_time_and_no_other_kind(tmp_path: Path) -> None:
    with opened(tmp_path / "out"), pytest.raises(UsageError, match="Another evaluation is writing into"):
        opened(tmp_path / "out").__enter__()
    with opened(tmp_path / "out"):
        pass
    (tmp_path / "out" / "plan.json").write_text("{}")
    with (
        pytest.raises(UsageError, match="holds a run of `genau eval` on pictures"),
        opened(tmp_path / "out"),
    ):
        pass


def test_the_estimate_counts_what_is_still_open(
    scripted: Any, chains: list[Chain], tmp_path: Path, visa_dr_folder: Path
) -> None:
    def fails_late(prompt: Prompt) -> str | Said:
        return "A" if len(half.asked) <= 10 else Said.nothing(Outcome.FAILED, "no") if len(half.asked) % 2 else "A"

    half = scripted(fails_late)
    run(half, chains, tmp_path / "out")
    with opened(tmp_path / "out") as record:
        left = unanswered(half, chains, record)
    assert 0 < len(left) < len(chains)
    cost = estimate(left, None, 50)
    assert (cost.questions, cost.pictures, cost.tokens_out) == (len(left), len(left), 50 * len(left))
    one = estimate(chains[:1], None, 50)
    words = sum(len(part) for part in chains[0][0].prompt.turns[0].parts if isinstance(part, str))
    assert one.tokens_in == -(-words // 4) + 2 * 3  # 48 x 80 pixels in patches of 28
    assert estimate(chains[:1], 28, 50).tokens_in == -(-words // 4) + 1
    talk = estimate(read_reasoning(visa_dr_folder, visa_dr_folder / "test_data.json")[:1], None, 50)
    assert (talk.questions, talk.pictures) == (2, 2)  # the picture is sent with each question
    assert talk.tokens_in > 50 + 2 * 2 * 3
    assert (
        one.words() == f"To ask: 1 questions, 1 pictures to send, about {one.tokens_in} tokens in and at most 50 out."
    )
    assert f"about {(one.tokens_in * 2 + 50 * 10) / 1e6:.2f} at most" in one.words(2, 10)
