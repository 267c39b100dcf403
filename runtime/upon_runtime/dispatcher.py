"""The one way from an event to a handler and back. Every source ends here; every outcome is made here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from upon import Busy, Event, UsageError
from upon._engine import Publisher
from upon._outcome import Done, Failed, Outcome, failure_from
from upon._sink import OnBatch, OnDone, OnItem
from upon_runtime.binding import BoundFunction
from upon_runtime.calls import Calls, OnLate, stopping, timed_out
from upon_runtime.idempotency import Guard, Journal
from upon_runtime.loop import LoopThread, place_at
from upon_runtime.observe import Observer, Observers, RunReport
from upon_runtime.replies import write_reply, write_sends
from upon_runtime.spec import FunctionSpec, ServiceSpec
from upon_runtime.watchdog import Watchdog
from upon_runtime.workers import Gate, Workers

log = logging.getLogger("upon.dispatcher")

R = TypeVar("R")


class Dispatcher:
    """Runs the functions of one service in this process; implements upon's Sink.

    Sync handlers run on the delivering thread (`deliver`) or in a bounded pool (`submit…`), async handlers on one
    event loop. A sync handler past its timeout can't be stopped: its thread keeps its place until it returns, its
    late result is dropped, and its outcome is `timeout`. An async handler is cancelled.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        observer: Observer | None = None,
        *,
        publisher: Publisher | None = None,
        workers: Workers | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.service = spec.name
        self.functions = {f.name: BoundFunction(f, spec.name, _guard(f, journal)) for f in spec.functions}
        self.publisher = publisher
        self.watchdog = Watchdog()
        self._observer = observer or Observers()
        self._calls = Calls(self.watchdog, self._observer)
        self._gates = {name: Gate(f.spec.concurrency) for name, f in self.functions.items()}
        self._workers = workers or Workers()
        self._slots = min(self._workers.threads, spec.admission)
        self._loop = LoopThread()
        self._filtered = [f for f in self.functions.values() if f.filters]
        self._only = next(iter(self.functions.values())) if len(self.functions) == 1 else None

    # Which function

    def find(self, event: Event[Any], function: str | None) -> BoundFunction | Failed:
        """The function an event is for: the one named, else the one whose subscription matches."""
        if function is not None:
            found = self.functions.get(function)
            if found is None:
                names = ", ".join(sorted(self.functions))
                return Failed("unsubscribed", f"there is no function {function!r}: {self.service} has {names}")
            return found
        if self._only is not None and not self._only.filters:
            return self._only
        matching = [f for f in self._filtered if f.accepts(event)]
        if len(matching) == 1:
            return matching[0]
        what = f"type {event.type!r} and source {event.source!r}"
        if matching:
            names = ", ".join(f.name for f in matching)
            return Failed("unsubscribed", f"{names} all match {what}: make their filters exclude each other")
        return Failed(
            "unsubscribed", f"no function subscribes to {what}: add @upon.cloudevent, or post to /functions/NAME"
        )

    # On the caller's thread

    def deliver(
        self,
        event: Event[Any],
        *,
        function: str | None = None,
        on_late: OnLate = None,
        patience: float = 0.0,
        replies: bool = True,
    ) -> Outcome:
        """Handle one event now and return its outcome.

        on_late(outcome) is called by another thread at the deadline, while the handler still runs here. Over the
        function's concurrency the outcome is `overloaded`, after `patience` seconds. replies: written to their topic.
        """
        bound = self.find(event, function)
        if isinstance(bound, Failed):
            return bound
        if bound.spec.concurrency is None:
            outcome = self._deliver(bound, event, on_late)
        else:
            gate = self._gates[bound.name]
            if not gate.enter(patience):
                return _full(bound)
            try:
                outcome = self._deliver(bound, event, on_late)
            finally:
                gate.leave()
        if isinstance(outcome, Done) and outcome.sent:
            outcome = write_sends(self.publisher, outcome, bound.spec.timeout)
        return self.write_reply(bound, event, outcome)() if replies and bound.answers_elsewhere else outcome

    def deliver_batch(
        self, bound: BoundFunction, events: Sequence[Event[Any]], *, on_late: OnLate = None, patience: float = 0.0
    ) -> Sequence[Outcome]:
        """As deliver, for the events that a batch handler gets at once; no reply is written."""
        gate = self._gates[bound.name]
        if not gate.enter(patience):
            return [_full(bound)] * len(events)
        try:
            if not bound.is_async:
                outcomes = self._calls.batch(bound, events, on_late)
            else:
                whole = self._calls.batch_async(bound, events)
                outcomes = self._waited(bound, whole, lambda failed: [failed] * len(events))
        finally:
            gate.leave()
        return [
            write_sends(self.publisher, outcome, bound.spec.timeout)
            if isinstance(outcome, Done) and outcome.sent
            else outcome
            for outcome in outcomes
        ]

    def write_reply(self, bound: BoundFunction, event: Event[Any], outcome: Outcome) -> Callable[[], Outcome]:
        """See replies.write_reply: for who submits events that no source stands behind."""
        return write_reply(self.publisher, bound, event, outcome)

    def _deliver(self, bound: BoundFunction, event: Event[Any], on_late: OnLate) -> Outcome:
        return self._wait(bound, event) if bound.is_async else self._calls.one(bound, event, on_late)

    def _wait(self, bound: BoundFunction, event: Event[Any]) -> Outcome:
        """An async handler's outcome; the second is for a loop that a handler blocks, so that nothing cancels it."""
        return self._waited(bound, self._calls.one_async(bound, event), lambda failed: failed)

    def _waited(self, bound: BoundFunction, call: Coroutine[Any, Any, R], instead: Callable[[Failed], R]) -> R:
        try:
            running = self._loop.submit(call)
        except Busy as error:
            return instead(failure_from(error))
        try:
            return running.result(bound.spec.timeout + 1.0)
        except TimeoutError:
            running.cancel()
            return instead(timed_out(bound))

    # In the background

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.submit_run((event,), lambda _, outcome: on_done(outcome), function=function)

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        bound = self.find(events[0], function)
        if isinstance(bound, Failed):
            on_item(0, bound)
        elif bound.is_async:
            each = self._run_each_async(bound, events, on_item)
            self._background(lambda: self._loop.submit(each), lambda f: on_item(0, f))
        else:
            job = partial(self._run_each, bound, events, on_item)
            self._background(lambda: self._workers.run(job, self._gates[bound.name]), lambda f: on_item(0, f))

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        bound = self.find(events[0], function)
        if isinstance(bound, Failed):
            on_batch([bound] * len(events))
        elif bound.is_async:
            whole = self._run_batch_async(bound, events, on_batch)
            self._background(lambda: self._loop.submit(whole), lambda f: on_batch([f] * len(events)))
        else:
            self._background(
                lambda: self._workers.run(lambda: on_batch(self._batch(bound, events)), self._gates[bound.name]),
                lambda f: on_batch([f] * len(events)),
            )

    def _background(self, start: Callable[[], object], refuse: Callable[[Failed], None]) -> None:
        try:
            start()
        except Busy as error:
            refuse(failure_from(error))

    def _run_each(self, bound: BoundFunction, events: Sequence[Event[Any]], on_item: OnItem) -> None:
        report, last = RunReport(self._observer, bound.name), len(events) - 1
        for index, event in enumerate(events):
            try:
                outcome = self._calls.one(bound, event, None, report)
            except Exception as error:
                outcome = _own_fault(error)
            goes_on = isinstance(outcome, Done)
            if index == last or not goes_on:
                report.send()
            on_item(index, outcome)
            if not goes_on:
                return

    def _batch(self, bound: BoundFunction, events: Sequence[Event[Any]]) -> Sequence[Outcome]:
        try:
            return self._calls.batch(bound, events)
        except Exception as error:
            return [_own_fault(error)] * len(events)

    async def _run_each_async(self, bound: BoundFunction, events: Sequence[Event[Any]], on_item: OnItem) -> None:
        gate = self._gates[bound.name]
        for index, event in enumerate(events):
            if not await place_at(gate):
                on_item(index, stopping())
                return
            try:
                outcome = await self._calls.one_async(bound, event)
            except Exception as error:
                outcome = _own_fault(error)
            finally:
                gate.leave()
            on_item(index, outcome)
            if not isinstance(outcome, Done):
                return

    async def _run_batch_async(self, bound: BoundFunction, events: Sequence[Event[Any]], on_batch: OnBatch) -> None:
        gate = self._gates[bound.name]
        if not await place_at(gate):
            on_batch([stopping()] * len(events))
            return
        try:
            outcomes = await self._calls.batch_async(bound, events)
        except Exception as error:
            outcomes = [_own_fault(error)] * len(events)
        finally:
            gate.leave()
        on_batch(outcomes)

    # The end

    @property
    def stuck(self) -> bool:
        """Whether handlers past their deadline hold every worker, so that nothing can go on."""
        return self.watchdog.late >= self._slots

    def close(self, timeout: float) -> bool:
        """Finish what runs, at most `timeout` seconds; False when handlers had to be left behind."""
        deadline = time.monotonic() + timeout
        done = self._workers.close(timeout)
        done = self._loop.close(max(deadline - time.monotonic(), 0.1)) and done
        self.watchdog.close()
        return done


def _guard(function: FunctionSpec, journal: Journal | None) -> Guard | None:
    if not function.idempotent:
        return None
    if journal is None:
        raise UsageError(f"{function.name} is idempotent, and there is no store: give the dispatcher a journal")
    return journal.guard(function)


def _own_fault(error: Exception) -> Failed:
    """Not the handler's, but an observer's or a store's: without an outcome its source would wait for ever."""
    log.exception("a handler could not be called")
    return failure_from(error)


def _full(bound: BoundFunction) -> Failed:
    return Failed("overloaded", f"{bound.name} handles {bound.spec.concurrency} events already", after=1.0)
