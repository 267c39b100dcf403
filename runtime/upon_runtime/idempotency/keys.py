"""What makes two events the same one, as a key of bounded length."""

from __future__ import annotations

import hashlib
from typing import Any

from upon import Event
from upon._kafka_codec import PLAIN_TYPE

HEADER = "idempotency-key"
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


def key_of(event: Event[Any], function: str, scope: str) -> str:
    """By function, source and id.

    scope: what shares a store and not its events, such as a namespace. A plain Kafka record's id is its place, which
    another record has once the topic is made anew: its time belongs to it.
    """
    attributes = event._attributes
    when = attributes.get("time", "") if attributes["type"] == PLAIN_TYPE else ""
    return f"{function}:{digest(scope, function, attributes['source'], attributes['id'], when)}"


def is_unrepeatable(event: Event[Any]) -> bool:
    """Whether it is a plain request whose sender chose no id for it."""
    request = event.http
    return request is not None and (HEADER not in request.headers or request.method in REPEATABLE)


def fingerprint(event: Event[Any]) -> str:
    """Of a plain request: what must be equal where an Idempotency-Key is. A form's boundary differs every time."""
    request = event.http
    if request is None:
        return ""
    query = [part for name, values in sorted(request.query.items()) for part in (name, *values)]
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        files = [part for file in request.files for part in (file.name, file.filename or "", digest_of(file.body))]
        return digest(request.method, request.path, *query, *files)
    return digest(request.method, request.path, *query, digest_of(event.body))


def digest(*parts: object) -> str:
    """Lengths go in too, so that no two lists of parts look the same."""
    found = hashlib.sha256()
    for part in parts:
        text = str(part).encode(errors="surrogatepass")
        found.update(b"%d:" % len(text) + text)
    return found.hexdigest()


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
