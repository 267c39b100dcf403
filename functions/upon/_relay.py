"""What a trigger host says about an event beside the event: the names are known to both ends of the wire.

The CloudEvent itself is the same on every way. Where a record came from is no part of it, and a handler that asks for
`event.kafka` is to be told the same, whether the record was read in its own process or by a trigger host.

Of a plain record, which is the usual one, only the attributes that every CloudEvent needs are written: the others
follow from the record, and are made where somebody asks for them, as in the process that reads from Kafka.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from upon import _json
from upon._data import ValueFormat
from upon._errors import DataError, MalformedEvent
from upon._event import Event, KafkaInfo
from upon._json_format import read_parsed
from upon._kafka_codec import PLAIN_TYPE, PartitionReader

OUTCOME = "upon-outcome"  # response: the outcome's kind
OUTCOMES_TYPE = "application/vnd.upon.outcomes+json"
SENDER = "upon-sender"  # request: TRIGGERS, who writes replies to their topics itself
TRIGGERS = "triggers"
ATTEMPT = "upon-attempt"  # request: the number of this try, of several items with commas; what is left out is 1
RUN = "upon-run"  # request: ORDERED for a batch whose items are handled one after another, up to the first failure
ORDERED = "ordered"
ORIGIN = "uponorigin"  # extension attribute: the Kafka record behind the event

_FORMATS: dict[str, ValueFormat] = {"json": "json", "text": "text", "bytes": "bytes"}
_NOTHING = "-"
_PLAIN = "plain"  # at the end of an origin, in place of headers
_Readers = dict[tuple[str, ...], PartitionReader]


def write_origin(event: Event[Any]) -> str | None:
    """Topic, partition, offset, timestamp, value format, key, headers: one line of text. None for no record."""
    info = event._kafka
    if info is None:
        return None
    when = _NOTHING if info.timestamp is None else round(info.timestamp.timestamp() * 1000)
    line = f"{info.topic} {info.partition} {info.offset} {when} {event._value} {_encode(info.key)}"
    if not info.headers:
        return line
    headers = orjson.dumps([(name, None if value is None else _encode(value)) for name, value in info.headers])
    return f"{line} {headers.decode()}"


def read_origin(event: Event[Any]) -> None:
    """Give the event back what `write_origin` said; an origin that can't be read is left as the attribute it is."""
    text = event._attributes.get(ORIGIN)
    if not isinstance(text, str):
        return
    try:
        topic, partition, offset, when, value, key, *headers = text.split(" ", 6)
        info = KafkaInfo(
            topic,
            int(partition),
            int(offset),
            _decode(key),
            tuple(_headers(orjson.loads(headers[0]))) if headers else (),
            None if when == _NOTHING else datetime.fromtimestamp(int(when) / 1000, UTC),
        )
        event._value = _FORMATS[value]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        return
    event._kafka = info
    del event._attributes[ORIGIN]


def write_attempts(events: Sequence[Event[Any]]) -> str | None:
    """The header ATTEMPT for these events; None where it may be left out."""
    last = next((index for index in range(len(events) - 1, -1, -1) if events[index]._attempt != 1), None)
    return None if last is None else ", ".join(str(event._attempt) for event in events[: last + 1])


def read_attempts(text: str, events: Sequence[object]) -> None:
    """Stamp the events (what is none is passed over) with the header ATTEMPT; what is no number from 1 is 1."""
    for event, part in zip(events, text.split(","), strict=False):
        number = part.strip()
        if isinstance(event, Event) and number.isascii() and number.isdecimal() and len(number) < 10:
            event._attempt = max(int(number), 1)


def write_item(event: Event[Any]) -> dict[str, Any]:
    """The event as an item of a batch. Its data is base64: byte for byte, and without being parsed on the way."""
    reader = event._describes if event._record is not None else None
    if isinstance(reader, PartitionReader):
        item = _plain_item(reader, event._record)
    else:
        item = dict(event._attributes)
        origin = write_origin(event)
        if origin is not None:
            item[ORIGIN] = origin
    body = event._body
    if body is not None:
        item["data_base64"] = b2a_base64(body, newline=False).decode()
    return item


def _plain_item(reader: PartitionReader, record: Any) -> dict[str, Any]:
    partition, offset, when = reader._partition, record.offset, record.timestamp
    place = f"{reader._topic} {partition} {offset} {_NOTHING if when is None or when < 0 else when}"
    return {
        "specversion": "1.0",
        "id": f"partition:{partition}/offset:{offset}",
        "source": reader._source,
        "type": PLAIN_TYPE,
        ORIGIN: f"{place} {reader._value_format} {_encode(record.key)} {_PLAIN}",
    }


def read_items(body: bytes) -> list[Event[Any] | MalformedEvent]:
    """The events of a trigger host's batch; in place of one that is malformed, the error that says why."""
    try:
        parsed = _json.loads(body)
    except DataError as error:
        raise MalformedEvent(f"not a batch of CloudEvents: {error}") from None
    if not isinstance(parsed, list):
        raise MalformedEvent(f"a batch is a JSON array of events, not {parsed!r:.60}")
    readers: _Readers = {}
    return [_read_item(item, readers) for item in parsed]


def _read_item(item: Any, readers: _Readers) -> Event[Any] | MalformedEvent:
    try:
        if str(item[ORIGIN]).endswith(_PLAIN):
            return _read_plain(item, readers)
    except (LookupError, TypeError, ValueError):
        pass  # no origin, or none that can be read: an event like any other
    try:
        return read_parsed(item)
    except MalformedEvent as error:
        return error


def _read_plain(item: dict[str, Any], readers: _Readers) -> Event[Any]:
    topic, partition, offset, when, value, key, _ = item[ORIGIN].split(" ")
    place = (topic, partition, value, item["source"])
    reader = readers.get(place)
    if reader is None:
        reader = PartitionReader(topic, int(partition), value_format=_FORMATS[value], source=str(item["source"]))
        readers[place] = reader
    data = item.get("data_base64")
    body = None if data is None else a2b_base64(data, strict_mode=True)
    return reader.read(_Raw(int(offset), _decode(key), body, (), -1 if when == _NOTHING else int(when)))


class _Raw(NamedTuple):
    """A record as a client would give it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[()]
    timestamp: int


def _encode(value: bytes | None) -> str:
    return _NOTHING if value is None else "." + b2a_base64(value, newline=False).decode()


def _decode(text: str) -> bytes | None:
    if text == _NOTHING:
        return None
    if not text.startswith("."):
        raise Error(text)
    return a2b_base64(text[1:], strict_mode=True)


def _headers(pairs: Any) -> Sequence[tuple[str, bytes | None]]:
    return [(str(name), None if value is None else _decode(value)) for name, value in pairs]
