"""A small HTTP load generator: one epoll loop over keep-alive connections, each with one request in flight.

It is cheaper per request than the servers it measures, checks every answer's status, and runs as a process of its
own so that it never shares an interpreter with one:

    python benchmarks/load.py --port 8080 --path / --header "ce-id: 1" --body '{"n": 1}' --connections 32 --seconds 3
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Connection:
    """One keep-alive connection; buffer holds what has come of the current answer."""

    socket: socket.socket
    buffer: bytes = b""
    sent_at: float = 0.0


@dataclass
class Tally:
    """What came back. seconds: of each good answer, from the send to its last byte."""

    seconds: list[float] = field(default_factory=list)
    bad: int = 0
    first_bad: str = ""


def request_bytes(port: int, path: str, headers: list[str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def is_complete(answer: bytes) -> bool:
    """Whether the buffer holds a whole HTTP/1.1 answer."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    head = head.lower()
    at = head.find(b"content-length:")
    if at >= 0:
        return len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    return True  # 204 and the like


def run(port: int, request: bytes, connections: int, seconds: float) -> Tally:
    """Keep `connections` requests in flight for `seconds`, after a tenth of that (at least 0.3 s) unmeasured."""
    poll = select.epoll()
    open_ones: dict[int, Connection] = {}
    for _ in range(connections):
        made = Connection(socket.create_connection(("127.0.0.1", port), timeout=10))
        made.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_ones[made.socket.fileno()] = made
        poll.register(made.socket.fileno(), select.EPOLLIN)
    now = time.perf_counter()
    begin = now + max(0.3, seconds / 10)
    end = begin + seconds
    for connection in open_ones.values():
        _send(connection, request, now)
    tally = Tally()
    while now < end:
        for number, _event in poll.poll(1.0):
            connection = open_ones[number]
            _receive(connection)
            if not is_complete(connection.buffer):
                continue
            now = time.perf_counter()
            if now >= begin:
                _count(tally, connection, now)
            _send(connection, request, now)
        now = time.perf_counter()
    for connection in open_ones.values():
        connection.socket.close()
    return tally


def _send(connection: Connection, request: bytes, now: float) -> None:
    connection.buffer = b""
    connection.sent_at = now
    connection.socket.sendall(request)


def _receive(connection: Connection) -> None:
    received = connection.socket.recv(65536)
    if not received:
        raise SystemExit(f"the server closed a connection after {connection.buffer[:200]!r}")
    connection.buffer += received


def _count(tally: Tally, connection: Connection, now: float) -> None:
    if connection.buffer[9:10] == b"2":
        tally.seconds.append(now - connection.sent_at)
    else:
        tally.bad += 1
        tally.first_bad = tally.first_bad or connection.buffer[:300].decode(errors="replace")


def summary(tally: Tally, seconds: float) -> dict[str, float | str]:
    times = sorted(tally.seconds)
    at = {name: times[int(len(times) * share)] * 1e3 if times else 0.0 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": round(at["p50"], 3),
        "p99_ms": round(at["p99"], 3),
        "bad": tally.bad,
        "first_bad": tally.first_bad,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Post one request over and over; print the rates as JSON.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--body", default="", help="text, or @FILE")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    body = open(given.body[1:], "rb").read() if given.body.startswith("@") else given.body.encode()  # noqa: SIM115
    request = request_bytes(given.port, given.path, given.header, body)
    json.dump(summary(run(given.port, request, given.connections, given.seconds), given.seconds), sys.stdout)


if __name__ == "__main__":
    main()
