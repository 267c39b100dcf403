"""How long a registry may take, and how slowly it may send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. connect: until a connection stands; answer: until a response's head, and a small body, is here.

    finish: until a registry has put a blob's parts together; stall: a blob that moves less than `slowest` bytes a
    second for so long is given up.
    """

    connect: float = 10.0
    answer: float = 60.0
    finish: float = 600.0
    stall: float = 60.0
    slowest: float = 1024.0


class Pace:
    """Gives up on who sends too slowly: fewer than `slowest` bytes a second over `stall` seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._since = clock()
        self._count = 0

    def is_kept(self, count: int) -> bool:
        """Whether it is fast enough after so many bytes more."""
        self._count += count
        now = self._clock()
        if now - self._since < self._limits.stall:
            return True
        enough = self._count >= self._limits.slowest * (now - self._since)
        self._since, self._count = now, 0
        return enough
