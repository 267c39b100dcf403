"""The one seam through which metrics, logs and the console see what happens to events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from upon import Event
from upon._outcome import Outcome

log = logging.getLogger("upon.observe")

REPORT_SECONDS = 0.1


class Observer(Protocol):
    """Called on the thread that ran the handler; must be quick and must not raise."""

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        """One handler call ended: one event, or the items of a batch, in order."""

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        """A handler is past its timeout and still runs."""


class RunObserver(Observer, Protocol):
    """An observer that takes many calls of one event each for the price of one."""

    def finished_each(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: Sequence[float]
    ) -> None:
        """As `finished` for each event by itself."""


def finished_each(
    observer: Observer,
    function: str,
    events: Sequence[Event[Any]],
    outcomes: Sequence[Outcome],
    seconds: Sequence[float],
) -> None:
    """Tell an observer of several calls, in the way that it knows."""
    at_once = getattr(observer, "finished_each", None)
    if at_once is not None:
        at_once(function, events, outcomes, seconds)
        return
    for event, outcome, took in zip(events, outcomes, seconds, strict=True):
        observer.finished(function, (event,), (outcome,), took)


class RunReport:
    """Gathers the calls of a run for an observer, who hears of them after at most REPORT_SECONDS and one more call."""

    __slots__ = ("_events", "_function", "_observer", "_outcomes", "_seconds", "_since")

    def __init__(self, observer: Observer, function: str) -> None:
        self._observer = observer
        self._function = function
        self._events: list[Event[Any]] = []
        self._outcomes: list[Outcome] = []
        self._seconds: list[float] = []
        self._since = 0.0

    def add(self, event: Event[Any], outcome: Outcome, began: float, ended: float) -> None:
        """began, ended: time.monotonic()."""
        if not self._events:
            self._since = began
        self._events.append(event)
        self._outcomes.append(outcome)
        self._seconds.append(ended - began)
        if ended - self._since > REPORT_SECONDS:
            self.send()

    def send(self) -> None:
        if self._events:
            finished_each(self._observer, self._function, self._events, self._outcomes, self._seconds)
            self._events, self._outcomes, self._seconds = [], [], []


class Observers:
    """Several as one. An outcome is not lost because one of them fails."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        for observer in self._observers:
            try:
                observer.finished(function, events, outcomes, seconds)
            except Exception:
                log.exception("%s failed", type(observer).__name__)

    def finished_each(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: Sequence[float]
    ) -> None:
        for observer in self._observers:
            try:
                finished_each(observer, function, events, outcomes, seconds)
            except Exception:
                log.exception("%s failed", type(observer).__name__)

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        for observer in self._observers:
            try:
                observer.late(function, event, timeout)
            except Exception:
                log.exception("%s failed", type(observer).__name__)


def origin(event: Event[Any]) -> str:
    """Which kind of trigger an event came through, as metrics and the console name it."""
    if event.kafka is not None:
        return "kafka"
    if event.http is not None:
        return "http"
    return "cron" if event.type == "dev.knative.sources.ping" else "event"
