"""The one seam through which metrics, logs and the console see what happens to events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from upon import Event
from upon._outcome import Outcome

log = logging.getLogger("upon.observe")


class Observer(Protocol):
    """Called on the thread that ran the handler; must be quick and must not raise."""

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        """One handler call ended: one event, or the items of a batch, in order."""

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        """A handler is past its timeout and still runs."""


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
