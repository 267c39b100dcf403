"""What a handler returns, as the CloudEvent that carries it. A redelivery makes the same reply, id included."""

from __future__ import annotations

from typing import Any

from upon._event import Event, attribute_text, encode_data
from upon._ids import name_id
from upon._response import Response

_COPIED = ("subject", "traceparent", "tracestate", "correlationid", "partitionkey")


def reply_event(event: Event[Any], result: object, *, service: str, function: str, type: str | None) -> Event[Any]:
    """The reply to `event` from what the handler returned (not None, not an Event).

    id: uuid5 of (source, id, function). source: `/{service}/{function}`. causationid: the input's id.
    Raises DataError when the result has no JSON form.
    """
    content_type = None
    data = result
    if isinstance(result, Response):
        data, content_type = result.data, result.content_type
    body, content_type = encode_data(data, content_type)
    given = event._attributes
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": name_id(f"{given['source']}\n{given['id']}\n{function}"),
        "source": f"/{service}/{function}",
        "type": type or f"{service}.{function}.reply",
        "causationid": given["id"],
    }
    for name in _COPIED:
        if name in given:
            attributes[name] = given[name]
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return Event._trusted(attributes, body)


def reply_key(event: Event[Any], reply: Event[Any]) -> bytes | None:
    """The Kafka key of a reply: its partitionkey where it has one, else the input record's key."""
    own = reply._attributes.get("partitionkey")
    if own is not None:
        return attribute_text(own).encode()
    return event._key
