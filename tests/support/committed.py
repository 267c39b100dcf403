"""What a reader of committed records sees: those of aborted transactions are not there, and markers have no offset."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Consumer, KafkaError, TopicPartition


def committed_values(bootstrap: str, topic: str, timeout: float = 60.0) -> list[bytes | None]:
    """Values in order, of one partition after another; waits for transactions that are open."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": uuid.uuid4().hex,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "log_level": 0,
    }
    consumer = Consumer(settings)
    try:
        partitions = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        return [value for number in partitions for value in _read(consumer, TopicPartition(topic, number, 0), timeout)]
    finally:
        consumer.close()


def _read(consumer: Consumer, partition: TopicPartition, timeout: float) -> list[bytes | None]:
    """To the end, which for such a reader is where the oldest open transaction begins."""
    consumer.assign([partition])
    values: list[bytes | None] = []
    deadline = time.monotonic() + timeout
    while True:
        assert time.monotonic() < deadline, f"an open transaction holds up {partition}"
        for message in consumer.consume(1000, timeout=0.5):
            error = message.error()
            if error is None:
                values.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF and _is_at_the_end(consumer, partition, message.offset()):
                return values


def _is_at_the_end(consumer: Consumer, partition: TopicPartition, offset: int) -> bool:
    return offset >= consumer.get_watermark_offsets(partition, timeout=10)[1]
