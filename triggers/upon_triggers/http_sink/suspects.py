"""Events that were in a request which got no answer: one of them may have ended the process that had it in hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from upon import Event

MOST = 50_000  # the oldest are forgotten: they never came back, and belong to somebody else by now


class Suspects:
    """Sent alone until there was an answer, so that the guilty one is found and the others are not blamed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str, str], None] = {}
        self._lock = threading.Lock()

    def add(self, function: str | None, events: Sequence[Event[Any]]) -> None:
        with self._lock:
            self._known.update(((function, event.source, event.id), None) for event in events)
            for oldest in list(self._known)[: max(len(self._known) - MOST, 0)]:
                del self._known[oldest]

    def clear(self, function: str | None, event: Event[Any]) -> None:
        if self._known:
            self._known.pop((function, event.source, event.id), None)

    def before(self, function: str | None, events: Sequence[Event[Any]]) -> int:
        """How many events come before the first suspect."""
        if not self._known:
            return len(events)
        known = self._known
        found = (index for index, event in enumerate(events) if (function, event.source, event.id) in known)
        return next(found, len(events))
