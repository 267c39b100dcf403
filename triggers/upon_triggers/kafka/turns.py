"""What makes one thread's loop turn: messages from other threads, and moments that have come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Inbox:
    """Calls that other threads want made on the loop's thread. `wake` is called once per round, not per message."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False

    def __bool__(self) -> bool:
        return bool(self._messages)

    def post(self, act: Callable[..., None], *arguments: Any) -> None:
        """From any thread."""
        self._messages.append((act, arguments))
        if not self._woken:
            self._woken = True
            if self.wake is not None:
                self.wake()

    def read(self) -> bool:
        """Make the calls; False when there were none."""
        self._woken = False  # before the first is taken: what comes from here on wakes again
        messages = self._messages
        found = bool(messages)
        while messages:
            act, arguments = messages.popleft()
            act(*arguments)
        return found


class Timers:
    """Calls to make at a moment."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def at(self, due: float, act: Callable[..., None], *arguments: Any) -> None:
        heappush(self._heap, (due, next(self._serial), act, arguments))

    def fire(self, now: float) -> bool:
        """Make the calls that are due; False when there were none."""
        fired = False
        while self._heap and self._heap[0][0] <= now:
            _, _, act, arguments = heappop(self._heap)
            act(*arguments)
            fired = True
        return fired

    def clear(self) -> None:
        self._heap.clear()
