"""Partitions that move from member to member of a real group: what is finished is finished for all of them."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.brokers import OverTheNetwork, real, until
from support.delivery import Bench
from support.kafka import RealKafka
from upon import Event, Failed, Outcome
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.joining import instance_id
from upon_triggers.kafka.source import KafkaSource
from upon_triggers.kafka.turnstile import Turnstile

real_kafka = pytest.mark.kafka
PARTITIONS = 4


@pytest.fixture
def broker(kafka: RealKafka) -> Iterator[OverTheNetwork]:
    found = real(kafka)
    yield found
    found.close()


class Handler:
    """Takes its time, and notes what it has finished. stuck: it has no time at all for every hundredth record."""

    def __init__(self, *, stuck: bool) -> None:
        self.finished: Counter[tuple[int, int]] = Counter()
        self.stuck = stuck
        self._lock = threading.Lock()

    def __call__(self, event: Event[Any]) -> Outcome | None:
        if self.stuck and event.data["n"] % 100 == 0:
            return Failed("overloaded", "full")
        time.sleep(0.001)
        assert event.kafka is not None
        with self._lock:
            self.finished[event.kafka.partition, event.kafka.offset] += 1
        return None


def _write(bench: Bench, first: int, count: int) -> None:
    for n in range(first, first + count):
        bench.broker._producer.produce(  # type: ignore[attr-defined]
            bench.topic, b'{"n":%d}' % n, b"k%d" % n, partition=n % PARTITIONS
        )
    assert bench.broker._producer.flush(30) == 0  # type: ignore[attr-defined]


def _partitions(source: KafkaSource) -> int:
    return len(source.state()["partitions"])


class Writing:
    """Writes on until it is told to stop."""

    def __init__(self, bench: Bench) -> None:
        self.written = 0
        self._bench = bench
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._stopped.wait(0.02):
            _write(self._bench, self.written, 10)
            self.written += 10

    def stop(self) -> int:
        """How many there are."""
        self._stopped.set()
        self._thread.join()
        return self.written


@real_kafka
@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
def test_members_join_and_leave_and_nothing_is_delivered_twice(broker: OverTheNetwork, ordering: str) -> None:
    bench = Bench(broker, partitions=PARTITIONS)
    handler = Handler(stuck=ordering != "partition")
    writing = Writing(bench)
    try:
        with bench.running(handler, ordering=ordering, turnstile=Turnstile()) as first:
            for _ in range(3):
                with bench.running(handler, ordering=ordering, turnstile=Turnstile()) as second:
                    until(lambda: (_partitions(first), _partitions(second)) == (2, 2))
                    until(lambda: second.state()["handled"] > 50)
                    assert {} == second.state()["suspicious"]
                until(lambda: _partitions(first) == 4)
                assert {} == first.state()["suspicious"]
            written = writing.stop()
            handler.stuck = False
            until(lambda: sum(bench.committed().values()) == written, 60)
    finally:
        writing.stop()
    assert written == len(handler.finished)
    assert {1} == set(handler.finished.values())


@real_kafka
def test_members_that_leave_amid_a_rebalance_commit_all_the_same(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=PARTITIONS)
    handler = Handler(stuck=True)
    writing = Writing(bench)
    try:
        with bench.running(handler, ordering="unordered", turnstile=Turnstile()) as first:
            until(lambda: _partitions(first) == 4)
            for pause in (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5):
                with bench.running(handler, ordering="unordered", turnstile=Turnstile()):
                    time.sleep(pause)  # whatever the group is at by then
                assert {} == first.state()["suspicious"]
            written = writing.stop()
            handler.stuck = False
            until(lambda: sum(bench.committed().values()) == written, 60)
    finally:
        writing.stop()
    assert {1} == set(handler.finished.values())


@real_kafka
def test_a_member_that_learns_of_its_loss_when_it_joins_again_gives_up_everything(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=PARTITIONS)
    handler = Handler(stuck=False)
    with bench.running(handler) as source:
        until(lambda: _partitions(source) == 4)
        _write(bench, 0, 400)
        until(lambda: sum(bench.committed().values()) == 400)
        before = set(source.engine.ownership.assignments.values())
        coordinator = source._consumer._consumer._coordinator  # type: ignore[union-attr]
        coordinator._manager.run(_forgotten_before_it_asks, coordinator)
        until(lambda: len(set(source.engine.ownership.assignments.values()) - before) == 4)
        assert not any(assignment.live for assignment in before)
        _write(bench, 400, 400)
        until(lambda: sum(bench.committed().values()) == 800)
    assert {1} == set(handler.finished.values())
    assert 800 == len(handler.finished)


@real_kafka
def test_a_join_that_outlasts_a_poll_is_finished(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=PARTITIONS)
    with bench.running(Handler(stuck=False)) as source:
        until(lambda: _partitions(source) == 4)
        coordinator = source._consumer._consumer._coordinator  # type: ignore[union-attr]
        coordinator.rejoining = True  # as between the leader's assignment and the broker's answer to it
        until(lambda: not coordinator.rejoining)
        _write(bench, 0, 400)
        until(lambda: sum(bench.committed().values()) == 400)


async def _forgotten_before_it_asks(coordinator: Any) -> None:
    """The group forgets a member, and no heartbeat tells it so before it asks to join again."""
    from kafka.protocol.consumer import LeaveGroupRequest

    member = coordinator._generation.member_id
    leaving = LeaveGroupRequest.MemberIdentity(member_id=member, group_instance_id=None, reason="a test")
    request = LeaveGroupRequest(group_id=coordinator.group_id, member_id=member, members=[leaving])
    await coordinator._manager.send(request, node_id=coordinator.coordinator_id)
    coordinator.request_rejoin()


@real_kafka
def test_a_static_member_that_comes_back_in_time_moves_no_partition(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=PARTITIONS)
    handler = Handler(stuck=False)

    def member(name: str) -> Any:
        connection = replace(broker.connection, group_instance_id=name)
        return bench.running(handler, cluster=KafkaCluster(connection), turnstile=Turnstile())

    with member("a") as first, member("b") as second:
        until(lambda: (_partitions(first), _partitions(second)) == (2, 2))
        _write(bench, 0, 400)
        until(lambda: sum(bench.committed().values()) == 400)
        theirs = dict(second.engine.ownership.assignments)
        before = first.state()["partitions"]
        first.stop(10)
        _write(bench, 400, 400)
        with member("a") as again:
            until(lambda: again.state()["partitions"] == before)
            until(lambda: sum(bench.committed().values()) == 800)
            assert theirs == second.engine.ownership.assignments, "the same epochs"
            assert {} == again.state()["suspicious"]
    assert {1} == set(handler.finished.values())
    assert 800 == len(handler.finished)


@pytest.mark.parametrize(
    ("process", "group", "expected"),
    [
        ("pod-1", "svc.f", "pod-1.svc.f.t"),
        ("a b", "g/ü", r"a-b\.g--\.t\.[0-9a-f]{16}"),
        ("p" * 300, "g", r"p+\.[0-9a-f]{16}"),
    ],
)
def test_the_name_of_a_static_member(process: str, group: str, expected: str) -> None:
    name = instance_id(process, group, "t")
    assert re.fullmatch(expected, name)
    assert len(name) <= 249


def test_names_of_static_members_differ() -> None:
    assert instance_id("p" * 300, "g", "t") != instance_id("p" * 300, "g", "u")
    assert instance_id("a b", "g", "t") != instance_id("a-b", "g", "t")
