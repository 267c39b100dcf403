"""The topics of an upon.testing.Client, as a test writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from upon import _json
from upon._event import Event
from upon._kafka_codec import Raw, read_record, write_record


class StoredRecord(Raw, Protocol):
    """A record as the broker in memory holds it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class Broker(Protocol):
    """What is used of the broker in memory, which lives further up than this may import."""

    def publish(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> object: ...

    def records(self, topic: str) -> Sequence[StoredRecord]: ...


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic. headers: the last value of each name."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]
    timestamp: datetime
    _source: str = field(repr=False)
    _headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)

    @property
    def event(self) -> Event[Any]:
        """The CloudEvent in the record, or the one that a function would get. Raises MalformedEvent."""
        return read_record(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            key=self.key,
            value=self.value,
            headers=self._headers,
            timestamp_ms=round(self.timestamp.timestamp() * 1000),
            value_format="json",
            source=self._source,
        )

    @property
    def data(self) -> Any:
        """The event's data. Raises DataError where the value is not what its content type, or JSON, says."""
        return self.event.data


class Kafka:
    """The topics of a client, in memory."""

    def __init__(self, broker: Broker, service: str) -> None:
        self._broker = broker
        self._source = f"/upon/testing/{service}"

    def publish(
        self,
        topic: str,
        value: object = None,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
    ) -> None:
        """Append a record: bytes and str as they are, an Event as a CloudEvent, None as null, the rest as JSON.

        Functions get it with the next `settle`. Raises DataError for a value without a JSON form.
        """
        more = [(name, v.encode() if isinstance(v, str) else v) for name, v in (headers or {}).items()]
        raw_key = key.encode() if isinstance(key, str) else key
        if isinstance(value, Event):
            own = value.extensions.get("partitionkey")
            written = write_record(value, raw_key if raw_key is not None or own is None else str(own).encode())
            self._broker.publish(topic, written[1], key=written[0], headers=[*written[2], *more])
        else:
            self._broker.publish(topic, _value(value), key=raw_key, headers=more)

    def records(self, topic: str) -> list[Record]:
        """Everything in a topic, by partition and offset; a topic that nobody wrote to is empty."""
        return [self._record(record) for record in self._broker.records(topic)]

    def _record(self, stored: StoredRecord) -> Record:
        return Record(
            stored.topic,
            stored.partition,
            stored.offset,
            stored.key,
            stored.value,
            dict(stored.headers),
            datetime.fromtimestamp(stored.timestamp / 1000, UTC),
            self._source,
            tuple(stored.headers),
        )


def _value(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else _json.dumps(value)
