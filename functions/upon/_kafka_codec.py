"""Kafka records to events and back: CloudEvents in binary and structured mode, and records that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from upon._attributes import REQUIRED_ATTRIBUTES, attribute_text, is_text, read_attributes
from upon._data import ValueFormat
from upon._errors import MalformedEvent
from upon._event import UNSET, Event, KafkaInfo
from upon._json_format import check_format, mode_of_type, read_structured

PLAIN_TYPE = "dev.knative.kafka.event"
_MARKS = frozenset("ce_" + name for name in REQUIRED_ATTRIBUTES)
_new = object.__new__
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")

# A record that was replayed stands at another place: this header says `topic/partition/offset@milliseconds`, where
# and when it stood at first, so that its event keeps its id, source and time.
REPLAY_ORIGIN = "upon-replay-origin"
_OF_REPLAYS = frozenset({REPLAY_ORIGIN, "upon-replay-group", "upon-replays"})
_PLACE = re.compile(rb"([A-Za-z0-9._-]{1,249})/([0-9]{1,10})/([0-9]{1,19})(?:@([0-9]{1,19}))?")


class Raw(Protocol):
    """A record as a client gives it. timestamp: milliseconds since 1970, negative where there is none."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...
    @property
    def timestamp(self) -> int: ...


class PartitionReader:
    """Reads the records of one partition; the arguments are those of `read_record`.

    A record without headers can only be a plain one: its event is made in a tenth of the time, and gets its
    attributes when somebody asks for them.
    """

    __slots__ = ("_partition", "_source", "_topic", "_value_format")

    def __init__(self, topic: str, partition: int, *, value_format: ValueFormat, source: str) -> None:
        self._topic = topic
        self._partition = partition
        self._value_format: ValueFormat = value_format
        self._source = source

    def read(self, record: Raw) -> Event[Any]:
        """The event in a record. Raises MalformedEvent."""
        if record.headers:
            return self._read_with_headers(record)
        event: Event[Any] = _new(Event)
        event._record = record
        event._describes = self
        event._body = record.value
        event._data = UNSET
        event._value = self._value_format
        event._http = None
        event._attempt = 1
        event._deadline = None
        return event

    def _read_with_headers(self, record: Raw) -> Event[Any]:
        return read_record(
            topic=self._topic,
            partition=self._partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=record.headers,
            timestamp_ms=record.timestamp,
            value_format=self._value_format,
            source=self._source,
        )

    def info(self, record: Raw) -> KafkaInfo:
        when = _timestamp(record.timestamp)
        return KafkaInfo(self._topic, self._partition, record.offset, record.key, tuple(record.headers), when)

    def attributes(self, record: Raw) -> dict[str, Any]:
        """Of a record without headers."""
        attributes = _place(self._partition, record.offset, self._source, record.timestamp)
        if record.key:
            _add_key(attributes, record.key)
        return attributes


def read_record(
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    timestamp_ms: int | None,
    value_format: ValueFormat,
    source: str,
) -> Event[Any]:
    """The event in a record. value_format: how to read data without a content type. source: for a plain record.

    The content type decides: structured mode, else binary mode where a required attribute is there as a header
    (`ce_id` and so on), else a plain record, which becomes the event that Knative's KafkaSource makes of it.

    Raises MalformedEvent for a CloudEvent that is half-baked or broken.
    """
    info = KafkaInfo(topic, partition, offset, key, tuple(headers), _timestamp(timestamp_ms))
    content_type = _content_type(headers)
    mode = mode_of_type(content_type)
    if content_type is not None and mode != "binary":
        if mode == "batch":
            raise MalformedEvent("a batch in a Kafka record: CloudEvents has none there, write one record per event")
        check_format(content_type, "structured")
        event = read_structured(value)
        event._kafka = info
        return event
    if not _MARKS.isdisjoint([name for name, _ in headers]):
        return Event._trusted(_read_binary(headers, content_type), value, value=value_format, kafka=info)
    return Event._trusted(_describe(info, timestamp_ms, content_type, source), value, value=value_format, kafka=info)


def write_record(event: Event[Any], key: bytes | None) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """The key, value and headers of an event in binary mode; no data is a null value."""
    headers = []
    for name, value in event._attributes.items():
        text = value if type(value) is str else attribute_text(value)
        headers.append(("content-type" if name == "datacontenttype" else "ce_" + name, text.encode()))
    return key, event._body, headers


def _read_binary(headers: Sequence[tuple[str, bytes | None]], content_type: str | None) -> dict[str, Any]:
    marked = [(name[3:], value) for name, value in headers if name[:3] == "ce_" and value is not None]
    try:
        given = {name: value.decode() for name, value in marked}
    except UnicodeDecodeError:
        bad = next(name for name, value in marked if _text(value) is None)
        raise MalformedEvent(f"header 'ce_{bad}' is not UTF-8 text", bad) from None
    if len(given) < len(marked):
        twice = next(name for index, (name, _) in enumerate(marked) if name in dict(marked[:index]))
        raise MalformedEvent(f"attribute {twice!r} is given twice", twice)
    if "datacontenttype" in given:
        raise MalformedEvent(
            "datacontenttype is sent as the header content-type, not as ce_datacontenttype", "datacontenttype"
        )
    if content_type is not None:
        given["datacontenttype"] = content_type
    return read_attributes(given, "the header ce_{}")


def _describe(info: KafkaInfo, timestamp_ms: int | None, content_type: str | None, source: str) -> dict[str, Any]:
    """The attributes of a plain record, name by name those of Knative's KafkaSource.

    Where the key or a header is not text, its attribute is left out, and event.kafka has the bytes.
    """
    partition, offset = info.partition, info.offset
    for header, value in info.headers:
        if header == REPLAY_ORIGIN and value is not None and (place := _PLACE.fullmatch(value)):
            topic, partition, offset = place[1].decode(), int(place[2]), int(place[3])
            timestamp_ms = int(place[4]) if place[4] else timestamp_ms
            source = source.rpartition("#")[0] + "#" + topic if "#" in source else source
    attributes = _place(partition, offset, source, timestamp_ms)
    if content_type and content_type.isascii():
        attributes["datacontenttype"] = content_type
    if info.key:
        _add_key(attributes, info.key)
    for header, value in info.headers:
        if header.lower() != "content-type" and header not in _OF_REPLAYS and (text := _text(value)) is not None:
            attributes["kafkaheader" + _NOT_IN_NAMES.sub("", header.lower())] = text
    return attributes


def _place(partition: int, offset: int, source: str, timestamp_ms: int | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"partition:{partition}/offset:{offset}",
        "source": source,
        "type": PLAIN_TYPE,
        "subject": f"partition:{partition}#{offset}",
    }
    if timestamp_ms is not None and timestamp_ms >= 0:
        time = _second(timestamp_ms // 1000)
        if time is not None:
            attributes["time"] = f"{time}.{timestamp_ms % 1000:03}Z"
    return attributes


@lru_cache(64)
def _second(seconds: int) -> str | None:
    """A time of day without its zone; neighbouring records share it."""
    when = _timestamp(seconds * 1000)
    return None if when is None else when.isoformat()[:19]


def _add_key(attributes: dict[str, Any], key: bytes) -> None:
    text = _text(key)
    if text is not None:
        attributes["partitionkey"] = attributes["key"] = text


def _content_type(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    for name, value in headers:
        if len(name) == 12 and name.lower() == "content-type":
            return _text(value) or None
    return None


def _text(value: bytes | None) -> str | None:
    """The bytes as a CloudEvents string, or None where they are not one."""
    try:
        text = value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
    return text if text is None or is_text(text) else None


def _timestamp(milliseconds: int | None) -> datetime | None:
    if milliseconds is None or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # producers write what they like
        return None
