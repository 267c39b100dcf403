"""Sinks for sources under test: a handler, a thread pool, and nothing else of a runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from upon import Done, Event, Outcome
from upon._outcome import DONE, failure_from
from upon._sink import OnBatch, OnDone, OnItem

Handler = Callable[[Event[Any]], Outcome | None]
BatchHandler = Callable[[Sequence[Event[Any]]], Sequence[Outcome]]


class DirectSink:
    """Handles on the thread that submits, before the call returns. handler: its exceptions become outcomes."""

    def __init__(self, handler: Handler, batch_handler: BatchHandler | None = None) -> None:
        self._handler = handler
        self._batch_handler = batch_handler

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        try:
            return self._handler(event) or DONE
        except Exception as error:
            return failure_from(error)

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        on_done(self.deliver(event))

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        for index, event in enumerate(events):
            outcome = self.deliver(event)
            on_item(index, outcome)
            if not isinstance(outcome, Done):
                return

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        if self._batch_handler is None:
            on_batch([self.deliver(event) for event in events])
        else:
            on_batch(self._batch_handler(events))


class PoolSink(DirectSink):
    """The same on a pool of threads; counts how many calls run at once."""

    def __init__(self, handler: Handler, batch_handler: BatchHandler | None = None, *, threads: int = 8) -> None:
        super().__init__(handler, batch_handler)
        self._pool = ThreadPoolExecutor(threads, "sink")
        self._lock = threading.Lock()
        self.running = 0
        self.most = 0

    def _run(self, job: Callable[[], None]) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            job()
        finally:
            with self._lock:
                self.running -= 1

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self._pool.submit(self._run, lambda: on_done(self.deliver(event)))

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        self._pool.submit(self._run, lambda: super(PoolSink, self).submit_run(events, on_item))

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        self._pool.submit(self._run, lambda: super(PoolSink, self).submit_batch(events, on_batch))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
