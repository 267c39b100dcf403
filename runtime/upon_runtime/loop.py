"""The one event loop on which async handlers run, on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from upon import Draining
from upon_runtime.workers import Gate

log = logging.getLogger("upon.loop")

T = TypeVar("T")


class LoopThread:
    """Started at the first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._ended = False

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run the coroutine. Raises Draining once closed; the coroutine is closed too."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise Draining("the service is stopping")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop or self._start())
            self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="upon-loop", daemon=True)
        self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._ended:
            try:
                loop.run_forever()
            except BaseException:  # asyncio lets SystemExit and KeyboardInterrupt of any task through
                log.exception("a task tried to end the process: the event loop goes on")

    def close(self, timeout: float) -> bool:
        """Finish what runs, at most `timeout` seconds, and cancel the rest; False when something was cancelled.

        Tasks that handlers left behind are cancelled without a wait: they may have no end of their own.
        """
        with self._lock:
            self._closed = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return True
        finished = not concurrent.futures.wait(list(self._running), timeout).not_done
        try:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(1.0)
        except (TimeoutError, concurrent.futures.CancelledError):
            finished = False  # a handler blocks the loop, or does not let itself be cancelled
        self._ended = True
        loop.call_soon_threadsafe(loop.stop)
        thread.join(1.0)
        if not thread.is_alive():
            loop.close()
        return finished


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


async def place_at(gate: Gate) -> bool:
    """Wait for a place without blocking the loop; False when the service stops first. Pair with gate.leave()."""
    loop = asyncio.get_running_loop()
    free = asyncio.Event()

    def resume() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(free.set)

    try:
        if not gate.enter_or_wait(resume):
            await free.wait()
    except asyncio.CancelledError:
        return False
    return True
