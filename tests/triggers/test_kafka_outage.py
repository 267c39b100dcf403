"""A real Apache Kafka that crashes, freezes and rebalances while records are on their way: nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.brokers import OverTheNetwork, real, until
from support.delivery import Bench
from support.kafka import RealKafka
from upon import Done, Event
from upon._reply import reply_event
from upon_triggers.settings import Delivery

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

COUNT = 600


@pytest.fixture
def broker(kafka: RealKafka) -> Iterator[OverTheNetwork]:
    found = real(kafka)
    yield found
    found.close()


def _slow_answer(event: Event[Any]) -> Done:
    time.sleep(0.002)
    return Done(reply_event(event, event.data, service="s", function="f", type=None))


def _write(bench: Bench, count: int = COUNT, partitions: int = 3) -> None:
    bench.broker.produce_many(bench.topic, [(n % partitions, b'{"n":%d}' % n) for n in range(count)])


def _inputs(count: int = COUNT) -> set[bytes]:
    return {b'{"n":%d}' % n for n in range(count)}


def _replies(bench: Bench) -> set[bytes | None]:
    return {record.value for record in bench.broker.records(bench.out)}


class Trickle:
    """Writes on, some records every few milliseconds, until it is stopped."""

    def __init__(self, bench: Bench, partitions: int) -> None:
        self._bench, self._partitions, self._written = bench, partitions, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._stopped.wait(0.02):
            numbers = range(self._written, self._written + 8)
            self._bench.broker.produce_many(
                self._bench.topic, [(n % self._partitions, b'{"n":%d}' % n) for n in numbers]
            )
            self._written += 8

    def stop(self) -> int:
        """How many there are."""
        self._stopped.set()
        self._thread.join()
        return self._written


def test_the_broker_crashes_and_comes_back(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=3)
    _write(bench)
    with bench.running(_slow_answer, reply_to=bench.out) as source:
        until(lambda: len(bench.seen) > COUNT // 6)
        kafka.kill()
        until(lambda: not source.state()["connected"], what="the outage is visible")
        kafka.start()
        bench.handled(source, COUNT, timeout=60)
        until(lambda: source.state()["connected"])  # what was read before the crash may have been all there is
        assert 0 == source.state()["dead_letters"]
    assert _inputs() == _replies(bench)
    assert dict.fromkeys(range(3), COUNT // 3) == bench.committed()


def test_the_broker_freezes_and_thaws(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=3)
    _write(bench)
    with bench.running(_slow_answer, reply_to=bench.out) as source:
        until(lambda: len(bench.seen) > COUNT // 6)
        kafka.pause()
        try:
            until(lambda: not source.state()["connected"], what="the silence is visible")
        finally:
            kafka.resume()
        bench.handled(source, COUNT, timeout=60)
        assert 0 == source.state()["dead_letters"]
    assert _inputs() == _replies(bench)


def test_the_broker_is_gone_at_a_stop(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=3)
    _write(bench)
    with bench.running(_slow_answer, reply_to=bench.out) as source:
        until(lambda: len(bench.seen) > COUNT // 6)
        kafka.kill()
        began = time.monotonic()
        source.stop(1.0)
        stopped = time.monotonic() - began
    kafka.start()
    assert stopped < 20
    with bench.running(_slow_answer, reply_to=bench.out):
        until(lambda: _replies(bench) == _inputs(), 60)


def test_a_second_member_joins_and_leaves(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=4)
    writing = Trickle(bench, partitions=4)
    with bench.running(_slow_answer, reply_to=bench.out) as first:
        until(lambda: len(bench.seen) > 100)
        with bench.running(_slow_answer, reply_to=bench.out) as second:
            until(lambda: (len(first.state()["partitions"]), len(second.state()["partitions"])) == (2, 2))
            assert set(range(4)) == {*first.state()["partitions"], *second.state()["partitions"]}
            until(lambda: second.state()["handled"] > 100)
        until(lambda: len(first.state()["partitions"]) == 4)
        written = writing.stop()
        until(lambda: sum(bench.committed().values()) == written, 60)
    assert _inputs(written) == _replies(bench)
    assert written == len(bench.offsets), "a rebalance in good order repeats nothing"


def test_a_slow_handler_outlives_its_lease(broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    _write(bench, 3, 1)
    release = threading.Event()
    slow = threading.Event()

    def handler(event: Event[Any]) -> Done:
        if event.data["n"] == 1 and not slow.is_set():
            slow.set()
            release.wait(30)
        return _slow_answer(event)

    with bench.running(handler, reply_to=bench.out) as source:
        until(slow.is_set)
        source.stop(0.2)  # the handler still runs: its lease is gone
        release.set()
        time.sleep(0.2)
        assert {0: 1} == bench.committed()
        assert {b'{"n":0}'} == _replies(bench), "the late reply is dropped"
    with bench.running(handler, reply_to=bench.out):
        until(lambda: bench.committed() == {0: 3})
    assert _inputs(3) == _replies(bench)


def test_a_dead_letter_waits_for_its_broker(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    _write(bench, 20, 1)
    began = threading.Event()

    def handler(event: Event[Any]) -> None:
        if event.data["n"] == 10:
            kafka.kill()
            began.set()
        raise ValueError("bad")

    with bench.running(handler, delivery=Delivery(retry=0)) as source:
        until(began.is_set)
        kafka.start()
        bench.handled(source, 20, timeout=90)
    values = [letter.value for letter in broker.records(bench.dead)]
    assert _inputs(20) == set(values)
    assert {0: 20} == bench.committed()
