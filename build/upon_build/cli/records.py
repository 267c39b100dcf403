"""Reading a topic without a group, as a bystander: nothing is committed, nobody loses a record to us."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from upon import Event, MalformedEvent, _http_codec
from upon._kafka_codec import read_record
from upon_build.cli.exits import Exit, Fault
from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.kafka.topics import check_visible
from upon_triggers.kafka.troubles import tell
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

POLL_MS = 200
CONNECT_MS = 10_000


class Tail:
    """The records of a topic's partitions, from the end or from the beginning. Raises SourceError, Fault."""

    def __init__(self, connection: KafkaConnection, topic: str, *, from_beginning: bool) -> None:
        self._kafka = library()
        self._topic = topic
        self._connection = connection
        settings = client_settings(connection, "upon-tail") | {
            "bootstrap_timeout_ms": CONNECT_MS,
            "enable_auto_commit": False,
            "metrics_enabled": False,
            "auto_offset_reset": "earliest",
        }
        self._consumer = construct(self._kafka.KafkaConsumer, connection, settings)
        try:
            self._begin(from_beginning)
        except self._kafka.errors.KafkaError as error:
            self._consumer.close()
            raise unreachable(connection, error) from None
        except BaseException:
            self._consumer.close()
            raise

    def _begin(self, from_beginning: bool) -> None:
        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            check_visible(self._connection, self._topic, CONNECT_MS / 1000)
            raise Fault(f"there is no topic {self._topic!r}: write to it first, or correct its name", Exit.FAILED)
        partitions = [self._kafka.TopicPartition(self._topic, number) for number in sorted(numbers)]
        self._consumer.assign(partitions)
        seek = self._consumer.seek_to_beginning if from_beginning else self._consumer.seek_to_end
        seek(*partitions)
        for partition in partitions:
            self._consumer.position(partition)  # the end as it is now, not at the first poll

    def __enter__(self) -> Tail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close(autocommit=False)

    def follow(self, timeout: float | None) -> Iterator[Any]:
        """Records without end. timeout: seconds without one, after which Fault is raised."""
        last = time.monotonic()
        while True:
            found = self._poll()
            for records in found.values():
                yield from records
            if found:
                last = time.monotonic()
            elif timeout is not None and time.monotonic() - last > timeout:
                raise Fault(f"no record in {self._topic!r} within {timeout:g} s", Exit.TIMEOUT)

    def _poll(self) -> Any:
        try:
            return self._consumer.poll(timeout_ms=POLL_MS)
        except self._kafka.errors.KafkaError as error:
            raise SourceError(tell(self._connection, self._topic, error)) from None


def event_of(record: Any) -> Event[Any] | None:
    """The record as a function would see it, or None for a broken CloudEvent."""
    try:
        return read_record(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=record.headers,
            timestamp_ms=record.timestamp,
            value_format="json",
            source=f"#{record.topic}",
        )
    except MalformedEvent:
        return None


def as_dict(record: Any) -> dict[str, Any]:
    """For -o json; `value`, as text, only where the record is no event."""
    event = event_of(record)
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": _text(record.key),
        "timestamp": _time(record).isoformat().replace("+00:00", "Z"),
        "event": _http_codec.to_dict(event) if event is not None else None,
    }
    return shown if event is not None else {**shown, "value": _text(record.value)}


def as_line(record: Any) -> str:
    """For people: `19:02:01  uploads[0] 12  key=7  {"text": "good"}`."""
    key = f"  key={_text(record.key)}" if record.key is not None else ""
    time = _time(record).astimezone().strftime("%H:%M:%S")
    return f"{time}  {record.topic}[{record.partition}] {record.offset}{key}  {_text(record.value)}"


def _time(record: Any) -> datetime:
    return datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
