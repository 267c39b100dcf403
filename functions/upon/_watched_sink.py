"""A sink that knows what is under way: how upon.testing.Client can tell that everything has settled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from upon._event import Event
from upon._outcome import Failed, Outcome
from upon._sink import OnBatch, OnDone, OnItem, Sink


class WatchedSink:
    """Passes everything on. ended: submissions so far. outcomes: the first one of each event id that is a key in it."""

    def __init__(self, sink: Sink) -> None:
        self.outcomes: dict[str, Outcome | None] = {}
        self.ended = 0
        self._sink = sink
        self._changed = threading.Condition()
        self._running: dict[object, str] = {}

    @property
    def running(self) -> int:
        return len(self._running)

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.submit_run((event,), lambda _, outcome: on_done(outcome), function=function)

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        token = self._begin(events, function)

        def item(index: int, outcome: Outcome) -> None:
            self._note(events[index], outcome)
            on_item(index, outcome)
            if index == len(events) - 1 or isinstance(outcome, Failed):
                self._end(token)

        self._sink.submit_run(events, item, function=function)

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        token = self._begin(events, function)

        def batch(outcomes: Sequence[Outcome]) -> None:
            on_batch(outcomes)
            self._end(token)

        self._sink.submit_batch(events, batch, function=function)

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        return self._sink.deliver(event, function=function)

    def wait(self, seen: int, timeout: float) -> None:
        """Until more submissions have ended than the `seen` ones, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended != seen, timeout)

    def described(self) -> list[str]:
        with self._changed:
            return list(self._running.values())

    def _begin(self, events: Sequence[Event[Any]], function: str | None) -> object:
        token = object()
        more = f" and {len(events) - 1} more" if len(events) > 1 else ""
        with self._changed:
            self._running[token] = f"{function} still handles event {events[0].id!r}{more}"
        return token

    def _note(self, event: Event[Any], outcome: Outcome) -> None:
        if self.outcomes.get(event.id, outcome) is None:
            self.outcomes[event.id] = outcome

    def _end(self, token: object) -> None:
        with self._changed:
            del self._running[token]
            self.ended += 1
            self._changed.notify_all()
