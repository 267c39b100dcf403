"""Kafka seen from outside, with librdkafka: who is in a group, how far it is, and what a topic holds."""

from __future__ import annotations

import time
import uuid
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

QUIET = {"log_level": 0, "reconnect.backoff.max.ms": 500}


class Observer:
    def __init__(self, bootstrap: str) -> None:
        self._settings: dict[str, Any] = {"bootstrap.servers": bootstrap, **QUIET}

    def shares(self, group: str) -> dict[str, int] | None:
        """Partitions by member; None while the group is not stable."""
        admin = AdminClient(self._settings)  # not kept: its end would wait for a broker that is gone
        try:
            found = admin.describe_consumer_groups([group], request_timeout=3)[group].result()
        except KafkaException:
            return None
        if found.state != ConsumerGroupState.STABLE:
            return None
        return {member.member_id: len(member.assignment.topic_partitions) for member in found.members}

    def lag(self, group: str, topic: str) -> int:
        """Records that are not committed. Raises KafkaException."""
        consumer = self._consumer(group)
        try:
            partitions = self._partitions(consumer, topic)
            committed = consumer.committed(partitions, timeout=10)
            ends = [consumer.get_watermark_offsets(partition, timeout=10) for partition in partitions]
            return sum(high - max(done.offset, low) for done, (low, high) in zip(committed, ends, strict=True))
        finally:
            consumer.close()

    def read(self, topic: str, timeout: float = 120.0) -> list[Any]:
        """All messages of the topic. Raises TimeoutError, KafkaException."""
        consumer = self._consumer("observer-" + uuid.uuid4().hex)
        try:
            partitions = self._partitions(consumer, topic)
            ends = [consumer.get_watermark_offsets(partition, timeout=10) for partition in partitions]
            for partition, (low, _) in zip(partitions, ends, strict=True):
                partition.offset = low
            consumer.assign(partitions)
            missing = sum(high - low for low, high in ends)
            found: list[Any] = []
            deadline = time.monotonic() + timeout
            while len(found) < missing:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(found)} of {missing} records of {topic} within {timeout} s")
                found += [message for message in consumer.consume(1000, timeout=0.5) if message.error() is None]
            return found
        finally:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        return Consumer({**self._settings, "group.id": group, "enable.auto.commit": False})

    @staticmethod
    def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, n) for n in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
