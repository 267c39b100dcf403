"""One thread that notices handlers which are past their deadline. Entering and leaving must cost next to nothing."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

log = logging.getLogger("upon.watchdog")

OnLate: TypeAlias = Callable[[], None]

TICK = 0.05  # seconds between two looks while anything is watched


class Watchdog:
    """begin(...) and end(key) bracket a handler call; end is False when the deadline struck before.

    Both sides take the entry out of one dict, which is atomic, so that exactly one of them wins and no lock
    stands in the way of the fast path. `late` counts calls past their deadline that still run.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[float, OnLate]] = {}
        self._late: set[int] = set()
        self._keys = itertools.count()
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self, deadline: float, on_late: OnLate) -> int:
        """deadline: time.monotonic(). on_late runs on the watchdog's thread, at most once, and must not block."""
        key = next(self._keys)
        self._watched[key] = (deadline, on_late)
        if not self._wake.is_set():
            self._start()
        return key

    def end(self, key: int) -> bool:
        if self._watched.pop(key, None) is not None:
            return True
        self._late.discard(key)
        return False

    @property
    def late(self) -> int:
        return len(self._late)

    def close(self) -> None:
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _start(self) -> None:
        with self._lock:
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="upon-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait()
            time.sleep(TICK)
            self._look(time.monotonic())
            if not self._watched:
                self._wake.clear()
                if self._watched:  # one came in between
                    self._wake.set()

    def _look(self, now: float) -> None:
        for key, (deadline, on_late) in self._watched.copy().items():
            if now >= deadline:
                self._late.add(key)
                if self._watched.pop(key, None) is None:
                    self._late.discard(key)
                    continue
                try:
                    on_late()
                except Exception:  # the other calls are watched all the same
                    log.exception("what was to happen at a deadline failed")
