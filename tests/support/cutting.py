"""Somebody between a client and a server who cuts connections after so many bytes from the client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def cutting(port: int, after: Sequence[int]) -> Iterator[int]:
    """Its port. after: bytes that the first connection that sends so many may send, then the next, and so on."""
    left = list(after)
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            count = 0
            with suppress(OSError):
                while block := client.recv(4096):
                    count += len(block)
                    with lock:
                        cut = bool(left) and count >= left[0]
                        if cut:
                            left.pop(0)
                    if cut:
                        break
                    server.sendall(block)
            for end in (server, client):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join(10)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
