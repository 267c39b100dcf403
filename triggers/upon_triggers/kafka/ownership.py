"""Which partitions are ours, how many of their records we take, and what of them is committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from upon._triggers import Ordering
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.handling import Handling
from upon_triggers.kafka.transport import Batch, Consumer, Partition, Position
from upon_triggers.kafka.turns import Inbox

log = logging.getLogger("upon.kafka")

COMMIT_EVERY = 1.0  # seconds
COMMIT_RECORDS = 1000  # finished records of all partitions, whichever comes first


class Revocation:
    """Partitions on their way to another member, held until what is in hand is finished or the time is over."""

    def __init__(self, assignments: Sequence[Assignment], deadline: float) -> None:
        self.assignments = assignments
        self.deadline = deadline

    def is_over(self, now: float) -> bool:
        return now >= self.deadline or not any(a.live and a.in_hand for a in self.assignments)


class Ownership:
    """The assignment, as the consumer's Listener, and everything that is said to the consumer because of it."""

    def __init__(
        self,
        handling: Handling,
        *,
        name: str,
        ordering: Ordering,
        max_in_flight: int,
        drain_timeout: float,
        inbox: Inbox,
        clock: Callable[[], float],
    ) -> None:
        self.assignments: dict[Partition, Assignment] = {}
        self._handling = handling
        self._name = name
        self._ordering: Ordering = ordering
        self._max_in_flight = max_in_flight
        self._drain_timeout = drain_timeout
        self._inbox = inbox
        self._clock = clock
        self._revocations: list[Revocation] = []
        self._committing = False
        self._next_commit = 0.0

    @property
    def in_flight(self) -> int:
        return sum(assignment.in_hand for assignment in list(self.assignments.values()))

    def take(self, batch: Batch) -> bool:
        """New records; False for none."""
        for partition, records in batch.items():
            assignment = self.assignments.get(partition)
            if assignment is not None:
                for lane in assignment.take(records):
                    self._handling.make_ready(lane)
        return bool(batch)

    def pace(self, consumer: Consumer) -> None:
        """Pause partitions with enough in hand, resume those with room."""
        most, held = self._max_in_flight, self._handling.held
        for partition, assignment in self.assignments.items():
            waiting = len(assignment.window)
            if assignment.paused:
                if not held and not assignment.revoked and waiting <= most // 2:
                    assignment.paused = False
                    consumer.resume((partition,))
            elif held or waiting >= most:
                assignment.paused = True
                consumer.pause((partition,))

    # Commits

    @property
    def next_due(self) -> float | None:
        """When the next commit is due, or a revocation's time is over."""
        moments = [revocation.deadline for revocation in self._revocations]
        if (self._handling.finished or self._handling.under_way) and not self._committing:
            moments.append(self._next_commit)
        return min(moments, default=None)

    def commit(self, consumer: Consumer, now: float) -> None:
        """Commit where that is due. One at a time: an older commit must not arrive after a newer one."""
        if self._committing or (now < self._next_commit and self._handling.finished < COMMIT_RECORDS):
            return
        positions = self.positions()
        self._next_commit = now + COMMIT_EVERY
        self._handling.finished = 0
        if positions:
            self._committing = True
            epochs = {partition: self.assignments[partition] for partition in positions}
            consumer.commit(positions, partial(self._inbox.post, self._committed, epochs, positions))

    def _committed(
        self, epochs: dict[Partition, Assignment], positions: dict[Partition, Position], error: BaseException | None
    ) -> None:
        self._committing = False
        if error is not None:
            log.info("%s: a commit failed and will be repeated: %s", self._name, error)
            self._handling.finished += 1
            return
        for partition, position in positions.items():
            epochs[partition].committed = position.offset

    def positions(self) -> dict[Partition, Position]:
        """What there is to commit."""
        self._handling.collect()
        return _positions(self.assignments.values())

    # Listener

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self.assignments[partition] = Assignment(partition, self._ordering)

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        leaving = [self.assignments[p] for p in partitions if p in self.assignments]
        for assignment in leaving:
            assignment.revoked = True
        self._revocations.append(Revocation(leaving, self._clock() + self._drain_timeout))

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        for partition in list(partitions):
            self._forget(partition)

    def release(self, consumer: Consumer, now: float) -> None:
        """Give away what was revoked, as soon as nothing of it is in hand."""
        over = [revocation for revocation in self._revocations if revocation.is_over(now)]
        for revocation in over:
            self._revocations.remove(revocation)
            self._handling.collect()
            leaving = [assignment for assignment in revocation.assignments if assignment.live]
            late = sum(assignment.in_hand for assignment in leaving)
            if late:
                log.warning("%s: %d records outlived the revocation and come again elsewhere", self._name, late)
            for assignment in leaving:
                self._forget(assignment.partition)
            consumer.release([a.partition for a in revocation.assignments], _positions(leaving))

    def abandon(self) -> None:
        """Drop everything: what is not committed comes again."""
        self.on_lost(self.assignments)
        self._revocations.clear()
        self._committing = False

    def _forget(self, partition: Partition) -> None:
        assignment = self.assignments.pop(partition, None)
        if assignment is not None:
            assignment.live = False


def _positions(assignments: Iterable[Assignment]) -> dict[Partition, Position]:
    return {a.partition: position for a in assignments if (position := a.to_commit()) is not None}
