"""The end of a serving process: a signal is noticed, and what was accepted is finished in order."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from upon_runtime.service import Service

log = logging.getLogger("upon.process")

ENDED_AT_ONCE = 1  # exit status after a second signal or a passed deadline
ONE_PRESS = 0.25  # seconds
LOOK = 0.5  # seconds


class HttpServer(Protocol):
    def stop(self, timeout: float) -> bool: ...


class Stop:
    """As threading.Event, which a signal handler must not set: it may interrupt a wait that holds its lock.

    Another thread may get the signal, and Python runs the handler on the main one, which nothing wakes. So it looks.
    """

    def __init__(self) -> None:
        self._set = False
        self._woken: SimpleQueue[None] = SimpleQueue()  # whose put is made for signal handlers

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._woken.put(None)

    def wait(self, timeout: float = math.inf) -> bool:
        """On the main thread, at most `timeout` seconds; whether it is set."""
        deadline = time.monotonic() + timeout
        while not self._set and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                self._woken.get(timeout=min(left, LOOK))
        return self._set


class Signals:
    """SIGTERM and SIGINT as an event; a second one ends the process at once.

    clock: seconds. The same signal within ONE_PRESS of the first is the first one again: a wrapper such as timeout(1)
    signals both the process and its group.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop = Stop()
        self._clock = clock
        self._first = (0, 0.0)
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _received(self, number: int, frame: object) -> None:
        if not self.stop.is_set():
            self._first = (number, self._clock())
            self.stop.set()
        elif number != self._first[0] or self._clock() - self._first[1] > ONE_PRESS:
            os.write(2, b"a second signal: ended at once; what was not finished is delivered again\n")
            os._exit(ENDED_AT_ONCE)


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
