"""Consumer groups as they look from outside, by librdkafka."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition


def commit(bootstrap: str, group: str, topic: str, offset: int = 0) -> None:
    """As if the group had read partition 0 up to there."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    finally:
        consumer.close()
