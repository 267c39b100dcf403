"""What happens behind the markers: late handlers keep theirs, what could not be written is, the old goes away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from support.stores import Clock
from upon import UponError
from upon_runtime.idempotency import Finished, Fresh, Held, MemoryStore, StoreUnavailable
from upon_runtime.idempotency.keeper import EVERY, MARGIN, SWEEP_EVERY, SWEEP_LIMIT, Claim, Keeper, Pending
from upon_runtime.idempotency.reach import PAUSE, Reach, StoreAway

TTL = 60.0


class Away(MemoryStore):
    """Counts what it is asked; `error` says why it does not answer, and at `slow` it takes its time to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.error: Exception | None = None
        self.slow = 0.0
        self.asked = 0

    def open(self) -> None:
        self._answer()

    def sweep(self, limit: int) -> int:
        self._answer()
        return super().sweep(limit)

    def finish(self, replies: Any, token: str, ttl: float) -> set[str]:
        self._answer()
        return super().finish(replies, token, ttl)

    def _answer(self) -> None:
        self.asked += 1
        self.clock.later(self.slow)
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Away:
    return Away(clock)


@pytest.fixture
def reach(store: Away, clock: Clock) -> Reach:
    made = Reach(store, clock)
    made.open()
    return made


def ask(reach: Reach) -> Callable[[], int]:
    return lambda: reach.ask(lambda: reach.store.sweep(0))


# Late handlers


def test_a_late_handler_keeps_its_marker_as_long_as_it_runs(store: Away, reach: Reach, clock: Clock) -> None:
    keeper = Keeper(reach, TTL)
    store.begin(["k"], "mine", 10 + MARGIN)
    claim = Claim("mine", ["k"], late=clock() + 10)
    keeper.hold(claim)
    for _ in range(300):
        clock.later(EVERY)
        keeper.step(clock())
        assert isinstance(store.begin(["k"], "theirs", 1)[0], Held)
    keeper.drop(claim)
    clock.later(MARGIN)
    keeper.step(clock())
    assert [Fresh()] == store.begin(["k"], "theirs", 1)


def test_a_handler_in_time_is_left_alone(store: Away, reach: Reach, clock: Clock) -> None:
    keeper = Keeper(reach, TTL)
    store.begin(["k"], "mine", 10)
    keeper.hold(Claim("mine", ["k"], late=clock() + 100))
    keeper.step(clock())
    clock.later(10)
    assert [Fresh()] == store.begin(["k"], "theirs", 1)


def test_a_marker_that_was_lost_is_told(
    store: Away, reach: Reach, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(reach, TTL)
    keeper.hold(Claim("mine", ["k"], late=clock()))
    keeper.step(clock())
    assert "has lost its marker: its event may be handled twice" in caplog.text


# What could not be written


def test_pending_acts_are_done_once_the_store_is_back(store: Away, reach: Reach, clock: Clock) -> None:
    keeper = Keeper(reach, TTL)
    store.begin(["done"], "mine", 30)
    store.begin(["failed"], "mine", 30)
    keeper.later(Pending("mine", replies={"done": b"r"}))
    keeper.later(Pending("mine", release=["failed"]))
    store.error = StoreUnavailable("gone")
    keeper.step(clock())
    store.error = None
    clock.later(PAUSE)
    keeper.step(clock())
    assert [Finished(b"r"), Fresh()] == store.begin(["done", "failed"], "theirs", 1)


def test_the_end_is_one_last_try(store: Away, reach: Reach) -> None:
    keeper = Keeper(reach, TTL)
    keeper.start()
    keeper.later(Pending("mine", replies={"done": b"r"}))
    keeper.close()
    assert [Finished(b"r")] == store.begin(["done"], "theirs", 1)


# What is old


def test_the_old_is_removed_in_portions(store: Away, reach: Reach, clock: Clock) -> None:
    keeper = Keeper(reach, TTL)
    store.begin([f"k{number}" for number in range(2 * SWEEP_LIMIT)], "mine", 1)
    clock.later(SWEEP_EVERY)
    left = []
    for _ in range(3):
        keeper.step(clock())
        left.append(len(store._entries))
    assert [SWEEP_LIMIT, 0, 0] == left
    asked = store.asked
    keeper.step(clock())
    assert asked == store.asked


# Reach


def test_a_store_that_is_away_is_asked_once_a_pause(store: Away, reach: Reach, clock: Clock) -> None:
    store.error = StoreUnavailable("gone")
    store.asked = 0
    with pytest.raises(StoreUnavailable, match="gone"):
        ask(reach)()
    assert 2 == store.asked  # an old connection, maybe
    for _ in range(5):
        with pytest.raises(StoreAway, match="gone"):
            ask(reach)()
    assert 2 == store.asked
    clock.later(PAUSE)
    store.error = None
    assert 0 == ask(reach)()
    assert 3 == store.asked


def test_a_store_that_takes_long_to_fail_is_not_asked_twice(store: Away, reach: Reach) -> None:
    store.error, store.slow, store.asked = StoreUnavailable("gone"), 2.0, 0
    with pytest.raises(StoreUnavailable):
        ask(reach)()
    assert 1 == store.asked


def test_going_and_coming_are_told_once(
    store: Away, reach: Reach, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (StoreUnavailable("gone"), StoreUnavailable("gone"), None, None):
        store.error = error
        clock.later(PAUSE)
        try:
            ask(reach)()
        except StoreUnavailable:
            assert error is not None
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [
        "idempotency: memory can't be reached, and idempotent functions wait until it can: gone",
        "idempotency: memory answers again",
    ] == told


def test_a_store_that_was_away_at_the_start_is_opened_later(store: Away, clock: Clock) -> None:
    reach = Reach(store, clock)
    store.error = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        reach.open()
    store.error = UponError("the password is wrong now")
    clock.later(PAUSE)
    with pytest.raises(StoreUnavailable, match="the password is wrong now"):
        ask(reach)()
    store.error = None
    clock.later(PAUSE)
    assert 0 == ask(reach)()
    assert {"store": "memory", "connected": True} == reach.state()


def test_a_store_that_can_not_be_used_is_an_error_at_the_start(store: Away, clock: Clock) -> None:
    store.error = UponError("the password is wrong")
    with pytest.raises(UponError, match="the password is wrong"):
        Reach(store, clock).open()
