"""Events as requests: one in binary mode, several as a batch."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from upon import Event, _http_codec
from upon._relay import (
    ATTEMPT,
    ORDERED,
    ORIGIN,
    OUTCOMES_TYPE,
    RUN,
    SENDER,
    TRIGGERS,
    write_attempts,
    write_item,
    write_origin,
)

MOST_HEADERS = 8192  # bytes of an event's attributes; servers and proxies take no endless headers
ITEM_OVERHEAD = 600  # bytes of a batch's item over its data, about
_ALWAYS = {SENDER: TRIGGERS, "user-agent": "upon-triggers"}
_ONE = {**_ALWAYS, "prefer": "reply"}
_MANY = {**_ALWAYS, "content-type": _http_codec.BATCH_TYPE, "accept": OUTCOMES_TYPE}


def write_one(event: Event[Any]) -> tuple[dict[str, str], bytes]:
    """Headers and body. Structured mode takes what binary mode can't: long attributes, and data that is empty."""
    origin = write_origin(event)
    if origin is not None:
        event = Event._trusted({**event._attributes, ORIGIN: origin}, event._body, value=event._value)._copy(
            attempt=event._attempt
        )
    headers, body = _http_codec.write_binary(event)
    if event._body == b"" or sum(len(name) + len(value) for name, value in headers) > MOST_HEADERS:
        headers, body = [("content-type", _http_codec.EVENT_TYPE)], _http_codec.write_structured(event)
    attempt = write_attempts((event,))
    return {**_ONE, **dict(headers), **({ATTEMPT: attempt} if attempt else {})}, body


def write_many(events: Sequence[Event[Any]], *, ordered: bool) -> tuple[dict[str, str], bytes]:
    """Headers and body of a batch."""
    items = [write_item(event) for event in events]
    attempts = write_attempts(events)
    headers = {**_MANY, **({RUN: ORDERED} if ordered else {}), **({ATTEMPT: attempts} if attempts else {})}
    return headers, orjson.dumps(items, default=_binary)


def parts(events: Sequence[Event[Any]], most: int) -> Iterator[Sequence[Event[Any]]]:
    """The events in order, in parts of about `most` bytes, each of one event at least."""
    start = size = 0
    for index, event in enumerate(events):
        own = ITEM_OVERHEAD + len(event._body or b"") * 4 // 3
        if index > start and size + own > most:
            yield events[start:index]
            start, size = index, 0
        size += own
    yield events[start:]


def _binary(value: object) -> str:
    if isinstance(value, bytes):  # an attribute of that type
        return b2a_base64(value, newline=False).decode()
    raise TypeError(f"{value!r:.80} is no attribute")
