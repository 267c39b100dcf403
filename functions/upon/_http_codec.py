"""CloudEvents over HTTP: binary, structured and batch mode, strict about what comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from upon._attributes import attribute_text, read_attribute
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
    require,
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
_READY = re.compile(r"[!#-$&-~][ -$&-~]*\Z").match  # nothing to decode in it
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
    attributes: dict[str, Any] = {}
    for header, value in headers.items():
        if header.startswith("ce-"):
            _add(attributes, header[3:], value)
    return _read_binary(attributes, content_type, body)


def read_environ(environ: Mapping[str, Any], body: bytes) -> Event[Any]:
    """As read_event, straight from a WSGI environ."""
    content_type = environ.get("CONTENT_TYPE") or None
    if content_type is not None and content_type != "application/json" and mode_of_type(content_type) != "binary":
        return _read_whole(content_type, body)
    attributes: dict[str, Any] = {}
    for header in environ:
        if header[:8] == "HTTP_CE_":
            _add(attributes, header[8:].lower().replace("_", "-"), environ[header])
    return _read_binary(attributes, content_type, body)


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
    headers = []
    for name, value in event._attributes.items():
        if name == "datacontenttype":
            headers.append(("content-type", value))
            continue
        text = value if type(value) is str else attribute_text(value)
        headers.append(("ce-" + name, text if _SAFE(text) else quote_from_bytes(text.encode(), _SAFE_CHARACTERS)))
    return headers, event._body or b""


def _read_whole(content_type: str, body: bytes) -> Event[Any]:
    if mode_of_type(content_type) == "batch":
        raise MalformedEvent(f"a batch where one event is expected: send {EVENT_TYPE}")
    check_format(content_type, "structured")
    return read_structured(body)


def _read_binary(attributes: dict[str, Any], content_type: str | None, body: bytes) -> Event[Any]:
    if not attributes:
        raise MalformedEvent(HELP)
    require(attributes, "the header ce-{}")
    if content_type is not None:
        attributes["datacontenttype"] = (
            content_type if content_type.isprintable() and content_type.isascii() else read_attribute("datacontenttype", content_type)
        )
    # HTTP can't tell an empty body from none
    return Event._trusted(attributes, body or None)


def _add(attributes: dict[str, Any], name: str, value: str) -> None:
    if name == "datacontenttype":
        raise MalformedEvent("datacontenttype is sent as the header Content-Type, not as ce-datacontenttype", name)
    attributes[name] = read_attribute(name, value if _READY(value) else _decode(name, value))


def _decode(name: str, value: str) -> str:
    """Undo quotes, then percent-encoding (CloudEvents HTTP binding, 3.1.3.2)."""
    value = value.strip(" \t")
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
