"""What is promised about delivery, on every broker: in memory, embedded, and real Apache Kafka."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support.brokers import Broker, InMemory, embedded, real, until
from support.delivery import QUICK, Bench
from support.served_sink import ServedSink
from upon import Done, Event, Failed, Outcome, Reject, Retry
from upon._reply import reply_event
from upon._triggers import Batched
from upon_triggers.kafka.embedded import EmbeddedBroker
from upon_triggers.settings import Delivery


@pytest.fixture(params=["memory", "over HTTP", "embedded", pytest.param("real", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """over HTTP: in memory too, with the function in a service of its own, behind an HttpSink."""
    found: Broker
    if request.param == "memory":
        found = InMemory()
    elif request.param == "over HTTP":
        found = InMemory(ServedSink)
    elif request.param == "embedded":
        found = embedded(request.getfixturevalue("embedded_broker"))
    else:
        found = real(request.getfixturevalue("kafka"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


def _fine(event: Event[Any]) -> None:
    return None


def _answer(event: Event[Any]) -> Done:
    return Done(reply_event(event, {"of": event.data["n"]}, service="s", function="f", type=None))


def _numbered(count: int, partitions: int = 1) -> list[tuple[int, bytes]]:
    return [(n % partitions, b'{"n": %d}' % n) for n in range(count)]


def test_every_record_once_in_order_per_partition(broker: Broker) -> None:
    bench = Bench(broker, partitions=4)
    broker.produce_many(bench.topic, _numbered(2000, 4))
    with bench.running(_fine) as source:
        bench.handled(source, 2000)
    by_partition: dict[int, list[int]] = defaultdict(list)
    for partition, offset in bench.offsets:
        by_partition[partition].append(offset)
    assert {n: list(range(500)) for n in range(4)} == by_partition
    assert dict.fromkeys(range(4), 500) == bench.committed()


def test_replies_are_complete_and_in_order(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(500))
    with bench.running(_answer, reply_to=bench.out) as source:
        bench.handled(source, 500)
    assert [b'{"of":%d}' % n for n in range(500)] == [r.value for r in broker.records(bench.out)]
    assert {0: 500} == bench.committed()


def test_retry_then_success(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(3))

    def handler(event: Event[Any]) -> None:
        if event.data["n"] == 1 and event.attempt < 3:
            raise Retry(after=0.01)

    with bench.running(handler) as source:
        bench.handled(source, 3)
        assert 0 == source.state()["dead_letters"]
    assert [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1)] == [(e.data["n"], e.attempt) for e in bench.seen]


def test_dead_letter_after_the_last_try(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b'{"n": 0}', key=b"k", headers=[("h", b"1"), ("h", b"2"), ("upon-error", b"old")])

    def handler(event: Event[Any]) -> None:
        raise ValueError("broken " + "x" * 5000)

    with bench.running(handler, delivery=QUICK) as source:
        bench.handled(source, 1)
    assert 3 == len(bench.seen)
    [letter] = broker.records(bench.dead)
    assert (b"k", b'{"n": 0}') == (letter.key, letter.value)
    assert [("h", b"1"), ("h", b"2")] == letter.headers[:2]
    told = {name: value for name, value in letter.headers if name.startswith("upon-")}
    error = told.pop("upon-error")
    assert error is not None
    assert error.startswith(b"ValueError: broken x")
    assert 1000 == len(error)
    assert None not in (told.pop("upon-time"), told.pop("upon-origin-time"))
    assert {
        "upon-group": bench.group.encode(),
        "upon-error-kind": b"error",
        "upon-attempts": b"3",
        "upon-function": b"f",
        "upon-origin": f"{bench.topic}/0/0".encode(),
    } == told
    assert {0: 1} == bench.committed()


def test_a_final_outcome_is_not_tried_again(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(3))

    def handler(event: Event[Any]) -> None:
        if event.data["n"] == 1:
            raise Reject("not this one")

    with bench.running(handler) as source:
        bench.handled(source, 3)
    assert [0, 1, 2] == [e.data["n"] for e in bench.seen]
    [letter] = broker.records(bench.dead)
    assert (b"rejected", b"not this one") == (letter.header("upon-error-kind"), letter.header("upon-error"))


def test_busy_never_dead_letters(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(2))
    answers = iter([Failed("overloaded", "full")] * 6)

    with bench.running(lambda event: next(answers, None), delivery=Delivery(retry=0)) as source:
        until(lambda: source.state()["busy_since"] is not None)
        bench.handled(source, 2)
        assert None is source.state()["busy_since"]
        assert 0 == source.state()["dead_letters"]
    assert [(0, 1)] * 7 + [(1, 1)] == [(e.data["n"], e.attempt) for e in bench.seen]


def test_malformed_goes_to_the_dead_letter_unseen(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b"{}", headers=[("ce_specversion", b"1.0"), ("ce_id", b"1")])  # no source, no type
    broker.produce(bench.topic, b'{"n": 1}')
    with bench.running(_fine) as source:
        bench.handled(source, 2)
    assert [1] == [e.data["n"] for e in bench.seen]
    [letter] = broker.records(bench.dead)
    assert b"malformed" == letter.header("upon-error-kind")
    assert {0: 2} == bench.committed()


def test_null_value_key_and_headers_arrive(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, None, key=b"\xff", headers=[("a", b"1"), ("a", None)])
    with bench.running(_fine) as source:
        bench.handled(source, 1)
    [event] = bench.seen
    assert event.kafka is not None
    assert (None, b"") == (event.data, event.body)
    assert (b"\xff", (("a", b"1"), ("a", None))) == (event.kafka.key, event.kafka.headers)


def test_a_record_without_key_and_value_can_die_too(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, None)
    with bench.running(lambda event: Failed("rejected", "no")) as source:
        bench.handled(source, 1)
    [letter] = broker.records(bench.dead)
    assert not letter.value
    assert {0: 1} == bench.committed()


def test_a_batch_with_one_failing_item(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(10))
    sizes: list[int] = []

    def batch(events: Sequence[Event[Any]]) -> Sequence[Outcome]:
        sizes.append(len(events))
        for event in events:
            bench.saw(event)
        return [Failed("error", "bad") if e.data["n"] == 4 else Done() for e in events]

    with bench.running(_fine, batch_handler=batch, batched=Batched(10, max_wait=0.5)) as source:
        bench.handled(source, 10)
    assert [10, 1, 1] == sizes  # what failed is tried again alone
    [letter] = broker.records(bench.dead)
    assert b'{"n": 4}' == letter.value
    assert {0: 10} == bench.committed()


def test_a_batch_waits_for_more_but_not_for_ever(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(7))
    sizes: list[int] = []

    def batch(events: Sequence[Event[Any]]) -> Sequence[Outcome]:
        sizes.append(len(events))
        return [Done()] * len(events)

    with bench.running(_fine, batch_handler=batch, batched=Batched(5, max_wait=0.2)) as source:
        bench.handled(source, 7)
    assert [5, 2] == sizes


def test_nothing_unfinished_is_committed(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(5))
    release = threading.Event()

    def handler(event: Event[Any]) -> None:
        if event.data["n"] == 2:
            release.wait(20)

    with bench.running(handler, ordering="unordered") as source:
        until(lambda: len(bench.seen) == 5)
        until(lambda: bench.committed().get(0) == 2)
        release.set()
        bench.handled(source, 5)
        until(lambda: bench.committed().get(0) == 5)


def test_a_new_start_goes_on_where_the_last_ended(broker: Broker) -> None:
    bench = Bench(broker, partitions=2)
    broker.produce_many(bench.topic, _numbered(100, 2))
    with bench.running(_fine) as source:
        bench.handled(source, 100)
    broker.produce_many(bench.topic, _numbered(60, 2))
    with bench.running(_fine) as source:
        bench.handled(source, 60)
    assert 160 == len(bench.offsets) == len(set(bench.offsets))


def test_a_stop_commits_what_is_finished_and_no_more(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(10))

    def handler(event: Event[Any]) -> Outcome | None:
        return Failed("overloaded", "full") if event.data["n"] >= 4 else None

    with bench.running(handler):
        until(lambda: len(bench.seen) >= 5)
    assert {0: 4} == bench.committed()


@pytest.mark.parametrize("ordering", ["key", "unordered"])
def test_what_is_finished_above_a_stuck_record_is_remembered(broker: Broker, ordering: str) -> None:
    bench = Bench(broker)
    for n in range(300):
        broker.produce(bench.topic, b'{"n": %d}' % n, key=b"k%d" % n)
    finished: set[int] = set()

    def handler(event: Event[Any]) -> Outcome | None:
        if event.data["n"] in (0, 150):
            return Failed("overloaded", "full")
        finished.add(event.data["n"])
        return None

    with bench.running(handler, ordering=ordering):
        until(lambda: len(finished) == 298)
    assert {0: 0} == bench.committed()
    bench.seen.clear()
    with bench.running(_fine, ordering=ordering) as source:
        bench.handled(source, 2)
        until(lambda: bench.committed() == {0: 300})
        until(lambda: (source.state()["skipped"], source.state()["lag"]) == (298, 0))
    assert [0, 150] == sorted(e.data["n"] for e in bench.seen)


def test_an_attempt_counts_in_the_next_process_too(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(2))
    delivery = Delivery(retry=2, backoff_delay=0.01)
    failures = iter([Failed("error", "bad")] * 2)
    answer = iter([Failed("overloaded", "full")] * 1000)

    with bench.running(lambda event: next(failures, None) or next(answer), delivery=delivery) as source:
        until(lambda: source.state()["retries"] == 2 and source.state()["busy_since"] is not None)
    bench.seen.clear()
    with bench.running(lambda event: Failed("error", "bad"), delivery=delivery) as source:
        bench.handled(source, 2)
    assert [(0, 3), (1, 1), (1, 2), (1, 3)] == [(e.data["n"], e.attempt) for e in bench.seen]


def test_keys_run_in_parallel_and_each_in_order(broker: Broker) -> None:
    bench = Bench(broker)
    for n in range(60):
        broker.produce(bench.topic, b'{"n": %d}' % n, key=b"bad" if n % 3 == 0 else b"good%d" % (n % 3))

    def handler(event: Event[Any]) -> Outcome | None:
        bad = event.kafka is not None and event.kafka.key == b"bad"
        return Failed("overloaded", "full") if bad else None

    with bench.running(handler, ordering="key") as source:
        until(lambda: source.state()["handled"] == 40)  # one key that does not get on stops no other
        handled = [e.data["n"] for e in bench.seen if e.data["n"] % 3 == 1]
        assert [n for n in range(60) if n % 3 == 1] == handled
    assert {0} == {e.data["n"] for e in bench.seen if e.data["n"] % 3 == 0}


def test_a_poison_record_stops_only_its_partition(broker: Broker) -> None:
    bench = Bench(broker, partitions=3)
    broker.produce_many(bench.topic, _numbered(300, 3))

    def handler(event: Event[Any]) -> Outcome | None:
        return Failed("draining", "not now") if event.data["n"] == 0 else None

    with bench.running(handler) as source:
        until(lambda: source.state()["handled"] == 200)
    assert {1: 100, 2: 100} == {n: offset for n, offset in bench.committed().items() if n != 0}


def test_a_pile_of_records_pauses_the_partition_and_goes_on(broker: Broker) -> None:
    bench = Bench(broker, partitions=3)
    broker.produce_many(bench.topic, _numbered(3000, 3))
    gate = threading.Event()

    def handler(event: Event[Any]) -> None:
        gate.wait(20)

    with bench.running(handler, delivery=Delivery(max_in_flight=50)) as source:
        until(lambda: source.state()["paused"] == [0, 1, 2])
        gate.set()
        bench.handled(source, 3000)
    assert 3000 == len(set(bench.offsets)) == len(bench.offsets)


def test_dead_letter_none_drops_and_goes_on(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(2))
    delivery = Delivery(retry=0, dead_letter="none")

    def handler(event: Event[Any]) -> Outcome | None:
        return Failed("error", "bad") if event.data["n"] == 0 else None

    with bench.running(handler, delivery=delivery) as source:
        bench.handled(source, 2)
    assert {0: 2} == bench.committed()


def test_a_reply_that_is_too_large_is_rejected(broker: Broker) -> None:
    bench = Bench(broker)
    broker.produce_many(bench.topic, _numbered(3))

    def handler(event: Event[Any]) -> Done:
        data = "x" * (2**21 if event.data["n"] == 1 else 10)
        return Done(reply_event(event, data, service="s", function="f", type=None))

    with bench.running(handler, reply_to=bench.out) as source:
        bench.handled(source, 3)
        until(lambda: len(broker.records(bench.dead)) == 1)
    assert 2 == len(broker.records(bench.out))
    [letter] = broker.records(bench.dead)
    assert (b'{"n": 1}', b"rejected") == (letter.value, letter.header("upon-error-kind"))
    assert {0: 3} == bench.committed()
