"""Reading a request's body."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from upon import MalformedEvent, TooLarge
from upon_runtime.http.body import BodyReader
from upon_runtime.watchdog import Watchdog

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked"}


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    made = Watchdog()
    yield made
    made.close()


def environ(body: bytes, length: int | None = None, **more: Any) -> dict[str, Any]:
    given = {} if length is None else {"CONTENT_LENGTH": str(length)}
    return {"wsgi.input": io.BytesIO(body), **given, **more}


@pytest.mark.parametrize(
    "given",
    [environ(b"12345", 5), environ(b"12345more", 5), environ(b"12345", **CHUNKED)],
    ids=["counted", "with more behind it", "chunked"],
)
def test_a_body(watchdog: Watchdog, given: dict[str, Any]) -> None:
    assert b"12345" == BodyReader(5, watchdog).read(given)


@pytest.mark.parametrize("given", [environ(b""), environ(b"", 0), environ(b"ignored"), environ(b"", **CHUNKED)])
def test_no_body(watchdog: Watchdog, given: dict[str, Any]) -> None:
    assert b"" == BodyReader(5, watchdog).read(given)


@pytest.mark.parametrize("given", [environ(b"123456", 6), environ(b"1" * 100, 100), environ(b"123456", **CHUNKED)])
def test_over_the_limit(watchdog: Watchdog, given: dict[str, Any]) -> None:
    with pytest.raises(TooLarge, match="5"):
        BodyReader(5, watchdog).read(given)


def test_somewhat_too_large_is_read_away_so_that_the_connection_survives(watchdog: Watchdog) -> None:
    little, far = environ(b"1" * 10, 10), environ(b"1" * 100, 100)
    for given in (little, far):
        with pytest.raises(TooLarge):
            BodyReader(5, watchdog).read(given)
    assert (10, 0) == (little["wsgi.input"].tell(), far["wsgi.input"].tell())


def test_half_a_body_is_refused(watchdog: Watchdog) -> None:
    with pytest.raises(MalformedEvent, match="after 3 of 5 bytes"):
        BodyReader(10, watchdog).read(environ(b"123", 5))


@pytest.mark.parametrize("length", ["-1", "five", "1e3", "\u0665"])
def test_an_odd_length(watchdog: Watchdog, length: str) -> None:
    with pytest.raises(MalformedEvent, match="Content-Length"):
        BodyReader(10, watchdog).read({"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO()})


def test_a_stalled_body_is_answered_from_outside(watchdog: Watchdog) -> None:
    answered = threading.Event()
    statuses: list[int] = []

    class Stalled:
        def read(self, size: int) -> bytes:
            assert answered.wait(10)
            return b""

    def respond(status: int, headers: object, body: bytes) -> None:
        statuses.append(status)
        answered.set()

    given = {"CONTENT_LENGTH": "5", "wsgi.input": Stalled(), "upon.respond": respond}
    with pytest.raises(MalformedEvent):
        BodyReader(10, watchdog, timeout=0.05).read(given)
    assert [408] == statuses
    assert 0 == watchdog.late
