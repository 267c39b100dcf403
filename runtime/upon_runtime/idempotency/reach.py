"""Whether a store can be reached, told once and not by every event; one that can't is asked once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from upon import UponError
from upon_runtime.idempotency.store import Store, StoreUnavailable

log = logging.getLogger("upon.idempotency")

PAUSE = 1.0  # seconds without a question after one that failed
AT_ONCE = 0.5  # seconds; what failed faster may have met an old connection, and is asked again

T = TypeVar("T")


class StoreAway(StoreUnavailable):
    """The store was not asked, because it could not be reached a moment ago."""


class Reach:
    """Every act on `store` goes through `ask`. clock: seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._error: str | None = None
        self._resume = 0.0
        self._opened = False

    def open(self) -> None:
        """Raises UponError where a person has to change something, and StoreUnavailable where time may help."""
        try:
            self.store.open()
            self._opened = True
        except StoreUnavailable as error:
            self._lost(str(error))
            raise

    def ask(self, act: Callable[[], T]) -> T:
        """Raises StoreUnavailable, and StoreAway at once where another act has just found out."""
        began = self._clock()
        if self._error is not None and began < self._resume:
            raise StoreAway(self._error)
        self._resume = began + PAUSE  # others do not wait for this one, as long as the store is away
        try:
            found = self._twice(act, began)
        except StoreUnavailable as error:
            self._lost(str(error))
            raise
        if self._error is not None:
            log.warning("idempotency: %s answers again", self.store.name)
            self._error = None
        return found

    def _twice(self, act: Callable[[], T], began: float) -> T:
        try:
            return self._once(act)
        except StoreUnavailable:
            if self._clock() - began > AT_ONCE:
                raise
        return self._once(act)

    def _once(self, act: Callable[[], T]) -> T:
        if not self._opened:  # it could not be reached at the start
            try:
                self.store.open()
            except UponError as error:
                raise StoreUnavailable(str(error)) from error
            self._opened = True
        return act()

    def _lost(self, error: str) -> None:
        if self._error is None:
            log.warning(
                "idempotency: %s can't be reached, and idempotent functions wait until it can: %s",
                self.store.name,
                error,
            )
        self._error = error
        self._resume = self._clock() + PAUSE

    def state(self) -> dict[str, Any]:
        """For the readiness body."""
        error = self._error
        return {"store": self.store.name, "connected": error is None, **({} if error is None else {"error": error})}
