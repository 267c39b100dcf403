"""Talking HTTP to a service: through Flask's test client, over a socket, and to a server in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from support.services import spec_of
from upon_runtime.http import Server, create_app
from upon_runtime.service import Service

TESTS = Path(__file__).resolve().parents[1]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcome(self) -> str | None:
        return self.headers.get("upon-outcome")


def event_headers(**attributes: str) -> dict[str, str]:
    """The headers of a CloudEvent in binary mode."""
    given = {"specversion": "1.0", "id": "1", "source": "/test", "type": "test", **attributes}
    return {f"ce-{name}": value for name, value in given.items()} | {"content-type": "application/json"}


def post_event(port: int, body: bytes = b"{}", path: str = "/", **attributes: str) -> Reply:
    return request(port, "POST", path, body, event_headers(**attributes))


def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}, timeout: float = 10
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        return read_reply(connection)
    finally:
        connection.close()


def read_reply(connection: http.client.HTTPConnection) -> Reply:
    response = connection.getresponse()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def raw_event(body: bytes = b"{}", path: str = "/", version: str = "1.1", **extra: str) -> bytes:
    """One request as it goes over the wire."""
    length = {} if "transfer-encoding" in extra else {"content-length": str(len(body))}
    headers = {"host": "test", **event_headers(), **length, **extra}
    lines = [f"POST {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@contextlib.contextmanager
def connect(port: int, timeout: float = 10) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        yield connection


def read_until(connection: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """What comes until it is enough or the other side closes; the socket's timeout is the deadline."""
    received = b""
    while not enough(received):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return received


def eventually(condition: Callable[[], bool], timeout: float = 10) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def opened(*functions: Any, **more: Any) -> Iterator[Service]:
    """A service that is ready, without a server."""
    service = Service(spec_of(*functions, **more), logged=False)
    service.open()
    try:
        yield service
    finally:
        service.close(5)


@contextlib.contextmanager
def serving(*functions: Any, threads: int = 16, linger: float = 0.0, **more: Any) -> Iterator[tuple[Server, Service]]:
    """A service behind a server in this process."""
    with opened(*functions, **more) as service:
        server = Server(create_app(service), port=0, threads=threads, linger=linger)
        server.start()
        try:
            yield server, service
        finally:
            assert server.stop(10)


class Child:
    """support.http_child in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.http_child", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "error"},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().strip()

    @property
    def port(self) -> int:
        assert self.line.startswith("port "), (self.line, self.process.communicate(timeout=10)[1])
        return int(self.line.split()[1])

    def ended(self, timeout: float = 20) -> tuple[int, str, str]:
        """Exit status, the rest of stdout, and stderr."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)


def descendants(pid: int) -> list[int]:
    """Process ids of the children of a process, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *descendants(child)]
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True
