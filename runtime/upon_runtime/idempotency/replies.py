"""What a handler returned, as the bytes that a store keeps, and back. A CloudEvent is kept in its JSON format.

Data is base64, so that it comes back byte for byte: JSON would come back with other spaces and other numbers.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import orjson

from upon import Done, Event, Response
from upon._engine import Sent
from upon._json_format import read_structured
from upon._outcome import Failed, Outcome, Repeated
from upon_runtime.idempotency.keys import HEADER, fingerprint

LIMIT = 16 * 2**20  # bytes of one stored reply


def is_kept(outcome: Outcome) -> bool:
    """Whether an outcome ends its event: no failure, nor a plain answer that says the server failed."""
    if not isinstance(outcome, Done):
        return False
    return not isinstance(outcome.reply, Response) or outcome.reply.status < 500


def dump(event: Event[Any], outcome: Done) -> bytes:
    """b"" for no reply."""
    reply = outcome.reply
    if event.http is None and not outcome.sent:
        return orjson.dumps(_event(reply)) if isinstance(reply, Event) else b""
    return orjson.dumps(
        {
            "event": _event(reply) if isinstance(reply, Event) else None,
            "response": _response(reply) if isinstance(reply, Response) else None,
            "request": fingerprint(event),
            "sent": [_sent(sent) for sent in outcome.sent],
        }
    )


def load(event: Event[Any], kept: bytes) -> Outcome:
    """The outcome once more; `rejected` where the same Idempotency-Key came with another request."""
    if not kept:
        return Repeated()
    members: dict[str, Any] = orjson.loads(kept)
    if "specversion" in members:
        return Repeated(read_structured(kept))
    if members["request"] != fingerprint(event):
        return Failed("rejected", f"the {HEADER} {event.id!r} came with another request before: choose a new one")
    sent = tuple(_load_sent(*each) for each in members["sent"])
    if members["response"] is not None:
        return Repeated(_load_response(**members["response"]), sent=sent)
    return Repeated(None if members["event"] is None else read_structured(orjson.dumps(members["event"])), sent=sent)


def _event(event: Event[Any]) -> dict[str, Any]:
    members = {name: _text(value) if isinstance(value, bytes) else value for name, value in event._attributes.items()}
    return members if event._body is None else {**members, "data_base64": _text(event._body)}


def _response(response: Response) -> dict[str, Any]:
    """Its data are bytes already, or nothing."""
    return {
        "data": _text(response.data) if isinstance(response.data, bytes) else None,
        "status": response.status,
        "headers": dict(response.headers),
        "content_type": response.content_type,
    }


def _load_response(data: str | None, status: int, headers: dict[str, str], content_type: str | None) -> Response:
    return Response(_bytes(data), status, headers, content_type)


def _sent(sent: Sent) -> list[Any]:
    return [sent.topic, _text(sent.key), _text(sent.value), [(name, _text(value)) for name, value in sent.headers]]


def _load_sent(topic: str, key: str | None, value: str | None, headers: list[tuple[str, str | None]]) -> Sent:
    return Sent(topic, _bytes(key), _bytes(value), [(name, _bytes(text)) for name, text in headers])


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
