"""The life of a serving process: start, wait for a signal, drain in order, leave nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from upon_runtime.service import Service

log = logging.getLogger("upon.process")

ENDED_AT_ONCE = 1  # exit status after a second signal or a passed deadline


class HttpServer(Protocol):
    def start(self) -> None: ...
    def stop(self, timeout: float) -> bool: ...


class Signals:
    """SIGTERM and SIGINT as an event; the second one ends the process at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _received(self, number: int, frame: object) -> None:
        if self.stop.is_set():
            os._exit(ENDED_AT_ONCE)
        self.stop.set()


def run(
    service: Service,
    server: HttpServer,
    signals: Signals,
    *,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None] = lambda: None,
    drain_delay: float,
    drain_timeout: float,
) -> int:
    """Serve until a signal, then drain; returns the exit status.

    The service is open already. drain_delay: seconds in which requests are still taken, so that whoever balances
    them notices that readiness is off. drain_timeout: seconds for all that follows.
    """
    server.start()
    service.start_sources()
    on_ready()
    signals.stop.wait()
    on_drain()
    return drain(service, server, delay=drain_delay, timeout=drain_timeout)


def drain(service: Service, server: HttpServer, *, delay: float, timeout: float) -> int:
    """End in an order in which nothing accepted is lost; 0 when everything was finished."""
    service.begin_drain()  # readiness off
    service.pause_sources()  # no new records or ticks
    time.sleep(delay)  # balancers notice; requests are still answered
    deadline = time.monotonic() + timeout
    answered = server.stop(timeout)  # close the listener, finish what it accepted
    finished = service.close(max(deadline - time.monotonic(), 0.1))  # finish, commit, close
    if answered and finished:
        return 0
    log.error("not everything was finished within %g s; what is left is delivered again", timeout)
    return ENDED_AT_ONCE
