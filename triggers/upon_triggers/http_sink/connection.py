"""One POST over a kept-alive connection, and how far it came where no answer was got."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from upon import MissingExtra, UsageError

try:
    import urllib3
    from urllib3 import exceptions as errors
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError:
    raise MissingExtra("a sink over HTTP", "serve") from None

CONNECT_TIMEOUT = 10.0  # seconds
IDLE = 50.0  # seconds: shorter than servers and proxies keep an idle connection, so that it is we who end it
CHUNK = 2**16
MOST_ANSWER = 32 * 2**20  # bytes

Stage: TypeAlias = Literal["unsent", "sent", "late", "too large"]

_local = threading.local()  # of this thread's request; fresh: it wants a new connection; reused: it had none


class Answer(NamedTuple):
    """headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """No whole answer came. stage: `unsent`, the receiver has not seen the request; `sent`, it may have; `late`, it
    has not answered in time; `too large`, its answer was given up."""

    def __init__(self, message: str, stage: Stage) -> None:
        super().__init__(message)
        self.stage: Stage = stage


class _Aged:
    """Notes whether a connection was used before, and begins anew one that has been idle for long."""

    _uses = 0
    _last = 0.0

    def connect(self) -> None:
        self._uses = 0
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        connection: Any = self
        if connection.sock is not None and (_local.fresh or time.monotonic() - self._last > IDLE):
            connection.close()
        _local.reused = connection.sock is not None and self._uses > 0
        super().request(*args, **kwargs)  # type: ignore[misc]
        self._uses += 1
        self._last = time.monotonic()


class _Http(_Aged, HTTPConnection):
    pass


class _Https(_Aged, HTTPSConnection):
    pass


class Poster:
    """Posts to one host. url: http or https, with the path before `/functions`; connections: open at once.

    https trusts the system's authorities. Redirects are not followed, and no proxy is used. Raises UsageError.
    """

    def __init__(self, url: str, connections: int, *, most_answer: int = MOST_ANSWER) -> None:
        parts = _split(url)
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._most_answer = most_answer
        settings: dict[str, Any] = {"port": parts.port, "maxsize": connections, "block": True, "retries": False}
        host = parts.hostname or ""
        self._pool: Any
        if parts.scheme == "https":
            self._pool = urllib3.HTTPSConnectionPool(host, ssl_context=ssl.create_default_context(), **settings)
            self._pool.ConnectionCls = _Https
        else:
            self._pool = urllib3.HTTPConnectionPool(host, **settings)
            self._pool.ConnectionCls = _Http

    def post(self, path: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer:
        """The answer, its first byte within `timeout` seconds. Raises NoAnswer.

        A connection that was used before may be closed by the other side in this very moment. Where it ends without a
        byte, the request goes once more, over a new one: it was most likely not handled, and is no attempt. But if
        nobody is there any more, it may have been this request that ended the process.
        """
        deadline = time.monotonic() + timeout
        _local.fresh = _local.reused = False
        try:
            response = self._send(path, headers, body, timeout)
        except errors.ProtocolError as error:
            if not _local.reused:
                raise _broken_off(error) from error
            response = self._send_again(path, headers, body, timeout, error)
        try:
            received = self._read(response, deadline + timeout)
        except errors.ReadTimeoutError as error:
            raise NoAnswer("the answer stopped coming", "late") from error
        except errors.HTTPError as error:
            raise _broken_off(error) from error
        finally:
            response.close()  # a connection whose answer was read to the end went back to the pool before
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, received)

    def _send_again(self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, before: Exception) -> Any:
        _local.fresh = True
        try:
            return self._send(path, headers, body, timeout)
        except errors.ProtocolError as error:
            raise _broken_off(error) from error
        except NoAnswer as error:
            if error.stage == "unsent":
                raise _broken_off(before) from error
            raise

    def _send(self, path: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Any:
        """The answer's head."""
        try:
            return self._pool.urlopen(
                "POST",
                self._prefix + path,
                body,
                headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout), read=timeout),
                pool_timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except errors.ReadTimeoutError as error:
            raise NoAnswer(f"no answer within {timeout:g} s", "late") from error
        except errors.ProtocolError:
            raise
        except (errors.HTTPError, OSError) as error:  # name, address, TLS, no connection free
            raise NoAnswer(_reason(error), "unsent") from error

    def _read(self, response: Any, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while chunk := response.read1(CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > self._most_answer:
                raise NoAnswer(f"the answer has more than {self._most_answer} bytes", "too large")
            if time.monotonic() > deadline:
                raise NoAnswer("the answer came too slowly", "late")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._pool.close()


def _split(url: str) -> SplitResult:
    """Raises UsageError for what is no base URL of a service."""
    try:
        parts = urlsplit(url)
        plain = not (parts.query or parts.fragment or parts.username)
        if plain and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port that is none
        pass
    raise UsageError(f"the sink {url!r} is not the URL of a service: write for instance http://127.0.0.1:8080")


def _broken_off(error: Exception) -> NoAnswer:
    return NoAnswer(f"the connection ended before the whole answer was there: {_reason(error)}", "sent")


def _reason(error: BaseException) -> str:
    """The innermost of urllib3's wrapped errors, in one line."""
    while isinstance(error, errors.HTTPError) and error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    text = str(error.__cause__ or error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
