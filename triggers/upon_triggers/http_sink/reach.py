"""Whether the receiver can be had: told once when it is gone, and once when it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from upon._outcome import KINDS, Failed, Outcome

log = logging.getLogger("upon.sink")

PATIENCE = 1.0  # seconds of nothing but busy answers before anybody is told: a full queue is everyday life
AGAIN = 60.0  # seconds between two lines about the same outage


class Reach:
    """busy_since: by the clock, while the last answers were all busy. error: what the last of them said."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.busy_since: float | None = None
        self.error: str | None = None
        self._url = url
        self._clock = clock
        self._told: float | None = None
        self._lock = threading.Lock()

    def saw(self, outcome: Outcome) -> Outcome:
        """Take note of an outcome, and hand it on."""
        if isinstance(outcome, Failed) and KINDS[outcome.kind].verdict == "busy":
            self._busy(outcome.error)
        elif self.busy_since is not None:
            self._back()
        return outcome

    def _busy(self, error: str) -> None:
        with self._lock:
            now = self._clock()
            self.error = error
            self.busy_since = now if self.busy_since is None else self.busy_since
            due = self.busy_since + PATIENCE if self._told is None else self._told + AGAIN
            if now < due:
                return
            self._told = now
        log.warning("%s takes no events, trying on: %s", self._url, error)

    def _back(self) -> None:
        with self._lock:
            told, self._told = self._told, None
            self.busy_since = self.error = None
        if told is not None:
            log.info("%s takes events again", self._url)

    def state(self) -> dict[str, Any]:
        """For the readiness body."""
        since = self.busy_since
        return {
            "url": self._url,
            "reached": since is None,
            "busy_seconds": None if since is None else round(max(self._clock() - since, 0.0), 3),
            "error": self.error,
        }
