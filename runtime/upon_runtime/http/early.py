"""How a request is answered from another thread while its handler still runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from upon._outcome import Failed
from upon_runtime.http.answer import Headers, failure

Responder: TypeAlias = Callable[[int, Headers, bytes], None]

# In the WSGI environ:
KEY = "upon.respond"  # a Responder; absent where the server has no such way (Flask's test client)
CLOSE = "upon.close"  # set by the application: the server closes the connection after the answer


def on_late(environ: dict[str, Any], *, plain: bool = False) -> Callable[[Failed], None] | None:
    """A function that answers this request at once; what the handler returns later is dropped by the server."""
    respond: Responder | None = environ.get(KEY)
    if respond is None:
        return None

    def answer_late(outcome: Failed) -> None:
        respond(*failure(outcome, plain=plain))

    return answer_late
