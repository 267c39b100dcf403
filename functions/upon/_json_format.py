"""The CloudEvents JSON format: structured and batch mode of every protocol."""

from __future__ import annotations

import binascii
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import orjson

from upon import _json
from upon._attributes import read_attributes
from upon._data import decode_text, encode_text, is_json, is_text_type
from upon._errors import DataError, MalformedEvent
from upon._event import Event

Mode: TypeAlias = Literal["binary", "structured", "batch"]

EVENT_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"
_PREFIX = "application/cloudevents"
_DATA = ("data", "data_base64")
_READABLE = {
    "structured": (EVENT_TYPE, _PREFIX),
    "batch": (BATCH_TYPE, _PREFIX + "-batch"),
}


def mode_of_type(content_type: str | None) -> Mode:
    """The content mode: the content type decides, and nothing else."""
    if content_type is None or content_type == "application/json":
        return "binary"
    start = content_type.lstrip()[: len(_PREFIX) + 6].lower()
    if not start.startswith(_PREFIX):
        return "binary"
    return "batch" if start == _PREFIX + "-batch" else "structured"


def check_format(content_type: str, mode: Mode) -> None:
    """Raise MalformedEvent for an event format that is not JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _READABLE[mode]:
        raise MalformedEvent(f"event format {media_type!r} is not supported: send {_READABLE[mode][0]}")


def read_structured(body: bytes | None) -> Event[Any]:
    """One event from its JSON text. Raises MalformedEvent."""
    parsed = _parse(body)
    event = _event_of(parsed, _json.rewrite)
    _refuse_duplicates(body or b"", [parsed], [event])
    return event


def read_items(body: bytes) -> list[Event[Any] | MalformedEvent]:
    """The events of a batch; in place of one that is malformed, the error that says why."""
    parsed = _parse(body)
    if not isinstance(parsed, list):
        raise MalformedEvent(f"a batch is a JSON array of events, not {_kind(parsed)}")
    items: list[Event[Any] | MalformedEvent] = []
    for item in parsed:
        try:
            items.append(_event_of(item, _json.rewrite))
        except MalformedEvent as error:
            items.append(error)
    _refuse_duplicates(body, parsed, items)
    return items


def from_dict(obj: object) -> Event[Any]:
    """An event from its CloudEvents JSON form. Raises MalformedEvent."""
    return _event_of(obj, _json.dumps)


def read_parsed(obj: object) -> Event[Any]:
    """The same from what JSON text was parsed to, which holds nothing to convert. Raises MalformedEvent."""
    return _event_of(obj, _json.rewrite)


def to_dict(event: Event[Any]) -> dict[str, Any]:
    """The event's CloudEvents JSON form: JSON and text as `data`, anything else as `data_base64`."""
    return _object_of(event, _json.loads)


def write_structured(event: Event[Any]) -> bytes:
    """The event as JSON text; data that is JSON stays the text it is."""
    return orjson.dumps(_object_of(event, _fragment))


def write_batch(events: Sequence[Event[Any]]) -> bytes:
    """The events as a JSON array."""
    return orjson.dumps([_object_of(event, _fragment) for event in events])


def _parse(body: bytes | None) -> Any:
    try:
        return _json.loads(body or b"")
    except DataError as error:
        raise MalformedEvent(f"not a CloudEvent in JSON format: {error}") from None


def _event_of(obj: object, encode: Callable[[object], bytes]) -> Event[Any]:
    if not isinstance(obj, dict):
        raise MalformedEvent(f"a CloudEvent is a JSON object, not {_kind(obj)}")
    given = {name: value for name, value in obj.items() if value is not None and name not in _DATA}
    attributes = read_attributes(given, "the member {!r}")
    return Event._trusted(attributes, _body_of(obj, attributes, encode))


def _body_of(obj: dict[str, Any], attributes: dict[str, Any], encode: Callable[[object], bytes]) -> bytes | None:
    data, encoded = obj.get("data"), obj.get("data_base64")
    if encoded is not None:
        if data is not None:
            raise MalformedEvent("an event has either data or data_base64, not both", "data_base64")
        return _from_base64(encoded)
    if data is None:
        return None
    content_type = attributes.setdefault("datacontenttype", "application/json")
    as_json = is_json(content_type)
    if not as_json and not isinstance(data, str):
        raise MalformedEvent(
            f"data of type {content_type!r} must be a JSON string, not {_kind(data)}: send a string or data_base64",
            "data",
        )
    try:
        return encode(data) if as_json else encode_text(data, content_type)
    except DataError as error:
        raise MalformedEvent(f"data {error}", "data") from None


def _from_base64(encoded: object) -> bytes:
    if isinstance(encoded, str):
        try:
            return binascii.a2b_base64(encoded.encode(), strict_mode=True)
        except ValueError as error:
            raise MalformedEvent(f"data_base64 is not base64: {error}", "data_base64") from None
    raise MalformedEvent(f"data_base64 must be a string, not {_kind(encoded)}", "data_base64")


def _object_of(event: Event[Any], embed: Callable[[bytes], Any]) -> dict[str, Any]:
    members = {
        name: binascii.b2a_base64(value, newline=False).decode() if isinstance(value, bytes) else value
        for name, value in event._attributes.items()
    }
    body = event._body
    if body is not None:
        try:
            members["data"] = _member_of(event, body, embed)
        except DataError:
            members["data_base64"] = binascii.b2a_base64(body, newline=False).decode()
    return members


def _member_of(event: Event[Any], body: bytes, embed: Callable[[bytes], Any]) -> Any:
    """The body as the member `data`; DataError where only base64 keeps it as it is."""
    content_type = event.datacontenttype
    if is_json(content_type) if content_type is not None else event._value == "json":
        return embed(body)
    if content_type is not None and is_text_type(content_type):
        return decode_text(body, content_type)
    raise DataError("binary")


def _fragment(body: bytes) -> orjson.Fragment:
    _json.loads(body)
    return orjson.Fragment(body)


def _refuse_duplicates(body: bytes, objects: list[Any], events: Sequence[Event[Any] | MalformedEvent]) -> None:
    """JSON keeps the last of two members of one name, and so lets two readers see two different events."""
    expected = Counter(name for members in objects if isinstance(members, dict) for name in members)
    for name, count in expected.items():
        quoted = b'"%b"' % name.encode()
        surplus = body.count(quoted) - count
        if surplus > 0 and surplus > sum(item.body.count(quoted) for item in events if isinstance(item, Event)):
            _search_duplicates(body)  # thorough and slow
            return


def _search_duplicates(body: bytes) -> None:
    try:
        top: Any = json.loads(body, object_pairs_hook=_Members)
    except RecursionError:
        raise MalformedEvent("not a CloudEvent in JSON format: nested too deeply") from None
    for members in [top] if isinstance(top, _Members) else top:
        names = [name for name, _ in members] if isinstance(members, _Members) else []
        for name in names:
            if names.count(name) > 1:
                raise MalformedEvent(f"member {name!r} is given twice", name)


class _Members(list[tuple[str, Any]]):
    """A JSON object as its pairs."""


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return f"{value!r:.60}"
