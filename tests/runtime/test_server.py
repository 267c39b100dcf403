"""The server on a real socket: what granian's worker has to do for us, whatever its version."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Blueprint

import upon
from support.http import (
    connect,
    event_headers,
    eventually,
    post_event,
    raw_event,
    read_reply,
    read_until,
    request,
    serving,
)
from upon import Event
from upon_runtime.http import Server, ServerError, worker

gate = threading.Event()
entered = threading.Semaphore(0)
seen: list[Event] = []


@upon.options(timeout=30)
@upon.cloudevent(type="test")
def quick(event: Event) -> None:
    seen.append(event)


@upon.cloudevent(type="echo")
def echo(event: Event) -> bytes:
    return event.body


@upon.options(timeout=30)
@upon.cloudevent(type="blocked")
def blocked(event: Event) -> None:
    entered.release()
    assert gate.wait(20)


@upon.options(timeout=0.2)
@upon.cloudevent(type="late")
def late(event: Event) -> None:
    assert gate.wait(20)


@upon.options(timeout=0.2)
@upon.http("POST /late")
def late_route(event: Event) -> None:
    assert gate.wait(20)


ADMISSION = 4


@pytest.fixture
def port() -> Iterator[int]:
    gate.clear()
    seen.clear()
    functions = (quick, echo, blocked, late, late_route)
    with serving(*functions, admission=ADMISSION, threads=ADMISSION + 8, max_body_size=100_000) as (server, _):
        yield server.port
        gate.set()


def ends(count: int) -> Any:
    return lambda received: received.count(b"\r\n\r\n") >= count


# The port


def test_port_0_is_known_before_the_start() -> None:
    server = Server(lambda environ, start: [], port=0)
    assert server.port > 0
    assert f"http://127.0.0.1:{server.port}" == server.url
    assert server.stop(1)


def test_a_taken_port_is_a_clear_error() -> None:
    first = Server(lambda environ, start: [], port=0)
    with pytest.raises(ServerError, match=f"port {first.port}: the port is in use: stop .* choose another port"):
        Server(lambda environ, start: [], port=first.port)
    assert first.stop(1)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours(host: str) -> None:
    with pytest.raises(ServerError, match=host):
        Server(lambda environ, start: [], host=host, port=0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range(port: int) -> None:
    with pytest.raises(ServerError, match=str(port)):
        Server(lambda environ, start: [], port=port)


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:"), ("", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_url(host: str, url: str) -> None:
    server = Server(lambda environ, start: [], host=host, port=0)
    assert f"{url}{server.port}" == server.url
    assert server.stop(1)


def test_a_server_starts_once() -> None:
    server = Server(lambda environ, start: [], port=0)
    server.start()
    with pytest.raises(ServerError, match="make a new one"):
        server.start()
    assert [True, True] == [server.stop(5), server.stop(5)]


@pytest.mark.parametrize("broken", ["worker", "signal", "scheduler"])
def test_another_granian_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    loaded = worker._load()
    monkeypatch.setattr(worker, "_load", lambda: {**loaded, broken: lambda: None})
    server = Server(lambda environ, start: [], port=0)
    with pytest.raises(ServerError, match=r"granian \S+ is not one that Upon can run .* pip install"):
        server.start()


def test_a_granian_without_those_parts_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "granian._futures", None)
    with pytest.raises(ServerError, match="pip install 'granian"):
        Server(lambda environ, start: [], port=0)


def test_without_granian_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "granian", None)
    with pytest.raises(upon.MissingExtra, match=r"pip install 'upon\[serve\]'"):
        Server(lambda environ, start: [], port=0)


@pytest.mark.parametrize(
    ("limits", "connections", "raised"),
    [
        ((1024, 524_288), 4096, 4608),
        ((1024, 1024), 512, 1024),
        ((256, 256), 128, 256),
        ((65_536, 65_536), 4096, None),
        ((1024, -1), 4096, 4608),
        ((-1, -1), 4096, None),
    ],
)
def test_connections_fit_the_file_descriptors(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], connections: int, raised: int | None
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda which: limits)
    monkeypatch.setattr("resource.setrlimit", lambda which, new: calls.append(new))
    assert connections == worker._connections()
    assert ([(raised, limits[1])] if raised else []) == calls


# HTTP


def test_keep_alive(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/", b"{}", event_headers())
        assert 204 == read_reply(connection).status
        first = connection.sock
        assert first is not None
    connection.close()
    assert 3 == len(seen)


def test_pipelining(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(raw_event() * 3)
        received = read_until(connection, ends(3))
    assert 3 == received.count(b"HTTP/1.1 204 No Content")


def test_http_1_0_closes(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(raw_event(version="1.0"))
        received = read_until(connection, lambda _: False)
    assert received.startswith(b"HTTP/1.0 204")


def test_expect_100_continue(port: int) -> None:
    head, _, body = raw_event(b"[1]", expect="100-continue").partition(b"\r\n\r\n")
    with connect(port) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert read_until(connection, ends(1)).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(body)
        assert read_until(connection, ends(1)).startswith(b"HTTP/1.1 204")
    assert [1] == seen[0].data


def test_a_chunked_upload(port: int) -> None:
    body = json.dumps("x" * 50_000).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    parts = iter([body[:7], body[7:30_000], body[30_000:]])
    connection.request("POST", "/", parts, event_headers(), encode_chunked=True)
    assert 204 == read_reply(connection).status
    connection.close()
    assert "x" * 50_000 == seen[0].data


def test_a_large_body_comes_back_whole(port: int) -> None:
    body = bytes(range(256)) * 390
    headers = {**event_headers(type="echo"), "content-type": "application/octet-stream"}
    assert body == request(port, "POST", "/", body, headers).body


def test_a_body_somewhat_too_large_keeps_the_connection(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", b"x" * 150_000, event_headers())
    reply = read_reply(connection)
    assert (413, "too_large", None) == (reply.status, reply.outcome, reply.headers.get("connection"))
    connection.request("POST", "/", b"{}", event_headers())
    assert 204 == read_reply(connection).status
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_far_too_large_body_is_cut_off_with_an_answer(port: int, chunked: bool) -> None:
    body = b"x" * 3_000_000
    length = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
    head = b"".join(f"{n}: {v}\r\n".encode() for n, v in {"host": "test", **event_headers(), **length}.items())
    with connect(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
        if chunked:
            connection.sendall(b"%x\r\n" % len(body))
        sending = threading.Thread(target=_send_all, args=(connection, body))
        sending.start()
        received = read_until(connection, lambda _: False)
        sending.join(10)
    assert received.startswith(b"HTTP/1.1 413")
    assert b"upon-outcome: too_large" in received
    assert 204 == post_event(port).status


def _send_all(connection: socket.socket, body: bytes) -> None:
    try:
        connection.sendall(body)
    except OSError:  # the server has closed
        return


HALF = raw_event(b"[1, 2, 3]")[:-4]
HALF_CHUNKED = raw_event(b"9\r\n[1, 2", **{"transfer-encoding": "chunked"})


@pytest.mark.parametrize("head", [HALF, HALF_CHUNKED], ids=["counted", "chunked"])
@pytest.mark.parametrize("hooked", [False, True], ids=["fast path", "Flask"])
def test_a_client_that_leaves_midway_causes_no_event(head: bytes, hooked: bool) -> None:
    seen.clear()
    hooks = Blueprint("hooks", __name__)
    hooks.before_app_request(lambda: None)
    with serving(quick, blueprints=(hooks,) if hooked else ()) as (server, service):
        with connect(server.port) as connection:
            connection.sendall(head)
        counted = ('outcome="malformed"} 1.0', 'outcome="invalid"} 1.0')
        assert eventually(lambda: any(line in service.metrics.render()[1].decode() for line in counted))
        assert 204 == post_event(server.port, b"[0]").status
    assert [[0]] == [event.data for event in seen]


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"\xff\xfe", b"%ff", b""])
def test_odd_bytes_in_an_attribute_are_malformed(port: int, value: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(raw_event(**{"ce-id": "ODD"}).replace(b"ODD", value))
        received = read_until(connection, ends(1))
    assert received.startswith(b"HTTP/1.1 400")
    assert b"upon-outcome: malformed" in received


def test_odd_bytes_in_another_header_do_not_matter(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(raw_event(**{"x-note": "ODD"}).replace(b"ODD", b"\xff\xc3"))
        assert read_until(connection, ends(1)).startswith(b"HTTP/1.1 204")


def test_head_has_no_body(port: int) -> None:
    reply = request(port, "HEAD", "/health/liveness")
    assert (200, b"") == (reply.status, reply.body)
    assert int(reply.headers["content-length"]) > 0


def test_flask_answers_over_the_socket_too(port: int) -> None:
    assert 404 == request(port, "GET", "/nowhere").json["status"]


# Under pressure


def test_504_while_the_handler_still_runs(port: int) -> None:
    with connect(port) as connection:
        for path in ("/functions/late", "/late"):
            began = time.monotonic()
            connection.sendall(raw_event(path=path))
            received = read_until(connection, lambda so_far: so_far.endswith(b"}"))
            assert time.monotonic() - began < 5
            assert received.startswith(b"HTTP/1.1 504")
            assert b"upon-outcome: timeout" in received
        assert not gate.is_set()
        connection.sendall(raw_event())  # the connection lives on, and the late answer does not spoil it
        gate.set()
        assert read_until(connection, ends(1)).startswith(b"HTTP/1.1 204")


def test_probes_and_429_answer_while_every_slot_is_blocked(port: int) -> None:
    with ThreadPoolExecutor(ADMISSION) as pool:
        running = [pool.submit(post_event, port, type="blocked") for _ in range(ADMISSION)]
        assert all(entered.acquire(timeout=20) for _ in range(ADMISSION))  # before a probe could take one's slot
        for path, expected in (("/health/liveness", 200), ("/health/readiness", 200), ("/metrics", 200), ("/", 429)):
            began = time.monotonic()
            reply = post_event(port) if path == "/" else request(port, "GET", path)
            assert (expected, True) == (reply.status, time.monotonic() - began < 1)
        gate.set()
        assert [204] * ADMISSION == [future.result(20).status for future in running]


def test_a_thread_that_is_late_keeps_its_slot(port: int) -> None:
    with ThreadPoolExecutor(ADMISSION) as pool:
        replies = list(pool.map(lambda _: post_event(port, type="late"), range(ADMISSION)))
    assert [504] * ADMISSION == [reply.status for reply in replies]
    assert 429 == post_event(port).status
    gate.set()
    assert eventually(lambda: post_event(port).status == 204)


def test_while_draining_answers_close_their_connection() -> None:
    with serving(quick) as (server, service):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for drain in (False, True):
            if drain:
                service.begin_drain()
            connection.request("POST", "/", b"{}", event_headers())
            reply = read_reply(connection)
            assert (204, "close" if drain else None) == (reply.status, reply.headers.get("connection"))
        connection.close()


def test_stop_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    gate.clear()
    with serving(blocked) as (server, _), ThreadPoolExecutor(3) as pool:
        running = [pool.submit(post_event, server.port, type="blocked") for _ in range(2)]
        assert eventually(lambda: _in_flight(server) == 2)
        stopping = pool.submit(server.stop, 10)
        assert eventually(lambda: not _connects(server.port))
        assert not stopping.done()
        gate.set()
        assert [204, 204] == [future.result(10).status for future in running]
        assert stopping.result(10)


def test_stop_gives_up_at_its_deadline() -> None:
    gate.clear()
    with serving(blocked) as (server, _), ThreadPoolExecutor(1) as pool:
        running = pool.submit(post_event, server.port, type="blocked")
        assert eventually(lambda: _in_flight(server) == 1)
        began = time.monotonic()
        assert not server.stop(0.2)
        assert time.monotonic() - began < 2
        gate.set()
        assert 204 == running.result(10).status


def test_stop_answers_who_is_connected_and_has_not_sent_yet() -> None:
    with serving(quick, linger=1.0) as (server, _), ThreadPoolExecutor(1) as pool:
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(connect(server.port)) for _ in range(20)]
            stopping = pool.submit(server.stop, 10)
            assert eventually(lambda: not _connects(server.port, 0.1), 2)
            for connection in waiting:
                connection.sendall(raw_event())
            answers = [read_until(connection, ends(1))[:12] for connection in waiting]
        assert [b"HTTP/1.1 204"] * 20 == answers
        assert stopping.result(10)


def test_half_a_request_does_not_hold_up_the_stop() -> None:
    with serving(quick) as (server, _), connect(server.port) as connection:
        connection.sendall(b"POST / HT")
        assert 204 == post_event(server.port).status
        began = time.monotonic()
        assert server.stop(10)
        assert time.monotonic() - began < 5


def test_an_idle_connection_does_not_delay_the_stop() -> None:
    with serving(quick) as (server, _), connect(server.port) as connection:
        connection.sendall(raw_event())
        read_until(connection, ends(1))
        began = time.monotonic()
        assert server.stop(10)
        assert time.monotonic() - began < 5


def _connects(port: int, timeout: float = 1) -> bool:
    try:
        with connect(port, timeout):
            return True
    except OSError:
        return False


def _in_flight(server: Server) -> int:
    app: Any = server._worker.app
    in_flight: int = app.wsgi_app.admission.in_flight
    return in_flight
