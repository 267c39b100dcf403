"""The one event loop on which async handlers run, on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from upon import Draining

T = TypeVar("T")


class LoopThread:
    """Started at the first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run the coroutine. Raises Draining once closed; the coroutine is closed too."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise Draining("the service is stopping")
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop or self._start())

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upon-loop", daemon=True)
        self._thread.start()
        return self._loop

    def close(self, timeout: float) -> bool:
        """Finish what runs, at most `timeout` seconds, and cancel the rest; False when something was cancelled."""
        with self._lock:
            self._closed = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return True
        try:
            finished = asyncio.run_coroutine_threadsafe(_finish(timeout), loop).result(timeout + 1.0)
        except (TimeoutError, concurrent.futures.CancelledError):
            finished = False  # a handler blocks the loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join(1.0)
        if not thread.is_alive():
            loop.close()
        return finished


async def _finish(timeout: float) -> bool:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    late = (await asyncio.wait(tasks, timeout=timeout))[1] if tasks else set()
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
    return not late
