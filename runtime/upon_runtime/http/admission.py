"""How many requests are handled at once. Over the limit the answer is 429 at once, so that probes find a thread."""

from __future__ import annotations


class Admission:
    """A bounded number of slots; taking one never waits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = [None] * limit  # pop and append are atomic and cheaper than a counter under a lock

    def enter(self) -> bool:
        """Take a slot, or say False. Pair with leave()."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        self._free.append(None)

    @property
    def in_flight(self) -> int:
        return self.limit - len(self._free)
