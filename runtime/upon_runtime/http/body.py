"""Reading a request's body: bounded in size and in time, and never half of one."""

from __future__ import annotations

import time
from typing import Any

from upon import MalformedEvent, TooLarge
from upon_runtime.http.answer import problem
from upon_runtime.http.early import KEY
from upon_runtime.watchdog import Watchdog

BODY = "upon.body"  # in the WSGI environ: the body, where it was read already
CHUNK = 64 * 1024
READ_TIMEOUT = 60.0  # seconds for a whole body; a stalled sender would hold its thread for ever


class BodyReader:
    """limit: bytes. At `timeout` seconds the watchdog answers 408, which closes the connection and ends the read."""

    def __init__(self, limit: int, watchdog: Watchdog, timeout: float = READ_TIMEOUT) -> None:
        self.limit = limit
        self._watchdog = watchdog
        self._timeout = timeout

    def read(self, environ: dict[str, Any]) -> bytes:
        """The body, b"" where there is none. Raises TooLarge, and MalformedEvent for one that was broken off."""
        if BODY in environ:
            body: bytes = environ[BODY]
            return body
        length = environ.get("CONTENT_LENGTH")
        if not length and "HTTP_TRANSFER_ENCODING" not in environ:
            return b""
        key = self._watchdog.begin(time.monotonic() + self._timeout, lambda: _stalled(environ))
        try:
            return self._counted(environ, length) if length else self._chunked(environ)
        finally:
            self._watchdog.end(key)

    def _counted(self, environ: dict[str, Any], length: str) -> bytes:
        if not (length.isascii() and length.isdecimal()):
            raise MalformedEvent(f"Content-Length {length!r} is not a number of bytes")
        expected = int(length)
        stream = environ["wsgi.input"]
        if expected > self.limit:
            self._skip(stream, expected)
            raise TooLarge(f"the body has {expected} bytes, the limit is {self.limit}: {_REMEDY}")
        body: bytes = stream.read(expected)
        if len(body) != expected:
            raise MalformedEvent(f"the body was broken off after {len(body)} of {expected} bytes: send it again")
        return body

    def _chunked(self, environ: dict[str, Any]) -> bytes:
        body: bytes = environ["wsgi.input"].read(self.limit + 1)
        if len(body) > self.limit:
            raise TooLarge(f"the body has more than {self.limit} bytes: {_REMEDY}")
        return body

    def _skip(self, stream: Any, expected: int) -> None:
        """A body somewhat over the limit is read and thrown away, so that the sender hears why; others are cut off."""
        if expected <= 2 * self.limit:
            while stream.read(CHUNK):
                pass


_REMEDY = "raise run.maxBodySize, or send a reference to the data"


def _stalled(environ: dict[str, Any]) -> None:
    respond = environ.get(KEY)
    if respond is not None:
        respond(*problem(408, "Request Timeout", "the body did not arrive in time: send it again"))
