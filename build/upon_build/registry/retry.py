"""When a request to a registry is tried again: a policy that decides, with the dice and the pause as arguments."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from upon_build.registry.errors import Interrupted

BUSY = frozenset({408, 429, 500, 502, 503, 504})


def _pause(seconds: float, stop: threading.Event) -> None:
    stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class Policy:
    """attempts: in a row without progress; first_contact: while nothing was ever heard from the registry.

    base, most: seconds of the first and the longest pause, of which a random share is taken; longest_wish: seconds of
    a Retry-After that are granted. total: attempts of one transfer, whatever its progress.
    """

    attempts: int = 7
    first_contact: int = 3
    total: int = 50
    base: float = 0.25
    most: float = 8.0
    longest_wish: float = 60.0
    dice: Callable[[], float] = random.random
    pause: Callable[[float, threading.Event], None] = field(default=_pause)

    def delay(self, failures: int, wish: float | None = None) -> float:
        """Seconds to wait after so many failures in a row; wish: what the registry asked for."""
        if wish is not None:
            return min(wish, self.longest_wish)
        ceiling = min(self.base * float(2 ** (failures - 1)), self.most)
        return ceiling * (0.5 + self.dice() / 2)

    def wait(self, failures: int, wish: float | None, stop: threading.Event) -> None:
        """Wait, unless told to stop."""
        self.pause(self.delay(failures, wish), stop)
        check(stop)


def check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Interrupted("the transfer was stopped since another one failed")


def retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a Retry-After header asks for, or None where it says nothing readable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now()).total_seconds())
