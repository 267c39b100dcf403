"""Records that keep their order, and how many of them are handed over at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from upon_triggers.kafka.transport import Record

if TYPE_CHECKING:
    from upon_triggers.kafka.assignment import Assignment

FIRST_RUN = 16  # records; later runs follow the handler's speed
LONGEST_RUN = 256
RUN_SECONDS = 0.1  # a run can't be called back, so it should be over soon when the partition is revoked


class Lane:
    """Records that are handled one after another: a partition's, or one key's.

    idle: nobody has it in hand; it is neither ready, nor submitted, nor waiting for its next try.
    busy: how many busy answers came in a row.
    """

    __slots__ = ("assignment", "busy", "idle", "key", "queue", "run_limit")

    def __init__(self, assignment: Assignment, key: object) -> None:
        self.assignment = assignment
        self.key = key
        self.queue: deque[Record] = deque()
        self.idle = True
        self.busy = 0
        self.run_limit = FIRST_RUN

    @property
    def may_begin(self) -> bool:
        return self.assignment.live and not self.assignment.revoked

    @property
    def head_is_retried(self) -> bool:
        return self.queue[0].offset in self.assignment.attempts

    def fresh(self, most: int) -> int:
        """How many records, at most so many, come before the next that was tried before."""
        attempts = self.assignment.attempts
        if not attempts:
            return most
        tried = (index for index, record in enumerate(self.queue) if record.offset in attempts)
        return min(most, next(tried, most))

    def take(self, most: int) -> list[Record]:
        """The next records, at most so many."""
        queue = self.queue
        if most >= len(queue):
            taken = list(queue)
            queue.clear()
        else:
            taken = [queue.popleft() for _ in range(most)]
        self.assignment.queued -= len(taken)
        return taken

    def put_back(self, records: Sequence[Record]) -> None:
        """Records in order, in front of what waits."""
        self.queue.extendleft(reversed(records))
        self.assignment.queued += len(records)

    @property
    def is_guarded(self) -> bool:
        return self.assignment.guard is not None

    def admitted(self, most: int) -> int:
        """How many records it may run now, at most so many. 0: it is taken care of, and made ready when it may."""
        guard = self.assignment.guard
        return most if guard is None else guard.admit(self, most)

    def began(self, records: Iterable[Record]) -> None:
        """They go to the sink."""
        if self.assignment.guard is not None:
            self.assignment.guard.began(records)

    def ended(self, records: Iterable[Record], *, failed: bool) -> None:
        """They are back from the sink. failed: not all were handled."""
        if self.assignment.guard is not None:
            self.assignment.guard.ended(self, records, failed=failed)

    def ran(self, records: int, seconds: float) -> None:
        """Fit the next run to what this one took."""
        if seconds > 2 * RUN_SECONDS:
            self.run_limit = max(1, self.run_limit // 2)
        elif seconds < RUN_SECONDS / 2 and records >= self.run_limit:
            self.run_limit = min(LONGEST_RUN, self.run_limit * 2)
