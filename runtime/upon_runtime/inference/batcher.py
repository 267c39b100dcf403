"""Lets concurrent callers share a session run, without a worker thread and without waiting for company.

A caller that finds nothing queued and a slot free runs at once. Others queue up. Whoever finishes a run hands
its slot to the request that has waited longest (the baton), and only then releases those it ran for; the heir
claims what fits from its own lane and runs it on its own thread. So an idle model costs nothing, a busy one
runs without a gap, and batches are as large as the waiting allows. Coroutines lead on one thread per slot.

Invariant, under the lock: while something is queued no slot is free, except for lanes that a leader gathers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

from upon import DeadlineExceeded, Draining, ModelError, Overloaded
from upon_runtime.inference.lanes import Lanes
from upon_runtime.inference.request import CLAIMED, DONE, LEADING, QUEUED, Request
from upon_runtime.inference.waiters import TaskWaiter, ThreadWaiter, Waiter, release

log = logging.getLogger(__name__)

PATIENCE = 600.0  # seconds a request without a deadline waits at most


class Batcher:
    """Runs requests through `infer`, at most `slots` batches at a time, each of at most `max_rows` rows.

    infer: runs one batch and sets `outputs` and `offset` of each request, or raises. queue_rows: rows that may
    wait. max_wait: seconds a leader waits for a full batch; 0 never waits.
    """

    def __init__(
        self,
        name: str,
        infer: Callable[[list[Request]], None],
        *,
        max_rows: int,
        slots: int = 1,
        queue_rows: int = 1024,
        max_wait: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.max_rows = max_rows
        self._infer = infer
        self._slots = self._free = slots
        self._limit = max(queue_rows, max_rows)
        self._max_wait = max_wait
        self._clock = clock
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._lanes = Lanes()
        self._gathering: set[Hashable] = set()
        self._draining = False
        self._pace = 0.0  # seconds a run takes, smoothed
        self._executor = ThreadPoolExecutor(slots, f"upon-model-{name}")

    @property
    def depth(self) -> int:
        """Rows that wait."""
        return self._lanes.rows

    def submit(self, request: Request) -> None:
        """Run one request on this thread or with others; raises its error, Overloaded, DeadlineExceeded, Draining."""
        waiter = None
        with self._lock:
            if not self._admit(request):
                request.waiter = waiter = ThreadWaiter()
        if waiter is not None:
            self._follow(request, waiter)
        elif self._max_wait:
            self._lead(request)
        else:
            self._run_alone(request)
        if request.error is not None:
            raise request.error

    async def asubmit(self, request: Request) -> None:
        """As `submit`, from a coroutine; cancelling it takes the request out of the queue."""
        waiter = request.waiter = TaskWaiter(lambda: self._executor.submit(self._lead_for_task, request))
        with self._lock:
            leads = self._admit(request)
        if leads:
            waiter.lead()
        try:
            async with asyncio.timeout(self._remaining(request)):
                await waiter.future
        except TimeoutError:
            self._forget(request)
            raise self._too_late() from None
        except asyncio.CancelledError:
            self._forget(request)
            raise
        finally:
            request.waiter = None  # it refers back to the request
        if request.error is not None:
            raise request.error

    def close(self, timeout: float) -> bool:
        """Take no more, finish what is queued and running. After `timeout` seconds the queued ones get Draining."""
        with self._lock:
            self._draining = True
            self._grown.notify_all()
            drained = self._idle.wait_for(lambda: self._free == self._slots and not self._lanes, timeout)
            left = self._lanes.clear()
            for request in left:
                request.state, request.error = DONE, self._stopping()
        release(request.waiter for request in left)
        if drained:  # a thread stuck in a run would refuse its heir otherwise
            self._executor.shutdown(wait=False)
        return drained

    def _admit(self, request: Request) -> bool:
        """Under the lock: True when the caller leads at once, False when its request is queued."""
        if self._draining:
            raise self._stopping()
        now = request.arrived = self._clock()
        if request.deadline is not None and request.deadline <= now:
            raise self._too_late()
        if self._free and not self._lanes and request.key not in self._gathering:
            self._free -= 1
            request.state = LEADING
            return True
        if self._lanes.rows + request.rows > self._limit:
            raise self._overloaded()
        self._lanes.push(request)
        if self._gathering:
            self._grown.notify_all()
            self._promote()  # finds nobody but this request
        return request.state == LEADING

    def _promote(self) -> Request | None:
        """Under the lock: give a free slot to the request that has waited longest."""
        heir = self._lanes.pop_oldest(self._gathering) if self._free and self._lanes else None
        if heir is not None:
            self._free -= 1
            heir.state = LEADING
        return heir

    def _run_alone(self, request: Request) -> None:
        """What an idle model does with a call: nothing was waiting, so there is nobody to claim or to wake."""
        started = self._clock()
        try:
            self._infer([request])
        finally:
            self._pass_on(self._clock() - started)

    def _lead(self, leader: Request) -> None:
        """Run a batch in the slot that `leader` holds, then pass the slot on, then release the others."""
        batch: list[Request] = []
        started = self._clock()
        try:
            self._claim(leader, batch)
            self._run(batch)
        finally:
            try:
                self._pass_on(self._clock() - started)
            finally:
                self._settle(batch)
                release(request.waiter for request in batch if request is not leader)

    def _lead_for_task(self, leader: Request) -> None:
        try:
            self._lead(leader)
        finally:
            release((leader.waiter,))

    def _claim(self, leader: Request, batch: list[Request]) -> None:
        with self._lock:
            if self._max_wait:
                self._gather(leader)
            if leader.state == LEADING:  # else its task was cancelled; the slot still serves the others
                batch.append(leader)
            room = self.max_rows - sum(request.rows for request in batch)
            for mate in self._lanes.claim(leader.key, room):
                mate.state = CLAIMED
                batch.append(mate)
            waiter = _waiter_of(self._promote()) if self._max_wait else None
        if waiter is not None:
            waiter.lead()

    def _gather(self, leader: Request) -> None:
        """Under the lock, which is given up meanwhile: wait until the batch is full or `max_wait` is over."""

        def full() -> bool:
            return self._draining or leader.rows + self._lanes.rows_of(leader.key) >= self.max_rows

        if leader.key in self._gathering:
            return
        self._gathering.add(leader.key)
        try:
            self._grown.wait_for(full, leader.arrived + self._max_wait - self._clock())
        finally:
            self._gathering.discard(leader.key)

    def _run(self, batch: list[Request]) -> None:
        """Run a batch; where it raises, halve it until the guilty requests stand alone."""
        batch = [request for request in batch if not self._expired(request)]
        if not batch:
            return
        try:
            self._infer(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            log.debug("model %r: a batch of %d failed, halving it: %s", self.name, len(batch), error)
            half = len(batch) // 2
            self._run(batch[:half])
            self._run(batch[half:])

    def _expired(self, request: Request) -> bool:
        if request.deadline is None or self._clock() < request.deadline:
            return False
        request.error = self._too_late()
        return True

    def _pass_on(self, seconds: float | None) -> None:
        """Give the slot back, or to the next leader. seconds: what the run took, None when there was none."""
        with self._lock:
            self._free += 1
            if seconds is not None:
                self._pace += 0.2 * (seconds - self._pace)
            waiter = _waiter_of(self._promote()) if self._lanes else None
            if self._draining:
                self._idle.notify_all()
        if waiter is not None:
            waiter.lead()

    def _settle(self, batch: list[Request]) -> None:
        for request in batch:
            if request.outputs is None and request.error is None:
                request.error = ModelError(f"model {self.name!r}: the run was interrupted")
            request.state = DONE

    def _follow(self, request: Request, waiter: ThreadWaiter) -> None:
        try:
            if not waiter.wait(self._remaining(request)):
                self._leave(request)
        except BaseException:  # a KeyboardInterrupt too must not take the baton away with it
            if request.state == LEADING:
                self._pass_on(None)
            else:
                self._forget(request)
            raise
        if request.state == LEADING:
            self._lead(request)

    def _leave(self, request: Request) -> None:
        """Out of time: raise, unless this was made leader or finished in the last moment."""
        with self._lock:
            late = request.state in (QUEUED, CLAIMED)
            self._drop(request)
        if late:
            raise self._too_late()

    def _forget(self, request: Request) -> None:
        """Nobody waits for this any more. A leader's slot is passed on by the thread that leads for it."""
        with self._lock:
            self._drop(request)
            request.state = DONE

    def _drop(self, request: Request) -> None:
        if request.state == QUEUED:
            self._lanes.remove(request)
            request.state = DONE
            if self._draining:
                self._idle.notify_all()

    def _remaining(self, request: Request) -> float:
        return PATIENCE if request.deadline is None else min(PATIENCE, request.deadline - self._clock())

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"model {self.name!r}: the deadline passed while waiting for a run")

    def _stopping(self) -> Draining:
        return Draining(f"model {self.name!r} is closing and takes no more calls")

    def _overloaded(self) -> Overloaded:
        runs = self._lanes.rows / self.max_rows / self._slots
        after = round(min(30.0, max(0.05, runs * self._pace)), 3)
        return Overloaded(
            f"model {self.name!r}: {self._lanes.rows} rows wait and the queue holds {self._limit}: "
            f"try again in {after} s, or run more replicas",
            after,
        )


def _waiter_of(request: Request | None) -> Waiter | None:
    return None if request is None else request.waiter
