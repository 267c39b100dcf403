"""Which partitions are ours, how many of their records we take, and when that is committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from upon._triggers import Ordering
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.commits import Commits
from upon_triggers.kafka.handling import Handling
from upon_triggers.kafka.lane import Lane
from upon_triggers.kafka.transport import Batch, Consumer, Partition, Position, TransportError
from upon_triggers.kafka.turns import Inbox
from upon_triggers.kafka.turnstile import Turnstile

log = logging.getLogger("upon.kafka")

COMMIT_EVERY = 1.0  # seconds
COMMIT_RECORDS = 1000  # finished records of all partitions, whichever comes first
BEHIND = 2 * COMMIT_RECORDS  # finished records of one partition that are not committed: the next ones wait
ASK_AGAIN = 1.0  # seconds
ASK_TRIES = 30  # in a row; another consumer may have better luck


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
        turnstile: Turnstile,
        commits: Commits,
        commit_every: float = COMMIT_EVERY,
    ) -> None:
        self.assignments: dict[Partition, Assignment] = {}
        self.commits = commits
        self._commit_every = commit_every
        self._handling = handling
        self._name = name
        self._ordering: Ordering = ordering
        self._max_in_flight = max_in_flight
        self._drain_timeout = drain_timeout
        self._inbox = inbox
        self._clock = clock
        self._turnstile = turnstile
        self._revocations: list[Revocation] = []
        self._unknown: list[Assignment] = []  # nobody has asked what the group has committed of them
        self._ask_at = 0.0
        self._failures = 0
        self._commit_now = False
        self._no_commit_before = 0.0
        self._next_commit = 0.0

    @property
    def in_flight(self) -> int:
        return sum(assignment.in_hand for assignment in list(self.assignments.values()))

    @property
    def next_due(self) -> float | None:
        """When the next commit or question is due, or a revocation's time is over."""
        moments = [revocation.deadline for revocation in self._revocations]
        if self._unknown:
            moments.append(self._ask_at)
        if not self.commits.under_way:
            if self._commit_now:
                moments.append(self._no_commit_before)
            elif self._handling.finished or self._handling.under_way:
                moments.append(self._next_commit)
        return min(moments, default=None)

    # What the group has committed

    def ask(self, consumer: Consumer, now: float) -> None:
        """Before anything of a partition is begun: what of it is finished, and what became of its last owner?"""
        if not self._unknown or now < self._ask_at:
            return
        asked, self._unknown = [a for a in self._unknown if a.live], []
        if asked:
            partitions = [assignment.partition for assignment in asked]
            consumer.find_committed(partitions, partial(self._inbox.post, self._told, asked))

    def _told(self, asked: Sequence[Assignment], found: Mapping[Partition, Position] | BaseException) -> None:
        if isinstance(found, BaseException):
            self._failures += 1
            if self._failures >= ASK_TRIES:
                raise TransportError(f"what the group has committed can't be read: {found}") from found
            log.info("%s: what the group has committed is not known yet: %s", self._name, found)
            self._unknown += asked
            self._ask_at = self._clock() + ASK_AGAIN
            return
        self._failures = 0
        for assignment in asked:
            if assignment.live:
                self._begin(assignment, found.get(assignment.partition))

    def _begin(self, assignment: Assignment, found: Position | None) -> None:
        assignment.begin(found, self._turnstile.id)
        self._commit_now = True
        if assignment.guard is not None:
            log.warning("%s: %s %s", self._name, assignment.partition, assignment.guard.told)

    # Records

    def take(self, consumer: Consumer, batch: Batch) -> bool:
        """New records; False for none."""
        for partition, records in batch.items():
            assignment = self.assignments.get(partition)
            if assignment is None:
                continue
            expected = assignment.window.next
            if not assignment.is_open:
                assignment.sees_end(consumer.end(partition))
                self._commit_now = True  # nothing is begun before a commit says that we have it
            elif expected is not None and records[0].offset < expected:
                assignment.sees_end(consumer.end(partition))
            assignment.backlog.extend(records)
        return bool(batch)

    def admit(self) -> None:
        """Let records in where there is room, and suspects where it is their turn."""
        for partition, assignment in self.assignments.items():
            if assignment.guard is not None:
                assignment.guard.let_in(self._handling.make_ready)
            if not assignment.backlog or not assignment.is_known or assignment.revoked:
                continue
            if assignment.is_cut_off:
                assignment = self.assignments[partition] = self._begin_anew(assignment)
            if assignment.is_open and (room := assignment.room(self._max_in_flight, BEHIND)) > 0:
                self._take_in(assignment, room)

    def _begin_anew(self, assignment: Assignment) -> Assignment:
        log.warning("%s: %s ends before what was read of it: it is read anew", self._name, assignment.partition)
        self._drop(assignment)
        fresh = Assignment(assignment.partition, self._ordering)
        fresh.begin(None, self._turnstile.id)
        fresh.backlog, fresh.revoked, fresh.paused = assignment.backlog, assignment.revoked, assignment.paused
        self._commit_now = True
        return fresh

    def _take_in(self, assignment: Assignment, room: int) -> None:
        for lane in assignment.take_backlog(room):
            self._handling.make_ready(lane)
        self._handling.skipped += assignment.skipped
        assignment.skipped = 0
        given_up, assignment.given_up = assignment.given_up, []
        for record in given_up:
            self._handling.give_up(assignment, record)

    def watch(self, consumer: Consumer) -> None:
        """See to the partitions whose records are suspected of killing the process."""
        for assignment in self.assignments.values():
            guard = assignment.guard
            if guard is None or not assignment.is_open or assignment.revoked:
                continue
            if not assignment.window.received:
                assignment.sees_end(consumer.end(assignment.partition))  # there may be nothing to suspect
            version = guard.version
            guard.advance(self._turnstile, self._look_again, self._make_ready)
            if guard.version != version:
                self._commit_now = True
            if guard.is_over:
                assignment.guard = None

    def _make_ready(self, lane: Lane) -> None:
        self._handling.make_ready(lane)
        self._look_again()

    def _look_again(self) -> None:
        """From any thread: there may be something to do."""
        self._inbox.post(_nothing)

    def pace(self, consumer: Consumer) -> None:
        """Pause partitions with more than there is room for, resume those with room."""
        most, held = self._max_in_flight, self._handling.held
        for partition, assignment in self.assignments.items():
            if assignment.paused:
                if not held and not assignment.revoked and self._has_room(assignment):
                    assignment.paused = False
                    consumer.resume((partition,))
            elif held or assignment.backlog or assignment.window.unfinished >= most:
                assignment.paused = True
                consumer.pause((partition,))

    def _has_room(self, assignment: Assignment) -> bool:
        return not assignment.backlog and assignment.window.unfinished <= self._max_in_flight // 2

    # Commits

    def commit(self, consumer: Consumer, now: float) -> None:
        """Commit where that is due."""
        due = self._commit_now or now >= self._next_commit or self._handling.finished >= COMMIT_RECORDS
        if not due or self.commits.under_way or now < self._no_commit_before:
            return
        self._next_commit = now + self._commit_every
        self._commit_now = False
        self._handling.finished = 0
        self._handling.collect()
        self.commits.begin(consumer, self.assignments.values(), self._commit_failed)

    def _commit_failed(self) -> None:
        self._commit_now = True
        self._no_commit_before = self._clock() + self._commit_every

    def finish(self, consumer: Consumer, timeout: float) -> Mapping[Partition, Position]:
        """The last commit; what of it is left to the consumer's end."""
        self._handling.collect()
        return self.commits.finish(consumer, self.assignments.values(), timeout)

    # Listener

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self.assignments[partition] = assignment = Assignment(partition, self._ordering)
            self._unknown.append(assignment)

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        leaving = [self.assignments[p] for p in partitions if p in self.assignments]
        for assignment in leaving:
            assignment.revoked = True
            if assignment.guard is not None and not assignment.in_hand:
                assignment.guard.drop(self._turnstile)
        self._revocations.append(Revocation(leaving, self._clock() + self._drain_timeout))

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        for partition in list(partitions):
            self._forget(partition)

    def release(self, consumer: Consumer, now: float) -> None:
        """Give away what was revoked, as soon as nothing of it is in hand."""
        over = [revocation for revocation in self._revocations if revocation.is_over(now)]
        for revocation in over:
            if self.commits.holds_up_release and now < revocation.deadline:
                continue
            self._revocations.remove(revocation)
            self._handling.collect()
            leaving = [assignment for assignment in revocation.assignments if assignment.live]
            late = sum(assignment.in_hand for assignment in leaving)
            if late:
                log.warning("%s: %d records outlived the revocation and come again elsewhere", self._name, late)
            partitions = [assignment.partition for assignment in revocation.assignments]
            self.commits.release(consumer, partitions, leaving)
            for assignment in leaving:
                self._forget(assignment.partition)

    def abandon(self) -> None:
        """Drop everything: what is not committed comes again."""
        self.on_lost(self.assignments)
        self._revocations.clear()
        self._unknown.clear()
        self.commits.abandon()
        self._commit_now = False
        self._ask_at = self._no_commit_before = 0.0

    def _forget(self, partition: Partition) -> None:
        assignment = self.assignments.pop(partition, None)
        if assignment is not None:
            self._drop(assignment)

    def _drop(self, assignment: Assignment) -> None:
        assignment.live = False
        if assignment.guard is not None:
            assignment.guard.drop(self._turnstile)


def _nothing() -> None:
    """There is something to look at."""
