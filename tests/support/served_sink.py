"""The sinks of support.sinks behind HTTP: the same handlers in a served application, and an HttpSink in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.services import spec_of
from support.sinks import BatchHandler, Handler
from upon import Done, Draining, Event, Function, Outcome, Overloaded, Reject, Retry
from upon._outcome import Failed
from upon._sink import OnBatch, OnDone, OnItem
from upon_runtime.http import Server, create_app
from upon_runtime.service import Service
from upon_triggers.http_sink import HttpSink


class ServedSink:
    """A service of its own on a free port, which has the function `f`; for batches, `g`."""

    def __init__(self, handler: Handler, batch_handler: BatchHandler | None = None, **more: Any) -> None:
        def f(event: Event[Any]) -> object:
            return _returned(handler(event))

        def g(events: list[Event[Any]]) -> list[object]:
            assert batch_handler is not None
            return [_entry(outcome) for outcome in batch_handler(events)]

        self.service = Service(spec_of(Function(f), Function(g), timeout=30.0), logged=False)
        self.service.open()
        self._server = Server(create_app(self.service), port=0, threads=80, linger=0.0)
        self._server.start()
        self.sink = HttpSink(self._server.url, **more)
        self.sink.deliver(Event.of(None), function="none")  # no function sees it, and the sink knows whom it talks to

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.sink.submit(event, on_done, function="f")

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        self.sink.submit_run(events, on_item, function="f")

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        self.sink.submit_batch(events, on_batch, function="g")

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        return self.sink.deliver(event, function="f")

    def close(self) -> None:
        assert self.sink.close(10)
        assert self._server.stop(10)
        assert self.service.close(10)


def _returned(outcome: Outcome | None) -> object:
    """What a handler would return or raise to get this outcome."""
    entry = _entry(outcome)
    if isinstance(entry, BaseException):
        raise entry
    return entry


def _entry(outcome: Outcome | None) -> object:
    if not isinstance(outcome, Failed):
        return outcome.reply if isinstance(outcome, Done) else None
    match outcome.kind:
        case "overloaded":
            return Overloaded(outcome.error, outcome.after or 0.0)
        case "draining":
            return Draining(outcome.error, outcome.after or 0.0)
        case "rejected":
            return Reject(outcome.error)
        case "retry":
            return Retry(outcome.error, after=outcome.after)
        case _:
            return RuntimeError(outcome.error)
