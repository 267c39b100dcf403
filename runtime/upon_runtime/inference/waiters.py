"""How a queued request is woken: a thread by its own lock, an asyncio task by its loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias


class ThreadWaiter:
    """A blocked caller; waking it is enough, since it leads on its own thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=max(0.0, timeout))

    def wake(self) -> None:
        self._lock.release()

    lead = wake


class TaskWaiter:
    """A coroutine; it must not run a session itself, so `lead` hands that to a thread."""

    __slots__ = ("future", "lead", "loop")

    def __init__(self, lead: Callable[[], object]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.lead = lead


Waiter: TypeAlias = ThreadWaiter | TaskWaiter


def release(waiters: Iterable[Waiter | None]) -> None:
    """Wake them all; tasks of one loop by one call, since each call writes to a pipe."""
    tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        if isinstance(waiter, ThreadWaiter):
            waiter.wake()
        elif waiter is not None:
            tasks.setdefault(waiter.loop, []).append(waiter.future)
    for loop, futures in tasks.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, futures)


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # cancelled, or given up
            future.set_result(None)
