"""One call of a handler, from an event to its outcome, with everything that can happen to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias

from upon import Event
from upon._engine import Invocation, invocation
from upon._outcome import DONE, Failed, Outcome, failure_from
from upon_runtime.binding import BoundFunction, unreadable
from upon_runtime.observe import Observer, RunReport
from upon_runtime.replies import with_sends, with_sends_of_all
from upon_runtime.watchdog import Watchdog

OnLate: TypeAlias = Callable[[Failed], None] | None


class Calls:
    """Calls the handlers of one service: sync ones on the calling thread, async ones on the calling loop.

    on_late is told at the deadline, by another thread, while the handler still runs.
    """

    def __init__(self, watchdog: Watchdog, observer: Observer) -> None:
        self._watchdog = watchdog
        self._observer = observer

    # One handler call

    def one(self, bound: BoundFunction, event: Event[Any], on_late: OnLate, report: RunReport | None = None) -> Outcome:
        if bound.is_batch:
            return self.batch(bound, (event,), on_late)[0]
        began = time.monotonic()
        deadline = began + bound.spec.timeout
        event._deadline = time.time() + bound.spec.timeout
        key = self._watchdog.begin(deadline, lambda: self._strike(bound, event, on_late))
        try:
            if bound.guard is None:
                outcome = self._call(bound, event, deadline)
            else:
                outcome = bound.guard.one(event, lambda: self._call(bound, event, deadline))
        finally:
            in_time = self._watchdog.end(key)
        if not in_time:
            outcome = timed_out(bound)
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

    async def one_async(self, bound: BoundFunction, event: Event[Any]) -> Outcome:
        if bound.is_batch:
            return (await self.batch_async(bound, (event,)))[0]
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
            on_late(timed_out(bound))

    # A batch handler's call

    def batch(
        self,
        bound: BoundFunction,
        events: Sequence[Event[Any]],
        on_late: OnLate = None,
    ) -> Sequence[Outcome]:
        if not bound.is_batch:
            return [self.one(bound, event, on_late) for event in events]
        began = time.monotonic()
        deadline = began + bound.spec.timeout
        _stamp(events, bound.spec.timeout)
        key = self._watchdog.begin(deadline, lambda: self._strike(bound, events[0], on_late))
        try:
            outcomes: Sequence[Outcome]
            if bound.guard is None:
                outcomes = self._call_batch(bound, events, deadline)
            else:
                outcomes = bound.guard.many(events, lambda fresh: self._call_batch(bound, fresh, deadline))
        finally:
            in_time = self._watchdog.end(key)
        if not in_time:
            outcomes = [timed_out(bound)] * len(events)
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

    async def batch_async(self, bound: BoundFunction, events: Sequence[Event[Any]]) -> Sequence[Outcome]:
        if not bound.is_batch:
            return [await self.one_async(bound, event) for event in events]
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
        return timed_out(bound)
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return stopping()
    return failure_from(error)


def stopping() -> Failed:
    return Failed("draining", "the service stopped before the function was done", after=1.0)


def timed_out(bound: BoundFunction) -> Failed:
    return Failed("timeout", f"{bound.name} took longer than {bound.spec.timeout:g} s")


def _stamp(events: Sequence[Event[Any]], timeout: float) -> None:
    """Tell the handler when it has to be done."""
    deadline = time.time() + timeout
    for event in events:
        event._deadline = deadline


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
