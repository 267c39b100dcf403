"""The broker in memory keeps to Kafka's rules where tests rely on them."""

from __future__ import annotations

import pytest

from upon import Busy, Event, TooLarge
from upon_triggers.kafka.memory import MemoryBroker
from upon_triggers.kafka.transport import Partition, Position


class Log:
    """A listener that gives back what is revoked, at once."""

    def __init__(self) -> None:
        self.owned: set[Partition] = set()
        self.revoked: list[Partition] = []

    def on_assigned(self, partitions: object) -> None:
        self.owned |= set(partitions)  # type: ignore[call-overload]

    def on_revoked(self, partitions: object) -> None:
        self.revoked = list(partitions)  # type: ignore[call-overload]

    def on_lost(self, partitions: object) -> None:
        self.owned -= set(partitions)  # type: ignore[call-overload]


def test_a_key_stays_in_its_partition_and_the_keyless_go_round() -> None:
    broker = MemoryBroker(partitions=4)
    keyed = {broker.publish("t", b"x", key=b"k").partition for _ in range(10)}
    keyless = {broker.publish("t", b"x").partition for _ in range(8)}
    assert (1, {0, 1, 2, 3}) == (len(keyed), keyless)


def test_records_have_offsets_timestamps_and_headers() -> None:
    broker = MemoryBroker(wall=lambda: 12.5)
    broker.publish("t", None, key=b"k", headers=[("a", None)])
    broker.publish("t", b"v", timestamp=7)
    first, second = broker.records("t")
    assert (0, 12500, None, (("a", None),)) == (first.offset, first.timestamp, first.value, first.headers)
    assert (1, 7) == (second.offset, second.timestamp)


def test_publishing_an_event_writes_a_cloudevent() -> None:
    broker = MemoryBroker()
    answers: list[BaseException | None] = []
    broker.open_publisher().publish("t", Event.of({"n": 1}, id="7"), b"k", answers.append)
    [record] = broker.records("t")
    assert ([None], b"k", b"7") == (answers, record.key, dict(record.headers)["ce_id"])


def test_limits() -> None:
    broker = MemoryBroker(max_size=10)
    with pytest.raises(TooLarge, match="11 bytes"):
        broker.publish("t", b"x" * 11)
    broker.down = True
    with pytest.raises(Busy):
        broker.publish("t", b"x")


def test_partitions_move_only_once_they_are_given_back() -> None:
    broker = MemoryBroker(partitions=2)
    one, two = Log(), Log()
    first = broker.open_consumer("g", "t", "earliest", one)
    first.poll(0)
    assert {Partition("t", 0), Partition("t", 1)} == one.owned
    second = broker.open_consumer("g", "t", "earliest", two)
    for consumer in (first, second):
        consumer.poll(0)
    moving = [Partition("t", 1)]
    assert (moving, set()) == (one.revoked, two.owned)
    first.release(moving, {moving[0]: Position(5)})
    second.poll(0)
    assert set(moving) == two.owned
    assert {1: 5} == broker.committed("g", "t")


@pytest.mark.parametrize(("start", "expected"), [("earliest", [b"old", b"new"]), ("latest", [b"new"])])
def test_where_a_new_group_starts(start: str, expected: list[bytes]) -> None:
    broker = MemoryBroker()
    broker.publish("t", b"old")
    consumer = broker.open_consumer("g", "t", start, Log())  # type: ignore[arg-type]
    got = [r.value for records in consumer.poll(0).values() for r in records]
    broker.publish("t", b"new")
    got += [r.value for records in consumer.poll(0).values() for r in records]
    assert expected == got


def test_a_paused_partition_gives_nothing_and_lag_tells_how_much_waits() -> None:
    broker = MemoryBroker()
    consumer = broker.open_consumer("g", "t", "earliest", Log())
    consumer.poll(0)
    partition = Partition("t", 0)
    consumer.pause([partition])
    broker.publish("t", b"x")
    assert ({}, 1) == (consumer.poll(0), consumer.lag(partition))
    consumer.resume([partition])
    assert (1, 0) == (len(consumer.poll(0)[partition]), consumer.lag(partition))


def test_a_commit_of_what_belongs_to_another_is_ignored() -> None:
    broker = MemoryBroker()
    first = broker.open_consumer("g", "t", "earliest", Log())
    first.poll(0)
    stranger = broker.open_consumer("g", "t", "earliest", Log())
    stranger.commit({Partition("t", 0): Position(9)}, lambda error: None)
    assert {} == broker.committed("g", "t")
