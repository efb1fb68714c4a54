"""What stands at which place of a run."""

from collections import Counter

import numpy as np

from genau.training.live.schedule import Schedule, Ticket

SCHEDULE = Schedule(pictures=9, talks=5, share=0.25, per_step=4, seed=0)


def tickets(schedule: Schedule, first: int, last: int) -> list[Ticket]:
    return [schedule.ticket(place) for place in range(first, last)]


def test_every_picture_comes_once_per_epoch_and_every_step_has_its_share_of_conversations() -> None:
    assert (SCHEDULE.talks_per_epoch, SCHEDULE.per_epoch, SCHEDULE.steps(1), SCHEDULE.steps(2)) == (3, 12, 3, 6)
    for epoch in range(3):
        found = tickets(SCHEDULE, 12 * epoch, 12 * epoch + 12)
        assert sorted(ticket.number for ticket in found if not ticket.talk) == list(range(9))
        assert [sum(ticket.talk for ticket in found[step : step + 4]) for step in (0, 4, 8)] == [1, 1, 1]
        assert {ticket.epoch for ticket in found} == {epoch}
    orders = [[t.number for t in tickets(SCHEDULE, 12 * epoch, 12 * epoch + 12) if not t.talk] for epoch in range(2)]
    assert orders[0] != orders[1]


def test_every_conversation_comes_once_before_any_comes_again() -> None:
    numbers = [ticket.number for ticket in tickets(SCHEDULE, 0, 60) if ticket.talk]
    assert len(numbers) == 15
    for start in (0, 5, 10):
        assert sorted(numbers[start : start + 5]) == list(range(5))


def test_without_conversations_there_are_pictures_only_and_the_last_step_is_filled() -> None:
    schedule = Schedule(pictures=9, talks=0, share=0.25, per_step=4, seed=1)
    assert (schedule.per_epoch, schedule.steps(1), schedule.steps(0.5)) == (9, 3, 2)
    assert not any(ticket.talk for ticket in tickets(schedule, 0, 36))
    assert [ticket.epoch for ticket in tickets(schedule, 7, 11)] == [0, 0, 1, 1]


def test_samples_of_similar_length_come_together_and_every_step_keeps_its_share() -> None:
    schedule = Schedule(pictures=90, talks=50, share=0.25, per_step=8, seed=0)
    lengths = np.random.default_rng(0).integers(100, 1000, 90)

    def length(ticket: Ticket) -> float:
        return 50.0 if ticket.talk else float(lengths[ticket.number])

    def spread(places: np.ndarray) -> float:  # type: ignore[type-arg]
        found = [[schedule.ticket(int(place)) for place in step] for step in places.reshape(-1, 8)]
        return float(np.mean([np.ptp([length(ticket) for ticket in step if not ticket.talk]) for step in found]))

    plain, grouped = np.arange(20 * 8), schedule.grouped(20, length, group=10)
    assert sorted(grouped.tolist()) == plain.tolist()
    assert sorted(grouped[:80].tolist()) == plain[:80].tolist()  # within a window only
    assert spread(grouped) < 0.3 * spread(plain)
    assert Counter(sum(schedule.ticket(int(place)).talk for place in step) for step in grouped.reshape(-1, 8)) == {
        2: 20
    }
    assert np.array_equal(grouped, schedule.grouped(20, length, group=10))
    longest = [max(length(schedule.ticket(int(place))) for place in step) for step in grouped[:80].reshape(-1, 8)]
    assert longest != sorted(longest)  # the steps themselves are in no order
