"""Where handler calls go that no thread waits for: a bounded pool, with a gate per function."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from upon import Draining, Overloaded

log = logging.getLogger("upon.workers")

Job: TypeAlias = Callable[[], object]


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

    def enter(self, timeout: float) -> bool:
        """For a caller that waits up to `timeout` seconds to be let in. Pair with leave()."""
        if timeout <= 0:
            return self.try_enter()
        turn = threading.Event()
        if self.enter_or_wait(turn.set) or turn.wait(timeout):
            return True
        with self._lock:
            try:
                self._waiting.remove(turn.set)
            except ValueError:  # handed over in this very moment
                return True
        return False

    def enter_or_wait(self, resume: Job) -> bool:
        """True: go on now. False: some later leave() hands its place over and calls `resume`, which must not block."""
        with self._lock:
            if self.limit is not None and self.running >= self.limit:
                self._waiting.append(resume)
                return False
            self.running += 1
            return True

    def leave(self) -> None:
        """The place is free, or handed straight to the one that has waited longest."""
        with self._lock:
            if not self._waiting:
                self.running -= 1
                return
            resume = self._waiting.popleft()
        resume()


class Workers:
    """Threads for sources, started as they are needed. `limit` bounds jobs waiting and running: over it, Overloaded.

    Not a ThreadPoolExecutor: at the end of the process that waits for its threads, and a handler may never return.
    """

    def __init__(self, threads: int = 64, limit: int = 10_000) -> None:
        self.threads = threads
        self._limit = limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._pool: list[threading.Thread] = []
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
            if len(self._pool) <= self._jobs and len(self._pool) < self.threads:
                self._start()
            self._jobs += 1

        def work() -> None:
            self._work(job, gate)

        if gate.enter_or_wait(lambda: self._queue.put(work)):
            self._queue.put(work)

    def _start(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"upon-worker_{len(self._pool)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            if not self._pool:
                raise Overloaded(f"no thread to handle events: {error}") from error
            return
        self._pool.append(thread)

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            job()

    def _work(self, job: Job, gate: Gate) -> None:
        try:
            job()
        except BaseException:  # a callback's; what a handler raises is an outcome
            log.exception("a callback failed")
        finally:
            gate.leave()
            with self._idle:
                self._jobs -= 1
                if self._jobs == 0:
                    self._idle.notify_all()

    @property
    def jobs(self) -> int:
        return self._jobs

    def close(self, timeout: float) -> bool:
        """Take no new jobs and wait for those that are there; False when some still run after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._idle:
            self._closed = True
            done = self._idle.wait_for(lambda: self._jobs == 0, timeout)
        for _ in self._pool:
            self._queue.put(None)
        if done:
            for thread in self._pool:
                thread.join(max(deadline - time.monotonic(), 1.0))
        return done
