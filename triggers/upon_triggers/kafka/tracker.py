"""Which offsets of a partition were received and finished, and up to where they may be committed."""

from __future__ import annotations

from collections import deque


class Window:
    """The received offsets that can't be committed yet. Offsets may have gaps (compaction, transactions).

    The watermark is the first unfinished offset: everything below it is finished. Finished offsets above it
    stay in the window, so its length bounds what a crash can repeat.
    """

    __slots__ = ("_finished", "_next", "_offsets")

    def __init__(self) -> None:
        self._offsets: deque[int] = deque()
        self._finished: set[int] = set()
        self._next: int | None = None

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def unfinished(self) -> int:
        return len(self._offsets) - len(self._finished)

    @property
    def finished_above(self) -> frozenset[int]:
        """Finished offsets that the watermark does not cover."""
        return frozenset(self._finished)

    @property
    def watermark(self) -> int | None:
        """The offset to commit; None before the first record."""
        return self._offsets[0] if self._offsets else self._next

    def receive(self, offset: int) -> bool:
        """False for an offset that was received before."""
        if self._next is not None and offset < self._next:
            return False
        self._offsets.append(offset)
        self._next = offset + 1
        return True

    def finish(self, offset: int) -> None:
        """Each received offset at most once."""
        offsets, finished = self._offsets, self._finished
        if offsets[0] != offset:
            finished.add(offset)
            return
        offsets.popleft()
        while finished and offsets[0] in finished:
            finished.remove(offsets.popleft())
