"""What a schedule knows of the processes before: caught up, fired again, or let go, on every kind of store."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.sinks import DirectSink
from upon import Event, Failed, Outcome
from upon._outcome import DONE
from upon._sink import OnDone
from upon._triggers import CronTrigger
from upon_triggers.cron import CronSource
from upon_triggers.firing import Firing, FiringError, FiringStore, MemoryFirings, Version
from upon_triggers.firing_file import FileFirings
from upon_triggers.settings import Delivery
from upon_triggers.source import SourceError

START = datetime(2025, 1, 1, 2, 59, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Hand(DirectSink):
    """Keeps what is submitted, and answers when the test says so."""

    def __init__(self) -> None:
        super().__init__(lambda event: None)
        self.events: list[Event[Any]] = []
        self.open: list[OnDone] = []

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.events.append(event)
        self.open.append(on_done)

    @property
    def times(self) -> list[str]:
        return [f"{event.time:%H:%M}" for event in self.events]


class World:
    """Processes one after another, with one store and one clock."""

    def __init__(self, make: Callable[[], FiringStore]) -> None:
        self.make = make
        self.stores: list[FiringStore] = []
        self.now = START
        self.elapsed = 0.0

    def process(self, sink: DirectSink, schedule: str = "* * * * *", retry: int = 0, **options: Any) -> CronSource:
        self.stores.append(self.make())
        source = CronSource(
            CronTrigger(schedule, **options),
            "f",
            sink,
            service="demo",
            delivery=Delivery(retry=retry),
            store=self.stores[-1],
            clock=lambda: self.now,
            monotonic=lambda: self.elapsed,
            rng=random.Random(1),
        )
        source.open()
        return source

    def pass_by(self, time: timedelta, *sources: CronSource, step: float = 1.0) -> None:
        """Let time go by, with a step of each source per so many seconds."""
        for _ in range(round(time.total_seconds() / step)):
            self.now += timedelta(seconds=step)
            self.elapsed += step
            for source in sources:
                source.step(self.now)


@pytest.fixture(params=["memory", "file"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    memory = MemoryFirings()
    found = World((lambda: memory) if request.param == "memory" else (lambda: FileFirings(tmp_path)))
    yield found
    for store in found.stores:
        store.close()


def recording() -> tuple[DirectSink, list[str]]:
    times: list[str] = []

    def handle(event: Event[Any]) -> None:
        times.append(f"{event.time:%H:%M}")

    return DirectSink(handle), times


def test_a_first_start_catches_nothing_up(world: World) -> None:
    sink, times = recording()
    world.pass_by(2 * MINUTE, world.process(sink, catch_up=9))
    assert ["03:00", "03:01"] == times


RESTARTS = [  # how long nothing ran, catch_up, what is fired on return
    (timedelta(seconds=40), 0, ["03:02"]),  # on time for a minute, whoever fires it
    (timedelta(seconds=95), 0, ["03:03"]),
    (timedelta(minutes=10), 0, ["03:11"]),
    (timedelta(minutes=10), 2, ["03:09", "03:10", "03:11"]),
    (timedelta(minutes=4), 9, ["03:02", "03:03", "03:04", "03:05"]),
    (timedelta(days=300), 1, ["03:00", "03:01"]),
]


@pytest.mark.parametrize("ending", ["stopped", "killed"])
@pytest.mark.parametrize(("away", "catch_up", "expected"), RESTARTS)
def test_ticks_that_were_due_while_no_process_ran(
    away: timedelta, catch_up: int, expected: list[str], ending: str, world: World
) -> None:
    sink, times = recording()
    first = world.process(sink, catch_up=catch_up)
    world.pass_by(2 * MINUTE, first)
    assert ["03:00", "03:01"] == times
    if ending == "stopped":
        first.stop(1)
    world.pass_by(away, step=1000.0 if away.days else 1.0)
    times.clear()
    second = world.process(sink, catch_up=catch_up)
    if ending == "killed":  # and not known to be: its process is this one
        world.elapsed += 12.0
    second.step(world.now)
    if away.days:
        assert (catch_up + 1, True) == (len(times), second.state()["leader"])
    else:
        assert expected == times
    second.stop(1)


def test_with_forbid_they_come_one_after_another(world: World) -> None:
    sink, _ = recording()
    first = world.process(sink)
    world.pass_by(MINUTE, first)
    first.stop(1)
    world.pass_by(5 * MINUTE)
    hand = Hand()
    second = world.process(hand, catch_up=2)
    second.step(world.now)
    assert ["03:03"] == hand.times
    for _ in range(2):
        hand.open[-1](DONE)
        second.step(world.now)
    assert ["03:03", "03:04", "03:05"] == hand.times
    second.stop(1)


def test_a_tick_that_was_given_up_at_the_stop_is_fired_again_with_its_id(world: World) -> None:
    hand = Hand()
    first = world.process(hand)
    world.pass_by(MINUTE, first)
    first.stop(0.1)
    world.pass_by(timedelta(seconds=20))
    second = world.process(hand)
    second.step(world.now)
    assert ["03:00", "03:00"] == hand.times
    assert hand.events[0].id == hand.events[1].id
    second.stop(0.1)


@pytest.mark.parametrize(("catch_up", "expected"), [(0, ["03:05"]), (1, ["03:04", "03:05"]), (9, None)])
def test_a_tick_that_a_crash_cut_short_is_one_of_those_missed(
    catch_up: int, expected: list[str] | None, world: World
) -> None:
    hand = Hand()
    world.pass_by(MINUTE, world.process(hand, catch_up=catch_up))
    assert ["03:00"] == hand.times
    world.pass_by(5 * MINUTE)  # killed, for nobody steps it
    sink, times = recording()
    second = world.process(sink, catch_up=catch_up)
    world.elapsed += 12.0
    second.step(world.now)
    assert (expected or ["03:00", "03:01", "03:02", "03:03", "03:04", "03:05"]) == times
    second.stop(1)
    third = world.process(sink, catch_up=9)
    third.step(world.now)
    assert times[-1] == "03:05"
    third.stop(1)


@pytest.mark.parametrize("outcome", [DONE, Failed("rejected", "no")])
def test_a_tick_that_finished_is_not_fired_again(outcome: Outcome, world: World) -> None:
    """Done, or failed for good."""
    hand = Hand()
    first = world.process(hand, catch_up=3)
    world.pass_by(MINUTE, first)
    hand.open[0](outcome)
    world.pass_by(timedelta(seconds=1), first)
    world.pass_by(timedelta(seconds=12))
    second = world.process(hand, catch_up=3)
    world.elapsed += 12.0
    second.step(world.now)
    assert ["03:00"] == hand.times
    second.stop(1)


def test_a_tick_that_overlap_skipped_is_done_with(world: World) -> None:
    hand = Hand()
    first = world.process(hand)
    world.pass_by(2 * MINUTE, first)
    assert (["03:00"], 1) == (hand.times, first.state()["skipped"])
    world.pass_by(timedelta(seconds=5))
    second = world.process(hand)
    world.elapsed += 12.0
    second.step(world.now)
    assert ["03:00"] == hand.times  # 03:00 itself is too late by now
    second.stop(1)


def test_a_tick_that_was_replaced_is_done_with(world: World) -> None:
    hand = Hand()
    first = world.process(hand, overlap="replace")
    world.pass_by(2 * MINUTE, first)
    hand.open[1](DONE)
    world.pass_by(timedelta(seconds=5), first)
    assert ["03:00", "03:01"] == hand.times
    first.stop(1)
    second = world.process(hand, catch_up=9)
    second.step(world.now)
    assert ["03:00", "03:01"] == hand.times
    second.stop(1)


def test_of_two_processes_one_fires_and_both_know_what(world: World) -> None:
    sink, times = recording()
    first, second = world.process(sink), world.process(sink)
    world.pass_by(5 * MINUTE, first, second)
    assert ["03:00", "03:01", "03:02", "03:03", "03:04"] == times
    states = [first.state(), second.state()]
    assert [True, False] == [state["leader"] for state in states]
    assert ["2025-01-01T03:04:00+00:00"] * 2 == [state["last_fired"] for state in states]
    assert ["2025-01-01T03:05:00+00:00"] * 2 == [state["next"] for state in states]
    first.pause()
    world.pass_by(2 * MINUTE, first, second)
    assert ["03:05", "03:06"] == times[5:]
    assert [False, True] == [first.state()["leader"], second.state()["leader"]]
    for source in (first, second):
        source.stop(1)


def test_one_that_was_replaced_gives_its_ticks_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    hand = Hand()
    first, second = world.process(hand), world.process(hand)
    world.pass_by(MINUTE, first, second)
    world.pass_by(timedelta(seconds=20), second)
    assert ["03:00", "03:00"] == hand.times
    first.step(world.now)
    hand.open[0](Failed("error", "no"))
    first.step(world.now)
    assert {"in_flight": 0, "failed": 0, "leader": False}.items() <= first.state().items()
    assert "another process fires the schedule since, and this tick too" in caplog.text
    for source in (first, second):
        source.stop(0.1)


def test_fire_works_in_a_process_that_does_not_fire_the_schedule(world: World) -> None:
    sink, times = recording()
    first, second = world.process(sink), world.process(sink)
    second.fire(datetime(2030, 1, 1, 5, 5, tzinfo=UTC))
    second.step(world.now)
    assert ["05:05"] == times
    assert second.state()["last_fired"] is None
    for source in (first, second):
        source.stop(1)


def test_while_a_process_finishes_its_last_tick_no_other_one_fires(world: World) -> None:
    """Or else overlap="forbid" would be broken at every roll-out."""
    hand = Hand()
    first, second = world.process(hand), world.process(hand)
    world.pass_by(MINUTE, first, second)
    first.pause()
    world.pass_by(MINUTE, first, second)
    assert ["03:00"] == hand.times
    hand.open[0](DONE)
    world.pass_by(timedelta(seconds=5), first, second)
    assert ["03:00", "03:01"] == hand.times
    for source in (first, second):
        source.stop(0.1)


def test_ticks_are_caught_up_after_a_clock_was_corrected_while_a_process_ran(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    sink, times = recording()
    world.now += timedelta(days=3000)
    first = world.process(sink)
    world.pass_by(MINUTE, first)
    world.now = START
    world.pass_by(MINUTE, first)
    assert ["03:00", "03:00"] == times
    first.stop(1)
    world.pass_by(5 * MINUTE)
    second = world.process(sink, catch_up=2)
    second.step(world.now)
    assert ["03:03", "03:04", "03:05"] == times[2:]
    assert "set back" not in caplog.text
    second.stop(1)


@pytest.mark.parametrize("ahead", [-45, 45])
def test_clocks_that_differ_by_less_than_a_minute_double_and_lose_nothing(ahead: int, tmp_path: Path) -> None:
    """The one that takes over is behind or ahead by so many seconds."""
    store = MemoryFirings()
    one, other = World(lambda: store), World(lambda: store)
    other.now += timedelta(seconds=ahead)
    sink, times = recording()
    first = one.process(sink)
    one.pass_by(3 * MINUTE, first)
    first.stop(1)
    other.now += 3 * MINUTE
    second = other.process(sink)
    other.pass_by(3 * MINUTE, second)
    expected = [f"03:{minute:02}" for minute in range(len(times))]
    assert expected == times
    assert len(times) in (5, 6, 7)


def test_a_record_of_the_future_does_not_stop_a_schedule(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The clock was wrong when it was written."""
    sink, times = recording()
    world.now += timedelta(days=3000)
    first = world.process(sink)
    world.pass_by(MINUTE, first)
    first.stop(1)
    world.now = START
    times.clear()
    second = world.process(sink, catch_up=5)
    world.pass_by(MINUTE, second)
    assert ["03:00"] == times
    assert "the clock was set back since: going on from 2025-01-01 02:59:30" in caplog.text
    second.stop(1)


class Failing(MemoryFirings):
    """broken: writes fail. claims: how many claims of ticks fail."""

    broken = False
    claims = 0

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        if self.claims and firing.unfinished:
            self.claims -= 1
            raise FiringError("disk full")
        if self.broken:
            raise FiringError("disk full")
        return super().write(schedule, firing, version)


def test_a_claim_that_fails_is_made_again() -> None:
    store = Failing()
    world = World(lambda: store)
    sink, times = recording()
    source = world.process(sink)
    store.claims = 3
    world.pass_by(timedelta(seconds=45), source)
    assert (["03:00"], 0) == (times, source.state()["gaps"])
    source.stop(1)


def test_a_retry_waits_until_it_is_known_that_nobody_else_fires() -> None:
    store = Failing()
    world = World(lambda: store)
    hand = Hand()
    source = world.process(hand, retry=3)
    world.pass_by(timedelta(seconds=30), source)
    hand.open[0](Failed("retry", "later", after=10.0))
    store.broken = True
    world.pass_by(timedelta(seconds=20), source)
    assert (["03:00"], 1) == (hand.times, source.state()["retrying"])
    store.broken = False
    world.pass_by(timedelta(seconds=3), source)
    assert ["03:00", "03:00"] == hand.times
    assert [1, 2] == [event.attempt for event in hand.events]
    source.stop(0.1)


@pytest.mark.parametrize(("outage", "expected"), [(40, ["03:00", "03:01"]), (110, ["03:01"])])
def test_a_tick_waits_for_a_store_that_fails_until_it_is_too_late(outage: int, expected: Sequence[str]) -> None:
    store = Failing()
    world = World(lambda: store)
    sink, times = recording()
    source = world.process(sink)
    store.broken = True
    world.pass_by(timedelta(seconds=30 + outage), source)
    assert ([], False) == (times, source.state()["connected"])
    store.broken = False
    world.pass_by(timedelta(seconds=100 - outage) if outage < 100 else timedelta(seconds=2), source)
    assert (list(expected), True) == (times, source.state()["connected"])
    source.stop(1)


def test_a_store_that_cannot_be_opened_is_a_fault_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"cron \* \* \* \* \* -> f: the folder .* can't be made"):
        World(lambda: FileFirings(tmp_path / "file" / "x")).process(Hand())
