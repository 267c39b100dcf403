"""The HTTP server as the rest of Upon sees it: a port that is taken at once, a start, and a stop that loses nothing."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys
import time

from upon_runtime.http.worker import BACKLOG, ServerError, Worker, WsgiApp

__all__ = ["RESERVE", "Server", "ServerError"]

LINGER = 0.25  # seconds between the last new connection and the end, for requests that are on their way
RESERVE = 8  # threads over the admission limit, for probes and refusals
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # where to find a server that listens everywhere


class Server:
    """Serves a WSGI application. The port is taken, exclusively, when this is made; `port=0` takes a free one.

    threads: requests handled at once, by default the default admission limit and a reserve. linger: seconds in which
    stop() waits for requests on connections that were just accepted. Raises ServerError.
    """

    def __init__(
        self,
        app: WsgiApp,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        threads: int = 128 + RESERVE,
        linger: float = LINGER,
    ) -> None:
        self._linger = linger
        self._descriptor: int | None = None
        self._worker = Worker(app, threads)
        self._socket: socket.socket | None = _bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Where a client on this machine finds the server."""
        host = _LOCAL.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        """Serve in the background; returns at once. Signals stay the caller's."""
        if self._socket is None:
            raise ServerError(f"the server on port {self.port} was started or stopped already: make a new one")
        taken, self._socket = self._socket, None
        descriptor = taken.detach()
        self._worker.start(descriptor)
        self._descriptor = descriptor

    def stop(self, timeout: float) -> bool:
        """Close the listener and finish what was accepted; False when requests still run after `timeout` seconds."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and _refuse_new(descriptor):
            linger = min(self._linger, timeout)
            time.sleep(linger)
            timeout -= linger
        return self._worker.stop(timeout)


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Without SO_REUSEPORT, so that a second server on the port fails instead of sharing it."""
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise ServerError(f"can't listen on port {port!r}: a port is between 0 and 65535, 0 takes a free one")
    taken: socket.socket | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        taken = socket.socket(family, kind)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        taken.bind(address)
        taken.listen(BACKLOG)
        taken.setblocking(False)
    except OSError as error:
        if taken is not None:
            taken.close()
        raise ServerError(f"can't listen on {host} port {port}: {_reason(error)}") from error
    return taken


# Socket filter: load the TCP flags; SYN without ACK is dropped, everything else passes.
_NO_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26


def _refuse_new(descriptor: int) -> bool:
    """Take no new connections, and keep those that are being made; False where the system can't.

    Closing the listener resets every connection that waits to be accepted, and its clients have sent requests
    already. So first the stream of connections ends, then what has come is accepted, then the listener closes.
    """
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
    with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as listener:
        try:
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
            )
            return True
        finally:
            listener.detach()
    return False


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use: stop the program that holds it, or choose another port (0 takes a free one)"
        case errno.EACCES:
            return "not permitted: choose a port of 1024 or above"
        case errno.EADDRNOTAVAIL | socket.EAI_NONAME:
            return f"{error}: the host must be an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        case _:
            return str(error)
