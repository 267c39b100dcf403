"""CloudEvents over HTTP: binary, structured and batch mode, strict about what comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from upon._attributes import USUAL_EXTENSIONS, attribute_text, read_attributes
from upon._errors import MalformedEvent
from upon._event import Event
from upon._json_format import (
    BATCH_TYPE,
    EVENT_TYPE,
    Mode,
    check_format,
    from_dict,
    mode_of_type,
    read_items,
    read_structured,
    to_dict,
    write_batch,
    write_structured,
)

__all__ = [
    "BATCH_TYPE",
    "EVENT_TYPE",
    "Mode",
    "from_dict",
    "mode_of",
    "read_batch",
    "read_batch_items",
    "read_environ",
    "read_event",
    "to_dict",
    "write_batch",
    "write_binary",
    "write_structured",
]

HELP = (
    "not a CloudEvent: send the attributes as the headers ce-id, ce-source, ce-type and ce-specversion: 1.0"
    f" beside the data, or the whole event as {EVENT_TYPE}"
)
_USUAL = ("specversion", "id", "source", "type", "subject", "time", "dataschema", *USUAL_EXTENSIONS)
_USUAL_HEADERS = tuple(("ce-" + name, name) for name in _USUAL)
_USUAL_KEYS = tuple(("HTTP_CE_" + name.upper(), name) for name in _USUAL)
_SAFE = re.compile(r"[!#$&-~]*\Z").match  # nothing to encode in it
_SAFE_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def mode_of(headers: Mapping[str, str]) -> Mode:
    """The content mode of a message, which its content type decides. Header names are lower-case."""
    return mode_of_type(headers.get("content-type"))


def read_event(headers: Mapping[str, str], body: bytes) -> Event[Any]:
    """One event in binary or structured mode. Header names are lower-case. Raises MalformedEvent."""
    content_type = headers.get("content-type") or None
    if content_type is not None and mode_of_type(content_type) != "binary":
        return _read_whole(content_type, body)
    return _read_binary(_gather(headers, "ce-", _USUAL_HEADERS), content_type, body)


def read_environ(environ: Mapping[str, Any], body: bytes) -> Event[Any]:
    """As read_event, straight from a WSGI environ."""
    content_type = environ.get("CONTENT_TYPE") or None
    if content_type is not None and mode_of_type(content_type) != "binary":
        return _read_whole(content_type, body)
    return _read_binary(_gather(environ, "HTTP_CE_", _USUAL_KEYS), content_type, body)


def read_batch(headers: Mapping[str, str], body: bytes) -> list[Event[Any]]:
    """The events of a batch, all or none. Raises MalformedEvent, which names the item."""
    events = []
    for index, item in enumerate(read_batch_items(headers, body)):
        if isinstance(item, MalformedEvent):
            raise MalformedEvent(f"item {index}: {item}", item.attribute)
        events.append(item)
    return events


def read_batch_items(headers: Mapping[str, str], body: bytes) -> list[Event[Any] | MalformedEvent]:
    """The events of a batch; in place of one that is malformed, the error that says why.

    Raises MalformedEvent where the whole is not a batch.
    """
    content_type = headers.get("content-type") or ""
    if mode_of_type(content_type) != "batch":
        raise MalformedEvent(f"a batch has the content type {BATCH_TYPE}, not {content_type!r}")
    check_format(content_type, "batch")
    return read_items(body)


def write_binary(event: Event[Any]) -> tuple[list[tuple[str, str]], bytes]:
    """The headers, names in lower case, and the body of an event in binary mode."""
    attributes = event._attributes
    try:
        safe = _SAFE("".join(attributes.values())) is not None
    except TypeError:  # not all are strings
        safe = False
    headers = [
        ("ce-" + name, value if safe else _encode(value))
        for name, value in attributes.items()
        if name != "datacontenttype"
    ]
    if "datacontenttype" in attributes:
        headers.append(("content-type", attributes["datacontenttype"]))
    return headers, event._body or b""


def _read_whole(content_type: str, body: bytes) -> Event[Any]:
    if mode_of_type(content_type) == "batch":
        raise MalformedEvent(f"a batch where one event is expected: send {EVENT_TYPE}")
    check_format(content_type, "structured")
    return read_structured(body)


def _gather(headers: Mapping[str, Any], prefix: str, usual: tuple[tuple[str, str], ...]) -> dict[str, str]:
    given = {name: headers[header] for header, name in usual if header in headers}
    if "\n".join(headers).count(prefix) != len(given):  # there may be others: look at each header
        for header in headers:
            if header.startswith(prefix):
                given[header[len(prefix) :].lower().replace("_", "-")] = headers[header]
    return given


def _read_binary(given: dict[str, str], content_type: str | None, body: bytes) -> Event[Any]:
    if not given:
        raise MalformedEvent(HELP)
    if "datacontenttype" in given:
        raise MalformedEvent(
            "datacontenttype is sent as the header Content-Type, not as ce-datacontenttype", "datacontenttype"
        )
    text = "".join(given.values())
    if "%" in text or '"' in text or not text.isascii():
        given = {name: _decode(name, value) for name, value in given.items()}
        text = "".join(given.values())
    if content_type is not None:
        given["datacontenttype"] = content_type
        text += content_type
    attributes = read_attributes(given, "the header ce-{}", text)
    return Event._trusted(attributes, body or None)  # HTTP can't tell an empty body from none


def _decode(name: str, value: str) -> str:
    """Undo quotes, then percent-encoding (CloudEvents HTTP binding, 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        try:
            raw = value.encode("latin-1")  # the form in which WSGI hands over the bytes of a header
        except UnicodeEncodeError:
            raw = value.encode()
        return unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise MalformedEvent(f"header ce-{name} is not percent-encoded UTF-8: {value!r}", name) from None


def _encode(value: object) -> str:
    text = attribute_text(value)
    return text if _SAFE(text) else quote_from_bytes(text.encode(), _SAFE_CHARACTERS)
