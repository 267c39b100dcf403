"""What happened to events lately, summed up: ten thousand records must not become ten thousand lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from upon import Event
from upon._outcome import KINDS, Failed, Outcome, Repeated
from upon_runtime.observe import origin

INTERVAL = 0.5  # seconds between two summaries of one function and trigger
MAX_REASONS = 5  # failures told one by one in a summary; the others are counted
MAX_KEYS = 32  # summaries at a time; what comes on top (many event types) shares one


class Key(NamedTuple):
    """What is summed up together. where: a topic, a route, an event type or a schedule's source."""

    trigger: str
    function: str
    where: str


@dataclass(slots=True)
class Failure:
    """One reason, and how often. what: the first event that it met; cause: what the handler raised."""

    kind: str
    error: str
    what: str
    cause: BaseException | None = None
    count: int = 1


@dataclass(slots=True)
class Summary:
    """Events of one key. partitions: partition -> [first offset, last offset, count]. seconds: the longest call.

    repeated: of those done, how many an idempotent function had handled before.
    """

    key: Key
    events: int = 0
    calls: int = 0
    done: int = 0
    replies: int = 0
    repeated: int = 0
    busy: int = 0
    seconds: float = 0.0
    partitions: dict[int, list[int]] = field(default_factory=dict)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    more_failures: int = 0

    def add(self, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float) -> None:
        self.calls += 1
        self.seconds = max(self.seconds, seconds)
        for event, outcome in zip(events, outcomes, strict=True):
            self.events += 1
            if event.kafka is not None:
                self._count_offset(event.kafka.partition, event.kafka.offset)
            if isinstance(outcome, Failed):
                self._count_failure(event, outcome)
            else:
                self.done += 1
                self.replies += outcome.reply is not None
                self.repeated += isinstance(outcome, Repeated)

    def _count_offset(self, partition: int, offset: int) -> None:
        seen = self.partitions.get(partition)
        if seen is None:
            self.partitions[partition] = [offset, offset, 1]
        else:
            self.partitions[partition] = [min(seen[0], offset), max(seen[1], offset), seen[2] + 1]

    def _count_failure(self, event: Event[Any], outcome: Failed) -> None:
        if KINDS[outcome.kind].verdict == "busy":
            self.busy += 1
            return
        reason = (outcome.kind, outcome.error)
        if reason in self.failures:
            self.failures[reason].count += 1
        elif len(self.failures) < MAX_REASONS:
            self.failures[reason] = Failure(outcome.kind, outcome.error, describe(event), outcome.cause)
        else:
            self.more_failures += 1


class Activity:
    """An observer that sums up per key, and hands each summary on at most once per interval (seconds).

    The first event after a pause is handed on at once. `emit` is called by one thread of its own, never by the
    handlers' threads.
    """

    def __init__(
        self,
        emit: Callable[[Summary], None],
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._interval = interval
        self._clock = clock
        self._changed = threading.Condition()
        self._open: dict[Key, Summary] = {}
        self._last: dict[Key, float] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="upon-console", daemon=True)
        self._thread.start()

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        key = key_of(function, events[0])
        with self._changed:
            self._summary(key).add(events, outcomes, seconds)

    def _summary(self, key: Key) -> Summary:
        summary = self._open.get(key)
        if summary is None:
            if len(self._open) >= MAX_KEYS:
                key = key._replace(where="…")
            summary = self._open.setdefault(key, Summary(key))
            self._changed.notify()
        return summary

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        """The outcome `timeout` follows, and is told then."""

    def close(self, timeout: float = 5.0) -> None:
        """Hand on what is left."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                due, wait = self._take(self._clock())
                if not due:
                    if self._closed:
                        return
                    self._changed.wait(wait)
                    continue
            for summary in due:
                self._emit(summary)

    def _take(self, now: float) -> tuple[list[Summary], float | None]:
        """The summaries that are due, or how long until the next one is."""
        due: list[Summary] = []
        wait: float | None = None
        self._last = {key: last for key, last in self._last.items() if now - last < self._interval}
        for key, summary in self._open.items():
            left = self._last.get(key, now - self._interval) + self._interval - now
            if left <= 0 or self._closed:
                due.append(summary)
                self._last[key] = now
            else:
                wait = left if wait is None else min(wait, left)
        for summary in due:
            del self._open[summary.key]
        return due, wait


def key_of(function: str, event: Event[Any]) -> Key:
    if event.kafka is not None:
        return Key("kafka", function, event.kafka.topic)
    if event.http is not None:
        return Key("http", function, f"{event.http.method} {_route(event)}")
    return Key(origin(event), function, event.type)


def _route(event: Event[Any]) -> str:
    """The path's template, which is bounded where paths are not: a plain request's source is `/{service}{template}`."""
    parts = event.source.split("/", 2)
    return f"/{parts[2]}" if len(parts) == 3 else event.source


def describe(event: Event[Any]) -> str:
    """Where an event came from, in a few words."""
    if event.kafka is not None:
        return f"{event.kafka.topic}[{event.kafka.partition}] {event.kafka.offset}"
    if event.http is not None:
        return f"{event.http.method} {event.http.path}"
    if origin(event) == "cron":
        return f"tick {event.time:%Y-%m-%d %H:%M:%S}Z" if event.time is not None else "tick"
    return f"{event.type} {event.id}"
