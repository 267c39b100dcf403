"""Transactions against a real Apache Kafka: together or not at all, and never by a member that is behind its group."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.brokers import OverTheNetwork, real, until
from support.committed import committed_values
from support.kafka import RealKafka
from upon import DataError, TooLarge
from upon_triggers.kafka.transaction import Aborted, Unsettled
from upon_triggers.kafka.transactor import KafkaTransactor
from upon_triggers.kafka.transport import Consumer, Headers, Partition, Position
from upon_triggers.settings import KafkaConnection

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@dataclass
class Written:
    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = field(default_factory=list)


@pytest.fixture
def broker(kafka: RealKafka) -> Iterator[OverTheNetwork]:
    found = real(kafka)
    yield found
    found.close()


@pytest.fixture
def topic(broker: OverTheNetwork) -> str:
    name = f"t{uuid.uuid4().hex[:8]}"
    broker.create(name, 1)
    broker.create(f"{name}.out", 1)
    return name


@pytest.fixture
def transactor(broker: OverTheNetwork, topic: str) -> Iterator[KafkaTransactor]:
    made = KafkaTransactor(broker.connection, topic)
    yield made
    made.close(10)


class Told:
    """A listener that gives everything away at once."""

    def __init__(self) -> None:
        self.consumer: Consumer | None = None
        self.assigned = False

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        self.assigned = True

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        assert self.consumer is not None
        self.consumer.release(partitions, {})

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        self.assigned = False


def member(broker: OverTheNetwork, topic: str) -> Consumer:
    """A member of the group `topic` that has its partition."""
    told = Told()
    told.consumer = consumer = broker.cluster().open_consumer(topic, topic, "earliest", told)

    def is_ours() -> bool:
        consumer.poll(0.05)
        return told.assigned

    until(is_ours, 60)
    return consumer


def commit(
    transactor: KafkaTransactor, membership: Any, positions: Mapping[Partition, Position], *outputs: Written
) -> Aborted | Unsettled | None:
    answers: queue.Queue[Aborted | Unsettled | None] = queue.Queue()
    transactor.commit(membership, positions, outputs, answers.put)
    return answers.get(timeout=40)


def test_outputs_and_offsets_together(broker: OverTheNetwork, topic: str, transactor: KafkaTransactor) -> None:
    consumer = member(broker, topic)
    here = {Partition(topic, 0): Position(7, "notes")}
    assert commit(transactor, consumer.membership(), here, Written(f"{topic}.out", b"1")) is None
    assert commit(transactor, consumer.membership(), {Partition(topic, 0): Position(9)}) is None
    assert [b"1"] == committed_values(broker.connection.bootstrap[0], f"{topic}.out")
    assert {0: 9} == broker.committed(topic, topic)
    consumer.close({}, 10)


def test_a_member_behind_its_group_is_refused(broker: OverTheNetwork, topic: str, transactor: KafkaTransactor) -> None:
    consumer = member(broker, topic)
    stale = consumer.membership()
    consumer.close({}, 10)
    owner = member(broker, topic)
    here = {Partition(topic, 0): Position(7)}
    assert isinstance(commit(transactor, stale, here, Written(f"{topic}.out", b"stale")), Aborted)
    assert commit(transactor, owner.membership(), here, Written(f"{topic}.out", b"new")) is None
    assert [b"new"] == committed_values(broker.connection.bootstrap[0], f"{topic}.out")
    assert {0: 7} == broker.committed(topic, topic)
    owner.close({}, 10)


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [([], bytes(2 * 2**20), TooLarge), ([("n", "no bytes")], b"1", DataError)],
)
def test_a_record_that_can_not_be_written_is_named(
    broker: OverTheNetwork, topic: str, transactor: KafkaTransactor, headers: Any, value: bytes, reason: type
) -> None:
    consumer = member(broker, topic)
    here = {Partition(topic, 0): Position(7)}
    good, bad = Written(f"{topic}.out", b"good"), Written(f"{topic}.out", value, headers=headers)
    answer = commit(transactor, consumer.membership(), here, good, bad)
    assert isinstance(answer, Aborted)
    assert {1: reason} == {index: type(error) for index, error in answer.refused.items()}
    assert commit(transactor, consumer.membership(), here, good) is None
    assert [b"good"] == committed_values(broker.connection.bootstrap[0], f"{topic}.out")
    consumer.close({}, 10)


def test_a_record_that_the_broker_refuses_is_named(
    kafka: RealKafka, broker: OverTheNetwork, topic: str, transactor: KafkaTransactor
) -> None:
    small = f"{topic}.small"
    kafka.create_topics(small, configs={"max.message.bytes": "1000"})
    consumer = member(broker, topic)
    here = {Partition(topic, 0): Position(7)}
    answer = commit(transactor, consumer.membership(), here, Written(small, bytes(5000)))
    assert isinstance(answer, Aborted)
    assert {0: TooLarge} == {index: type(error) for index, error in answer.refused.items()}
    assert commit(transactor, consumer.membership(), here, Written(small, b"1")) is None
    consumer.close({}, 10)


def test_no_broker_is_no_commit() -> None:
    transactor = KafkaTransactor(KafkaConnection(("127.0.0.1:1",)), "g")
    assert isinstance(commit(transactor, None, {}, Written("t", b"1")), Aborted)
    transactor.close(10)
