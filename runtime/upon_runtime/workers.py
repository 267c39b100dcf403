"""Where handler calls go that no thread waits for: a bounded pool, with a gate per function."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeAlias

from upon import Draining, Overloaded

Job: TypeAlias = Callable[[], None]


class Gate:
    """At most `limit` calls of one function at once; those that can wait do so in order."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.running = 0
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()

    def try_enter(self) -> bool:
        """For a caller that would rather be refused than wait. Pair with leave()."""
        with self._lock:
            if self.limit is not None and self.running >= self.limit:
                return False
            self.running += 1
            return True

    def enter_or_wait(self, job: Job) -> bool:
        """True: run the job now. False: it is kept, and some later leave() returns it."""
        with self._lock:
            if self.limit is not None and self.running >= self.limit:
                self._waiting.append(job)
                return False
            self.running += 1
            return True

    def leave(self) -> Job | None:
        """The place is free, or handed straight to the job that is returned."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self.running -= 1
            return None


class Workers:
    """Threads for sources. `limit` bounds jobs waiting and running: over it, Overloaded."""

    def __init__(self, threads: int = 64, limit: int = 10_000) -> None:
        self.threads = threads
        self._limit = limit
        self._pool = ThreadPoolExecutor(threads, "upon-worker")
        self._idle = threading.Condition()
        self._jobs = 0
        self._closed = False

    def run(self, job: Job, gate: Gate) -> None:
        """Run the job soon. Raises Overloaded or Draining, and then the job never runs."""
        with self._idle:
            if self._closed:
                raise Draining("the service is stopping")
            if self._jobs >= self._limit:
                raise Overloaded(f"{self._jobs} events wait already, the limit is {self._limit}")
            self._jobs += 1
        if gate.enter_or_wait(lambda: self._work(job, gate)):
            self._pool.submit(self._work, job, gate)

    def _work(self, job: Job, gate: Gate) -> None:
        try:
            job()
        finally:
            following = gate.leave()
            if following is not None:
                self.hand_on(following)
            with self._idle:
                self._jobs -= 1
                if self._jobs == 0:
                    self._idle.notify_all()

    def hand_on(self, job: Job) -> None:
        """Run a job that waited at a gate and was given its place."""
        with suppress(RuntimeError):  # the pool was given up, and its jobs with it
            self._pool.submit(job)

    @property
    def jobs(self) -> int:
        return self._jobs

    def close(self, timeout: float) -> bool:
        """Take no new jobs and wait for those that are there; False when some still run after `timeout` seconds."""
        with self._idle:
            self._closed = True
            done = self._idle.wait_for(lambda: self._jobs == 0, timeout)
        self._pool.shutdown(wait=done, cancel_futures=not done)
        return done
