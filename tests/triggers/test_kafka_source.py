"""The source turned by hand, on a clock of its own: no threads, nothing left to chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from support.brokers import until
from support.sinks import DirectSink
from upon import DataError, Done, Event, Failed, Outcome, TooLarge
from upon._errors import Busy
from upon._reply import reply_event
from upon._sink import OnBatch, OnDone, OnItem, Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.memory import MemoryBroker, MemoryPublisher
from upon_triggers.kafka.source import KafkaSource
from upon_triggers.settings import Delivery


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class HeldSink(DirectSink):
    """Keeps what it was given until it is told the outcome."""

    def __init__(self) -> None:
        super().__init__(lambda event: None)
        self.held: list[tuple[Event[Any], OnDone]] = []
        self.runs: list[list[int]] = []

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.submit_run([event], lambda _, outcome: on_done(outcome))

    def submit_run(self, events: Any, on_item: OnItem, *, function: str | None = None) -> None:
        self.runs.append([e.kafka.offset for e in events])
        for index, event in enumerate(events):
            self.held.append((event, lambda outcome, index=index: on_item(index, outcome)))

    def submit_batch(self, events: Any, on_batch: OnBatch, *, function: str | None = None) -> None:
        raise AssertionError("no batch here")

    def let_go(self, outcome: Outcome = Done()) -> None:  # noqa: B008 - frozen
        held, self.held = self.held, []
        for _, on_done in held:
            on_done(outcome)


class Rig:
    """A memory broker with one topic, and sources on one clock."""

    def __init__(self, partitions: int = 1) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(partitions)
        self.broker.ensure_topics(["in"])
        self.publisher = MemoryPublisher(self.broker)

    def fill(self, count: int, partition: int = 0) -> None:
        for n in range(count):
            self.broker.publish("in", b'{"n":%d}' % n, partition=partition)

    def source(
        self,
        sink: Sink,
        *,
        delivery: Delivery = Delivery(),  # noqa: B008 - frozen
        batched: Batched | None = None,
        **trigger: Any,
    ) -> KafkaSource:
        source = KafkaSource(
            KafkaTrigger("in", **trigger),
            function="f",
            service="s",
            sink=sink,
            cluster=self.broker,
            publisher=self.publisher,
            delivery=delivery,
            batched=batched,
            clock=self.clock,
            rng=random.Random(1),
        )
        source.open()
        return source

    def settle(self, *sources: KafkaSource, seconds: float = 0.0) -> None:
        """Step until nothing moves, then let time pass from one due moment to the next."""
        end = self.clock.now + seconds
        while True:
            moved = True
            while moved:
                steps = [source.step() for source in sources]
                moved = any(steps)
            due = min((d for s in sources if (d := s.next_due()) is not None), default=None)
            if due is None or due > end:
                break
            self.clock.now = due
        self.clock.now = end

    def committed(self) -> dict[int, int]:
        return self.broker.committed("s.f", "in")


def _fails(count: int, outcome: Failed) -> Callable[[Event[Any]], Outcome | None]:
    left = [outcome] * count
    return lambda event: left.pop() if left else None


def test_retries_wait_for_their_time() -> None:
    rig = Rig()
    rig.fill(2)
    moments: list[float] = []

    def handler(event: Event[Any]) -> Outcome | None:
        moments.append(rig.clock.now - 1000)
        return Failed("error", "bad") if event.data["n"] == 0 else None

    source = rig.source(DirectSink(handler), delivery=Delivery(retry=3))
    rig.settle(source)
    assert [0.0] == moments
    rig.settle(source, seconds=10)
    gaps = [b - a for a, b in pairwise(moments)]
    assert [0.2, 0.4, 0.8, 0.0] == [pytest.approx(gap, rel=0.2, abs=1e-9) for gap in gaps]
    assert 1 == source.state()["dead_letters"]


def test_a_busy_function_is_asked_at_most_every_five_seconds() -> None:
    rig = Rig()
    rig.fill(1)
    asked: list[float] = []

    def handler(event: Event[Any]) -> Outcome:
        asked.append(rig.clock.now)
        return Failed("overloaded", "full")

    source = rig.source(DirectSink(handler))
    rig.settle(source, seconds=3600)
    assert 700 < len(asked) < 950
    state = source.state()
    assert (0, 0, True) == (state["dead_letters"], state["retries"], state["busy_since"] is not None)
    assert 1 == state["retrying"]


def test_runs_grow_while_the_handler_is_fast() -> None:
    rig = Rig()
    rig.fill(400)
    sink = HeldSink()
    source = rig.source(sink)
    while source.state()["handled"] < 400:
        rig.settle(source)
        sink.let_go()
    assert [16, 32, 64, 128, 160] == [len(run) for run in sink.runs]


def test_runs_shrink_while_the_handler_is_slow() -> None:
    rig = Rig()
    rig.fill(40)
    sink = HeldSink()
    source = rig.source(sink)
    while source.state()["handled"] < 40:
        rig.settle(source)
        rig.clock.now += 1.0
        sink.let_go()
    assert [16, 8, 4, 2, 1, 1] == [len(run) for run in sink.runs][:6]


def test_what_is_handled_within_a_run_is_committed_while_it_goes_on() -> None:
    rig = Rig()
    rig.fill(10)
    sink = HeldSink()
    source = rig.source(sink)
    rig.settle(source)
    for _, on_done in sink.held[:4]:
        on_done(Done())
    rig.clock.now += 2
    rig.settle(source)
    assert {0: 4} == rig.committed()


def test_a_failure_inside_a_run_keeps_the_order() -> None:
    rig = Rig()
    rig.fill(6)
    seen: list[int] = []
    failing = _fails(1, Failed("retry", "later", after=1.0))

    def handler(event: Event[Any]) -> Outcome | None:
        seen.append(event.data["n"])
        return failing(event) if event.data["n"] == 3 else None

    source = rig.source(DirectSink(handler))
    rig.settle(source, seconds=2)
    assert [0, 1, 2, 3, 3, 4, 5] == seen


def test_a_revoked_partition_waits_for_its_handlers() -> None:
    rig = Rig(partitions=2)
    rig.fill(3, partition=0)
    rig.fill(3, partition=1)
    sink = HeldSink()
    first = rig.source(sink)
    rig.settle(first)
    second = rig.source(DirectSink(lambda event: None))
    rig.settle(first, second)
    assert ([0, 1], []) == (first.state()["partitions"], second.state()["partitions"])
    sink.let_go()
    rig.settle(first, second)
    assert ([0], [1]) == (first.state()["partitions"], second.state()["partitions"])
    rig.clock.now += 2
    rig.settle(first, second)
    assert {0: 3, 1: 3} == rig.committed()
    assert 0 == second.state()["handled"], "nothing came twice"


def test_a_revocation_does_not_wait_for_ever() -> None:
    rig = Rig(partitions=2)
    rig.fill(1, partition=1)
    sink = HeldSink()
    first = rig.source(sink)
    rig.settle(first)
    seen: list[int] = []
    second = rig.source(DirectSink(lambda event: seen.append(event.data["n"])))
    rig.settle(first, second)
    rig.clock.now += 31
    rig.settle(first, second)
    assert [0] == seen
    sink.let_go()  # too late: the lease is gone
    rig.clock.now += 2
    rig.settle(first, second)
    assert (0, {1: 1}) == (first.state()["handled"], rig.committed())


def test_a_late_reply_is_not_written() -> None:
    rig = Rig(partitions=2)
    rig.fill(1, partition=1)
    sink = HeldSink()
    first = rig.source(sink, reply_to="out")
    rig.settle(first)
    second = rig.source(DirectSink(lambda event: None))
    rig.settle(first, second)
    rig.clock.now += 31
    rig.settle(first, second)
    sink.let_go(Done(Event.of({"late": True})))
    rig.settle(first, second)
    assert [] == rig.broker.records("out")


def test_lost_partitions_are_never_committed() -> None:
    rig = Rig()
    rig.fill(3)
    sink = HeldSink()
    source = rig.source(sink)
    rig.settle(source)
    consumer: Any = source._consumer
    consumer.lose()
    sink.let_go()
    rig.clock.now += 5
    source.step()
    assert {0: 0} == rig.committed()
    rig.settle(source)
    sink.let_go()
    rig.settle(source)
    rig.clock.now += 5
    rig.settle(source)
    assert [[0, 1, 2], [0, 1, 2]] == sink.runs
    assert {0: 3} == rig.committed()


def test_replies_that_can_not_be_written_now_are_written_later() -> None:
    rig = Rig()
    rig.fill(3)
    rig.publisher.errors.extend([Busy("away")] * 40)
    source = rig.source(DirectSink(lambda event: Done(Event.of(event.data))), reply_to="out")
    rig.settle(source)
    state = source.state()
    assert (3, {0: 0}) == (state["in_flight"], rig.committed())
    assert state["busy_since"] is not None
    rig.settle(source, seconds=60)
    rig.clock.now += 2
    rig.settle(source)
    assert 3 == len(rig.broker.records("out"))
    assert {0: 3} == rig.committed()
    assert (0, None) == (source.state()["dead_letters"], source.state()["busy_since"])


@pytest.mark.parametrize("error", [TooLarge("2 MB"), DataError("no form")])
def test_a_reply_that_can_never_be_written_is_dead_lettered(error: Exception) -> None:
    rig = Rig()
    rig.fill(1)
    rig.publisher.errors.append(error)
    source = rig.source(DirectSink(lambda event: Done(Event.of(event.data))), reply_to="out")
    rig.settle(source)
    [letter] = rig.broker.records("in.f.dead")
    assert b"rejected" == dict(letter.headers)["upon-error-kind"]


def test_a_dead_letter_too_large_becomes_a_pointer() -> None:
    rig = Rig()
    rig.broker = MemoryBroker(max_size=2000)
    rig.publisher = MemoryPublisher(rig.broker)
    rig.broker.publish("in", b'"' + b"x" * 1950 + b'"', key=b"k", headers=[("h", b"1")])
    source = rig.source(DirectSink(lambda event: Failed("rejected", "no")))
    rig.settle(source)
    [letter] = rig.broker.records("in.f.dead")
    told = dict(letter.headers)
    assert (b"k", None, b"in/0/0") == (letter.key, letter.value, told["upon-origin"])
    assert b"1952 bytes" in (told["upon-omitted"] or b"")
    assert "h" not in told


def test_what_was_read_from_the_latest_offset_on_is_pinned() -> None:
    rig = Rig()
    rig.fill(5)
    first = rig.source(HeldSink(), start="latest")
    rig.settle(first)
    rig.fill(2)
    rig.settle(first)
    rig.clock.now += 2
    rig.settle(first)
    assert {0: 5} == rig.committed()


def test_a_commit_that_fails_is_repeated() -> None:
    rig = Rig()
    rig.fill(2)
    sink = HeldSink()
    source = rig.source(sink)
    rig.settle(source)
    rig.broker.down = True
    sink.let_go()
    rig.settle(source)
    assert ({0: 0}, False) == (rig.committed(), source.state()["connected"])
    rig.broker.down = False
    rig.clock.now += 2
    rig.settle(source)
    assert {0: 2} == rig.committed()


def test_pause_takes_nothing_new_and_stop_commits() -> None:
    rig = Rig()
    rig.fill(3)
    sink = HeldSink()
    source = rig.source(sink)
    rig.settle(source)
    source.pause()
    rig.fill(3)
    rig.settle(source)
    assert ([[0, 1, 2]], [0]) == (sink.runs, source.state()["paused"])
    sink.let_go()
    source.stop(1.0)
    assert {0: 3} == rig.committed()


def test_batches_take_from_every_partition() -> None:
    rig = Rig(partitions=3)
    for partition in range(3):
        rig.fill(4, partition)
    sizes: list[int] = []

    def batch(events: Any) -> list[Outcome]:
        sizes.append(len(events))
        return [Done()] * len(events)

    source = rig.source(DirectSink(lambda event: None, batch), batched=Batched(10))
    rig.settle(source)
    assert [10, 2] == sizes
    assert {0: 4, 1: 4, 2: 4} == {
        a.partition.number: a.window.watermark for a in source.engine.ownership.assignments.values()
    }


def test_a_batch_that_fails_as_a_whole_is_tried_one_by_one() -> None:
    rig = Rig()
    rig.fill(4)
    batches: list[list[int]] = []

    def batch(events: Any) -> list[Outcome]:
        numbers = [e.data["n"] for e in events]
        batches.append(numbers)
        return [Failed("error", "poison") if 2 in numbers else Done()] * len(events)

    source = rig.source(DirectSink(lambda event: None, batch), batched=Batched(10), delivery=Delivery(retry=1))
    rig.settle(source, seconds=10)
    assert [[0, 1, 2, 3], [0], [1], [2], [3]] == batches
    assert [b'{"n":2}'] == [letter.value for letter in rig.broker.records("in.f.dead")]


def test_the_event_says_where_it_comes_from() -> None:
    rig = Rig()
    rig.fill(1)
    seen: list[Event[Any]] = []
    rig.settle(rig.source(DirectSink(seen.append)))
    [event] = seen
    assert "/apis/v1/namespaces/default/kafkasources/s-f#in" == event.source
    assert ("dev.knative.kafka.event", "partition:0/offset:0") == (event.type, event.id)


def test_replies_carry_the_input_key() -> None:
    rig = Rig()
    rig.broker.publish("in", b"{}", key=b"k")
    answer = lambda event: Done(reply_event(event, 1, service="s", function="f", type=None))  # noqa: E731
    rig.settle(rig.source(DirectSink(answer), reply_to="out"))
    assert [b"k"] == [r.key for r in rig.broker.records("out")]


def test_an_unexpected_error_opens_another_consumer_and_loses_nothing() -> None:
    rig = Rig()
    rig.fill(3)
    faults = [RuntimeError("a fault of the sink")]
    seen: list[int] = []

    class Faulty(DirectSink):
        def submit_run(self, events: Any, on_item: OnItem, *, function: str | None = None) -> None:
            if faults:
                raise faults.pop()
            super().submit_run(events, on_item)

    source = KafkaSource(
        KafkaTrigger("in"),
        function="f",
        service="s",
        sink=Faulty(lambda event: seen.append(event.data["n"])),
        cluster=rig.broker,
        publisher=rig.publisher,
    )
    source.start()
    until(lambda: source.state()["error"] == "RuntimeError: a fault of the sink")
    until(lambda: rig.committed() == {0: 3})
    assert ([0, 1, 2], None) == (seen, source.state()["error"])
    source.stop(1.0)
