from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from upon_triggers.election import Election
from upon_triggers.firing import Firing, FiringError, MemoryFirings, Version
from upon_triggers.holder import Holder

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
TICKS = [NOON + timedelta(minutes=n) for n in range(1, 6)]


class Watch:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Faulty(MemoryFirings):
    """fail: what to do at the next calls instead of answering. after: the same, with the write done before."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: list[str] = []
        self.on_write: Callable[[], None] = lambda: None

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        if self.fail:
            self.fail.pop(0)
            raise FiringError("no disk")
        return super().read(schedule)

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        how = self.fail.pop(0) if self.fail else ""
        if how == "before":
            raise FiringError("no disk")
        written = super().write(schedule, firing, version)
        self.on_write()
        if how == "after":
            raise FiringError("no answer")
        return written


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def store() -> Faulty:
    return Faulty()


def election(store: MemoryFirings, watch: Watch, host: str) -> Election:
    holder = Holder(host, "", "", 1, "1", "t")  # of which nobody knows whether it has ended
    return Election("s", store, holder, name=f"on {host}", duration=12.0, monotonic=watch)


def keep(*elections: Election) -> None:
    for one in elections:
        one.keep(lambda: NOON)


def record(store: MemoryFirings) -> Firing:
    store_read = MemoryFirings.read(store, "s")
    assert store_read is not None
    return store_read[0]


def test_the_first_one_leads_and_says_since_when(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    keep(one)
    assert one.ready
    assert (NOON, (), None) == (record(store).until, record(store).unfinished, record(store).last)


def test_a_claim_and_its_end_are_recorded(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    keep(one)
    assert one.claim(TICKS[:2])
    written = record(store)
    assert (TICKS[1], tuple(TICKS[:2]), TICKS[1]) == (written.until, written.unfinished, written.last)
    one.finish(TICKS[:1])
    assert tuple(TICKS[:2]) == record(store).unfinished
    one.flush()
    assert (TICKS[1],) == record(store).unfinished


def test_the_second_one_waits_as_long_as_the_first_renews(
    store: Faulty, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = election(store, watch, "a"), election(store, watch, "b")
    for _ in range(40):
        keep(one, other)
        watch.now += 1.0
    assert (True, False) == (one.leads, other.leads)
    assert not other.claim(TICKS[:1])
    assert ["on b: process 1 on a fires this schedule; this process takes over when that one ends"] == caplog.messages


def test_who_does_not_renew_is_replaced_within_the_lease_and_a_look(store: Faulty, watch: Watch) -> None:
    one, other = election(store, watch, "a"), election(store, watch, "b")
    keep(one, other)
    began = watch.now
    while not other.leads:
        watch.now += 0.5
        keep(other)
    assert 12.0 <= watch.now - began <= 15.0


def test_a_frozen_one_claims_nothing_once_it_was_replaced(store: Faulty, watch: Watch) -> None:
    """It has not looked at the time yet: the version alone stops it."""
    one, other = election(store, watch, "a"), election(store, watch, "b")
    keep(one, other)
    frozen = watch.now
    watch.now += 20.0
    keep(other)
    assert other.claim(TICKS[:1])
    watch.now = frozen
    assert not one.claim(TICKS[:1])
    assert not one.leads
    assert record(store).holder.startswith("b/")
    assert other.claim(TICKS[1:2])


def test_one_that_is_frozen_in_the_middle_of_a_claim_makes_sure(store: Faulty, watch: Watch) -> None:
    one, other = election(store, watch, "a"), election(store, watch, "b")
    keep(one, other)

    def freeze() -> None:
        store.on_write = lambda: None
        watch.now += 4.0
        keep(other)
        watch.now += 13.0
        keep(other)

    store.on_write = freeze
    assert not one.claim(TICKS[:1])
    assert not one.leads
    assert other.leads
    assert other.firing is not None
    assert (TICKS[0],) == other.firing.unfinished


def test_a_slow_store_is_no_reason_to_give_way(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    keep(one)

    def slow() -> None:
        store.on_write = lambda: None
        watch.now += 20.0

    store.on_write = slow
    assert one.claim(TICKS[:1])
    assert one.leads


def test_who_leaves_hands_over_at_once_with_what_is_unfinished(
    store: Faulty, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = election(store, watch, "a"), election(store, watch, "b")
    keep(one, other)
    one.claim(TICKS[:2])
    one.finish(TICKS[:1])
    one.release()
    assert not one.leads
    watch.now += 3.0
    keep(other)
    assert other.leads
    assert (TICKS[1],) == record(store).unfinished
    assert "on b: from now on this process fires the schedule" == caplog.messages[-1]


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_claim_that_fails_leads_to_no_tick_and_is_made_good(
    how: str, store: Faulty, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """after: the store wrote it, and its answer was lost."""
    one = election(store, watch, "a")
    keep(one)
    store.fail = [how]
    assert not one.claim(TICKS[:1])
    assert (True, False) == (one.leads, one.ready)
    assert not one.claim(TICKS[:1])  # not before the store has confirmed that nobody else leads
    watch.now += 1.0
    keep(one)
    assert one.ready
    assert one.claim(TICKS[:1])
    assert ((TICKS[0],), TICKS[0]) == (record(store).unfinished, record(store).until)
    assert "on a: no tick fires until its state can be kept: no " in caplog.text
    assert "on a: its state can be kept again" == caplog.messages[-1]


def test_who_took_over_and_was_not_told_goes_on(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    store.fail = ["after"]
    store.read = lambda schedule: MemoryFirings.read(store, schedule)  # type: ignore[method-assign]
    keep(one)
    assert not one.leads
    watch.now += 1.0
    keep(one)
    assert one.ready


def test_an_outage_is_told_once_and_survived(store: Faulty, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    one = election(store, watch, "a")
    keep(one)
    one.claim(TICKS[:1])
    store.fail = ["before"] * 30
    one.finish(TICKS[:1])
    for _ in range(60):
        watch.now += 1.0
        keep(one)
    assert one.ready
    assert () == record(store).unfinished
    assert 2 == len(caplog.messages)


def test_who_was_replaced_during_an_outage_gives_way(store: Faulty, watch: Watch) -> None:
    one, other = election(store, watch, "a"), election(store, watch, "b")
    keep(one, other)
    watch.now += 3.0
    store.fail = ["before"]
    keep(one)
    watch.now += 9.0
    keep(other)
    assert other.leads
    keep(one)
    assert not one.leads


def test_a_record_that_is_gone_is_made_anew(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    keep(one)
    store._records.clear()
    assert not one.claim(TICKS[:1])
    keep(one)
    assert one.claim(TICKS[:1])


def test_ticks_come_again_after_a_clock_was_set_back(store: Faulty, watch: Watch) -> None:
    one = election(store, watch, "a")
    keep(one)
    one.claim(TICKS[:4])
    one.rewind(TICKS[1])
    one.flush()
    assert TICKS[1] == record(store).until
