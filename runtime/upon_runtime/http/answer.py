"""What goes back over HTTP, as a value: an outcome becomes a status, headers and a body here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple, TypeAlias

from upon import Event, _http_codec, _json
from upon._outcome import KINDS, Failed

Headers: TypeAlias = list[tuple[str, str]]

OUTCOME = "upon-outcome"
PROBLEM = "application/problem+json"
_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer(NamedTuple):
    """headers: lower-case names; the server adds the body's length. body: empty for 204 and 304."""

    status: int
    headers: Headers
    body: bytes = b""

    @property
    def line(self) -> str:
        """The status as WSGI wants it."""
        return _LINES.get(self.status) or f"{self.status} Status"


def done() -> Answer:
    """An event was handled and nothing is to be said: anything but an empty body would count as a failure."""
    return Answer(204, [(OUTCOME, "done")])


def reply(event: Event) -> Answer:
    """An event was handled and answered: the reply in binary mode."""
    headers, body = _http_codec.write_binary(event)
    headers.append((OUTCOME, "done"))
    return Answer(200, headers, body)


def failure(failed: Failed, *, plain: bool = False) -> Answer:
    """A failed outcome as problem+json. plain: for a caller of a route, who may get the status that Reject names."""
    kind = KINDS[failed.kind]
    answer = problem(
        (failed.status if plain else None) or kind.status,
        kind.title,
        failed.error,
        type=f"urn:upon:outcome:{failed.kind}",
        pointers=failed.pointers,
    )
    answer.headers.append((OUTCOME, failed.kind))
    if answer.status in (429, 503):
        answer.headers.append(("retry-after", str(max(1, math.ceil(failed.after or 0)))))
    return answer


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    type: str = "about:blank",
    pointers: Sequence[tuple[str, str]] = (),
) -> Answer:
    """RFC 9457; `pointers` lists where the data does not fit, as JSON pointers with reasons."""
    members: dict[str, object] = {"type": type, "title": title, "status": status, "detail": detail}
    if pointers:
        members["pointers"] = [{"pointer": pointer, "reason": reason} for pointer, reason in pointers]
    return Answer(status, [("content-type", PROBLEM)], _json.dumps(members))
