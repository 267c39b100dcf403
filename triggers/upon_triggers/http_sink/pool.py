"""Threads that wait for answers: one per request under way, started as they are needed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from upon import Draining, Overloaded

log = logging.getLogger("upon.sink")

Job: TypeAlias = Callable[[], object]


class Pool:
    """At most `threads` jobs at once and `limit` waiting or running. Daemon threads: an answer may never come."""

    def __init__(self, threads: int, limit: int) -> None:
        self.threads = threads
        self._limit = limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._started: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._jobs = 0
        self._closed = False

    @property
    def jobs(self) -> int:
        """Waiting and running."""
        return self._jobs

    def run(self, job: Job) -> None:
        """Run the job soon. Raises Overloaded or Draining, and then the job never runs."""
        with self._changed:
            if self._closed:
                raise Draining("the sink is closed")
            if self._jobs >= self._limit:
                raise Overloaded(f"{self._jobs} requests wait already, the limit is {self._limit}")
            if len(self._started) <= self._jobs and len(self._started) < self.threads:
                self._start()
            self._jobs += 1
        self._queue.put(job)

    def _start(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"upon-sink_{len(self._started)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            if not self._started:
                raise Overloaded(f"no thread to send events: {error}") from error
            return
        self._started.append(thread)

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job()
            except Exception:  # a callback's: the thread must live
                log.exception("a callback failed")
            finally:
                with self._changed:
                    self._jobs -= 1
                    self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Take no new jobs and wait for those that are there; False when some are left after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            done = self._changed.wait_for(lambda: self._jobs == 0, timeout)
        for _ in self._started:
            self._queue.put(None)
        if done:
            for thread in self._started:
                thread.join(max(deadline - time.monotonic(), 1.0))
        return done
