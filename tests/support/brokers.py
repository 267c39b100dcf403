"""The same tests against every Kafka there is: in memory, embedded, and real. Seen from outside, not through Upon."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from support.kafka import RealKafka
from support.sinks import PoolSink
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.embedded import EmbeddedBroker
from upon_triggers.kafka.memory import MemoryBroker
from upon_triggers.kafka.publisher import KafkaPublisher
from upon_triggers.kafka.transport import Cluster, RecordPublisher
from upon_triggers.settings import KafkaConnection

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Seen:
    """A record as another client reads it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def header(self, name: str) -> bytes | None:
        return dict(self.headers)[name]


class Broker(Protocol):
    def create(self, topic: str, partitions: int) -> None: ...
    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None: ...
    def produce_many(self, topic: str, values: list[tuple[int, bytes]]) -> None: ...
    def records(self, topic: str) -> list[Seen]: ...
    def committed(self, group: str, topic: str) -> dict[int, int]: ...
    def cluster(self) -> Cluster: ...
    def publisher(self) -> RecordPublisher: ...
    def close(self) -> None: ...


class InMemory:
    """upon's own broker. sink: what makes the sinks under its sources."""

    def __init__(self, sink: Callable[..., Any] = PoolSink) -> None:
        self.sink = sink
        self.broker = MemoryBroker()
        self.create = self.broker.create_topic
        self.committed = self.broker.committed

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        self.broker.publish(topic, value, key=key, headers=headers or (), partition=partition)

    def produce_many(self, topic: str, values: list[tuple[int, bytes]]) -> None:
        for partition, value in values:
            self.produce(topic, value, partition=partition)

    def records(self, topic: str) -> list[Seen]:
        return [Seen(r.partition, r.offset, r.key, r.value, list(r.headers)) for r in self.broker.records(topic)]

    def cluster(self) -> Cluster:
        return self.broker

    def publisher(self) -> RecordPublisher:
        return self.broker.open_publisher()

    def close(self) -> None:
        """Nothing is held."""


class OverTheNetwork:
    """A broker behind an address, watched with librdkafka."""

    def __init__(self, connection: KafkaConnection, create: Callable[[str, int], None]) -> None:
        self.connection = connection
        self.create = create
        self._settings = {"bootstrap.servers": connection.bootstrap[0], "log_level": 0}
        self._producer = Producer({**self._settings, "linger.ms": 5})
        self._publishers: list[KafkaPublisher] = []

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        more: dict[str, Any] = {} if partition is None else {"partition": partition}
        _patiently(lambda: self._producer.produce(topic, value, key, headers=headers, **more))  # partitions may be new
        assert self._producer.flush(30) == 0

    def produce_many(self, topic: str, values: list[tuple[int, bytes]]) -> None:
        for partition, value in values:
            self._producer.produce(topic, value, partition=partition)
            self._producer.poll(0)
        assert self._producer.flush(30) == 0

    def records(self, topic: str) -> list[Seen]:
        consumer = self._consumer("observer-" + uuid.uuid4().hex)
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            places = {n: TopicPartition(topic, n) for n in partitions}
            ends = {
                n: _patiently(lambda at=at: consumer.get_watermark_offsets(at, timeout=10)) for n, at in places.items()
            }
            consumer.assign([TopicPartition(topic, n, low) for n, (low, _) in ends.items()])
            missing = sum(high - low for low, high in ends.values())
            found: list[Seen] = []
            deadline = time.monotonic() + 20
            while len(found) < missing:
                assert time.monotonic() < deadline, f"{len(found)} of {missing} records of {topic}"
                found += [_seen(m) for m in consumer.consume(500, timeout=0.2) if m.error() is None]
            return sorted(found, key=lambda r: (r.partition, r.offset))
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        consumer = self._consumer(group)
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            found = _patiently(lambda: consumer.committed([TopicPartition(topic, n) for n in partitions], timeout=10))
            return {p.partition: p.offset for p in found if p.offset >= 0}
        finally:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        return Consumer({**self._settings, "group.id": group, "enable.auto.commit": False})

    def cluster(self) -> Cluster:
        return KafkaCluster(self.connection)

    def publisher(self) -> RecordPublisher:
        publisher = KafkaPublisher(self.connection)
        self._publishers.append(publisher)
        return publisher

    def close(self) -> None:
        for publisher in self._publishers:
            publisher.close(5)


def _patiently(ask: Callable[[], Any]) -> Any:
    """A broker that has just come back, or been given a partition, answers before it knows."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _seen(message: Any) -> Seen:
    return Seen(message.partition(), message.offset(), message.key(), message.value(), message.headers() or [])


def embedded(broker: EmbeddedBroker) -> OverTheNetwork:
    return OverTheNetwork(broker.connection, broker.create_topic)


def real(kafka: RealKafka) -> OverTheNetwork:
    return OverTheNetwork(
        KafkaConnection((kafka.bootstrap,)), lambda topic, partitions: kafka.create_topics(topic, partitions=partitions)
    )


def until(condition: Callable[[], object], timeout: float = 30.0, what: str = "") -> None:
    """Poll until the condition holds, or fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)
