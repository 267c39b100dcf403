"""Kafka as a stranger uses it: kafka-python alone, nothing of Upon's."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

Reply = tuple[dict[str, str], Any]  # (attributes, data)


def _settings(bootstrap: str, embedded: bool) -> dict[str, Any]:
    version = {"api_version": (2, 1)} if embedded else {}
    return {"bootstrap_servers": bootstrap, "reconnect_backoff_max_ms": 500, **version}


def produce(bootstrap: str, topic: str, values: Iterable[Any], *, embedded: bool) -> list[tuple[int, int]]:
    """Write JSON values, keyed by their last digit; returns (partition, offset) of each, all confirmed."""
    idempotence = {"enable_idempotence": False} if embedded else {}
    producer = KafkaProducer(linger_ms=10, **idempotence, **_settings(bootstrap, embedded))
    futures = [producer.send(topic, json.dumps(value).encode(), key=str(value["n"] % 10).encode()) for value in values]
    producer.flush(60)
    written = [future.get(60) for future in futures]
    producer.close()
    return [(record.partition, record.offset) for record in written]


@contextmanager
def replies(bootstrap: str, topic: str, *, embedded: bool) -> Iterator[Callable[[], list[Reply]]]:
    """Call the value for the replies that came since the last call: binary-mode CloudEvents."""
    consumer = KafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **_settings(bootstrap, embedded))
    deadline = time.monotonic() + 30
    while not (partitions := consumer.partitions_for_topic(topic)):
        assert time.monotonic() < deadline, f"no topic {topic}"
        time.sleep(0.1)
    consumer.assign([TopicPartition(topic, number) for number in partitions])
    consumer.seek_to_beginning()
    try:
        yield lambda: [_reply(r) for batch in consumer.poll(timeout_ms=200).values() for r in batch]
    finally:
        consumer.close()


def _reply(record: Any) -> Reply:
    attributes = {name[3:]: value.decode() for name, value in record.headers if name.startswith("ce_")}
    return attributes, json.loads(record.value)


def collect(fetch: Callable[[], list[Reply]], count: int, timeout: float) -> list[Reply]:
    """Replies until `count` different inputs were answered."""
    found: list[Reply] = []
    answered: set[str] = set()
    deadline = time.monotonic() + timeout
    while len(answered) < count:
        assert time.monotonic() < deadline, f"{len(answered)} of {count} answered within {timeout} s"
        new = fetch()
        found += new
        answered |= {attributes["causationid"] for attributes, _ in new}
    return found
