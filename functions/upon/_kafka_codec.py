"""Kafka records to events and back: CloudEvents in binary and structured mode, and records that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from upon._attributes import REQUIRED_ATTRIBUTES, attribute_text, is_text, read_attributes
from upon._data import ValueFormat
from upon._errors import MalformedEvent
from upon._event import Event, KafkaInfo
from upon._json_format import check_format, mode_of_type, read_structured

PLAIN_TYPE = "dev.knative.kafka.event"
_MARKS = frozenset("ce_" + name for name in REQUIRED_ATTRIBUTES)
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


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
    return Event._trusted(_describe(info, content_type, source), value, value=value_format, kafka=info)


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


def _describe(info: KafkaInfo, content_type: str | None, source: str) -> dict[str, Any]:
    """The attributes of a plain record, name by name those of Knative's KafkaSource.

    Where the key or a header is not text, its attribute is left out, and event.kafka has the bytes.
    """
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"partition:{info.partition}/offset:{info.offset}",
        "source": source,
        "type": PLAIN_TYPE,
        "subject": f"partition:{info.partition}#{info.offset}",
    }
    if info.timestamp is not None:
        attributes["time"] = info.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if content_type and content_type.isascii():
        attributes["datacontenttype"] = content_type
    if info.key and (key := _text(info.key)) is not None:
        attributes["partitionkey"] = attributes["key"] = key
    for header, value in info.headers:
        if header.lower() != "content-type" and (text := _text(value)) is not None:
            attributes["kafkaheader" + _NOT_IN_NAMES.sub("", header.lower())] = text
    return attributes


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
