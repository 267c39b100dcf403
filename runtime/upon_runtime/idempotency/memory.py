"""A store in this process alone: for tests of functions, and what the other stores are compared with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from upon_runtime.idempotency.store import FRESH, Begun, Finished, Held


@dataclass(slots=True)
class _Entry:
    """reply: None for a marker. expires: by the store's clock."""

    token: str
    reply: bytes | None
    expires: float


class MemoryStore:
    """clock: seconds, by which leases and times to live go."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def open(self) -> None: ...

    def begin(self, keys: Sequence[str], token: str, lease: float) -> list[Begun]:
        with self._lock:
            return [self._begin(key, token, lease) for key in keys]

    def _begin(self, key: str, token: str, lease: float) -> Begun:
        entry = self._live(key)
        if entry is not None and entry.reply is not None:
            return Finished(entry.reply)
        if entry is not None and entry.token != token:
            return Held(entry.expires - self._clock())
        self._entries[key] = _Entry(token, None, self._clock() + lease)
        return FRESH

    def finish(self, replies: Mapping[str, bytes], token: str, ttl: float) -> set[str]:
        with self._lock:
            mine = {key for key in replies if (entry := self._live(key)) is None or entry.token == token}
            for key in mine:
                self._entries[key] = _Entry(token, replies[key], self._clock() + ttl)
            return mine

    def release(self, keys: Sequence[str], token: str) -> None:
        with self._lock:
            for key in keys:
                if self._mark(key, token) is not None:
                    del self._entries[key]

    def extend(self, keys: Sequence[str], token: str, lease: float) -> set[str]:
        with self._lock:
            marks = {key: mark for key in keys if (mark := self._mark(key, token)) is not None}
            for mark in marks.values():
                mark.expires = self._clock() + lease
            return set(marks)

    def sweep(self, limit: int) -> int:
        with self._lock:
            now = self._clock()
            expired = [key for key, entry in self._entries.items() if entry.expires <= now][:limit]
            for key in expired:
                del self._entries[key]
            return len(expired)

    def close(self) -> None: ...

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.expires > self._clock() else None

    def _mark(self, key: str, token: str) -> _Entry | None:
        entry = self._live(key)
        return entry if entry is not None and entry.token == token and entry.reply is None else None
