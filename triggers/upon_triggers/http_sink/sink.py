"""The sink as sources see it: submissions in, callbacks out, and threads between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from upon import Busy, Done, Event, Failed, Outcome
from upon._outcome import KINDS, failure_from
from upon._sink import OnBatch, OnDone, OnItem
from upon_triggers.http_sink.connection import Poster
from upon_triggers.http_sink.exchange import Exchange
from upon_triggers.http_sink.pool import Pool
from upon_triggers.http_sink.reach import Reach

CONCURRENCY = 64  # requests at once
WAITING = 10_000  # submissions that wait or run
TIMEOUT = 180.0  # seconds: a function's own time, and the start of a service that was scaled to zero


class HttpSink:
    """Posts events to a service, each to the function it is for; implements upon's Sink.

    url: of the service, with any path before `/functions/NAME`. timeouts: seconds for an answer by function, the
    start of the service included; `timeout` for the others. concurrency: requests at once, over all functions. A
    submission over `waiting` of them is `overloaded` at once. batches=False: one event per request, always.

    Raises UsageError for what is no URL, and MissingExtra without urllib3.
    """

    def __init__(
        self,
        url: str,
        *,
        timeouts: Mapping[str, float] | None = None,
        timeout: float = TIMEOUT,
        concurrency: int = CONCURRENCY,
        waiting: int = WAITING,
        batches: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poster = Poster(url, concurrency)
        self.url = self._poster.url
        self.reach = Reach(self.url, clock)
        self._exchange = Exchange(
            self._poster, self.reach, timeouts=dict(timeouts or {}), timeout=timeout, batches=batches
        )
        self._pool = Pool(concurrency, waiting)

    @property
    def in_flight(self) -> int:
        """Submissions that wait or run."""
        return self._pool.jobs

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self._later(lambda: on_done(self.deliver(event, function=function)), on_done)

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        self._later(partial(self._run, events, on_item, function), partial(on_item, 0))

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        self._later(partial(self._batch, events, on_batch, function), lambda failed: on_batch([failed] * len(events)))

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        return self._exchange.one(event, function)

    def close(self, timeout: float) -> bool:
        """Wait for the answers under way; False when some were not there after `timeout` seconds."""
        done = self._pool.close(timeout)
        self._poster.close()
        return done

    def _later(self, job: Callable[[], object], refuse: Callable[[Failed], object]) -> None:
        try:
            self._pool.run(job)
        except Busy as error:
            refuse(failure_from(error))

    # On a thread of the pool

    def _run(self, events: Sequence[Event[Any]], on_item: OnItem, function: str | None) -> None:
        index = 0
        while index < len(events):
            for outcome in self._exchange.some(events[index:], function, ordered=True):
                on_item(index, outcome)
                index += 1
                if not isinstance(outcome, Done):
                    return

    def _batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, function: str | None) -> None:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(events):
            outcomes += self._exchange.some(events[len(outcomes) :], function, ordered=False)
            last = outcomes[-1]
            if isinstance(last, Failed) and KINDS[last.kind].verdict == "busy":
                outcomes += [last] * (len(events) - len(outcomes))  # nobody is there for the others either
        on_batch(outcomes)
