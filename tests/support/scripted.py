"""An HTTP server that answers what a test says, or does what no server should."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request as it came; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Say(NamedTuple):
    """An answer. then: keep the connection, close it without saying so, or reset it. raw: in place of everything."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    then: str = "keep"
    raw: bytes | None = None


RESET = Say(then="reset", raw=b"")

Answering = Callable[[Asked], Say]


class Scripted:
    """asked: every request, in order. connections: how many were made."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.answering = answering
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                server.asked.append(asked)
                self._say(server.answering(asked))

            def _say(self, say: Say) -> None:
                if say.raw is not None:
                    self.wfile.write(say.raw)
                else:
                    self.send_response_only(say.status)
                    for name, value in {"content-length": str(len(say.body)), **say.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(say.body)
                if say.then == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = say.then != "keep"

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client has gone
                    self.close_connection = True

            def finish(self) -> None:
                try:
                    super().finish()
                except OSError:
                    return

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def shutdown_request(self, request: Any) -> None:
                self.close_request(request)  # without a farewell, or a reset would be none

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop_listening(self) -> None:
        """Connections that are there stay."""
        self._server.socket.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def scripted(answering: Answering | Say) -> Iterator[Scripted]:
    server = Scripted(answering if not isinstance(answering, Say) else lambda asked: answering)
    try:
        yield server
    finally:
        server.close()
