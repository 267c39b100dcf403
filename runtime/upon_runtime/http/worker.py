"""granian's WSGI worker in this very process: the only module that touches its private API.

granian's own server forks, so that a killed parent leaves a child that goes on serving; it shares ports in silence
and closes the listener before anybody noticed that readiness is off. Its worker class does none of that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from upon import MissingExtra, UponError
from upon_runtime.http.early import CLOSE, KEY

WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BACKLOG = 1024
CONNECTIONS = 4096  # open at once, idle ones included; more wait in the backlog
SPARE_DESCRIPTORS = 512  # for everything that is not a connection
IDLE_TIMEOUT = 150  # seconds an idle connection is kept: longer than proxies keep theirs, so that they end it
SETTLE = 0.5  # seconds for the last answers to be written
THREAD_IDLE = 30  # seconds until an idle thread ends
PIN = "pip install 'granian>=2.8,<2.9'"


class ServerError(UponError):
    """The HTTP server can't start: the message names the port or package, and the remedy."""


class Worker:
    """Serves a WSGI application on a listening socket, whose descriptor it owns from start() on.

    Raises MissingExtra without granian, and ServerError for one whose private parts are others.
    """

    def __init__(self, app: WsgiApp, threads: int) -> None:
        self.app = app
        self._parts = _load()
        self._threads = threads
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signal: Any = None
        self._listening: list[int] = []
        self._running: list[None] = []  # one entry per request; append and pop are atomic

    def start(self, descriptor: int) -> None:
        """Serve in background threads; returns at once."""
        self._listening = [descriptor]
        os.register_at_fork(after_in_child=partial(_close, self._listening))
        logging.getLogger("_granian").setLevel(logging.WARNING)  # it greets at INFO
        self._loop = asyncio.new_event_loop()  # WSGI never runs it, the scheduler wants one
        try:
            self._serve(descriptor, self._loop)
        except (TypeError, AttributeError) as error:
            self._loop.close()
            os.close(descriptor)
            raise ServerError(_mismatch(self._parts["version"], error)) from error

    def _serve(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        parts = self._parts
        signal = parts["signal"]()
        signal.add_cb(self._stopped.set)
        worker = parts["worker"](
            1,  # worker id
            (None, parts["holder"](descriptor, False, BACKLOG)),
            None,  # ipc
            1,  # I/O threads
            512,  # limit of the runtime's own blocking threads, which WSGI does not use
            self._threads,
            THREAD_IDLE,
            _connections(),
            "1",  # HTTP/1 only
            parts["http1"](header_read_timeout=IDLE_TIMEOUT * 1000),
            None,  # HTTP/2 settings
            None,  # static files
            *(False, None, None, None, "tls1.3", None, [], False),  # TLS
            (None, None),  # metrics
        )
        worker.serve_mtr(parts["scheduler"](loop, _callback(self.app, self._running), impl_asyncio=True), loop, signal)
        self._signal = signal

    def stop(self, timeout: float) -> bool:
        """Close the listener and finish what was accepted; False when requests still run after `timeout` seconds."""
        signal, self._signal = self._signal, None
        self._listening.clear()
        if signal is not None:
            signal.set()  # a second call would block for ever
        if self._loop is None:
            return True
        deadline = time.monotonic() + timeout
        while not self._stopped.wait(min(SETTLE, max(deadline - time.monotonic(), 0))):
            if not self._running:
                break  # what is left are connections on which half a request came
            if time.monotonic() >= deadline:
                return False
        self._loop.close()
        return True


def _close(listening: list[int]) -> None:
    """In a child that a handler forked (multiprocessing does): it must not hold the port when we are gone."""
    for descriptor in listening:
        os.close(descriptor)


def _connections() -> int:
    """How many connections may be open: out of file descriptors, granian would spin on a failing accept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - SPARE_DESCRIPTORS, soft // 2)
    return CONNECTIONS


def _load() -> dict[str, Any]:
    """What is used of granian, which is imported when a server is made."""
    try:
        import granian
    except ImportError:
        raise MissingExtra("the HTTP server", "serve") from None
    version = getattr(granian, "__version__", "?")
    try:
        from granian._futures import _new_cbscheduler
        from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
        from granian.http import HTTP1Settings
    except ImportError as error:
        raise ServerError(_mismatch(version, error)) from error
    return {
        "version": version,
        "scheduler": _new_cbscheduler,
        "holder": SocketHolder,
        "signal": WorkerSignal,
        "worker": WSGIWorker,
        "http1": HTTP1Settings,
    }


def _mismatch(version: str, error: Exception) -> str:
    return f"granian {version} is not one that Upon can run in-process ({error}): {PIN}"


def _callback(app: WsgiApp, running: list[None]) -> Callable[[Any, dict[str, Any]], None]:
    """granian's per-request callback (protocol, scope): a WSGI call with a way to answer early."""
    base = {
        "SCRIPT_NAME": "",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }

    def call(protocol: Any, scope: dict[str, Any]) -> None:
        running.append(None)
        try:
            scope.update(base)
            scope[KEY] = protocol.response_bytes
            started = _Started()
            body = app(scope, started)
            headers = started.headers
            if CLOSE in scope:
                headers = [*headers, ("connection", "close")]
            if type(body) is list:
                protocol.response_bytes(started.status, headers, body[0] if len(body) == 1 else b"".join(body))
            else:
                protocol.response_iter(started.status, headers, _Chunks(body))
        finally:
            running.pop()

    return call


class _Started:
    """WSGI's start_response; keeps what it is given."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = 200
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self.status = int(status[:3])
        self.headers = headers


class _Chunks:
    """A WSGI response as granian reads it: `__next__` and, always, `close`."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._chunks = iter(body)

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
