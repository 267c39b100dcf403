"""A door in front of a server: it counts what goes in, slows it down, and can be told to stand still."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 16 * 1024


class Door:
    """Forwards connections on `port` to the server behind it. rate: bytes a second into it, over all connections."""

    def __init__(self, behind: int, rate: float | None = None) -> None:
        self._behind = behind
        self._rate = rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._changed = threading.Condition()
        self._began = time.monotonic()
        self._sockets: list[socket.socket] = [self._listener]
        self.port = int(self._listener.getsockname()[1])
        self.passed = 0  # bytes that went in
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        """Returns once so many bytes went in."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.passed >= count, timeout)
        assert came, f"only {self.passed} of {count} bytes went in within {timeout} s"

    def close(self) -> None:
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._behind), timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._sockets += [client, server]
                threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, inwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if inwards:
                    self._count(len(data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        with self._changed:
            self.passed += size
            self._changed.notify_all()
            due = self._began + self.passed / self._rate if self._rate else 0.0
        time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def door(behind: int, rate: float | None = None) -> Iterator[Door]:
    opened = Door(behind, rate)
    try:
        yield opened
    finally:
        opened.close()
