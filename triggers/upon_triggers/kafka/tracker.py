"""Which offsets of a partition were received and finished, and up to where they may be committed."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence


class Window:
    """The received offsets from the first unfinished one on. Offsets may have gaps (compaction, transactions).

    The watermark is the first unfinished offset: everything below it is finished. received: how many offsets came.
    start: nothing below it will be asked for.
    """

    __slots__ = ("_finished", "_next", "_offsets", "received")

    def __init__(self, start: int | None = None) -> None:
        self._offsets: deque[int] = deque()
        self._finished: set[int] = set()
        self._next = start
        self.received = 0

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def unfinished(self) -> int:
        return len(self._offsets) - len(self._finished)

    @property
    def finished(self) -> int:
        """How many of the received ones are finished."""
        return self.received - len(self._offsets) + len(self._finished)

    @property
    def next(self) -> int | None:
        """Everything below was received, or never will be; None before the first record."""
        return self._next

    @property
    def finished_above(self) -> frozenset[int]:
        """Finished offsets that the watermark does not cover."""
        return frozenset(self._finished)

    @property
    def watermark(self) -> int | None:
        """The offset to commit; None where nothing is known yet."""
        return self._offsets[0] if self._offsets else self._next

    def receive(self, offset: int) -> bool:
        """False for an offset that was received before."""
        if self._next is not None and offset < self._next:
            return False
        self._offsets.append(offset)
        self._next = offset + 1
        self.received += 1
        return True

    def receive_all(self, offsets: Sequence[int]) -> int:
        """Many at once, ascending; how many of them, the first ones, were received before."""
        known = 0 if self._next is None else bisect_left(offsets, self._next)
        if known < len(offsets):
            self._offsets.extend(offsets[known:] if known else offsets)
            self._next = offsets[-1] + 1
            self.received += len(offsets) - known
        return known

    def finish_all(self, offsets: Iterable[int]) -> None:
        """Many at once: quickest where they are the first unfinished ones, in order."""
        window, finished = self._offsets, self._finished
        for offset in offsets:
            if window[0] == offset and not finished:
                window.popleft()
            else:
                self.finish(offset)

    def finish(self, offset: int) -> None:
        """Each received offset at most once."""
        offsets, finished = self._offsets, self._finished
        if offsets[0] != offset:
            finished.add(offset)
            return
        offsets.popleft()
        while finished and offsets[0] in finished:
            finished.remove(offsets.popleft())
