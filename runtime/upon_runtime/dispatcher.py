"""The one way from an event to a handler and back. Every source ends here; every outcome is made here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias, TypeVar

from upon import Busy, Event, UsageError
from upon._engine import Invocation, Publisher, invocation
from upon._outcome import DONE, Done, Failed, Outcome, failure_from
from upon._sink import OnBatch, OnDone, OnItem
from upon_runtime.binding import BoundFunction, unreadable
from upon_runtime.idempotency import Guard, Journal
from upon_runtime.loop import LoopThread, place_at
from upon_runtime.observe import Observer, Observers, RunReport
from upon_runtime.replies import with_sends, with_sends_of_all, write_reply, write_sends
from upon_runtime.spec import FunctionSpec, ServiceSpec
from upon_runtime.watchdog import Watchdog
from upon_runtime.workers import Gate, Workers

R = TypeVar("R")
OnLate: TypeAlias = Callable[[Failed], None] | None


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
                outcomes = self._run_batch(bound, events, on_late)
            else:
                whole = self._batch_async(bound, events)
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
        return self._wait(bound, event) if bound.is_async else self._run(bound, event, on_late)

    def _wait(self, bound: BoundFunction, event: Event[Any]) -> Outcome:
        """An async handler's outcome; the second is for a loop that a handler blocks, so that nothing cancels it."""
        return self._waited(bound, self._run_async(bound, event), lambda failed: failed)

    def _waited(self, bound: BoundFunction, call: Coroutine[Any, Any, R], instead: Callable[[Failed], R]) -> R:
        try:
            running = self._loop.submit(call)
        except Busy as error:
            return instead(failure_from(error))
        try:
            return running.result(bound.spec.timeout + 1.0)
        except TimeoutError:
            running.cancel()
            return instead(_timeout(bound))

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
                lambda: self._workers.run(lambda: on_batch(self._run_batch(bound, events)), self._gates[bound.name]),
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
            outcome = self._run(bound, event, None, report)
            goes_on = isinstance(outcome, Done)
            if index == last or not goes_on:
                report.send()
            on_item(index, outcome)
            if not goes_on:
                return

    async def _run_each_async(self, bound: BoundFunction, events: Sequence[Event[Any]], on_item: OnItem) -> None:
        gate = self._gates[bound.name]
        for index, event in enumerate(events):
            if not await place_at(gate):
                on_item(index, _stopping())
                return
            try:
                outcome = await self._run_async(bound, event)
            finally:
                gate.leave()
            on_item(index, outcome)
            if not isinstance(outcome, Done):
                return

    async def _run_batch_async(self, bound: BoundFunction, events: Sequence[Event[Any]], on_batch: OnBatch) -> None:
        gate = self._gates[bound.name]
        if not await place_at(gate):
            on_batch([_stopping()] * len(events))
            return
        try:
            outcomes = await self._batch_async(bound, events)
        finally:
            gate.leave()
        on_batch(outcomes)

    # One handler call

    def _run(
        self, bound: BoundFunction, event: Event[Any], on_late: OnLate, report: RunReport | None = None
    ) -> Outcome:
        if bound.is_batch:
            return self._run_batch(bound, (event,), on_late)[0]
        began = time.monotonic()
        deadline = began + bound.spec.timeout
        event._deadline = time.time() + bound.spec.timeout
        key = self.watchdog.begin(deadline, lambda: self._strike(bound, event, on_late))
        try:
            if bound.guard is None:
                outcome = self._call(bound, event, deadline)
            else:
                outcome = bound.guard.one(event, lambda: self._call(bound, event, deadline))
        finally:
            in_time = self.watchdog.end(key)
        if not in_time:
            outcome = _timeout(bound)
        if report is None:
            self._observer.finished(bound.name, (event,), (outcome,), time.monotonic() - began)
        else:
            report.add(event, outcome, began, time.monotonic())
        return outcome

    def _call(self, bound: BoundFunction, event: Event[Any], deadline: float) -> Outcome:
        try:
            argument = bound.argument(event)
        except Exception as error:
            return unreadable(error)
        call = bound.call(deadline, event)
        context = copy_context()  # what the handler sets there is not for the thread's next event
        context.run(invocation.set, call)
        try:
            result = context.run(bound.plain) if bound.takes_nothing else context.run(bound.plain, argument)
            if call.unconfirmed is not None:
                _confirm(call, deadline)
            if result is None and not call.outbox and event._http is None:
                return DONE
            return with_sends(call, bound.outcome(event, result))
        except BaseException as error:
            return _raised(error)

    async def _run_async(self, bound: BoundFunction, event: Event[Any]) -> Outcome:
        if bound.is_batch:
            return (await self._batch_async(bound, (event,)))[0]
        began = time.monotonic()
        _stamp((event,), bound.spec.timeout)
        deadline = began + bound.spec.timeout
        if bound.guard is None:
            outcome = await self._call_async(bound, event, deadline)
        else:
            outcome = await bound.guard.one_async(event, lambda: self._call_async(bound, event, deadline))
        self._observer.finished(bound.name, (event,), (outcome,), time.monotonic() - began)
        return outcome

    async def _call_async(self, bound: BoundFunction, event: Event[Any], deadline: float) -> Outcome:
        try:
            arguments = () if bound.takes_nothing else (bound.argument(event),)
        except Exception as error:
            return unreadable(error)
        try:
            call = bound.call(deadline, event)
            return with_sends(call, bound.outcome(event, await self._awaited(bound, arguments, call)))
        except BaseException as error:
            return _raised_async(bound, error)

    def _strike(self, bound: BoundFunction, event: Event[Any], on_late: OnLate) -> None:
        self._observer.late(bound.name, event, bound.spec.timeout)
        if on_late is not None:
            on_late(_timeout(bound))

    # A batch handler's call

    def _run_batch(
        self,
        bound: BoundFunction,
        events: Sequence[Event[Any]],
        on_late: OnLate = None,
    ) -> Sequence[Outcome]:
        if not bound.is_batch:
            return [self._run(bound, event, on_late) for event in events]
        began = time.monotonic()
        deadline = began + bound.spec.timeout
        _stamp(events, bound.spec.timeout)
        key = self.watchdog.begin(deadline, lambda: self._strike(bound, events[0], on_late))
        try:
            outcomes: Sequence[Outcome]
            if bound.guard is None:
                outcomes = self._call_batch(bound, events, deadline)
            else:
                outcomes = bound.guard.many(events, lambda fresh: self._call_batch(bound, fresh, deadline))
        finally:
            in_time = self.watchdog.end(key)
        if not in_time:
            outcomes = [_timeout(bound)] * len(events)
        self._observer.finished(bound.name, events, outcomes, time.monotonic() - began)
        return outcomes

    def _call_batch(self, bound: BoundFunction, events: Sequence[Event[Any]], deadline: float) -> list[Outcome]:
        items, positions, invalid = bound.read_all(events)
        if not items:
            return [invalid[index] for index in range(len(events))]
        good = [events[position] for position in positions]
        call = bound.call(deadline, events[0], is_batch=True)
        context = copy_context()
        context.run(invocation.set, call)
        try:
            result = context.run(bound.plain, items)
            _confirm(call, deadline)
            outcomes = with_sends_of_all(call, bound.batch_outcomes(good, result))
        except BaseException as error:
            outcomes = [_raised(error)] * len(good)
        return _merge(len(events), positions, outcomes, invalid)

    async def _batch_async(self, bound: BoundFunction, events: Sequence[Event[Any]]) -> Sequence[Outcome]:
        if not bound.is_batch:
            return [await self._run_async(bound, event) for event in events]
        began = time.monotonic()
        deadline = began + bound.spec.timeout
        _stamp(events, bound.spec.timeout)
        if bound.guard is None:
            outcomes = await self._call_batch_async(bound, events, deadline)
        else:
            outcomes = await bound.guard.many_async(events, lambda e: self._call_batch_async(bound, e, deadline))
        self._observer.finished(bound.name, events, outcomes, time.monotonic() - began)
        return outcomes

    async def _call_batch_async(
        self, bound: BoundFunction, events: Sequence[Event[Any]], deadline: float
    ) -> Sequence[Outcome]:
        items, positions, invalid = bound.read_all(events)
        good = [events[position] for position in positions]
        outcomes: list[Outcome] = []
        if items:
            try:
                call = bound.call(deadline, events[0], is_batch=True)
                result = await self._awaited(bound, (items,), call)
                outcomes = with_sends_of_all(call, bound.batch_outcomes(good, result))
            except BaseException as error:
                outcomes = [_raised_async(bound, error)] * len(good)
        return _merge(len(events), positions, outcomes, invalid)

    async def _awaited(self, bound: BoundFunction, arguments: tuple[Any, ...], call: Invocation) -> object:
        """The result of an async handler; cancelled and _Late at the deadline."""
        deadline = call.deadline or 0.0
        token = invocation.set(call)
        limit = asyncio.timeout(max(deadline - time.monotonic(), 0))
        try:
            async with limit:
                result = await bound.plain(*arguments)
                if call.unconfirmed is not None:
                    await asyncio.to_thread(_confirm, call, deadline)
                return result
        except TimeoutError:
            if limit.expired():
                raise _Late from None
            raise
        finally:
            invocation.reset(token)

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


class _Late(BaseException):
    """An async handler was cancelled at its deadline; not an Exception, so that no handler swallows it."""


def _raised(error: BaseException) -> Failed:
    """Whatever left a sync handler, as its outcome; only a ctrl-C, which the main thread gets, goes on."""
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    return failure_from(error)


def _raised_async(bound: BoundFunction, error: BaseException) -> Failed:
    """Whatever left an async handler, as its outcome; it may also have been cancelled, or await what was."""
    if isinstance(error, _Late):
        return _timeout(bound)
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return _stopping()
    return failure_from(error)


def _full(bound: BoundFunction) -> Failed:
    return Failed("overloaded", f"{bound.name} handles {bound.spec.concurrency} events already", after=1.0)


def _timeout(bound: BoundFunction) -> Failed:
    return Failed("timeout", f"{bound.name} took longer than {bound.spec.timeout:g} s")


def _stamp(events: Sequence[Event[Any]], timeout: float) -> None:
    """Tell the handler when it has to be done."""
    deadline = time.time() + timeout
    for event in events:
        event._deadline = deadline


def _stopping() -> Failed:
    return Failed("draining", "the service stopped before the function was done", after=1.0)


def _confirm(call: Invocation, deadline: float) -> None:
    """Every topic.send of the handler is confirmed before its event is."""
    if call.unconfirmed is not None:
        call.unconfirmed.wait(max(deadline - time.monotonic(), 0.001))


def _merge(
    count: int, positions: Sequence[int], outcomes: Sequence[Outcome], invalid: dict[int, Outcome]
) -> list[Outcome]:
    if not invalid:
        return list(outcomes)
    by_position = dict(zip(positions, outcomes, strict=True)) | invalid
    return [by_position[index] for index in range(count)]
