from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upon import Event, Overloaded, TooLarge, UsageError
from upon._outcome import DONE, Done, Failed, Outcome
from upon._sink import OnDone
from upon._triggers import CronTrigger
from upon_triggers.cron import CronSource
from upon_triggers.settings import Delivery

START = datetime(2025, 1, 1, 2, 59, tzinfo=UTC)
THREE = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class FakeSink:
    """Takes events and waits to be told their outcomes; `answer` answers at once."""

    def __init__(self, answer: Outcome | None = None) -> None:
        self.events: list[Event[Any]] = []
        self.done: list[OnDone] = []
        self.answer = answer

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        assert "refresh" == function
        self.events.append(event)
        self.done.append(on_done)
        if self.answer is not None:
            on_done(self.answer)

    def submit_run(self, events: Sequence[Event[Any]], on_item: Any, *, function: str | None = None) -> None: ...

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: Any, *, function: str | None = None) -> None: ...

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        return DONE

    @property
    def times(self) -> list[str]:
        return [event.time.isoformat() for event in self.events if event.time]


class FakePublisher:
    def __init__(self) -> None:
        self.published: list[tuple[str, Event[Any], bytes | None]] = []
        self.confirm: list[Callable[[BaseException | None], None]] = []

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: Any) -> None:
        self.published.append((topic, event, key))
        self.confirm.append(on_done)


def source(sink: FakeSink, schedule: str = "0 3 * * *", delivery: Delivery | None = None, **options: Any) -> CronSource:
    publisher = options.pop("publisher", None)
    return CronSource(
        CronTrigger(schedule, **options),
        "refresh",
        sink,
        publisher,
        service="demo",
        delivery=delivery or Delivery(retry=2, backoff_delay=1.0),
        clock=lambda: START,
        rng=random.Random(1),
    )


def until_due(cron: CronSource) -> datetime:
    due = cron.due()
    assert due is not None
    cron.step(due)
    return due


def test_a_tick_fires_at_its_time_and_not_before() -> None:
    sink = FakeSink(DONE)
    cron = source(sink)
    assert THREE == cron.step(START)
    assert [] == sink.events
    assert THREE + DAY == cron.step(THREE + timedelta(milliseconds=7))
    assert ["2025-01-01T03:00:00+00:00"] == sink.times
    assert {"in_flight": 0, "done": 1}.items() <= cron.state().items()


def test_the_event_of_a_tick_looks_like_one_of_pingsource() -> None:
    sink = FakeSink(DONE)
    source(sink, "0 4 * * *", timezone="Europe/Berlin").step(THREE)
    (event,) = sink.events
    assert "dev.knative.sources.ping" == event.type
    assert "/apis/v1/namespaces/default/pingsources/demo-refresh" == event.source
    assert THREE == event.time
    assert (b"", None, None, {}) == (event.body, event.data, event.datacontenttype, event.extensions)


def test_the_id_is_stable_per_scheduled_time_and_schedule() -> None:
    def fired(schedule: str, at: datetime, **options: Any) -> str:
        return source(FakeSink(DONE), schedule, **options).fire(at).id

    same = fired("0 3 * * *", THREE)
    assert same == fired("0 3 * * *", THREE)
    assert same == fired("0 3 * * *", datetime.fromisoformat("2025-01-01T04:00:00+01:00"))
    others = [fired("0 3 * * *", THREE + DAY), fired("5 3 * * *", THREE)]
    others.append(fired("0 3 * * *", THREE, timezone="Europe/Berlin"))
    assert 4 == len({same, *others})


def test_fire_takes_any_time_and_reads_a_naive_one_in_the_timezone_of_the_schedule() -> None:
    sink = FakeSink(DONE)
    cron = source(sink, timezone="Europe/Berlin")
    event = cron.fire(datetime(2025, 7, 1, 3, 0))
    cron.step(START)
    assert [event.id] == [e.id for e in sink.events]
    assert ["2025-07-01T01:00:00+00:00"] == sink.times


@pytest.mark.parametrize(
    ("overlap", "submitted", "counted"),
    [
        ("forbid", 1, {"done": 1, "skipped": 1, "replaced": 0}),
        ("allow", 2, {"done": 2, "skipped": 0, "replaced": 0}),
        ("replace", 2, {"done": 1, "skipped": 0, "replaced": 1}),
    ],
)
def test_overlap(overlap: Any, submitted: int, counted: dict[str, int]) -> None:
    sink = FakeSink()
    cron = source(sink, "* * * * *", overlap=overlap)
    cron.step(THREE)
    cron.step(THREE + MINUTE)
    assert submitted == len(sink.events)
    for done in sink.done:
        done(DONE)
    cron.step(THREE + MINUTE)
    assert counted.items() <= cron.state().items()
    assert 0 == cron.state()["in_flight"]


def test_forbid_runs_the_next_tick_after_the_end_of_the_one_before() -> None:
    sink = FakeSink()
    cron = source(sink, "* * * * *")
    cron.step(THREE)
    sink.done[0](DONE)
    cron.step(THREE + MINUTE)
    assert 2 == len(sink.events)


def test_a_replaced_tick_has_no_more_retries_and_no_reply() -> None:
    sink, publisher = FakeSink(), FakePublisher()
    cron = source(sink, "* * * * *", overlap="replace", reply_to="out", publisher=publisher)
    cron.step(THREE)
    cron.step(THREE + MINUTE)
    reply = Event.of({"n": 1})
    sink.done[0](Done(reply))
    sink.done[1](Failed("error", "no"))
    cron.step(THREE + MINUTE)
    assert [] == publisher.published
    assert 1 == cron.state()["retrying"]


def test_allow_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upon_triggers.runs.MAX_RUNS", 3)
    sink = FakeSink()
    cron = source(sink, "* * * * *", overlap="allow")
    for minute in range(5):
        cron.step(THREE + minute * MINUTE)
    assert 3 == len(sink.events)
    assert 2 == cron.state()["skipped"]


def test_a_failure_is_tried_again_by_the_policy_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = FakeSink(Failed("error", "ValueError: no"))
    cron = source(sink)
    cron.step(THREE)
    delays = [until_due(cron) - THREE, until_due(cron) - THREE]
    assert [1, 2, 3] == [event.attempt for event in sink.events]
    assert 1 == len({event.id for event in sink.events})
    assert timedelta(0) < delays[0] < delays[1] < MINUTE
    assert {"failed": 1, "done": 0, "in_flight": 0}.items() <= cron.state().items()
    last = {"id": sink.events[0].id, "time": "2025-01-01T03:00:00Z", "outcome": "error"}
    assert last == cron.state()["last"]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert sink.events[0].id == record.__dict__["fields"]["event_id"]
    assert THREE + DAY == cron.due()


def test_a_final_failure_is_not_tried_again() -> None:
    sink = FakeSink(Failed("rejected", "no"))
    cron = source(sink)
    cron.step(THREE)
    assert (1, THREE + DAY) == (len(sink.events), cron.due())
    assert 1 == cron.state()["failed"]


def test_busy_never_counts_and_is_tried_until_it_goes() -> None:
    sink = FakeSink(Failed("overloaded", "full", after=1.0))
    cron = source(sink)
    cron.step(THREE)
    for _ in range(20):
        until_due(cron)
    assert {1} == {event.attempt for event in sink.events}
    sink.answer = DONE
    until_due(cron)
    assert {"done": 1, "failed": 0}.items() <= cron.state().items()


def test_retry_after_is_heard() -> None:
    sink = FakeSink(Failed("retry", "later", after=17.0))
    cron = source(sink)
    cron.step(THREE)
    due = cron.due()
    assert due is not None
    assert due - THREE >= timedelta(seconds=17)


def test_the_reply_is_confirmed_before_the_tick_is_done() -> None:
    sink, publisher = FakeSink(Done(Event.of({"n": 1}, partitionkey="k"))), FakePublisher()
    cron = source(sink, reply_to="out", publisher=publisher)
    cron.step(THREE)
    assert [("out", {"n": 1}, b"k")] == [(topic, event.data, key) for topic, event, key in publisher.published]
    assert {"in_flight": 1, "done": 0}.items() <= cron.state().items()
    publisher.confirm[0](None)
    cron.step(THREE)
    assert {"in_flight": 0, "done": 1}.items() <= cron.state().items()


@pytest.mark.parametrize(
    ("error", "handled", "published", "counted"),
    [
        (Overloaded("no broker"), 1, 2, {"done": 1, "failed": 0}),  # written again, without the handler
        (TimeoutError("lost"), 2, 2, {"done": 1, "failed": 0}),  # a failed try
        (TooLarge("2 MB"), 1, 1, {"done": 0, "failed": 1}),  # never
    ],
)
def test_a_reply_that_is_not_confirmed(error: Exception, handled: int, published: int, counted: dict[str, int]) -> None:
    sink, publisher = FakeSink(Done(Event.of({"n": 1}))), FakePublisher()
    cron = source(sink, reply_to="out", publisher=publisher)
    cron.step(THREE)
    publisher.confirm[0](error)
    cron.step(THREE)
    if published == 2:
        assert 1 == cron.state()["retrying"]
        until_due(cron)
        publisher.confirm[1](None)
        cron.step(THREE)
    assert (handled, published) == (len(sink.events), len(publisher.published))
    assert counted.items() <= cron.state().items()


def test_reply_to_without_kafka_is_refused() -> None:
    with pytest.raises(UsageError, match="replies to topic 'out', and no Kafka is configured"):
        source(FakeSink(), reply_to="out")


@pytest.mark.parametrize(
    ("slept", "catch_up", "expected"),
    [
        (timedelta(seconds=59), 0, ["03:00"]),
        (timedelta(minutes=10, seconds=30), 0, ["03:10"]),
        (timedelta(minutes=10, seconds=30), 2, ["03:08", "03:09", "03:10"]),
        (timedelta(minutes=2), 9, ["03:00", "03:01", "03:02"]),
        (timedelta(days=400), 3, ["02:57", "02:58", "02:59", "03:00"]),
    ],
)
def test_only_catch_up_brings_missed_ticks_back(slept: timedelta, catch_up: int, expected: list[str]) -> None:
    sink = FakeSink(DONE)
    cron = source(sink, "* * * * *", catch_up=catch_up)
    cron.step(THREE + slept)
    assert expected == [time[11:16] for time in sink.times]


def test_a_rare_schedule_is_caught_up_after_a_long_sleep() -> None:
    sink = FakeSink(DONE)
    source(sink, "0 0 1 1 *", catch_up=2).step(datetime(2030, 6, 1, tzinfo=UTC))
    assert ["2029-01-01T00:00:00+00:00", "2030-01-01T00:00:00+00:00"] == sink.times


def test_a_clock_set_back_fires_no_tick_twice_and_goes_on_from_there() -> None:
    sink = FakeSink(DONE)
    cron = source(sink, "0 * * * *")
    cron.step(THREE)
    cron.step(THREE + timedelta(hours=1))
    cron.step(THREE - timedelta(minutes=30))
    cron.step(THREE)
    cron.step(THREE + timedelta(hours=1))
    cron.step(THREE + timedelta(hours=2))
    assert ["03:00", "04:00", "05:00"] == [time[11:16] for time in sink.times]


def test_a_clock_set_back_does_not_hold_up_a_retry() -> None:
    sink = FakeSink(Failed("error", "no"))
    cron = source(sink)
    cron.step(THREE)
    due = cron.due()
    cron.step(THREE - timedelta(hours=5))
    assert due is not None
    assert due - timedelta(hours=5) == cron.due()


def test_a_paused_source_fires_nothing_and_finishes_what_is_in_flight() -> None:
    sink = FakeSink()
    cron = source(sink, "* * * * *")
    cron.step(THREE)
    cron.pause()
    cron.step(THREE + MINUTE)
    assert 1 == len(sink.events)
    sink.done[0](DONE)
    assert cron.step(THREE + MINUTE) is None
    assert {"done": 1, "next": None}.items() <= cron.state().items()


def test_state_names_the_next_tick_in_the_timezone_of_the_schedule() -> None:
    cron = source(FakeSink(), timezone="Europe/Berlin")
    assert "cron 0 3 * * * Europe/Berlin -> refresh" == cron.name
    assert "2025-01-02T03:00:00+01:00" == cron.state()["next"]


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 10 s"
        time.sleep(0.005)


def test_the_thread_fires_on_time_and_is_gone_after_stop() -> None:
    sink = FakeSink(DONE)
    began = datetime.now(UTC)
    offset = THREE - timedelta(seconds=0.3) - began  # the next tick is 0.3 s away
    cron = CronSource(
        CronTrigger("0 3 * * *"), "refresh", sink, service="demo", clock=lambda: datetime.now(UTC) + offset
    )
    cron.start()
    wait_for(lambda: cron.state()["done"] == 1)
    assert timedelta(seconds=0.25) < datetime.now(UTC) - began < timedelta(seconds=5)
    cron.stop(5)
    assert not [t for t in threading.enumerate() if cron.name in t.name]


def test_stop_waits_for_the_handler_and_gives_up_what_waits_for_a_retry(caplog: pytest.LogCaptureFixture) -> None:
    sink, clock = FakeSink(), Clock()
    trigger = CronTrigger("* * * * *", overlap="allow")
    cron = CronSource(trigger, "refresh", sink, service="demo", clock=clock)
    cron.start()
    for at in (THREE, THREE + MINUTE):
        cron.fire(at)
    wait_for(lambda: len(sink.done) == 2)
    sink.done[0](Failed("error", "no", after=200.0))
    wait_for(lambda: cron.state()["retrying"] == 1)
    threading.Timer(0.2, sink.done[1], (DONE,)).start()
    cron.stop(10)
    assert 1 == cron.state()["done"]
    (record,) = [r for r in caplog.records if "not finished before the stop" in r.message]
    assert sink.events[0].id == record.__dict__["fields"]["event_id"]


@pytest.mark.parametrize("broken", ["sink", "publisher"])
def test_a_fault_of_sink_or_publisher_is_a_failed_try(broken: str) -> None:
    class Broken(FakeSink, FakePublisher):
        def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
            if broken == "sink":
                raise RuntimeError("closed")
            on_done(Done(Event.of({"n": 1})))

        def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: Any) -> None:
            raise RuntimeError("closed")

    cron = source(Broken(), reply_to="out", publisher=Broken())
    cron.step(THREE)
    assert 1 == cron.state()["retrying"]


def test_a_step_that_fails_does_not_end_the_schedule(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FakeSink(DONE)
    cron = CronSource(CronTrigger("* * * * *"), "refresh", sink, service="demo", clock=Clock())
    monkeypatch.setattr(cron, "due", lambda: 1 / 0)
    cron.start()
    wait_for(lambda: "a step failed" in caplog.text)
    monkeypatch.undo()
    cron.fire(THREE)
    wait_for(lambda: cron.state()["done"] == 1)
    cron.stop(5)
