"""Writes records into a producer's batches several times faster than kafka-python's own builder and `send` do.

A reply carries its CloudEvent attributes in some eight headers, and kafka-python goes through them four times, byte by
byte. The batches themselves, their order, retries and confirmations stay its own. What this builds on is not public
there, so kafka-python is pinned, and tests hold both ways of writing against each other.

Imported late, from `library()`.
"""

from __future__ import annotations

from functools import lru_cache
from time import monotonic
from time import time as wall
from typing import Any

from kafka.producer.future import FutureRecordMetadata
from kafka.record.default_records import DefaultRecordBatchBuilder, DefaultRecordMetadata
from kafka.record.util import encode_varint
from kafka.structs import TopicPartition

OVERHEAD = 128  # bytes of a record beside its key, value and headers: far more than there can be
HEADER_OVERHEAD = 16  # of one header beside its name and value
KEYS_KNOWN = 10_000
UNKNOWN = -1  # sizes in a confirmation, which nobody reads


def _written(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


_VARINTS = tuple(map(_written, range(8192)))  # as they are written
_NONE = _written(-1)


def _varint(number: int) -> bytes:
    return _VARINTS[number] if 0 <= number < 8192 else _written(number)


@lru_cache(1024)
def _name(name: str) -> bytes:
    """A header's name with its length. The same few are written over and over."""
    encoded = name.encode()
    return _varint(len(encoded)) + encoded


slow_append = DefaultRecordBatchBuilder.append


def write_quickly() -> None:
    """Let every producer of this process build its batches with `append`."""
    builder: Any = DefaultRecordBatchBuilder
    builder.append = append


def append(self: Any, offset: int, timestamp: int | None, key: Any, value: Any, headers: Any) -> Any:
    """DefaultRecordBatchBuilder.append: says what it wrote, or None where the batch has no room."""
    if timestamp is None:
        timestamp = int(wall() * 1000)
    first = self._first_timestamp is None
    if first:
        self._first_timestamp = self._max_timestamp = timestamp
    parts = [
        b"\0",  # attributes: none are in use
        _varint(timestamp - self._first_timestamp),
        _varint(offset),
        *((_NONE,) if key is None else (_varint(len(key)), key)),
        *((_NONE,) if value is None else (_varint(len(value)), value)),
        _varint(len(headers)),
    ]
    add = parts.append
    for name, data in headers:
        add(_name(name))
        if data is None:
            add(_NONE)
        else:
            add(_varint(len(data)))
            add(data)
    body = b"".join(parts)
    length = _varint(len(body))
    size = len(length) + len(body)
    if size + len(self._buffer) > self._batch_size and not first:
        return None
    self._max_timestamp = max(self._max_timestamp, timestamp)
    self._num_records += 1
    self._last_offset = offset
    self._buffer += length + body
    return DefaultRecordMetadata(offset, size, timestamp)


class Appender:
    """KafkaProducer.send for bytes and topics that the producer knows.

    What needs more of the producer's care goes through its own `send`: no key, a size near the limit, a new batch.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._accumulator = producer._accumulator
        self._most = producer.config["max_request_size"]
        self._places: dict[str, tuple[int, dict[bytes, TopicPartition]]] = {}

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        """Write a record; the future of its confirmation."""
        size = len(key or b"") + len(value or b"") + OVERHEAD
        for name, data in headers:
            size += 4 * len(name) + len(data) + HEADER_OVERHEAD
        if key is not None and size <= self._most and not self._producer._closed:
            place = self._place(topic, key)
            if place is not None:
                future = self._append(place, key, value, headers)
                if future is not None:
                    return future
        return self._producer.send(topic, key=key, value=value, headers=headers)

    def _place(self, topic: str, key: bytes) -> TopicPartition | None:
        """Where kafka-python would write this key, remembered as long as the topic's partitions are the same."""
        partitions = self._producer._metadata.partitions_for_topic(topic)
        count = len(partitions or ())
        known, places = self._places.get(topic, (0, {}))
        if known != count or len(places) >= KEYS_KNOWN:
            places = {}
            self._places[topic] = (count, places)
        place = places.get(key)
        if place is None:
            number = self._producer._partition(topic, None, key, None, key, None)
            if number is None:
                return None
            place = places[key] = TopicPartition(topic, number)
        return place

    def _append(self, place: Any, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        """Append to the batch under way, as RecordAccumulator.append does; None where it has to begin another."""
        accumulator = self._accumulator
        accumulator._appends_in_progress.increment()
        try:
            with accumulator._tp_lock(place):
                batches: Any = () if accumulator._closed else accumulator._batches[place]
                written = batches[-1].records.append(None, key, value, headers) if batches else None
                if written is None:
                    return None
                batch = batches[-1]
                batch.max_record_size = max(batch.max_record_size, written.size)
                batch.last_append = monotonic()
                future = FutureRecordMetadata(
                    batch.produce_future, written.offset, written.timestamp, None, UNKNOWN, UNKNOWN, UNKNOWN
                )
                batch._record_futures.append(future)
                is_full = len(batches) > 1 or batch.records.is_full()
        finally:
            accumulator._appends_in_progress.decrement()
        if is_full:
            self._producer._sender.wakeup()
        return future
