"""Who of a process' suspects may run: several chunks side by side, or one single record and no other suspect."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class Turnstile:
    """One per process, shared by its sources; any thread.

    id: tells this process from one that died, in the notes of a commit; never 0.
    """

    def __init__(self) -> None:
        self.id = int.from_bytes(os.urandom(4), "big") or 1
        self._lock = threading.Lock()
        self._inside: set[object] = set()
        self._alone: object | None = None
        self._first_in_line: dict[object, None] = {}  # who wants to be alone, in the order of asking
        self._waiting: dict[object, Callable[[], None]] = {}

    def enter(self, who: object, wake: Callable[[], None], *, alone: bool) -> bool:
        """Whether `who` may run its suspects; it says so again for each chunk. If not, `wake` is called when it is
        worth asking again, from any thread.

        Nobody new comes in while somebody waits to be alone, and who is inside shall leave.
        """
        with self._lock:
            if alone:
                self._first_in_line.setdefault(who)
                allowed = self._alone is who or self._is_free_for(who)
            else:
                allowed = self._alone is None and not self._first_in_line
            if not allowed:
                self._waiting[who] = wake
                return False
            self._waiting.pop(who, None)
            if alone:
                self._first_in_line.pop(who)
                self._inside.discard(who)
                self._alone = who
            else:
                self._inside.add(who)
            return True

    def _is_free_for(self, who: object) -> bool:
        return self._alone is None and self._inside <= {who} and next(iter(self._first_in_line)) is who

    def leave(self, who: object) -> None:
        """`who` runs no suspect and waits for nothing; harmless for one who was never here."""
        with self._lock:
            self._inside.discard(who)
            self._first_in_line.pop(who, None)
            self._waiting.pop(who, None)
            if self._alone is who:
                self._alone = None
            waiting, self._waiting = self._waiting, {}
        for wake in waiting.values():
            wake()


PROCESS = Turnstile()
